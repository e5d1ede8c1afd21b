"""Names, colours and dashes of what a study compares, the same in every chart and sentence."""

from wardround.privacy.cells import CellWords
from wardround.reports.drawing import MUTED, Level

__all__ = ["BASELINE_NAMES", "BASELINE_STYLES", "NO_PRIVACY", "noise_style"]

BASELINE_NAMES = {
    "majority": "most frequent class",
    "alone": "each hospital alone, no privacy",
    "federated": "federated, no privacy",
    "pooled": "pooled, no privacy",
}
BASELINE_STYLES = {
    "majority": (MUTED, "dotted"),
    "alone": (5, "dotted"),
    "federated": (4, "dashed"),
    "pooled": (8, "solid"),
}
"""Colour and dash of a baseline."""
NO_PRIVACY = Level(label="federated, no privacy", y=0.0, series=4)
"""What changes are set against."""
_NOISE_STYLES = ((1, "solid"), (3, "dotted"), (2, "dashed"), (7, "solid"))


def noise_style(words: CellWords) -> tuple[int, str]:
    """Return colour and dash of a cell, by its place in charts."""
    return _NOISE_STYLES[words.chart_order]
