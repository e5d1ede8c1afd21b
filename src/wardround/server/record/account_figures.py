"""The part of a summary that follows from the charges alone: epsilons, attackers, and what was done."""

from typing import Any

from wardround.privacy.cells import READERS, cell_named
from wardround.privacy.spending import Account
from wardround.server.record.summaries import AttackerSummary, EpsilonSummary

__all__ = ["account_figures"]


def account_figures(account: Account, patient_overlap: int) -> dict[str, Any]:
    """Return, by fields of the summary, all that follows from the charges alone.

    Args:
        account: of what was charged.
        patient_overlap: hospitals that may hold the same patient (>= 1).
    """
    return {
        "epsilon": _epsilon(account, patient_overlap),
        "attackers": _attackers(account, patient_overlap),
        "events": _dp_events(account),
    }


def _epsilon(account: Account, patient_overlap: int) -> EpsilonSummary:
    return EpsilonSummary(
        max=account.headline_total(1),
        total=account.headline_total(patient_overlap),
        hospitals=account.headline_epsilons(),
        # Of max and total: the hospitals' smallest.
        target_delta=account.common_delta,
        readers=account.epsilons_by_reader(patient_overlap),
    )


def _attackers(account: Account, patient_overlap: int) -> AttackerSummary:
    total = account.attacker(patient_overlap)
    return AttackerSummary(
        gdp_mu=total.figures.gdp_mu,
        gdp_mu_reason=total.reason,
        attacker=total.figures,
        attackers={reader: account.against(reader).attacker(patient_overlap).figures for reader in READERS},
        attackers_by_hospital={name: attacker.figures for name, attacker in account.attackers().items()},
    )


def _dp_events(account: Account) -> dict[str, tuple[str, ...]]:
    """Return by hospital what was done as dp-accounting writes it, or in words of ours where it has none."""
    return {
        name: tuple(cell_named(event.cell).event_text(event) for event in events)
        for name, events in account.events.items()
        if all(event.noise_multiplier > 0 for event in events)
    }
