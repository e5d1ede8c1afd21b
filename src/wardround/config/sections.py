"""The sections of the settings: frozen records with every range checked once, however they are made.

Sections and keys are those of docs/config.md. What a data set contains is not known here: checks that need it (delta
against a hospital's size, more hospitals than rows) are made where the data is loaded. Left out on purpose: files.
"""

from dataclasses import dataclass

from wardround.config.federation import FederationConfig
from wardround.config.limits import Default, check_section, from_python, kebab, setting
from wardround.config.strategy_options import check_strategy
from wardround.errors import ConfigError
from wardround.objects import Handed
from wardround.privacy.cells import AUTOMATIC, CELLS, cell_of
from wardround.privacy.ranges import LARGEST_CLIP, SMALLEST_CLIP

__all__ = [
    "AggregationConfig",
    "EvaluationConfig",
    "FederationConfig",
    "ModelConfig",
    "PrivacyConfig",
    "SimulationConfig",
    "TrainingConfig",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which torch model: a name of ours or "package.module:factory", and its sizes.

    `hidden_sizes` shapes mlp, `channels` shapes cnn, `width` is the first stage's channels of resnet18 and vgg19, and
    how many numbers lstm and transformer keep of a step, in each of `num_layers`; a transformer's layer attends with
    `num_heads`. Training begins from the parameters of the file or the run's folder `initial`, where one is named;
    `initial_digest` is filled in when a run begins, and holds it to that very model.
    """

    name: str = "logistic"
    hidden_sizes: tuple[int, ...] = setting((64,), least=1)
    channels: tuple[int, ...] = setting((16, 32), least=1)
    width: int = setting(64, least=8)
    num_layers: int = setting(1, least=1, most=100, unwritten=True)
    num_heads: int = setting(4, least=1, unwritten=True)
    initial: str | None = setting(None, unwritten=True)
    initial_digest: str | None = setting(None, unwritten=True)
    handed: Handed | None = from_python()

    def __post_init__(self) -> None:
        check_section("model", self)
        if self.initial_digest is not None and self.initial is None:
            raise ConfigError(
                f"initial-digest = {self.initial_digest} is of a model that training begins from, and none is named "
                "([model] initial-digest): name it in initial, or remove this"
            )
        if self.name == "transformer" and self.width % self.num_heads:
            raise ConfigError(
                f"width = {self.width} must be a multiple of num-heads = {self.num_heads}, which share it ([model] "
                "width): change one of them"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How long and how each hospital trains.

    One of local_steps and local_epochs (default: one epoch), one of batch_size and sample_rate (default: an expected
    batch of 32). An epoch is 1 / sample_rate steps, rounded up. `cohorts` are drawn at random in every round, or once,
    into groups that take turns. The learning rate follows its schedule by round (see `agreed.learning_rates`).
    `loss_weights` are public, one for each class in class order. Simulated hospitals test the model in round 0, every
    `evaluate_every`-th and the last.
    """

    num_rounds: int = setting(10, least=1, most=1_000_000)
    fraction_train: float = setting(1.0, above=0, most=1)
    cohorts: str = setting("random", choices=("random", "round-robin"), unwritten=True)
    local_steps: int | None = setting(None, least=1)
    local_epochs: int | None = setting(None, least=1)
    batch_size: int | None = setting(None, least=1)
    sample_rate: float | None = setting(None, above=0, most=1)
    optimizer: str = setting("sgd", choices=("sgd", "adam", "adamw"))
    learning_rate: float = setting(0.5, above=0)
    learning_rate_schedule: str = setting("constant", choices=("constant", "linear", "cosine", "step"), unwritten=True)
    momentum: float = setting(0.0, least=0, below=1)
    weight_decay: float = setting(0.0, least=0, unwritten=True)
    loss_weights: tuple[float, ...] | None = setting(None, above=0)
    grad_sample_mode: str = setting(
        "auto", choices=("auto", "closed-form", "per-record", "hooks", "ew", "functorch", "ghost")
    )
    evaluate_every: int = setting(1, least=1, unwritten=True)
    device: str = setting("cpu", choices=("cpu", "cuda", "auto"))

    def __post_init__(self) -> None:
        check_section("training", self)
        if self.optimizer != "adam" and self.weight_decay * self.learning_rate >= 1:
            raise ConfigError(
                f"weight-decay = {self.weight_decay:g} must be below 1 / learning-rate = {1 / self.learning_rate:.4g}, "
                "or a step would take every parameter past zero ([training] weight-decay): lower one of them"
            )
        if self.optimizer != "sgd" and self.momentum:
            raise ConfigError(
                f'momentum = {self.momentum} goes with optimizer = "sgd" only ([training] momentum): remove one of them'
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyConfig:
    """What is protected, where the noise is added, and what may be spent.

    One of noise_multiplier and target_epsilon (default: noise_multiplier 2.0). `target_delta` is a number or a table
    of one number per hospital. `patient_overlap` is the largest number of hospitals that may hold the same patient.
    With `adaptive_clipping` the clip of hospitals' updates starts at max_grad_norm and follows the norm that a share
    of `target_quantile` (default 0.5) of them stays below, by factors of up to exp(`clip_learning_rate`) (default 0.2)
    a round; `clipping` "adaptive" sets it. With "automatic", the one value that is kept of that key, a record's
    gradient g becomes max_grad_norm / (|g| + 0.01) g. With `microbatch_size` m above 1 a hospital's records are
    clipped by groups of m, the mean gradient of each group as one. With `noise_correlation` "banded" the noise of a
    round takes a part of earlier rounds' noise back.
    """

    unit: str = setting("record", choices=tuple(dict.fromkeys(cell.unit for cell in CELLS)))
    placement: str = setting("local", choices=tuple(dict.fromkeys(cell.placement for cell in CELLS)))
    noise_multiplier: float | None = setting(None, least=0, most=1e6)
    target_epsilon: float | None = setting(None, above=0)
    max_grad_norm: float = setting(1.0, least=SMALLEST_CLIP, most=LARGEST_CLIP)
    target_delta: float | dict[str, float] = setting(1e-5, above=0, below=1)
    budget_epsilon: float | None = setting(None, above=0)
    on_budget: str = setting("stop", choices=("stop", "drop", "replan"))
    patient_overlap: int = setting(1, least=1)
    clipping: str | None = setting(None, choices=("flat", AUTOMATIC, "adaptive"), unwritten=True)
    adaptive_clipping: bool = False
    target_quantile: float | None = setting(None, least=0, most=1)
    clip_learning_rate: float | None = setting(None, above=0, most=10)
    microbatch_size: int = setting(1, least=1, most=1_000_000, unwritten=True)
    noise_correlation: str = setting(
        "none", choices=tuple(dict.fromkeys(cell.noise_correlation for cell in CELLS)), unwritten=True
    )

    def __post_init__(self) -> None:
        check_section("privacy", self)
        if self.clipping == "adaptive":
            object.__setattr__(self, "adaptive_clipping", True)
        elif self.clipping is not None and self.adaptive_clipping:
            raise ConfigError(
                f'clipping = "{self.clipping}" and adaptive-clipping = true exclude each other ([privacy] clipping): '
                "remove one of them"
            )
        if self.clipping != AUTOMATIC:
            object.__setattr__(self, "clipping", None)
        for key, default in (("target_quantile", 0.5), ("clip_learning_rate", 0.2)):
            if self.adaptive_clipping and getattr(self, key) is None:
                object.__setattr__(self, key, Default(default))
            elif not self.adaptive_clipping and getattr(self, key) is not None:
                raise ConfigError(
                    f"{kebab(key)} = {getattr(self, key)} goes with adaptive-clipping = true only ([privacy] "
                    f"{kebab(key)}): set that too, or remove it"
                )
        cell = cell_of(self)
        for message in cell.meaningless(self):
            raise ConfigError(message)
        if cell.is_private and self.noise_multiplier is None and self.target_epsilon is None:
            object.__setattr__(self, "noise_multiplier", Default(2.0))
        if self.budget_epsilon is not None and self.noise_multiplier == 0:
            raise ConfigError(
                f"noise-multiplier = 0 spends infinite epsilon, more than budget-epsilon = {self.budget_epsilon} "
                "([privacy]): set noise-multiplier > 0 or remove budget-epsilon"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregationConfig:
    """How the server turns the hospitals' parameters into the next model.

    `strategy` is one of Flower's averaging strategies or "package.module:factory" returning a Flower Strategy. An
    option is allowed only with a strategy that has it; None leaves Flower's default. `max_update` is the largest change
    of a parameter in a round that secure aggregation takes, where no clip bounds it.
    """

    strategy: str = "fedavg"
    protocol: str = setting("plain", choices=("plain", "secure-sum", "secagg+"))
    min_survivors: int = setting(1, least=1)
    max_colluding: int = setting(0, least=0)
    max_update: float = setting(64.0, least=1e-30, most=1e30)
    server_learning_rate: float | None = setting(None, above=0)
    server_momentum: float | None = setting(None, least=0, below=1)
    eta: float | None = setting(None, above=0)
    eta_l: float | None = setting(None, above=0)
    beta_1: float | None = setting(None, least=0, below=1)
    beta_2: float | None = setting(None, least=0, below=1)
    tau: float | None = setting(None, above=0)
    proximal_mu: float | None = setting(None, least=0)
    handed: Handed | None = from_python()

    def __post_init__(self) -> None:
        check_section("aggregation", self)
        check_strategy(self)
        _check_survivors(self)

    @property
    def honest_survivors(self) -> int:
        """Hospitals in every sum that side with nobody, and so share the noise of placement "distributed"."""
        return self.min_survivors - self.max_colluding


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """What is told of the hospitals' test records, when a run stops early, and which of its models it keeps.

    With `release` "simulation" test scores are exact, for whoever may see the data; with "private" sums over test
    records are released once, with noise, after the last round, for `release_share` of the budget; with "none" none is
    computed.

    `public` is "package.module:loader" of public records (see `datasets.public_records`), on which models are tried.
    A run stops once `patience` evaluated rounds in turn were no improvement of the mean loss on them; `keep` says
    whether its model is that of the last round or of the best. Without privacy and `public` it is the mean test loss.
    """

    release: str = setting("simulation", choices=("simulation", "private", "none"), unwritten=True)
    release_share: float = setting(0.1, above=0, below=1, unwritten=True)
    public: str | None = setting(None, unwritten=True)
    patience: int | None = setting(None, least=1, most=1_000_000, unwritten=True)
    keep: str = setting("last", choices=("last", "best"), unwritten=True)

    def __post_init__(self) -> None:
        check_section("evaluation", self)
        if self.public is not None and not all(self.public.partition(":")):
            raise ConfigError(
                f'public = "{self.public}" must be "package.module:loader" ([evaluation] public): name a function that '
                "returns features and labels"
            )

    @property
    def is_exact(self) -> bool:
        """Whether the hospitals' test scores are told as they are."""
        return self.release == "simulation"

    @property
    def chooses(self) -> bool:
        """Whether anything hangs on how good models are."""
        return self.patience is not None or self.keep == "best"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """Where the simulated hospitals run, and where their noise comes from. `num_workers` None: one per processor.

    `engine` "auto" is resolved when a run begins, by its settings and sizes (see `simulations.engines.choosing`).

    `noise` "seeded" repeats itself with the same seed, for whoever knows it; "system" comes from the operating system,
    as at real sites: the released model is then as good as its bill, and no run can be repeated.

    `repetition` tells jobs apart that are alike in everything else: each has batches and noise of its own.
    """

    engine: str = setting("auto", choices=("auto", "ray", "inline", "stacked"))
    num_workers: int | None = setting(None, least=1, most=4096)
    gpus_per_worker: float = setting(0.0, least=0)
    dropout_rate: float = setting(0.0, least=0, below=1)
    noise: str = setting("seeded", choices=("seeded", "system"))
    repetition: int = setting(0, least=0, most=1_000_000, unwritten=True)

    def __post_init__(self) -> None:
        check_section("simulation", self)
        if self.gpus_per_worker > 1 and self.gpus_per_worker != int(self.gpus_per_worker):
            raise ConfigError(
                f"gpus-per-worker = {self.gpus_per_worker} must be 0, a fraction of one GPU, or a whole number "
                "([simulation] gpus-per-worker)"
            )


def _check_survivors(aggregation: AggregationConfig) -> None:
    """Refuse numbers of survivors and colluders that do not go with each other or with the protocol."""
    survivors, colluding = aggregation.min_survivors, aggregation.max_colluding
    if aggregation.protocol == "plain" and colluding:
        raise ConfigError(
            f'max-colluding = {colluding} has no meaning with protocol = "plain", which hides nothing from the server '
            '([aggregation] max-colluding): remove it, or set protocol = "secagg+"'
        )
    # A sum of one honest hospital is that hospital's data, unless its share of the noise was sized for that.
    least_honest = 2 if aggregation.protocol == "secagg+" else 1
    if aggregation.protocol != "plain" and survivors - colluding < least_honest:
        raise ConfigError(
            f"min-survivors = {survivors} must be >= {least_honest + colluding} with protocol = "
            f'"{aggregation.protocol}" and max-colluding = {colluding} ([aggregation] min-survivors): raise it, so '
            f"that every sum has {least_honest} honest hospitals or more"
        )
