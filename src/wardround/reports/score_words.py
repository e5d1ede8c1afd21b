"""What the score of a task is called in tables, charts and sentences, and what it is held against.

What is left out on purpose: the scores themselves (see `wardround.scores` and `wardround.survival`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wardround.survival import SURVIVAL

__all__ = ["SCORE_WORDS", "ScoreWords"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreWords:
    """What is said of the score in the column `accuracy` of a run's tables.

    Attributes:
        name: in charts and on pages.
        short: in the terminal.
        key: the name of its interval in summary.json.
        hospital_key: of a hospital's.
        baseline: who answers without looking at a record, as a clause.
        short_baseline: the same in the terminal.
        has_auc: whether there is an AUC beside it.
        is_share: whether it is from 0 to 1.
    """

    name: str
    short: str
    key: str
    hospital_key: str
    baseline: str
    short_baseline: str
    has_auc: bool = False
    is_share: bool = True


SCORE_WORDS: Mapping[str, ScoreWords] = {
    "classification": ScoreWords(
        name="Accuracy",
        short="accuracy",
        key="accuracy",
        hospital_key="accuracy",
        baseline="most frequent class",
        short_baseline="majority\nclass",
        has_auc=True,
    ),
    "regression": ScoreWords(
        name="r2",
        short="r2",
        key="r2",
        hospital_key="r2",
        baseline="always the mean",
        short_baseline="mean\nalone",
        is_share=False,
    ),
    SURVIVAL: ScoreWords(
        name="Concordance",
        short="C",
        key="concordance_pooled",
        hospital_key="concordance",
        baseline="same answer to all",
        short_baseline="same\nanswer",
    ),
}
"""By task."""
