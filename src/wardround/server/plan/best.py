"""The best of a run's models so far, by a public criterion, and whether to stop looking for a better one.

Both follow from the released models and from public records alone, so that neither tells more of a record than the
models do: post-processing (Dwork and Roth 2014, proposition 2.1). What is left out on purpose: how the criterion is
computed (see `round.evaluating`), and what a run that stops early is charged (see `round.early`).
"""

from dataclasses import dataclass

from wardround.config import Config

__all__ = ["Best", "best_after", "stops_early"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best model so far.

    Attributes:
        round_number: whose model it is; 0 is before training.
        value: its loss.
        num_since: evaluated rounds since then, none of which was better.
    """

    round_number: int
    value: float
    num_since: int = 0


def best_after(best: Best | None, round_number: int, value: float | None) -> Best | None:
    """Return the best model once a round is known; a round that was not evaluated (None) changes nothing.

    A loss that is not a number is no improvement.
    """
    if value is None:
        return best
    if best is None or value < best.value or best.value != best.value:
        return Best(round_number=round_number, value=value)
    return Best(round_number=best.round_number, value=best.value, num_since=best.num_since + 1)


def stops_early(config: Config, best: Best | None) -> bool:
    """Return whether as many evaluated rounds as [evaluation] patience says were no improvement."""
    patience = config.evaluation.patience
    return patience is not None and best is not None and best.num_since >= patience
