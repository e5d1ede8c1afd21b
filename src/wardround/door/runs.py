"""Run or resume a federation, and leave its page beside the other files of the run's folder."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardround.collector import passing_by_what_is_there, paused
from wardround.config import Config
from wardround.datasets import Federation
from wardround.door.audits import audit_folder
from wardround.door.given import Settings, check_callable, folder_of, new_folder_of, put_back, settings_of, with_objects
from wardround.door.html import shown_in_notebook
from wardround.errors import ConfigError
from wardround.exact_sums import Arrays
from wardround.names import shown_name
from wardround.reports.files import read_audit, read_summary
from wardround.reports.report import write_report
from wardround.reports.terminal import print_summary
from wardround.server.record.run_folder import PERSONAL, RunFolder, default_run_path, open_run_folder
from wardround.server.record.summaries import EpsilonSummary
from wardround.server.round.evaluating import Metric
from wardround.server.round.progress import RoundRow
from wardround.simulations import runs

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Run", "resume", "run"]


@dataclass(frozen=True, slots=True, repr=False)
class Run(runs.Run):
    """A finished, stopped or interrupted run: its folder, what it came to, and what it was made of."""

    config: Config = field(default_factory=Config, compare=False)

    @classmethod
    def open(cls, path: Path | str, *, federation: Federation | None = None, model: object = None) -> "Run":
        """Return a run by its folder, without training anything.

        Args:
            path: the folder of a run that ended or was interrupted.
            federation: the data, where they came from Python.
            model: where it came from Python, for `model()`.

        Raises:
            ConfigError: there is no run in the folder.
            ProtocolError: its summary can't be read.
        """
        folder = open_run_folder(Path(path))
        config = put_back(folder.config(), federation=federation, model=model)
        if (outcome := read_summary(folder.path)) is None:
            raise ConfigError(
                f"{folder.path} holds a run that has not come to an end: wardround.resume goes on with it"
            )
        return cls(folder.path, outcome, config)

    @property
    def epsilon(self) -> EpsilonSummary:
        """What was spent: `.max` by the worst hospital, `.total`, `.hospitals` by name, `.readers` by who looks."""
        return self.outcome.epsilon

    def model(self, hospital: str | None = None) -> "nn.Module":
        """Return the trained model as a torch module, in evaluation mode, on the CPU.

        Of a run whose hospitals have models of their own ([personal]) it is the mean, or the model of the hospital that
        is named; of one that no round trained, the mean too.

        It takes features as the data set's notes say that they are normalised; where their statistics were released
        before round 1, in their own unit, with nan for what is missing.

        Raises:
            ConfigError: the model came from Python, and was not given again; or there is no such hospital, or none
                with a model of its own.
            ProtocolError: model.safetensors, or personal.safetensors, is missing or can't be read.
        """
        folder = open_run_folder(self.folder)
        return runs.trained_module(folder, self.config, lambda names: self._own(folder, hospital, names))

    def _own(self, folder: RunFolder, hospital: str | None, names: Sequence[str]) -> Arrays:
        """Return the parameters that are a hospital's own; nothing where none is named."""
        if hospital is None:
            return {}
        if hospital not in names:
            raise ConfigError(f"hospital = {shown_name(hospital)} must be one of {', '.join(names)} (model)")
        if (own := folder.read_model(PERSONAL)[0]) is None:
            raise ConfigError(
                f"hospital = {shown_name(hospital)} has no model of its own in {self.folder}, whose hospitals "
                "share one ([personal] method): leave hospital out"
            )
        start = f"{hospital}/"
        return {name.removeprefix(start): array for name, array in own.items() if name.startswith(start)}

    def report(self) -> Path:
        """Build report.html again, and return its path."""
        return write_report(self.folder)

    def _repr_html_(self) -> str:
        return shown_in_notebook(lambda console: print_summary(self.folder, console))


def run(
    config: Settings = None,
    *,
    federation: Federation | None = None,
    model: object = None,
    strategy: object = None,
    metrics: Mapping[str, Metric] | None = None,
    public: tuple[Any, Any] | None = None,
    on_round: Callable[[RoundRow], None] | None = None,
    out: Path | str | None = None,
    say: Callable[[str], None] | None = None,
) -> Run:
    """Run a federation from round 0, write its page and return the run.

    Args:
        config: all settings: a Config, the path of a TOML file, a mapping of sections, or None for the defaults.
        federation: data in the place of [federation] dataset.
        model: a torch module, or what makes one, in the place of [model] name (see `given.with_objects`).
        strategy: a Flower Strategy, or what makes one, in the place of [aggregation] strategy.
        metrics: by the name of their column, functions of predictions and labels that return a number: of float64
            (n,) probabilities of the second of two classes, (n, k) of more classes, or (n,) predicted numbers; and of
            (n,) labels.
        public: public records, (features, labels) as the model takes them, in the place of [evaluation] public.
        on_round: called after every committed round, round 0 first.
        out: a new or empty folder; None makes runs/<name>-<time>.
        say: called with a few words whenever something that takes a while begins.

    Returns:
        The run: its folder, its summary (epsilon, scores), its tables as data frames and its model.

    Raises:
        WardroundError: see `errors`; a run that was under way stays resumable, and so it does after Ctrl-C.
    """
    check_callable(on_round=on_round, say=say)
    settings = with_objects(settings_of(config), federation=federation, model=model, strategy=strategy)
    folder = new_folder_of(out, lambda: default_run_path(settings))
    with _said_how_to_go_on(folder), passing_by_what_is_there():
        done = runs.run(settings, out=folder, progress=on_round, say=say, metrics=metrics, public=public)
        return _reported(done, settings)


def resume(
    path: "Path | str | Run",
    *,
    federation: Federation | None = None,
    model: object = None,
    strategy: object = None,
    metrics: Mapping[str, Metric] | None = None,
    public: tuple[Any, Any] | None = None,
    on_round: Callable[[RoundRow], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Run:
    """Go on with an interrupted run after its last committed round, and write its page anew.

    Args:
        path: the run's folder, or a Run; a finished one is returned as it is.
        federation: the data, as they were given when the run began; None where its settings name them.
        model: likewise.
        strategy: likewise.
        metrics: likewise, by the same names.
        public: likewise.
        on_round: called after every committed round.
        say: called with a few words whenever something that takes a while begins.

    Raises:
        ConfigError: there is no run in the folder, or what came from Python is not given again.
        ProtocolError: the ledger or the checkpoint was changed.
    """
    check_callable(on_round=on_round, say=say)
    folder = folder_of(path)
    begun = open_run_folder(folder).config()
    settings = put_back(begun, federation=federation, model=model, strategy=strategy)
    with _said_how_to_go_on(folder), passing_by_what_is_there():
        done = runs.resume(folder, config=settings, progress=on_round, say=say, metrics=metrics, public=public)
        return _reported(done, settings)


def _reported(finished: runs.Run, settings: Config) -> Run:
    """Write the page of a run; where its settings ask for an audit that there is not yet, audit it before."""
    with paused():
        asked = settings.audit
        if asked.is_used and finished.outcome.status != "interrupted" and not read_audit(finished.folder):
            folder = open_run_folder(finished.folder)
            audit_folder(folder, settings, canaries=asked.canaries, shadow_models=asked.shadow_models)
        else:
            write_report(finished.folder)
    return Run(finished.folder, finished.outcome, settings)


@contextmanager
def _said_how_to_go_on(folder: Path) -> Iterator[None]:
    """Add to whatever ends a run early where the run is, and what goes on with it."""
    was_there = folder.exists()
    try:
        yield
    except (KeyboardInterrupt, Exception) as stop:
        is_of_this_run = isinstance(stop, KeyboardInterrupt) or not was_there
        if is_of_this_run and (folder / "ledger.sqlite").is_file():
            stop.add_note(f"The run is in {folder}: wardround.resume({str(folder)!r}, ...) goes on with it.")
        raise
