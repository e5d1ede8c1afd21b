"""Numbers as people read them; bounds on a leak are never rounded down."""

import math
from collections.abc import Sequence
from fractions import Fraction

__all__ = [
    "between_text",
    "count_text",
    "ends_text",
    "delta_text",
    "epsilon_text",
    "lower_text",
    "number_text",
    "percent_text",
    "size_text",
    "span_text",
]

_DASH = "–"  # noqa: RUF001


def number_text(value: float, digits: int = 3) -> str:
    """Return a number with that many digits after the point, or a dash where it is not known."""
    if math.isnan(value):
        return _DASH
    return f"{round(value, digits) or 0.0:,.{digits}f}" if math.isfinite(value) else str(value)


def size_text(count: float | str) -> str:
    """Return a count of people, or what is said in its place where it may not be shown."""
    return count if isinstance(count, str) else number_text(count, 0)


def epsilon_text(epsilon: float) -> str:
    """Return an epsilon rounded up to two digits after the point, or to two significant ones where it is small.

    >>> epsilon_text(2.361), epsilon_text(0.00123), epsilon_text(float("inf"))
    ('2.37', '0.0013', 'infinite')
    """
    if math.isnan(epsilon):
        return _DASH
    if math.isinf(epsilon):
        return "infinite"
    digits = 2 if epsilon == 0 or epsilon >= 0.1 else 1 - math.floor(math.log10(epsilon))
    # The decimal that is printed for a float stands for it: 2.36 must not become 2.37 by its binary tail.
    return f"{math.ceil(Fraction(repr(float(epsilon))) * 10**digits) / 10**digits:,.{digits}f}"


def delta_text(target_delta: float, *, words: bool = True) -> str:
    """Return a delta, with its odds in words where wanted.

    >>> delta_text(1e-5)
    '1e-5 (1 in 100,000)'
    """
    if math.isnan(target_delta):
        return "not recorded"
    mantissa, exponent = f"{target_delta:.3g}", ""
    if target_delta < 0.01:
        mantissa, exponent = f"{target_delta:.2e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
        exponent = f"e{int(exponent)}"
    odds = f" (1 in {math.floor(1 / target_delta + 1e-6):,})" if words and target_delta > 0 else ""
    return f"{mantissa}{exponent}{odds}"


def lower_text(epsilon: float) -> str:
    """Return a lower bound rounded down to two digits after the point, or a dash where it is not known.

    >>> lower_text(2.369)
    '2.36'
    """
    return _DASH if math.isnan(epsilon) else f"{math.floor(epsilon * 100) / 100:.2f}"


def percent_text(share: float) -> str:
    """Return a share in [0, 1] as a percentage, rounded up to one digit, or a dash where it is not known."""
    if math.isnan(share):
        return _DASH
    return f"{min(100.0, math.ceil(share * 1000) / 10):.1f} %".replace("100.0", "100")


def span_text(least: float, most: float) -> str:
    """Return one number, or the range where the two differ, with three significant digits."""
    if math.isnan(least):
        return _DASH
    low, high = f"{least:.3g}", f"{most:.3g}"
    return low if low == high else f"{low} to {high}"


def between_text(interval: Sequence[float] | None) -> str:
    """Return a 95 % interval in brackets, after a blank; nothing where there is none.

    >>> between_text((0.8, 0.91))
    ' (0.800 to 0.910 at 95 %)'
    """
    return "" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f} at 95 %)"


def ends_text(interval: Sequence[float] | None, digits: int = 3) -> str:
    """Return a 95 % interval in brackets, after a blank, where a heading says what it is; nothing where there is none.

    >>> ends_text((0.8, 0.91))
    ' (0.800\u20130.910)'
    """
    return "" if interval is None else f" ({interval[0]:.{digits}f}{_DASH}{interval[1]:.{digits}f})"


def count_text(count: int, thing: str) -> str:
    """Return a count with its noun, the plural formed with s."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
