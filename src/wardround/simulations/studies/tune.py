"""What a tune chooses, among what, by what, and on whose data; checked however it is made.

On a stand-in the candidates are run on other, public data, so that nothing is read of the job's own. On private data
every repetition is a run with privacy that is billed. What is left out on purpose: running them (see `tuning`), files
(see `tune_toml`) and what repetitions cost (see `tune_bill`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from wardround.config import Config, change_tables, check_unaudited
from wardround.config.limits import check_section, kebab, setting
from wardround.config.settings import given_values
from wardround.errors import ConfigError
from wardround.privacy.cells import cell_of
from wardround.privacy.selection import LAWS, repetition_law
from wardround.simulations.studies.study import Study

__all__ = ["EACH_ONCE", "FEW", "NOISY_BRIER", "PRIVATE_SCORES", "STAND_IN_SCORES", "Candidate", "Tune"]

FEW = (
    "a tune needs two candidates or more to choose among ([study.vary]): give a setting several values, such as "
    '"training.learning-rate" = [0.1, 0.5]'
)
"""Why a tune of less is refused."""
EACH_ONCE = "each-once"
"""Every candidate is trained once, in place of a random number of repetitions."""
PUBLIC_LOSS = "public-loss"
NOISY_BRIER = "noisy-brier"
"""The Brier score of the training records, released with noise and billed."""
STAND_IN_SCORES = ("auto", "auc", "auc-pooled", "accuracy")
"""By which candidates are chosen on a stand-in."""
PRIVATE_SCORES = (PUBLIC_LOSS, NOISY_BRIER)
"""By which they are on private data: the loss of public records, for free, or a noisy score, billed."""
_OF_PRIVATE = ("score_share", "repetitions", "mean_repetitions", "shape", "most_repetitions")
_SCORE_SHARE = 0.1
_CLIPS = ("max-grad-norm", "clipping", "adaptive-clipping", "target-quantile", "clip-learning-rate", "microbatch-size")
"""Keys of [privacy] that say how, and not what is promised."""
_PROMISES = {
    "federation": "says whose records they are",
    "evaluation": "says by what models are tried",
    "simulation": "says where runs are done",
    "audit": "says what is attacked",
    "features.standardise": "says which statistics leave the hospitals, and whether they are billed",
    "aggregation.protocol": "says what the server sees",
    "aggregation.min-survivors": "says who may be missing from a sum",
    "aggregation.max-colluding": "says who is trusted",
}
"""By section or setting, why no score decides on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Settings that may be chosen.

    Attributes:
        name: of its values, as part of names of folders.
        varied: value by varied setting, as tables have them.
        config: all settings of the job with these values; its privacy is the job's.
    """

    name: str
    varied: tuple[tuple[str, str], ...]
    config: Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Tune:
    """A search for settings.

    Attributes:
        job: that settings are chosen for; its target-epsilon is that of each of its runs on a stand-in, and of the
            whole tune on private data.
        study: the candidates and, on a stand-in, its runs, whose base is the job on the stand-in's data.
        on: "stand-in" or "private".
        score: by which candidates are compared.
        score_share: part of each repetition's bill that goes into the release of its score, where that has noise.
        repetitions: the law that their number is drawn from on private data, or "each-once".
        mean_repetitions: of the law, before it ends at `most_repetitions`.
        shape: of the negative binomial: 1 is geometric, 0 logarithmic.
        most_repetitions: that there can be; the noise is sized for them.
    """

    job: Config
    study: Study
    on: str = setting("", choices=("stand-in", "private"))
    score: str | None = setting(None, choices=(*STAND_IN_SCORES, *PRIVATE_SCORES))
    score_share: float | None = setting(None, above=0, below=1)
    repetitions: str | None = setting(None, choices=(*LAWS, EACH_ONCE))
    mean_repetitions: float | None = setting(None, least=1, most=1000)
    shape: float | None = setting(None, least=0, most=100)
    most_repetitions: int | None = setting(None, least=1, most=1000)

    def __post_init__(self) -> None:
        check_section("tune", self)
        self._check_study()
        self._check_job()
        if self.is_private:
            self._take_score()
            self._take_law()
            return
        if self.score is None:
            object.__setattr__(self, "score", STAND_IN_SCORES[0])
        if self.score not in STAND_IN_SCORES:
            raise ConfigError(
                f'score = "{self.score}" must be one of {", ".join(STAND_IN_SCORES)} with on = "stand-in" ([tune] '
                "score): its test records are public; choose one of them"
            )
        for name in _OF_PRIVATE:
            if getattr(self, name) is not None:
                raise ConfigError(
                    f"{kebab(name)} = {getattr(self, name)} is of runs that are billed ([tune] {kebab(name)}): on a "
                    'stand-in each candidate is run once for every seed; remove it, or set on = "private"'
                )

    @property
    def is_private(self) -> bool:
        """Whether candidates are run on the job's own data, and billed."""
        return self.on == "private"

    @property
    def law(self) -> tuple[float, ...]:
        """The probabilities of 1, 2, ... repetitions on private data; of each candidate once, its number is certain."""
        if self.repetitions == EACH_ONCE:
            return (*(0.0,) * (len(self.candidates()) - 1), 1.0)
        most, mean, shape = self.most_repetitions or 1, self.mean_repetitions or 1.0, self.shape or 0.0
        return repetition_law(str(self.repetitions), mean, shape, most)

    def candidates(self) -> tuple[Candidate, ...]:
        """Return every combination of the varied values, in the order of the tables.

        Raises:
            ConfigError: a value does not fit the job.
        """
        vary, found = self.study.vary, []
        tables = {item.name: given_values(getattr(self.job, item.name)) for item in fields(self.job)}
        for level in vary.levels(list(vary.values)):
            changed = change_tables(tables, vary.changes(level)).tables
            name = vary.words(level).removeprefix("-")
            found.append(Candidate(name=name, varied=vary.row(level) or (), config=self.job.remade(changed)))
        return tuple(found)

    def _check_study(self) -> None:
        if math.prod(map(len, self.study.vary.values.values())) < 2:
            raise ConfigError(FEW)
        for name in self.study.vary.values:
            section, _, key = name.partition(".")
            why = _PROMISES.get(name) or _PROMISES.get(section)
            if section == "privacy" and key not in _CLIPS:
                why = "is part of what is promised"
            if why:
                raise ConfigError(
                    f'"{name}" in [study.vary] {why}, which no score decides on in a tune: set it in the base, or '
                    "compare its values with wardround compare"
                )

    def _check_job(self) -> None:
        check_unaudited(self.job, "a tune")
        privacy = self.job.privacy
        if not cell_of(privacy).is_private or privacy.target_epsilon is None:
            raise ConfigError(
                "target-epsilon must be set where settings are chosen ([privacy] target-epsilon): candidates are "
                "compared at the same epsilon, and with a noise multiplier more rounds cost more; set one > 0"
            )
        if self.is_private and privacy.budget_epsilon is not None:
            raise ConfigError(
                f"budget-epsilon = {privacy.budget_epsilon:g} is of one run, and target-epsilon is of the whole tune "
                "([privacy] budget-epsilon): remove it"
            )

    def _take_score(self) -> None:
        """Take the score that is billed or free, and refuse what would be neither."""
        has_public = self.job.evaluation.public is not None
        if self.score in STAND_IN_SCORES:
            raise ConfigError(
                f"score = \"{self.score}\" is of the hospitals' own test records, which are in no epsilon, and can't "
                f'choose on private data ([tune] score): set "{PUBLIC_LOSS}" or "{NOISY_BRIER}", or choose on a '
                "stand-in"
            )
        if self.score is None and has_public:
            object.__setattr__(self, "score", PUBLIC_LOSS)
        if not has_public and self.score != NOISY_BRIER:
            raise ConfigError(
                'on = "private" needs public records to score models by ([evaluation] public), or a score that is '
                "billed: the hospitals' own test records are in no epsilon; name some with public = "
                f'"package.module:loader", or set [tune] score = "{NOISY_BRIER}", or choose on a stand-in'
            )
        if self.score == PUBLIC_LOSS:
            if self.score_share is not None:
                raise ConfigError(
                    f'score-share = {self.score_share:g} goes with score = "{NOISY_BRIER}" ([tune] score-share): '
                    "remove it"
                )
            return
        if self.score_share is None:
            object.__setattr__(self, "score_share", _SCORE_SHARE)
        configs = [candidate.config for candidate in self.candidates()]
        if any(one.model.handed or ":" in one.model.name or one.personal.is_used for one in configs):
            raise ConfigError(
                f'score = "{NOISY_BRIER}" is of one built-in model for all, whose score of a record hangs on it '
                f'alone ([tune] score): set score = "{PUBLIC_LOSS}" with public records, or choose on a stand-in'
            )

    def _take_law(self) -> None:
        law = self.repetitions or LAWS[0]
        object.__setattr__(self, "repetitions", law)
        unused = {EACH_ONCE: ("mean_repetitions", "shape", "most_repetitions"), "poisson": ("shape",)}.get(law, ())
        for name in unused:
            if getattr(self, name) is not None:
                raise ConfigError(
                    f'{kebab(name)} = {getattr(self, name)} has no meaning with repetitions = "{law}" ([tune] '
                    f"{kebab(name)}): remove it"
                )
        if law == EACH_ONCE:
            return
        defaults: Mapping[str, Any] = {"mean_repetitions": float(len(self.candidates()))}
        defaults = {**defaults, "shape": 1.0} if law == LAWS[0] else defaults
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        mean = self.mean_repetitions or 1.0
        if self.most_repetitions is None:
            object.__setattr__(self, "most_repetitions", math.ceil(2 * mean))
        if law == LAWS[0] and mean == 1:
            raise ConfigError(
                f'mean-repetitions = 1 must be > 1 with repetitions = "{law}" ([tune] mean-repetitions): one '
                "repetition chooses nothing"
            )
