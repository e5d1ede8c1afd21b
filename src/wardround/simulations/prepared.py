"""What a simulated run needs, each thing made once: its hospitals, their plan, the model before round 1, the strategy.

`plan` needs the first two alone: it is imported without torch, Flower, Opacus or Ray, which take seconds. What is left
out on purpose: engines and folders (see `runs`).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wardround.clients.profiles import hospital_profile, measures_of
from wardround.config import Config, FeaturesConfig, FederationConfig, releases_shares, unused_settings
from wardround.datasets import FederatedData, load_federation, resolved
from wardround.datasets.moments import layout_of
from wardround.datasets.oversampling import check_classes
from wardround.datasets.public_records import public_of
from wardround.errors import ConfigError
from wardround.exact_sums import Arrays
from wardround.parameter_counts import count_parameters
from wardround.privacy.cells import cell_of
from wardround.run_facts import RunFacts
from wardround.server.plan.planning import assign_round, plan_federation
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.target_reach import reach_notes
from wardround.server.record.warm_starts import warm_started, with_initial_digest
from wardround.simulations.engines.choosing import choose_engine, named_engine

if TYPE_CHECKING:
    from flwr.serverapp.strategy import Strategy

    from wardround.clients.initial_models import InitialModel
    from wardround.clients.joint_answers import Joint
    from wardround.clients.training import LocalTrainer
    from wardround.server.round.evaluating import Measuring, Metric

_Load = Callable[[FederationConfig, FeaturesConfig], FederatedData]

__all__ = ["Prepared", "plan", "plan_of", "prepare", "silent"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A run before its first round; everything that can be refused was refused as it was made.

    Attributes:
        initial: parameters before round 1.
        strategy: of the server; it has seen no round.
        facts: what the summary says of the run's place, model and data.
        measuring: what models are measured by, beside the scores that every run has.
        trainer: of the hospitals, where these are in this process; it was tried and has trained nobody.
    """

    config: Config
    federation: FederatedData
    initial: Arrays
    plan: FederationPlan
    strategy: "Strategy"
    facts: RunFacts
    measuring: "Measuring"
    trainer: "LocalTrainer"


def silent(_: str) -> None:
    """Say nothing."""


def prepare(
    config: Config,
    strategy: "Strategy",
    say: Callable[[str], None] = silent,
    *,
    is_begun: bool = False,
    metrics: "Mapping[str, Metric] | None" = None,
    public: tuple[Any, Any] | None = None,
    load: _Load = load_federation,
) -> Prepared:
    """Return everything that a simulated run is made of, made once.

    Args:
        config: of the run.
        strategy: that they name (see `strategies.strategy_of`); it is apart so that one that can't be had is refused
            before anything is started or read.
        say: called with a few words whenever something that takes a while begins.
        is_begun: whether they are of a run that was begun, and stay as they are; else partition and mode of
            standardising are resolved.
        metrics: a user's, by name, of which the run's tables have a column each.
        public: (features, labels) of public records; None for those that [evaluation] public names.
        load: reads the hospitals.

    Raises:
        WardroundError: the data, the settings or the model don't fit, or the model can't be trusted with privacy.
    """
    from wardround.server.round.evaluating import check_metrics
    from wardround.server.round.measuring import measuring_of

    check_metrics(metrics or {})
    records = public_of(config, public)
    say(f"reading {config.federation.dataset}")
    federation = load(config.federation, config.features)
    config = with_initial_digest(config if is_begun else resolved(config, federation))
    _check_public(federation, records is not None)
    say(f"building and checking the model {config.model.name}")
    model, trainer = _checked_model(config, federation)
    planned = plan_of(config, federation, model.num_parameters)
    for note in planned.notes:
        say(f"warning: {note}")
    planned, chosen = _on_its_engine(planned, federation)
    joint = _joint_training(planned.config, federation, trainer, planned, strategy)
    on_engine = [sentence for sentence in (chosen, joint and joint.sentence) if sentence]
    for sentence in on_engine:
        say(sentence)
    return Prepared(
        config=planned.config,
        federation=federation,
        initial=model.arrays,
        plan=planned,
        strategy=_told(strategy, model),
        facts=_facts(federation, model, planned, joint, on_engine),
        measuring=measuring_of(config, planned.hospitals[0].profile, metrics=metrics, public=records, data=federation),
        trainer=trainer,
    )


def plan(config: Config, *, public: tuple[Any, Any] | None = None, load: _Load = load_federation) -> FederationPlan:
    """Return who would pay what, before any training.

    Public records are what a run is given of them from Python, and `load` reads the hospitals. What `run` refuses is
    refused here. A model whose size is known in closed form is not built, and neither is one of Flower's strategies,
    nor Ray started: what they would refuse is known without them.

    Raises:
        WardroundError: the data, the settings or the model don't fit.
    """
    _check_users_strategy(config)
    records = public_of(config, public)
    federation = load(config.federation, config.features)
    config = with_initial_digest(resolved(config, federation))
    _check_public(federation, records is not None)
    check_classes(config, federation)
    num_parameters, trainer = _counted(config, federation)
    planned, chosen = _on_its_engine(plan_of(config, federation, num_parameters), federation)
    if trainer is not None and config.simulation.engine == "stacked":
        from wardround.strategies import strategy_of

        joint = _joint_training(config, federation, trainer, planned, strategy_of(config))
        chosen = joint and joint.sentence
    planned = replace(planned, notes=(*planned.notes, chosen)) if chosen else planned
    _check_machine(planned.config, len(federation.hospitals))
    return planned


def _told(strategy: "Strategy", model: "InitialModel") -> "Strategy":
    from wardround.strategies import know_own_names

    return know_own_names(strategy, model.own)


def _check_public(federation: FederatedData, has_public: bool) -> None:
    """Refuse public records where how the model's features are standardised is not known before the run."""
    if has_public and federation.standardise == "private":
        raise ConfigError(
            'public records are features as the model takes them, and with standardise = "private" nobody knows before '
            "the run how these are scaled ([evaluation] public): remove it, or choose another standardise ([features])"
        )


def _counted(config: Config, federation: FederatedData) -> "tuple[int, LocalTrainer | None]":
    """Return how many parameters the model has, and what trains it where only building that tells.

    That is of a model not counted in closed form, of modes that don't take every model and every patient column, of a
    part that is each hospital's own, of parameters that training begins from, and of who trains together, which is told
    where the engine for that is named.
    """
    counted = count_parameters(config.model, input_shape=federation.input_shape, num_outputs=federation.num_classes)
    is_plain = config.training.grad_sample_mode == "auto" and not config.personal.is_part
    is_plain = is_plain and config.model.initial is None
    if counted is not None and is_plain and config.simulation.engine != "stacked":
        return counted, None
    model, trainer = _checked_model(config, federation)
    return model.num_parameters, trainer


def plan_of(config: Config, federation: FederatedData, num_parameters: int) -> FederationPlan:
    """Return the plan of a run of a model with so many parameters, before its engine is chosen."""
    profiles = [hospital_profile(hospital, federation) for hospital in federation.hospitals]
    measures = measures_of(federation, is_tested=config.evaluation.is_exact)
    moments = layout_of(federation, has_shares=releases_shares(config))
    made = plan_federation(config, profiles, num_parameters, measures=measures, moments=moments)
    return replace(made, notes=(*reach_notes(config, federation, made), *unused_settings(config)))


def _on_its_engine(planned: FederationPlan, federation: FederatedData) -> tuple[FederationPlan, str | None]:
    """Return the plan with the engine that its settings mean, and a sentence that says why; None where it is named."""
    config = planned.config
    engine, reason = choose_engine(config, planned, federation.input_shape)
    if engine == config.simulation.engine:
        return planned, None
    simulation = replace(config.simulation, engine=engine)
    return replace(planned, config=replace(config, simulation=simulation)), f"engine {engine}: {reason}"


def _check_users_strategy(config: Config) -> None:
    if ":" in config.aggregation.strategy:  # Flower's own were checked with the settings
        from wardround.strategies import strategy_of

        strategy_of(config)


def _check_machine(config: Config, num_hospitals: int) -> None:
    """Refuse a device, or GPUs of workers, that this machine does not have; a cluster's are only known to it."""
    _check_device(config)
    simulation = config.simulation
    if simulation.engine == "ray" and simulation.gpus_per_worker and not os.environ.get("RAY_ADDRESS"):
        import torch

        from wardround.simulations.engines.start import check_capacity

        num_workers = min(simulation.num_workers or os.cpu_count() or 1, num_hospitals)
        gpus = [float(torch.cuda.device_count())]
        check_capacity(gpus, num_workers=num_workers, gpus_per_worker=simulation.gpus_per_worker)


def _check_device(config: Config) -> None:
    if config.training.device != "cuda":
        return
    named = named_engine(config)
    if named and named.engine == "ray" and not config.simulation.gpus_per_worker:
        raise ConfigError(
            'device = "cuda" needs a share of a GPU for every worker ([simulation] gpus-per-worker = 0.0): set one, '
            'such as 0.5, or engine = "stacked"'
        )
    import torch

    if not torch.cuda.is_available():
        raise ConfigError('device = "cuda" but torch finds none here ([training] device): set "cpu" or "auto"')


def _checked_model(config: Config, federation: FederatedData) -> "tuple[InitialModel, LocalTrainer]":
    """Return the model before round 1, and what trains it, which has taken it."""
    from wardround.clients.initial_models import built_model, initial_model
    from wardround.clients.trainers import build_trainer

    _check_device(config)
    module, changes = built_model(config, federation.input_shape, federation.num_classes)
    trainer = build_trainer(config, federation, model=module)
    mode = trainer.mode_for(federation.input_shape) if cell_of(config.privacy).clips_records else None
    built = initial_model(config, module, task=federation.task, changes=changes, mode=mode)
    return warm_started(config, built, {hospital.fingerprint for hospital in federation.hospitals}), trainer


def _joint_training(
    config: Config, federation: FederatedData, trainer: "LocalTrainer", planned: FederationPlan, strategy: "Strategy"
) -> "Joint | None":
    """Return how hospitals train on an engine that asks them together; None on any other."""
    from wardround.clients.joint_answers import joint_training
    from wardround.simulations.engines.opening import ENGINES
    from wardround.strategies import hospital_side_of

    if not ENGINES[config.simulation.engine].asks_together:
        return None
    assigned = assign_round(planned, planned.names, 1, planned.noise_multipliers)
    by_name = {assignment.hospital_id: assignment for assignment in assigned}
    return joint_training(config, federation, trainer, by_name, has_side=hospital_side_of(strategy) is not None)


def _facts(
    federation: FederatedData,
    model: "InitialModel",
    planned: FederationPlan,
    joint: "Joint | None",
    on_engine: Sequence[str],
) -> RunFacts:
    from wardround.clients.modes import Mode
    from wardround.simulations.engines.opening import ENGINES

    config = planned.config
    if joint is not None and joint.is_whole and model.mode is not None:
        how = "by a program of one record" if model.mode.name == "per-record" else "in closed form"
        reason = f"Gradients by record are {how}, of all hospitals of a round in one program (engine stacked)."
        model = replace(model, mode=Mode("stacked", reason))
    most_workers = ENGINES[config.simulation.engine].num_workers(config.simulation)
    return replace(
        model.facts,
        partition=federation.partition,
        engine=config.simulation.engine,
        num_workers=min(most_workers, len(federation.hospitals)),
        device=_device_of(config),
        class_names=tuple(federation.class_names),
        notes=(*federation.notes, *planned.notes, *model.facts.notes, *on_engine),
        excluded=tuple(federation.excluded),
    )


def _device_of(config: Config) -> str:
    from wardround.clients.held_model import resolve_device

    are_hidden = config.simulation.engine == "ray" and not config.simulation.gpus_per_worker
    return "cpu" if are_hidden else resolve_device(config.training.device).type
