"""Counts of people as others may read them: none below ten, and nothing that such a count follows from.

What is left out on purpose: the ledger, which is charged at the true rates and is the researcher's own.
"""

from collections.abc import Iterable

__all__ = ["FEWEST_SHOWN", "shown_count", "shown_rate", "shown_share", "shown_total"]

FEWEST_SHOWN = 10
"""Fewer people than these could point at single ones."""


def shown_count(count: int) -> int | str:
    """Return a number of people as others may read it: "<10" below 10, where it could point at single ones.

    >>> shown_count(130), shown_count(9)
    (130, '<10')
    """
    return count if count >= FEWEST_SHOWN else f"<{FEWEST_SHOWN}"


def shown_total(counts: Iterable[float | str]) -> str:
    """Return a sum of counts, some of which may not be shown: then of the others, "or more", so that none follows.

    >>> shown_total([130, 20]), shown_total([130, "<10"]), shown_total(["<10", "<10"])
    ('150', '130 or more', 'not shown')
    """
    known = list(counts)
    shown = [float(count) for count in known if not isinstance(count, str)]
    if len(shown) == len(known):
        return f"{sum(shown):,.0f}"
    return f"{sum(shown):,.0f} or more" if shown else "not shown"


def shown_rate(rate: float | None, count: int | str) -> float | None:
    """Return a sample rate unless it tells a count that is not shown: below 1 it is a batch divided by the count.

    >>> shown_rate(0.25, 128), shown_rate(1.0, 4), shown_rate(0.5, 8)
    (0.25, 1.0, None)
    """
    is_shown = rate == 1.0 or not isinstance(shown_count(count) if isinstance(count, int) else count, str)
    return rate if is_shown else None


def shown_share(share: float, count: int) -> float | None:
    """Return a share of so many people unless those it counts, or the others, are fewer than 10.

    >>> shown_share(0.6, 50), shown_share(0.9, 50), shown_share(1.0, 50)
    (0.6, None, None)
    """
    if share != share:
        return None
    return share if min(round(share * count), round((1 - share) * count)) >= FEWEST_SHOWN else None
