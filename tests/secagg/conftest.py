"""Rounds that many tests look at and none changes."""

import pytest
from round_driver import Round

from wardround.secagg.records import STAGES


@pytest.fixture(scope="session")
def whole_round():
    """Return a round of four hospitals that was played to its end."""
    return Round(4, 3).play()


@pytest.fixture(scope="session")
def rounds_until():
    """Return by stage a round of four hospitals that stopped after it; refusals leave it as it is."""
    return {stage: Round(4, 3).play(stage) for stage in STAGES}
