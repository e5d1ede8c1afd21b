"""Whether a run that is taken up again is the one that was begun: settings, data, and an untouched ledger.

Its epsilon does not rest on that: a round that is done again is a charge of its own, with noise of its own. It keeps
one folder from holding the rounds of two jobs. What is left out on purpose: code, versions and devices, which may
change.
"""

from wardround.errors import ConfigError, DataError, ProtocolError
from wardround.identity import settings_digest
from wardround.privacy.ledger import Ledger
from wardround.server.plan.plans import FederationPlan
from wardround.server.record.records import Opening
from wardround.server.record.run_folder import RunFolder

__all__ = ["check_same_run", "check_untouched"]


def check_same_run(plan: FederationPlan, opening: Opening, folder: RunFolder) -> None:
    """Compare the plan by the settings and the data as they are now with what the run began with.

    Raises:
        ConfigError: the settings differ.
        DataError: a hospital's training data differs, or there are other hospitals.
    """
    if settings_digest(plan.config) != opening.settings:
        raise ConfigError(
            f"{folder.path / 'config.toml'} was changed since the run began: put it back, or begin a new run with "
            f"wardround run {folder.path / 'config.toml'} --out DIR"
        )
    before, after = opening.fingerprints, plan.fingerprints
    differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if differing:
        raise DataError(
            f"the training data of {', '.join(differing[:3])}{' and others' if len(differing) > 3 else ''} is not what "
            "the run was begun with: put the data back, or begin a new run"
        )


def check_untouched(ledger: Ledger, folder: RunFolder) -> None:
    """Refuse a ledger that does not verify, or that knows less than the checkpoints beside it.

    Raises:
        ProtocolError: naming the first finding.
    """
    if findings := ledger.verify():
        raise ProtocolError(
            f"{folder.ledger} is not as it was written ({findings[0]}; {len(findings)} in all): restore it from a "
            f"backup; wardround ledger verify {folder.path} lists everything"
        )
    last = max((number for number, _ in ledger.rounds()), default=-1)
    newest = max(folder.checkpoint_rounds(), default=-1)
    # A crash may leave the checkpoint of the next round behind, never of a later one.
    if newest > last + 1:
        raise ProtocolError(
            f"{folder.ledger} ends at round {last}, but there is a checkpoint of round {newest}: the ledger was "
            "replaced or lost what was charged; restore it from a backup"
        )
