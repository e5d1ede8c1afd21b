"""Sentences on what may be wrong where an audit raises an alarm, with what to look at first."""

from collections.abc import Mapping, Sequence

from wardround.audits.records import Membership, ReaderAudit

__all__ = ["of_members", "of_readers"]


def of_members(membership: Mapping[str, Membership]) -> list[str]:
    """Return sentences on hospitals whose real records are told apart more than the bill allows."""
    return [
        f"{name}, against whoever receives the model: {result.num_correct} of {result.num_guesses} guesses of {attack} "
        "on real records are right, and the bill does not allow so many, whatever they share: look at how the model's "
        "gradients come about, and whether its records are kept apart"
        for name, found in membership.items()
        for attack, result in found.attacks.items()
        if result.is_refuted
    ]


def of_readers(reader: str, found: Mapping[str, ReaderAudit]) -> list[str]:
    """Return sentences on hospitals that did the same, whose bill is refuted or whose noise is missing."""
    refuted = [name for name, each in found.items() if each.is_refuted]
    quiet = [name for name, each in found.items() if each.is_noise_low]
    sentences = []
    if refuted:
        sentences.append(f"{_who(refuted)}, against the {reader}: {_refutation(found[refuted[0]])}")
    if quiet:
        sentences.append(
            f"{_who(quiet)}, against the {reader}: the noise there is {found[quiet[0]].noise:.3g} of what is billed, "
            "beyond chance: look at what draws it and scales it"
        )
    elif refuted:
        sentences.append(
            "the noise there is as large as it should be, or can't be told: look at the clip (is every gradient "
            "clipped, and counted once?), at batches (is each record drawn by itself, at the billed rate?), and at "
            "whether two releases share their noise"
        )
    return sentences


def _refutation(found: ReaderAudit) -> str:
    """Return what was seen that the bill does not allow: of guesses at all canaries, or of the clearest ones."""
    bill, lower = f"the bill of epsilon {found.epsilon:.2f} allows", found.epsilon_lower or 0.0
    right, allowed = found.coin_toss_accuracy or 0.0, found.coin_toss_most or 0.0
    if right > allowed:
        least = f": epsilon is {lower:.2f} at least" if lower > found.epsilon else ""
        return f"{right:.1%} of {found.num_canaries} guesses are right, and {bill} {allowed:.1%}{least}"
    rates = found.found
    share, accused = rates.tpr_at_fpr_1_percent or 0.0, rates.measured_fpr_1_percent or 0.0
    return (
        f"{share:.1%} of the used canaries are found where {accused:.1%} of the others are accused, more than chance "
        f"explains: {bill} {found.tpr_at_fpr_1_percent_most or 0.0:.1%} where 1 % are"
    )


def _who(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
