"""A study: one base job, varied over placements, noise and seeds, with baselines; read from TOML, spelled out as runs.

A study compares at equal epsilon (target-epsilons) and at equal noise multiplier (noise-multipliers); each makes runs
of its own. What is left out on purpose: running them (see `compare`) and drawing them (see `reports`).
"""

from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from wardround.config import Config, PrivacyConfig, config_from_dict, read_toml
from wardround.config.limits import EXCLUSIVE, check_section, kebab, setting
from wardround.errors import ConfigError
from wardround.names import check_name, did_you_mean

__all__ = ["BASELINES", "Study", "StudyRun", "load_study"]

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
    """

    base: Config
    name: str = "study"
    units: tuple[str, ...] = setting((), choices=("record", "hospital"))
    placements: tuple[str, ...] = setting((), choices=("local", "distributed", "central"))
    noise_multipliers: tuple[float, ...] = setting((), above=0)
    target_epsilons: tuple[float, ...] = setting((), above=0)
    seeds: tuple[int, ...] = setting((1,), least=0, most=2**63 - 1)
    baselines: tuple[str, ...] = setting((), choices=BASELINES)

    def __post_init__(self) -> None:
        check_section("study", self)
        check_name(self.name, "study", error=ConfigError)
        if not self.units:
            object.__setattr__(self, "units", (self.base.privacy.unit,))
        if not self.seeds:
            raise ConfigError("seeds = [] must hold one seed or more ([study] seeds): write seeds = [1]")
        if bool(self.placements) != bool(self.noise_multipliers or self.target_epsilons):
            raise ConfigError(
                "a study with placements needs noise-multipliers or target-epsilons, and the other way round "
                "([study]): add the missing one"
            )
        if not self.placements and not self.baselines:
            raise ConfigError("a study needs placements or baselines ([study]): there is nothing to run")
        if self.base.evaluation.chooses and (without := {"alone", "pooled"} & set(self.baselines)):
            raise ConfigError(
                f"the baselines {', '.join(sorted(without))} train all rounds and keep the last model, which compares "
                "with no run that stops early or keeps its best ([evaluation] patience, keep): remove one or the other"
            )
        for name, values in self.varied.items():
            if len(set(values)) < len(values):
                raise ConfigError(
                    f"{kebab(name)} = {list(values)} holds a value twice ([study] {kebab(name)}): once is enough"
                )

    @property
    def varied(self) -> dict[str, Any]:
        """What tells the runs apart, by field."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("base", "name")}

    def runs(self) -> tuple["StudyRun", ...]:
        """Return every run of the study, in the order of its results.

        Raises:
            ConfigError: a placement doesn't fit the base settings.
        """
        base = self.base.privacy
        runs = []
        for baseline in self.baselines:
            privacy = PrivacyConfig(
                placement="none",
                max_grad_norm=base.max_grad_norm,
                target_delta=base.target_delta,
                patient_overlap=base.patient_overlap,
            )
            runs += [self._run(baseline, privacy, seed, baseline) for seed in self.seeds]
        levels = [
            *(("epsilon", value, None) for value in self.target_epsilons),
            *(("noise", None, value) for value in self.noise_multipliers),
        ]
        for unit, placement, (held, epsilon, noise) in product(self.units, self.placements, levels):
            privacy = replace(base, unit=unit, placement=placement, target_epsilon=epsilon, noise_multiplier=noise)
            level = repr(epsilon or noise).removesuffix(".0")
            runs += [self._run(f"{unit}-{placement}-{held}-{level}", privacy, seed) for seed in self.seeds]
        return tuple(runs)

    def _run(self, name: str, privacy: PrivacyConfig, seed: int, baseline: str = "") -> "StudyRun":
        config = replace(
            self.base,
            privacy=privacy,
            federation=replace(self.base.federation, seed=seed),
            simulation=replace(self.base.simulation, engine="inline", num_workers=None),
        )
        return StudyRun(name=f"{name}-seed-{seed}", config=config, baseline=baseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRun:
    """One run of a study.

    Attributes:
        name: unique in the study; the name of its folder.
        config: all its settings; its engine is inline, since whole runs are spread over workers.
        baseline: one of `BASELINES`, or "" for a run with privacy.
    """

    name: str
    config: Config
    baseline: str = ""


def load_study(path: Path) -> Study:
    """Return the study that a TOML file describes.

    The file has a table [study] with `base` (a config file, relative to the study's), `name`, `units`,
    `placements`, `noise-multipliers`, `target-epsilons`, `seeds` and `baselines`, and, below
    [set], settings that replace the base's.

    Raises:
        ConfigError: the file or its base is missing or broken, or a value is wrong.
    """
    tables = read_toml(path, examples="examples/studies/")
    for section, table in tables.items():
        if section not in ("study", "set"):
            raise ConfigError(f"unknown section [{section}] in {path}{did_you_mean(section, ('study', 'set'))}")
        if not isinstance(table, dict):
            raise ConfigError(f"[{section}] must be a table, not {table!r} ({path})")
    settings = dict(tables.get("study", {}))
    known = {kebab(item.name): item.name for item in fields(Study)}
    for key in settings:
        if key not in known:
            raise ConfigError(f"unknown key {key} in [study]{did_you_mean(key, known)}")
    base = settings.pop("base", None)
    if not isinstance(base, str | None):
        raise ConfigError(f"base = {base!r} must be the path of a config file ([study] base)")
    merged = _merged({} if base is None else read_toml(path.parent / base), tables.get("set", {}))
    values: dict[str, Any] = {
        known[key]: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    if "noise-correlation" in merged.get("privacy", {}):
        # It goes with one unit and placement alone, so that the base is what a study of just these varies.
        alone = {key: values.get(f"{key}s", ()) for key in ("unit", "placement")}
        merged["privacy"] |= {key: listed[0] for key, listed in alone.items() if len(listed) == 1}
    return Study(base=config_from_dict(merged), **({"name": path.stem} | values))


_VARIED = ("placement", "noise-multiplier", "target-epsilon")


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the base's tables with changes, and without what the study says itself: how much noise, and where."""
    for key in _VARIED:
        if key in changes.get("privacy", {}):
            raise ConfigError(
                f"{key} is what the study varies ([set.privacy] {key}): name it in [study], as {key}s = [...]"
            )
    merged = {section: dict(table) if isinstance(table, dict) else table for section, table in base.items()}
    for section, values in changes.items():
        if not isinstance(values, dict) or not isinstance(merged.setdefault(section, {}), dict):
            raise ConfigError(f"[set.{section}] must be a table of settings, not {values!r}")
        for where, first, second in EXCLUSIVE:
            # What the study sets is the later word, so its counterpart in the base gives way.
            for given, other in ((first, second), (second, first)):
                if where == section and given in values and other not in values:
                    merged[section].pop(other, None)
        merged[section] |= values
    if isinstance(merged.get("privacy"), dict):
        merged["privacy"] = {key: value for key, value in merged["privacy"].items() if key not in _VARIED}
    return merged
