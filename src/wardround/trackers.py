"""Rounds of a simulation written for TensorBoard or MLflow while it goes on: scores, and epsilon by round.

Each tracker is called with every committed round (`on_round`). What it writes are measurements of a simulation, for
those who may see the hospitals' data: they are not private, whatever the model's epsilon. Both libraries are optional,
and write where they are told to; MLflow without an address writes where it chooses. What is left out on purpose: models
and data.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from wardround.errors import ConfigError, WardroundError

if TYPE_CHECKING:
    from wardround.config import Config
    from wardround.server.round.progress import RoundRow

__all__ = ["MlflowTracker", "TensorBoardTracker", "mlflow", "tensorboard"]

_MOST_LETTERS = 500
"""Of a parameter, as MLflow takes it."""


class TensorBoardTracker(AbstractContextManager["TensorBoardTracker"]):
    """Writes every round to a folder of event files; as a context manager it closes them."""

    def __init__(self, folder: Path, make: Any) -> None:
        self._folder, self._make = folder, make
        self._writer: Any = None

    def __call__(self, row: "RoundRow") -> None:
        """Write a committed round."""
        try:
            if self._writer is None:
                # What an interrupted run wrote of rounds that are done again is not shown.
                self._writer = self._make(str(self._folder), purge_step=row.round_number)
            for name, value in _measured(row).items():
                self._writer.add_scalar(name, value, row.round_number)
            self._writer.flush()
        except OSError as error:
            raise WardroundError(f"cannot write {self._folder}: {error} (--tensorboard)") from error

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


class MlflowTracker(AbstractContextManager["MlflowTracker"]):
    """Logs every round to a run of MLflow, which ends with the last round; as a context manager it ends in any case."""

    def __init__(self, client: Any, experiment: str, name: str | None, params: Mapping[str, str]) -> None:
        self._client = client
        self._run_id = _run_id(client, experiment, name, params)
        self._is_open = True

    def __call__(self, row: "RoundRow") -> None:
        """Log a committed round."""
        with _taken_by_mlflow(f"round {row.round_number}"):
            for name, value in _measured(row).items():
                self._client.log_metric(self._run_id, name, value, step=row.round_number)
        if row.round_number >= row.num_rounds:
            self._end("FINISHED")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run: finished, failed, or killed where it can be resumed."""
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit)
        try:
            self._end("KILLED" if interrupted else "FAILED" if kind else "FINISHED")
        except WardroundError:
            if error is None:  # else what ended the run is told, and not this
                raise

    def _end(self, status: str) -> None:
        if self._is_open:
            self._is_open = False
            with _taken_by_mlflow("the end of the run"):
                self._client.set_terminated(self._run_id, status)


@contextmanager
def _taken_by_mlflow(what: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        raise WardroundError(
            f"MLflow did not take {what} (--mlflow): {error}; what was trained is kept, see that MLflow can be reached "
            "and resume"
        ) from error


def tensorboard(folder: Path | str) -> TensorBoardTracker:
    """Return what writes every round for TensorBoard: `run(..., on_round=tensorboard("logs"))`.

    Args:
        folder: of event files; made where there is none.

    Raises:
        ConfigError: TensorBoard is not installed, or the folder can't be made.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise _missing("tensorboard", "TensorBoard", error) from error
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--tensorboard {folder} can't be made: {error}; name another folder") from error
    return TensorBoardTracker(Path(folder), SummaryWriter)


def mlflow(
    uri: str | None = None,
    experiment: str = "wardround",
    *,
    name: str | None = None,
    config: "Config | None" = None,
) -> MlflowTracker:
    """Return what logs every round to MLflow: `run(..., on_round=mlflow("http://localhost:5000"))`.

    Args:
        uri: of the tracking server or store; None is MLflow's own choice (MLFLOW_TRACKING_URI).
        experiment: made where there is none.
        name: of the run; an unfinished one of that name is gone on with. None lets MLflow choose.
        config: settings to log as parameters, by "section.key".

    Raises:
        ConfigError: MLflow is not installed, or there is no store at the address.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise _missing("mlflow", "MLflow", error) from error
    try:
        return MlflowTracker(MlflowClient(uri), experiment, name, _parameters(config) if config else {})
    except (MlflowException, OSError, ImportError) as error:
        raise ConfigError(f"MLflow can't write to {uri or 'its default store'} (--mlflow): {error}") from error


def _run_id(client: Any, experiment: str, name: str | None, params: Mapping[str, str]) -> str:
    found = client.get_experiment_by_name(experiment)
    place = found.experiment_id if found else client.create_experiment(experiment)
    for run in client.search_runs([place]) if name else ():
        if run.info.run_name == name and run.info.status != "FINISHED":
            client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
    run = client.create_run(place, run_name=name)
    for key, value in params.items():
        client.log_param(run.info.run_id, key, value[:_MOST_LETTERS])
    return str(run.info.run_id)


def _parameters(config: "Config") -> dict[str, str]:
    from dataclasses import fields

    from wardround.config.settings import given_values

    sections = {item.name: given_values(getattr(config, item.name)) for item in fields(config)}
    return {f"{section}.{key}": str(value) for section, values in sections.items() for key, value in values.items()}


def _measured(row: "RoundRow") -> dict[str, float]:
    """Return what is known of a round by name; no figure can show what is infinite or undefined."""
    named: dict[str, float | None] = {"loss": row.loss, row.metric_name: row.metric, "epsilon_max": row.epsilon_max}
    named |= row.metrics
    return {name: value for name, value in named.items() if value is not None and math.isfinite(value)}


def _missing(extra: str, what: str, error: ImportError) -> ConfigError:
    return ConfigError(f'{what} is not installed ({error}): pip install "wardround[{extra}]", or leave --{extra} out')
