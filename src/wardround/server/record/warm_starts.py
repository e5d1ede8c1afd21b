"""A model that training begins from: of a file, or of an earlier run, whose own epsilon is in no bill of this one.

Whatever the model is a function of, it is none of this run's records, so that a run that begins from it spends what it
would spend otherwise. That is so for other people's records alone: a run on the very data that this one has would have
spent epsilon on them already, and is refused, and so is one on the same data set, however that was split, and one whose
model goes back to either. What is left out on purpose: patients that both have under other names, and files out of the
folders that they were made in, of which nobody here can know.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wardround.config import Config
from wardround.datasets import load_federation
from wardround.datasets.handed_data import KEYS_OF_SPLIT
from wardround.digests import array_digest
from wardround.errors import ConfigError, ProtocolError, WardroundError
from wardround.exact_sums import Arrays
from wardround.objects import PYTHON
from wardround.privacy.ledger import open_ledger
from wardround.privacy.spending import account_from_ledger
from wardround.server.record.beginnings import opening_in, plan_in
from wardround.server.record.records import Opening
from wardround.server.record.run_folder import MODEL, open_run_folder
from wardround.server.record.tensors import read_tensors

if TYPE_CHECKING:
    from wardround.clients.initial_models import InitialModel

__all__ = ["with_initial_digest", "warm_started"]

_KEY = "([model] initial)"
_OF_MANY = ("csv", PYTHON)
"""What data sets are called that are not the same for being called so: tables of sites, and data from Python."""


def with_initial_digest(config: Config) -> Config:
    """Return settings that also hold the digest of the model that training begins from, as a run has them.

    Raises:
        ConfigError: it can't be read, or is not the one of the digest that is there already.
    """
    if config.model.initial is None:
        return config
    digest = array_digest(_read(config.model.initial)).hex()
    if config.model.initial_digest not in (None, digest):
        raise ConfigError(
            f'initial = "{config.model.initial}" is not the model of initial-digest = {config.model.initial_digest} '
            f"{_KEY}: put that back, or remove initial-digest and begin a new run"
        )
    return replace(config, model=replace(config.model, initial_digest=digest))


def warm_started(config: Config, model: "InitialModel", fingerprints: Collection[str]) -> "InitialModel":
    """Return the model before round 1 with the parameters that the settings name, and what is to be said of them.

    Args:
        config: all settings, with the digest (see `with_initial_digest`).
        model: as it was built.
        fingerprints: of the hospitals' training data; "" where one does not tell.

    Raises:
        ConfigError: the parameters don't fit the model, or are of a run on the same data.
    """
    if config.model.initial is None:
        return model
    arrays = _read(with_initial_digest(config).model.initial or "")
    _check_alike(config.model.initial, arrays, model.arrays)
    ordered = {name: arrays[name].astype(array.dtype) for name, array in model.arrays.items()}
    note = _note(config, config.model.initial, fingerprints)
    return replace(model, arrays=ordered, changes=(*model.changes, note))


def _read(given: str) -> Arrays:
    """Return the parameters of a run's folder, or of a file of them."""
    path = Path(given)
    found = path / MODEL if path.is_dir() else path
    if not found.is_file():
        raise ConfigError(
            f'initial = "{given}" must be a file of parameters (.safetensors) or the folder of a run that has ended '
            f"{_KEY}: there is no {found}"
        )
    try:
        return read_tensors(found, f'initial = "{given}" {_KEY}', "give a file of named parameters (.safetensors)")[0]
    except ProtocolError as error:
        raise ConfigError(str(error)) from error


def _check_alike(given: str, arrays: Mapping[str, NDArray[Any]], model: Arrays) -> None:
    if arrays.keys() != model.keys():
        lacking, further = sorted(model.keys() - arrays.keys()), sorted(arrays.keys() - model.keys())
        told = [f"lacks {', '.join(lacking[:3])}"] * bool(lacking) + [f"has {', '.join(further[:3])}"] * bool(further)
        raise ConfigError(
            f'initial = "{given}" {" and ".join(told)}, and the model has the parameters {", ".join(list(model)[:4])} '
            f"{_KEY}: set the [model] that it is of"
        )
    for name, array in model.items():
        if arrays[name].shape != array.shape:
            raise ConfigError(
                f'initial = "{given}" has {name} of shape {arrays[name].shape}, and the model wants {array.shape} '
                f"{_KEY}: set the [model] that it is of, and data of the same features and classes"
            )
        if arrays[name].dtype.kind != "f" or not np.isfinite(arrays[name]).all():
            raise ConfigError(f'initial = "{given}" has {name} that is no finite float {_KEY}: give another file')


class _Earlier(NamedTuple):
    """An earlier run: what it began with, its settings, and the epsilon that it has spent."""

    opening: Opening
    config: Config
    epsilon: float


def _note(config: Config, given: str, fingerprints: Collection[str]) -> str:
    """Return what is to be said of whose model it is; refuse one that goes back to a run on the same data."""
    line, begins = list(_line_at(given)), f'training begins from the model "{given}" (initial)'
    if not line:
        return (
            f"{begins}: this run's epsilon is what it would be from any other, as long as nobody made that model of "
            "this run's records; what was spent on others' is in no bill here"
        )
    for earlier in line:
        _check_others(config, given, fingerprints, earlier)
    runs = ", which began from one ".join(
        f"of a run of {len(earlier.opening.profiles)} hospitals at epsilon {earlier.epsilon:.4g}" for earlier in line
    )
    before = line[-1].config.model.initial
    first = "" if before is None else f', which began from the model "{before}", of whose records nothing is known here'
    return f"{begins}, {runs}, by Renyi divergences, which is in no bill here: a patient of both pays both{first}"


def _check_others(config: Config, given: str, fingerprints: Collection[str], earlier: _Earlier) -> None:
    own, other = config.federation, earlier.config.federation
    is_named = own.path is not None or own.dataset not in _OF_MANY
    shared = _hospitals_of(earlier, fingerprints)
    if not shared and is_named and (own.dataset, own.path) == (other.dataset, other.path):
        shared = f'the same dataset = "{own.dataset}"'
    if shared := shared or _hospitals_of(earlier, _as_split_by(earlier.config, config)):
        raise ConfigError(
            f'initial = "{given}" goes back to a run on {shared} {_KEY}: it has spent epsilon {earlier.epsilon:.4g} on '
            "these records, which this run's bill would lack; begin from public data or from other patients, or resume "
            "that run"
        )


def _hospitals_of(earlier: _Earlier, fingerprints: Collection[str]) -> str:
    """Return which of the earlier run's hospitals have these very training data, in words; "" where none has."""
    names = sorted(name for name, found in earlier.opening.fingerprints.items() if found and found in fingerprints)
    return f"the very data of {', '.join(names[:3])}" if names else ""


def _as_split_by(earlier: Config, config: Config) -> Collection[str]:
    """Return the fingerprints of this run's records, split as the earlier run's are; none where they are not here."""
    split = {key: getattr(earlier.federation, key) for key in KEYS_OF_SPLIT}
    try:
        federation = load_federation(replace(config.federation, **split), earlier.features)
    except WardroundError:
        return ()
    return {hospital.fingerprint for hospital in federation.hospitals}


def _line_at(given: str | None) -> Iterator[_Earlier]:
    """Yield the run that a model is of, the run whose model that one began from, and so on while folders are there."""
    seen = set()
    while given is not None and (folder := _run_folder_of(Path(given))) is not None and folder not in seen:
        seen.add(folder)
        if (earlier := _run_in(given, folder)) is None:
            return
        yield earlier
        given = earlier.config.model.initial


def _run_folder_of(path: Path) -> Path | None:
    """Return the folder of the run that a path is, or lies in; None of a model by itself."""
    whole = path.resolve()
    return next((folder for folder in (whole, *whole.parents[:2]) if (folder / "ledger.sqlite").is_file()), None)


def _run_in(given: str, path: Path) -> _Earlier | None:
    try:
        folder = open_run_folder(path)
        with open_ledger(folder.ledger, read_only=True) as ledger:
            config, opening = folder.config(), opening_in(ledger)
            if opening is None:
                return None
            plan = plan_in(config, opening)
            account = account_from_ledger(ledger, plan.target_deltas)
            return _Earlier(opening, config, account.epsilon_total(config.privacy.patient_overlap))
    except WardroundError as error:
        raise ConfigError(f'initial = "{given}" can\'t be read as a run {_KEY}: {error}') from error
