"""What a study keeps in its folder, as records: what it compares, and the rows of each of its runs.

What is left out on purpose: files (see `study_files`), and means and intervals (see `reports`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wardround.json_records import json_field

__all__ = ["StudyFacts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """study.json: what is varied, and every run's settings, as TOML, by its name.

    Attributes:
        name: of the study.
        units: that are compared.
        placements: that are compared.
        noise_multipliers: at which.
        target_epsilons: at which.
        seeds: of the runs.
        baselines: by name.
        base: settings that all runs share, as TOML.
        versions: by package, of what decides the bits of a model.
        runs: settings by run.
    """

    name: str
    units: tuple[str, ...]
    placements: tuple[str, ...]
    noise_multipliers: tuple[float, ...]
    target_epsilons: tuple[float, ...]
    seeds: tuple[int, ...]
    baselines: tuple[str, ...]
    base: str = json_field(lacking="")
    versions: Mapping[str, str] = json_field(lacking={})
    runs: Mapping[str, str]
