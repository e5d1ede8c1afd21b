"""Placements, noise and seeds compared, with baselines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardround.collector import paused
from wardround.datasets import Federation
from wardround.door.given import check_callable, new_folder_of, settings_of, with_objects
from wardround.door.html import shown_in_notebook
from wardround.errors import ConfigError
from wardround.names import did_you_mean, shown_name
from wardround.reports.study import write_study_report
from wardround.reports.study_terminal import print_study
from wardround.server.record.run_folder import path_now
from wardround.server.record.tables import read_table
from wardround.simulations.studies import comparison
from wardround.simulations.studies import study as settings
from wardround.simulations.studies.study_toml import load_study

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Study", "compare"]


@dataclass(frozen=True, slots=True, repr=False)
class Study:
    """A study's results.

    Attributes:
        folder: with its tables, its page and a folder for each run.
        num_runs: that it has.
        failures: why runs have no result, by run.
    """

    folder: Path
    num_runs: int
    failures: dict[str, str]

    @property
    def results(self) -> "pd.DataFrame":
        """results.csv: one row a run."""
        return read_table(self.folder / "results.csv")

    @property
    def hospitals(self) -> "pd.DataFrame":
        """hospitals.csv: one row a run and hospital."""
        return read_table(self.folder / "hospitals.csv")

    def report(self) -> Path:
        """Build the study's report.html again, and return its path."""
        return write_study_report(self.folder)

    def __repr__(self) -> str:
        """Return one line: where it is, and how many of its runs are done."""
        return f"Study({str(self.folder)!r}, {self.num_runs - len(self.failures)} of {self.num_runs} runs)"

    def _repr_html_(self) -> str:
        return shown_in_notebook(lambda console: print_study(self.folder, console))


def compare(
    study: settings.Study | Path | str | Mapping[str, Any],
    *,
    federation: Federation | None = None,
    model: object = None,
    strategy: object = None,
    out: Path | str | None = None,
    on_run: Callable[[int, int, str], None] | None = None,
) -> Study:
    """Run what is left of a study, write its page and return its results; a run that fails loses none of the others.

    Args:
        study: the path of a study's TOML file, a study, or a mapping of its keys: base (settings as `run` takes them),
            placements, target_epsilons, noise_multipliers, seeds, baselines, vary and so on, as docs/studies.md has
            them.
        federation: data in the place of what its base names; model and strategy likewise (see `run`).
        model: see above.
        strategy: see above.
        out: a new or empty folder, or this study's, to go on; None makes runs/<name>-<time>.
        on_run: called after every run with how many are done, how many there are, and the run's name.

    Raises:
        ConfigError: a setting is wrong, or the folder holds another study.
        WardroundError: all runs failed.
    """
    check_callable(on_run=on_run)
    loaded = _study_of(study)
    base = with_objects(loaded.base, federation=federation, model=model, strategy=strategy)
    folder = new_folder_of(out, lambda: path_now(loaded.name))
    done = comparison.compare(replace(loaded, base=base), folder, progress=on_run)
    with paused():
        write_study_report(folder)
    return Study(done.folder, done.num_runs, done.failures)


def _study_of(given: settings.Study | Path | str | Mapping[str, Any]) -> settings.Study:
    if isinstance(given, settings.Study):
        return given
    if isinstance(given, str | Path):
        return load_study(Path(given))
    if not isinstance(given, Mapping):
        raise ConfigError(f"study must be a path or a mapping of the keys of [study], not {shown_name(given)}")
    known = [item.name for item in fields(settings.Study)]
    values: dict[str, Any] = {}
    for key, value in given.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise ConfigError(f"unknown key {key} of a study{did_you_mean(name, known)}")
        values[name] = tuple(value) if isinstance(value, list) else value
    return settings.Study(**values | {"base": settings_of(values.get("base"))})
