"""The tests that come ready made: one for each attack, which fails where the server learns anything.

    from wardround.attacks.conformance import test_a_malicious_server_learns_nothing  # noqa: F401

in a file of tests is all that it takes, beside a fixture `secagg_target` or the option of that purpose (`plugin`).
"""

import logging

import pytest

from wardround.attacks.by_server import ATTACKS, Attack, lowered_noise
from wardround.attacks.targets import Target

__all__ = ["test_a_malicious_server_learns_nothing"]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_malicious_server_learns_nothing(
    attack: Attack, secagg_target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    """Fail with what was tried, what the server has and what a hospital has to refuse."""
    if attack is lowered_noise and not secagg_target.weak_config:
        pytest.skip("the target names no weak_config")
    with caplog.at_level(logging.CRITICAL + 1, "flwr"):  # hundreds of lines on stages
        finding = attack(secagg_target)
    if finding.fell:
        pytest.fail(str(finding), pytrace=False)
    print(finding)
