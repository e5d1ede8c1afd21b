"""Settings chosen: on stand-ins for free, or on private data with every repetition billed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardround.collector import paused
from wardround.config import Config, load_config
from wardround.datasets import Federation
from wardround.door.given import check_callable, new_folder_of, with_objects
from wardround.door.html import shown_in_notebook
from wardround.door.runs import Run
from wardround.errors import ConfigError
from wardround.json_records import json_values
from wardround.names import shown_name
from wardround.reports.study import write_study_report
from wardround.reports.tune_terminal import print_tune
from wardround.server.record.run_folder import path_now
from wardround.server.record.tables import read_table
from wardround.simulations.studies import tuning
from wardround.simulations.studies.tune import Tune
from wardround.simulations.studies.tune_records import TuneSummary
from wardround.simulations.studies.tune_toml import load_tune, tune_of

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

__all__ = ["Tuning", "tune"]


@dataclass(frozen=True, slots=True, repr=False)
class Tuning:
    """What a tune chose.

    Attributes:
        folder: with its table, its runs and, on private data, the released model.
        outcome: its summary as a record.
    """

    folder: Path
    outcome: TuneSummary

    @property
    def chosen(self) -> Config:
        """The job's settings with the chosen values: chosen.toml."""
        return load_config(self.folder / "chosen.toml")

    @property
    def summary(self) -> dict[str, Any]:
        """The outcome under the keys of summary.json; infinite and undefined numbers are floats."""
        return json_values(self.outcome)

    @property
    def candidates(self) -> "pd.DataFrame":
        """tuning.csv: one row a candidate."""
        return read_table(self.folder / "tuning.csv")

    def model(self, model: object = None) -> "nn.Module":
        """Return the released model as a torch module, in evaluation mode, on the CPU (see `Run.model`).

        Args:
            model: where it came from Python, the same again.

        Raises:
            ConfigError: the tune was on a stand-in and released none; or as `Run.open` and `Run.model` do.
            ProtocolError: as they do.
        """
        if not self.outcome.run:
            raise ConfigError("a tune on a stand-in trains no model of the job: run chosen.toml (wardround.run)")
        return Run.open(self.folder / "runs" / self.outcome.run, model=model).model()

    def __repr__(self) -> str:
        """Return one line: where it is, what was chosen, and what it spent of the job's own data."""
        spent = self.outcome.epsilon.total
        return f"Tuning({str(self.folder)!r}, {self.outcome.candidate}, epsilon {spent:.4g} spent)"

    def _repr_html_(self) -> str:
        return shown_in_notebook(lambda console: print_tune(self.folder, console))


def tune(
    study: Path | str | Mapping[str, Any],
    *,
    federation: Federation | None = None,
    model: object = None,
    strategy: object = None,
    out: Path | str | None = None,
    on_run: Callable[[int, int, str], None] | None = None,
) -> Tuning:
    """Choose settings, and return which and at what price.

    Args:
        study: the path of a TOML file, or a mapping of its tables: tune, study, set and stand-in, as docs/tuning.md
            has them; in a mapping the base of the study is a path.
        federation: data in the place of what the base names, where they are private and billed; model and strategy
            likewise (see `run`), also on a stand-in.
        model: see above.
        strategy: see above.
        out: a new or empty folder, or this tune's, to go on; None makes runs/<name>-<time>.
        on_run: called after every run with how many are done, how many there are, and the run's name.

    Raises:
        ConfigError: a setting is wrong, or the folder holds something else.
        BudgetError: the repetitions can't be kept within the target.
        WardroundError: no candidate has a score.
    """
    check_callable(on_run=on_run)
    loaded = _tune_of(study, lambda config: with_objects(config, federation=federation, model=model, strategy=strategy))
    if federation is not None and not loaded.is_private:
        raise ConfigError(
            "federation is the job's own data, of which nothing is read on a stand-in: leave it out, or set on = "
            '"private" ([tune] on)'
        )
    folder = new_folder_of(out, lambda: path_now(loaded.study.name))
    done = tuning.run_tune(loaded, folder, progress=on_run)
    if not loaded.is_private:
        with paused():
            write_study_report(folder)
    return Tuning(done.folder, done.summary)


def _tune_of(given: Path | str | Mapping[str, Any], objects: Callable[[Config], Config]) -> Tune:
    if isinstance(given, str | Path):
        return load_tune(Path(given), given=objects)
    if not isinstance(given, Mapping):
        raise ConfigError(f"study must be a path or a mapping of tables, not {shown_name(given)}")
    return tune_of(given, Path(), "tune", given=objects)
