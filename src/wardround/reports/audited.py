"""What an audit found, as lines of a table and sentences: of hospitals that did the same, one line a reader."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wardround.audits.records import Audit, ReaderAudit, worst_of
from wardround.privacy.cells import CellWords
from wardround.reports.numbers import count_text, epsilon_text, lower_text, number_text, percent_text
from wardround.reports.reconstructed import reconstructed
from wardround.reports.roc import ATTACKS, member_curves, reader_curves

__all__ = [
    "MEMBERS",
    "AuditLine",
    "MemberLine",
    "assumptions_of",
    "audit_contents",
    "audit_lines",
    "audit_sentence",
    "canaries_text",
    "has_tenth",
    "member_lines",
    "untold_sentences",
]

MEMBERS = (
    "Models were trained by the same settings, each on the half of the patients that a coin chose. Half of them are "
    "attacked as whoever receives them could, with the others as shadows. An AUC of 0.5 is guessing. What is seen at "
    "least holds whatever guesses share, of all lines together in 19 of 20 cases."
)
"""What has to be said beside figures of real records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One line of the table: who, which reader, and texts of figures; a dash where nothing is promised."""

    hospitals: str
    readers: str
    epsilon: str
    epsilon_lower: str
    right: str
    right_most: str
    found: str
    found_most: str
    accused: str
    found_tenth: str
    found_tenth_most: str
    accused_tenth: str
    noise: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberLine:
    """One line of the table of real records: whose, by which attack, and texts of figures."""

    hospital: str
    attack: str
    auc: str
    found: str
    accused: str
    epsilon: str
    epsilon_lower: str


_MOST_MEMBERS = 20
"""Hospitals whose real records are told of, those that the most was got of first."""


def member_lines(audit: Audit, num_hospitals: int = _MOST_MEMBERS) -> list[MemberLine]:
    """Return what shadow models got of real records, by hospital and attack; nothing where there were none.

    Args:
        audit: of a run.
        num_hospitals: at most, those that the most was got of.
    """
    told = [
        (name, attack, each, hospital.readers["recipient"].epsilon)
        for name, hospital in audit.hospitals.items()
        if hospital.membership is not None
        for attack, each in hospital.membership.attacks.items()
    ]
    names = dict.fromkeys(name for name, *_ in told)
    most = sorted(names, key=lambda name: _most_shown(audit, name), reverse=True)[:num_hospitals]
    return [
        MemberLine(
            hospital=name,
            attack=ATTACKS.get(attack, attack),
            auc=number_text(each.auc),
            found=_share(each.found.tpr_at_fpr_1_percent),
            accused=_share(each.found.measured_fpr_1_percent),
            epsilon=epsilon_text(epsilon),
            epsilon_lower=_lower(each.epsilon_lower),
        )
        for name, attack, each, epsilon in told
        if name in most
    ]


def _most_shown(audit: Audit, name: str) -> tuple[float, float]:
    membership = audit.hospitals[name].membership
    attacks = membership.attacks.values() if membership else ()
    return max(((each.epsilon_lower or 0.0, each.auc) for each in attacks), default=(0.0, 0.0))


def audit_contents(audit: Audit | None, words: CellWords, *, file: str, has_shown: bool) -> dict[str, Any]:
    """Return what templates have of an audit, by the names that they use; empty of none.

    Args:
        audit: of the run.
        words: of its cell.
        file: that has all of the audit.
        has_shown: whether a made-up record is shown with its reconstructions.
    """
    if audit is None:
        return dict.fromkeys(("audit", "suspicions", "members"), ()) | {"reconstruction": None, "canaries": ""}
    found = audit.reconstruction
    return {
        "audit": audit_lines(audit),
        "has_tenth": has_tenth(audit),
        "audit_sentence": audit_sentence(audit),
        "audit_assumes": (*untold_sentences(audit), *assumptions_of(audit, words, file)),
        "audit_curves": reader_curves(audit.hospitals, words.units, file),
        "suspicions": audit.suspicions,
        "canaries": canaries_text(audit),
        "members": member_lines(audit),
        "members_caption": MEMBERS,
        "member_curves": member_curves(audit.hospitals, file),
        "reconstruction": None if found is None else reconstructed(found, has_shown=has_shown),
    }


def assumptions_of(audit: Audit, words: CellWords, file: str) -> list[str]:
    """Return what has to be said beside the figures."""
    others = ", ".join(audit.other_versions)
    intervals = [each.coin_toss_interval for each in _readers(audit) if each.coin_toss_interval]
    width = max((high - low for low, high in intervals), default=1.0)
    return [
        "The twin does what the run did to clipped gradients or updates, by the same code: it shows what clips, "
        "batches, noise and sums let through, and not what a model's own gradients give away."
        + (f" The twin was trained with versions that the run did not begin with: {others}." if others else ""),
        "Lower bounds hold all together in 19 of 20 cases. They are of an attacker who knows everything but whether "
        f"{words.used}, and take canaries to be independent and treated as is billed, with more or less noise; {file} "
        "has the smaller bounds that assume less.",
        f"{canaries_text(audit)} tell the share of right guesses to within {50 * width:.1f} "
        "percentage points: what is seen may be above what is allowed by chance. An alarm is raised where chance is no "
        "reason, in one of a thousand audits of sound runs at most, and likewise where less noise is measured than is "
        "billed.",
        "A bound far below the bill says that this attack found little, never that there is little to be found.",
    ]


def canaries_text(audit: Audit) -> str:
    """Return how many canaries were guessed, of hospitals that did the same; the fewest where they differ."""
    numbers = {each.num_canaries for each in _readers(audit) if each.num_canaries} or {audit.num_canaries}
    return f"{min(numbers):,} canaries{' or more' if len(numbers) > 1 else ''}"


def _readers(audit: Audit) -> list[ReaderAudit]:
    return [each for hospital in audit.hospitals.values() for each in hospital.readers.values()]


def has_tenth(audit: Audit) -> bool:
    """Return whether canaries are enough for a share at 0.1 % of any reader."""
    return any(each.found.tpr_at_fpr_01_percent is not None for each in _readers(audit))


def audit_lines(audit: Audit) -> list[AuditLine]:
    """Return the lines, in the order of hospitals; those whose figures are the same are one."""
    groups: dict[tuple[tuple[str, ReaderAudit], ...], list[str]] = {}
    for name, hospital in audit.hospitals.items():
        groups.setdefault(tuple(hospital.readers.items()), []).append(name)
    return [
        _line(names, ", ".join(together), found)
        for readers, names in groups.items()
        for found, together in _distinct(dict(readers)).items()
    ]


def _distinct(readers: Mapping[str, ReaderAudit]) -> dict[ReaderAudit, list[str]]:
    """Return what readers got, with those who got the same."""
    together: dict[ReaderAudit, list[str]] = {}
    for reader, found in readers.items():
        together.setdefault(found, []).append(reader)
    return together


def _line(names: list[str], readers: str, found: ReaderAudit) -> AuditLine:
    return AuditLine(
        hospitals=names[0] if len(names) == 1 else f"{names[0]} and {count_text(len(names) - 1, 'other')}",
        readers=readers,
        epsilon=epsilon_text(found.epsilon),
        epsilon_lower=_lower(found.epsilon_lower),
        right=_share(found.coin_toss_accuracy),
        right_most=_share(found.coin_toss_most),
        found=_share(found.found.tpr_at_fpr_1_percent),
        found_most=_share(found.tpr_at_fpr_1_percent_most),
        accused=_share(found.found.measured_fpr_1_percent),
        found_tenth=_share(found.found.tpr_at_fpr_01_percent),
        found_tenth_most=_share(found.tpr_at_fpr_01_percent_most),
        accused_tenth=_share(found.found.measured_fpr_01_percent),
        noise=number_text(math.nan if found.noise is None else found.noise, 2),
    )


def _share(value: float | None) -> str:
    return percent_text(math.nan if value is None else value)


def _lower(value: float | None) -> str:
    return lower_text(math.nan if value is None else value)


def audit_sentence(audit: Audit) -> str:
    """Return what the audit says in one sentence."""
    if audit.is_alarm:
        return "Alarm: attackers get more than the bill allows, or noise is missing. Nothing of this run is for others."
    if audit.epsilon_lower is None:
        return "Nothing is promised against any reader, and there is nothing to refute."
    return (
        f"Of an epsilon of {epsilon_text(audit.epsilon)} that the bill allows, attackers were seen to get "
        f"{lower_text(audit.epsilon_lower)} at least{_as_mu(audit)}; no bill is refuted."
    )


def _as_mu(audit: Audit) -> str:
    """Return the same in standard deviations between two Gaussians that are told apart as well."""
    found = worst_of(each.worst for each in audit.hospitals.values())
    if found.mu is None or found.mu_lower is None or math.isinf(found.mu):
        return ""
    return f" (as a Gaussian's mu {lower_text(min(found.mu_lower, found.mu))} of {number_text(found.mu, 2)})"


def untold_sentences(audit: Audit) -> list[str]:
    """Return a sentence for every reason why hospitals were not audited, and one where no share at 0.1 % is told."""
    names: dict[str, list[str]] = {}
    for name, reason in audit.unaudited.items():
        names.setdefault(reason, []).append(name)
    untold = [f"Not audited: {', '.join(own)}: {reason}." for reason, own in names.items()]
    if not has_tenth(audit):
        untold.append(
            f"No share at 0.1 % is told: of {canaries_text(audit)} no threshold accuses so few; it takes some 3,700."
        )
    return untold
