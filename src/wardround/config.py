"""Settings: frozen records with every range checked once, read from and written to TOML.

The sections and keys are those of the README's table, in kebab-case. What a data set contains is not known here:
checks that need it (delta against a hospital's size, more hospitals than rows) are made where the data is loaded.
"""

import difflib
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import tomli_w

from wardround.errors import ConfigError

__all__ = [
    "AggregationConfig",
    "Config",
    "FederationConfig",
    "ModelConfig",
    "PrivacyConfig",
    "SimulationConfig",
    "TrainingConfig",
    "config_from_dict",
    "config_to_toml",
    "load_config",
]

_REASONS_NOT_YET = {
    ("privacy", "unit", "hospital"): 'this version protects records; set unit = "record"',
    ("privacy", "placement", "distributed"): 'this version adds noise at the hospital; set placement = "local"',
    ("privacy", "placement", "central"): 'this version adds noise at the hospital; set placement = "local"',
    ("aggregation", "protocol", "secagg+"): 'this version has "plain" and "secure-sum"',
    ("simulation", "engine", "stacked"): 'this version has "ray" and "inline"',
}


_EXCLUSIVE = (
    ("training", "local-steps", "local-epochs"),
    ("training", "batch-size", "sample-rate"),
    ("privacy", "noise-multiplier", "target-epsilon"),
)


def _setting(default: Any, **limits: Any) -> Any:
    """Declare a setting with its limits: least, most, above, below, choices (checked when the record is built)."""
    return field(default=default, metadata=limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationConfig:
    """Which data, split over which hospitals.

    `partition` None means natural where the data names its hospitals, iid otherwise. `class_weights` keeps that
    share of each class's rows, in class order. `dirichlet_alpha` shapes both dirichlet and quantity partitions.
    """

    dataset: str = "breast-cancer"
    data_dir: str | None = None
    partition: str | None = _setting(None, choices=("natural", "iid", "dirichlet", "quantity", "shards"))
    num_hospitals: int = _setting(5, least=1, most=100_000)
    dirichlet_alpha: float = _setting(0.5, above=0)
    shards_per_hospital: int = _setting(2, least=1)
    min_patients: int = _setting(2, least=2)
    class_weights: tuple[float, ...] | None = _setting(None, above=0, most=1)
    test_fraction: float = _setting(0.2, above=0, below=1)
    seed: int = _setting(42, least=0, most=2**63 - 1)
    path: str | None = None
    target: str | None = None
    hospital_column: str | None = None
    patient_column: str | None = None
    task: str | None = _setting(None, choices=("classification", "regression"))

    def __post_init__(self) -> None:
        _check_section("federation", self)
        csv_keys = ("path", "target", "hospital_column", "patient_column", "task")
        if self.dataset == "csv":
            for key in ("path", "target"):
                if getattr(self, key) is None:
                    raise ConfigError(f'dataset = "csv" needs [federation] {key}: add {key} = "..."')
        else:
            for key in csv_keys:
                if getattr(self, key) is not None:
                    raise ConfigError(
                        f'[federation] {_kebab(key)} goes with dataset = "csv", not "{self.dataset}": remove it'
                    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which torch model: a name of ours or "package.module:factory", and its sizes.

    `hidden_sizes` shapes mlp, `channels` shapes cnn, `width` is the first stage's channels of resnet18 and vgg19.
    """

    name: str = "logistic"
    hidden_sizes: tuple[int, ...] = _setting((64,), least=1)
    channels: tuple[int, ...] = _setting((16, 32), least=1)
    width: int = _setting(64, least=8)

    def __post_init__(self) -> None:
        _check_section("model", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How long and how each hospital trains.

    One of local_steps and local_epochs (default: one epoch), one of batch_size and sample_rate (default: an expected
    batch of 32). An epoch is 1 / sample_rate steps, rounded up.
    """

    num_rounds: int = _setting(10, least=1, most=1_000_000)
    fraction_train: float = _setting(1.0, above=0, most=1)
    local_steps: int | None = _setting(None, least=1)
    local_epochs: int | None = _setting(None, least=1)
    batch_size: int | None = _setting(None, least=1)
    sample_rate: float | None = _setting(None, above=0, most=1)
    optimizer: str = _setting("sgd", choices=("sgd", "adam"))
    learning_rate: float = _setting(0.5, above=0)
    momentum: float = _setting(0.0, least=0, below=1)
    grad_sample_mode: str = _setting("hooks", choices=("hooks", "ew", "functorch", "ghost"))
    device: str = _setting("cpu", choices=("cpu", "cuda", "auto"))

    def __post_init__(self) -> None:
        _check_section("training", self)
        _check_exclusive("training", self)
        if self.optimizer == "adam" and self.momentum:
            raise ConfigError(
                f'momentum = {self.momentum} goes with optimizer = "sgd" only ([training] momentum): remove one of them'
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyConfig:
    """What is protected, where the noise is added, and what may be spent.

    One of noise_multiplier and target_epsilon (default: noise_multiplier 2.0). `target_delta` is a number or a table
    of one number per hospital. `patient_overlap` is the largest number of hospitals that may hold the same patient.
    """

    unit: str = _setting("record", choices=("record", "hospital"))
    placement: str = _setting("local", choices=("none", "local", "distributed", "central"))
    noise_multiplier: float | None = _setting(None, least=0)
    target_epsilon: float | None = _setting(None, above=0)
    max_grad_norm: float = _setting(1.0, above=0)
    target_delta: float | dict[str, float] = _setting(1e-5, above=0, below=1)
    budget_epsilon: float | None = _setting(None, above=0)
    on_budget: str = _setting("stop", choices=("stop", "drop", "replan"))
    patient_overlap: int = _setting(1, least=1)

    def __post_init__(self) -> None:
        _check_section("privacy", self)
        _check_exclusive("privacy", self)
        if self.placement == "none":
            for key in ("noise_multiplier", "target_epsilon", "budget_epsilon"):
                if getattr(self, key) is not None:
                    raise ConfigError(
                        f"{_kebab(key)} = {getattr(self, key)} has no meaning without privacy ([privacy] placement = "
                        f'"none"): remove it, or set placement = "local"'
                    )
        elif self.noise_multiplier is None and self.target_epsilon is None:
            object.__setattr__(self, "noise_multiplier", 2.0)
        if self.budget_epsilon is not None and self.noise_multiplier == 0:
            raise ConfigError(
                f"noise-multiplier = 0 spends infinite epsilon, more than budget-epsilon = {self.budget_epsilon} "
                "([privacy]): set noise-multiplier > 0 or remove budget-epsilon"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregationConfig:
    """How the server turns the hospitals' parameters into the next model.

    `strategy` is one of Flower's averaging strategies or "package.module:factory" returning a Flower Strategy. An
    option is allowed only with a strategy that has it; None leaves Flower's default.
    """

    strategy: str = "fedavg"
    protocol: str = _setting("plain", choices=("plain", "secure-sum", "secagg+"))
    min_survivors: int = _setting(1, least=1)
    server_learning_rate: float | None = _setting(None, above=0)
    server_momentum: float | None = _setting(None, least=0, below=1)
    eta: float | None = _setting(None, above=0)
    eta_l: float | None = _setting(None, above=0)
    beta_1: float | None = _setting(None, least=0, below=1)
    beta_2: float | None = _setting(None, least=0, below=1)
    tau: float | None = _setting(None, above=0)
    proximal_mu: float | None = _setting(None, least=0)

    def __post_init__(self) -> None:
        _check_section("aggregation", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """Where the simulated hospitals run. `num_workers` None means one per processor."""

    engine: str = _setting("ray", choices=("ray", "inline", "stacked"))
    num_workers: int | None = _setting(None, least=1, most=4096)
    gpus_per_worker: float = _setting(0.0, least=0)
    dropout_rate: float = _setting(0.0, least=0, below=1)

    def __post_init__(self) -> None:
        _check_section("simulation", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a run needs to know; immutable, comparable, and writable as TOML."""

    federation: FederationConfig = field(default_factory=FederationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    aggregation: AggregationConfig = field(default_factory=AggregationConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Return the settings of a TOML file with `section.key=value` overrides applied, all checked.

    Args:
        path: the TOML file; None starts from the defaults.
        overrides: `section.key=value` texts, the value as TOML writes it; a bare word is read as text. An override
            replaces a setting of the file that it excludes (target-epsilon one of noise-multiplier, for example).

    Raises:
        ConfigError: the file is missing or broken, or a key or value is wrong.
    """
    tables: dict[str, Any] = {} if path is None else _read_toml(Path(path))
    for text in overrides:
        name, equals, value = text.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise ConfigError(f'--set {text} must be section.key=value, for example "training.num-rounds=20"')
        table = tables.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"[{section}] must be a table, not {table!r}")
        for pair in _EXCLUSIVE:
            if (section, key) in {(pair[0], pair[1]), (pair[0], pair[2])}:
                # The override is the later word, so its counterpart in the file gives way.
                table.pop(pair[2] if key == pair[1] else pair[1], None)
        table[key] = _toml_value(value.strip())
    return config_from_dict(tables)


def config_from_dict(tables: Mapping[str, Any]) -> Config:
    """Return the checked settings of nested kebab-case tables.

    >>> config_from_dict({"training": {"num-rounds": 3}}).training.num_rounds
    3

    Raises:
        ConfigError: an unknown section or key (with its nearest neighbour), or a value out of range.
    """
    sections: dict[str, Any] = {}
    classes = get_type_hints(Config)
    for name, table in tables.items():
        if name not in classes:
            raise ConfigError(f"unknown section [{name}]{_did_you_mean(name, classes)}")
        if not isinstance(table, Mapping):
            raise ConfigError(f"[{name}] must be a table, not {table!r}")
        known = {_kebab(item.name): item.name for item in fields(classes[name])}
        for key in table:
            if key not in known:
                raise ConfigError(f"unknown key {key} in [{name}]{_did_you_mean(key, known)}")
        sections[name] = classes[name](**{known[key]: _frozen(value) for key, value in table.items()})
    return Config(**sections)


def config_to_toml(config: Config) -> str:
    """Return the settings as TOML that `load_config` reads back to an equal record."""
    return tomli_w.dumps(
        {
            section: {
                _kebab(key): list(value) if isinstance(value, tuple) else value
                for key, value in table.items()
                if value is not None
            }
            for section, table in asdict(config).items()
        }
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no config file {path}: check the path (examples are in examples/)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read config file {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else f" (known: {', '.join(known)})"


def _check_exclusive(section: str, record: Any) -> None:
    for where, first, second in _EXCLUSIVE:
        given = [key for key in (first, second) if getattr(record, key.replace("-", "_"), None) is not None]
        if where == section and len(given) == 2:
            raise ConfigError(f"{first} and {second} exclude each other ([{section}]): remove one of them")


def _check_section(section: str, record: Any) -> None:
    hints = get_type_hints(type(record))
    for item in fields(record):
        value = _checked_type(section, item.name, getattr(record, item.name), hints[item.name])
        object.__setattr__(record, item.name, value)
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
        for part in parts:
            if part is not None:
                _check_limits(section, item, part)


def _checked_type(section: str, name: str, value: Any, hint: Any) -> Any:
    """Return the value, an int made a float where a float is wanted, or raise for a wrong type."""
    options = get_args(hint) if get_origin(hint) is types.UnionType else (hint,)
    for option in options:
        if option is type(None):
            if value is None:
                return value
        elif get_origin(option) is tuple and isinstance(value, tuple):
            return tuple(_checked_type(section, name, part, get_args(option)[0]) for part in value)
        elif get_origin(option) is dict and isinstance(value, dict):
            return {key: _checked_type(section, name, part, get_args(option)[1]) for key, part in value.items()}
        elif option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        elif isinstance(option, type) and isinstance(value, option) and not isinstance(value, bool):
            return value
    wanted = " or ".join(_WORDS.get(option, str(option)) for option in options if option is not type(None))
    raise ConfigError(f"{_kebab(name)} = {value!r} must be {wanted} ([{section}] {_kebab(name)})")


_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple[float, ...]: "a list of numbers",
    tuple[int, ...]: "a list of whole numbers",
    dict[str, float]: "a table of numbers",
}


def _check_limits(section: str, item: Field[Any], value: Any) -> None:
    limits = item.metadata
    name = _kebab(item.name)
    if isinstance(value, float) and value != value:
        raise ConfigError(f"{name} = nan must be a number ([{section}] {name})")
    if "choices" in limits and value not in limits["choices"]:
        hint = _did_you_mean(str(value), limits["choices"])
        choices = ", ".join(limits["choices"])
        raise ConfigError(f'{name} = "{value}" must be one of {choices} ([{section}] {name}){hint}')
    if reason := _REASONS_NOT_YET.get((section, item.name, value)):
        raise ConfigError(f'{name} = "{value}" is not available ([{section}] {name}): {reason}')
    inside = (
        value >= limits.get("least", value)
        and value <= limits.get("most", value)
        and ("above" not in limits or value > limits["above"])
        and ("below" not in limits or value < limits["below"])
        and (not isinstance(value, float) or abs(value) != float("inf"))
    )
    if not inside:
        raise ConfigError(f"{name} = {value} must be {_range_text(limits)} ([{section}] {name})")


def _range_text(limits: Mapping[str, Any]) -> str:
    signs = {"least": ">=", "above": ">", "most": "<=", "below": "<"}
    return " and ".join(f"{sign} {limits[key]}" for key, sign in signs.items() if key in limits) or "finite"
