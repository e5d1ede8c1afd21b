"""Names, colours and dashes of what a study compares, the same in every chart and sentence."""

from collections.abc import Mapping
from dataclasses import replace

from wardround.privacy.cells import CellWords
from wardround.reports.drawing import MUTED, Level
from wardround.reports.score_words import ScoreWords

__all__ = ["BELOW", "NO_PRIVACY", "baselines_of", "noise_style"]

_BASELINES = {
    "majority": Level(label="most frequent class", series=MUTED, dash="dotted"),
    "alone": Level(label="each hospital alone, no privacy", series=5, dash="dotted"),
    "federated": Level(label="federated, no privacy", series=4),
    "pooled": Level(label="pooled, no privacy", series=8, dash="solid"),
}
BELOW = " (below the figure)"
"""The end of the label of a baseline whose line is not drawn."""
NO_PRIVACY = _BASELINES["federated"]
"""What changes are set against, at 0."""
_NOISE_STYLES = ((1, "solid"), (3, "dotted"), (2, "dashed"), (7, "solid"), (6, "dotted"))


def baselines_of(words: ScoreWords) -> Mapping[str, Level]:
    """Return name, colour and dash of each baseline, by what is said of the task's score."""
    return _BASELINES | {"majority": replace(_BASELINES["majority"], label=words.baseline)}


def noise_style(words: CellWords) -> tuple[int, str]:
    """Return colour and dash of a cell, by its place in charts."""
    return _NOISE_STYLES[words.chart_order]
