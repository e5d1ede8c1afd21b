"""A study: one base job, varied over placements, noise, seeds and any settings, with baselines; spelled out as runs.

A study compares at equal epsilon (target-epsilons) and at equal noise multiplier (noise-multipliers); each makes runs
of its own. What is left out on purpose: running them (see `compare`) and drawing them (see `reports`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any

from wardround.config import (
    Config,
    PrivacyConfig,
    change_tables,
    check_criterion,
    check_exact_scores,
    check_unaudited,
)
from wardround.config.limits import check_section, kebab, setting
from wardround.config.settings import given_values
from wardround.errors import ConfigError
from wardround.names import check_name
from wardround.privacy.cells import cell_of
from wardround.simulations.studies.own_settings import PLACEMENTS, NamedSettings, OwnSettings
from wardround.simulations.studies.vary import Variation, applying, read_variation

__all__ = ["BASELINES", "Study", "StudyRun"]

BASELINES = ("majority", "alone", "federated", "pooled")
"""majority: each hospital's most frequent training class. alone: each hospital trains by itself, without privacy.
federated: the same job without privacy. pooled: all training records in one place, without privacy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is varied, and what everything else is.

    Attributes:
        base: settings of every run, except for what is varied.
        units: what is protected; empty stands for the base's. Each has an epsilon of its own kind.
        placements: where the noise is added.
        noise_multipliers: runs at equal noise.
        target_epsilons: runs at equal epsilon.
        seeds: of partitions, batches, noise and initial parameters; one run each.
        baselines: some of `BASELINES`.
        of_baselines: settings of the baselines alone, by section, in the place of the base's: without a clip and noise
            another learning rate may be the best, and what they are to show is what is possible.
        of_placements: likewise settings of a placement's runs alone, by placement and section: what is best with a
            little noise is not with much.
        variants: settings that are compared as a whole, by name and section, such as algorithms that each have options
            of their own; every one is run with all the rest.
        vary: values of other settings by "section.key"; every combination is run. Without placements it is run with
            the base's privacy, or as the baseline "federated" where the base has none.
    """

    base: Config
    name: str = "study"
    units: tuple[str, ...] = setting((), choices=("record", "hospital"))
    placements: tuple[str, ...] = setting((), choices=PLACEMENTS)
    noise_multipliers: tuple[float, ...] = setting((), above=0)
    target_epsilons: tuple[float, ...] = setting((), above=0)
    seeds: tuple[int, ...] = setting((1,), least=0, most=2**63 - 1)
    baselines: tuple[str, ...] = setting((), choices=BASELINES)
    of_baselines: OwnSettings = field(default_factory=lambda: OwnSettings({}))
    of_placements: NamedSettings = field(default_factory=lambda: NamedSettings(of="placements"))
    variants: NamedSettings = field(default_factory=NamedSettings)
    vary: Variation = field(default_factory=lambda: Variation({}))

    def __post_init__(self) -> None:
        check_exact_scores(self.base, "studies and tunes compare runs by")
        self._read_tables()
        check_section("study", self)
        self._check_owners()
        check_name(self.name, "study", error=ConfigError)
        check_unaudited(self.base, "a study")
        if not self.units:
            object.__setattr__(self, "units", (self.base.privacy.unit,))
        if not self.seeds:
            raise ConfigError("seeds = [] must hold one seed or more ([study] seeds): write seeds = [1]")
        if self.vary.names and not (self.placements or self.noise_multipliers or self.target_epsilons):
            self._take_privacy_of_base()
        if bool(self.placements) != bool(self.noise_multipliers or self.target_epsilons):
            raise ConfigError(
                "a study with placements needs noise-multipliers or target-epsilons, and the other way round "
                "([study]): add the missing one"
            )
        if not self.placements and not self.baselines:
            raise ConfigError(
                "a study needs placements, baselines or settings to vary ([study], [study.vary]): there is nothing to "
                "run"
            )
        for name, values in self.varied.items():
            if len(set(values)) < len(values):
                raise ConfigError(
                    f"{kebab(name)} = {list(values)} holds a value twice ([study] {kebab(name)}): once is enough"
                )

    def _read_tables(self) -> None:
        """Make records of what was given as tables."""
        if not isinstance(self.of_baselines, OwnSettings):
            object.__setattr__(self, "of_baselines", OwnSettings(self.of_baselines))
        for name, of in (("of_placements", "placements"), ("variants", "variants")):
            if not isinstance(given := getattr(self, name), NamedSettings):
                object.__setattr__(self, name, NamedSettings(given, of))
        if not isinstance(self.vary, Variation):
            object.__setattr__(self, "vary", read_variation(self.vary))
        object.__setattr__(self, "vary", replace(self.vary, variants=self.variants))

    def _check_owners(self) -> None:
        """Refuse settings of runs that there are not."""
        if self.of_baselines.tables and not self.baselines:
            raise ConfigError(
                "[baselines] is of baselines, and the study has none ([study] baselines): add some, or remove it"
            )
        for placement in self.of_placements.named:
            if placement not in self.placements:
                raise ConfigError(
                    f'[placements.{placement}] is of runs with placement = "{placement}", and the study has none '
                    "([study] placements): add it, or remove the table"
                )

    def _take_privacy_of_base(self) -> None:
        privacy = self.base.privacy
        if not cell_of(privacy).is_private:
            object.__setattr__(self, "baselines", tuple(dict.fromkeys((*self.baselines, "federated"))))
            return
        object.__setattr__(self, "placements", (privacy.placement,))
        if privacy.target_epsilon is not None:
            object.__setattr__(self, "target_epsilons", (privacy.target_epsilon,))
        elif privacy.noise_multiplier is not None:
            object.__setattr__(self, "noise_multipliers", (float(privacy.noise_multiplier),))

    @property
    def varied(self) -> dict[str, Any]:
        """What tells the runs apart, by field, except for `vary`."""
        others = ("base", "name", "of_baselines", "of_placements", "variants", "vary")
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in others}

    def runs(self) -> tuple["StudyRun", ...]:
        """Return every run of the study, in the order of its results.

        Raises:
            ConfigError: a placement or a varied value doesn't fit the base settings.
        """
        base = self.base.privacy
        runs: list[StudyRun] = []
        for baseline in self.baselines:
            privacy = PrivacyConfig(
                placement="none",
                max_grad_norm=base.max_grad_norm,
                target_delta=base.target_delta,
                patient_overlap=base.patient_overlap,
            )
            runs += self._runs(baseline, given_values(privacy), baseline)
        levels = [
            *(("epsilon", value, None) for value in self.target_epsilons),
            *(("noise", None, value) for value in self.noise_multipliers),
        ]
        for unit, placement, (held, epsilon, noise) in product(self.units, self.placements, levels):
            cell = {"unit": unit, "placement": placement, "target-epsilon": epsilon, "noise-multiplier": noise}
            level = repr(epsilon or noise).removesuffix(".0")
            runs += self._runs(f"{unit}-{placement}-{held}-{level}", given_values(base) | cell)
        return tuple(runs)

    def _runs(self, name: str, privacy: dict[str, Any], baseline: str = "") -> Iterator["StudyRun"]:
        """Yield a run for every seed and combination of what is varied and applies."""
        tables = {item.name: given_values(getattr(self.base, item.name)) for item in fields(self.base)}
        tables["privacy"] = {key: value for key, value in privacy.items() if value is not None}
        # Whole runs are spread over processes; in each the hospitals of a round are one program, where they can be.
        tables["simulation"] |= {"engine": "stacked"}
        tables["simulation"].pop("num-workers", None)
        own = self.of_baselines.tables if baseline else self.of_placements.tables(str(privacy["placement"]))
        tables, own_gave_way = change_tables(tables, own)
        for level in self.vary.levels(applying(self.vary, baseline, tables)):
            changed, gave_way = change_tables(tables, self.vary.changes(level))
            for seed in self.seeds:
                changed["federation"] = changed["federation"] | {"seed": seed}
                yield StudyRun(
                    name=f"{name}{self.vary.words(level)}-seed-{seed}",
                    config=self.base.remade(changed),
                    baseline=baseline,
                    varied=self.vary.row(level),
                    gave_way=(*own_gave_way, *gave_way),
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRun:
    """One run of a study.

    Attributes:
        name: unique in the study; the name of its folder.
        config: all its settings; its engine is stacked, since whole runs are spread over workers.
        baseline: one of `BASELINES`, or "" for a run with privacy.
        varied: values of the varied settings, by setting, as texts; "" where one does not apply. None of none.
        gave_way: a sentence for each setting of the base that what is varied leaves without meaning.
    """

    name: str
    config: Config
    baseline: str = ""
    varied: tuple[tuple[str, str], ...] | None = None
    gave_way: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_exact_scores(self.config, "studies and tunes compare runs by")
        check_criterion(self.config, has_public=self.config.evaluation.public is not None)
        if self.config.evaluation.chooses and self.baseline in ("alone", "pooled"):
            raise ConfigError(
                f"the baseline {self.baseline} trains all rounds and keeps the last model, which compares with no run "
                "that stops early or keeps its best ([evaluation] patience, keep): remove one or the other"
            )
