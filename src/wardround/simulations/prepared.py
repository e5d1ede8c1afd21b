"""What a simulated run needs, each thing made once: its hospitals, their plan, the model before round 1, the strategy.

`plan` needs the first two alone: it is imported without torch, Flower, Opacus or Ray, which take seconds. What is left
out on purpose: engines and folders (see `runs`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wardround.clients.profiles import hospital_profile, profile_measures
from wardround.config import Config, check_loss_weights
from wardround.datasets import FederatedData, load_federation
from wardround.errors import ConfigError
from wardround.exact_sums import Arrays
from wardround.parameter_counts import count_parameters
from wardround.privacy.cells import cell_of
from wardround.run_facts import RunFacts
from wardround.server.plan.planning import plan_federation
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.target_reach import reach_notes

if TYPE_CHECKING:
    from flwr.serverapp.strategy import Strategy

    from wardround.clients.initial_models import InitialModel

__all__ = ["Prepared", "plan", "prepare", "silent"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A run before its first round; everything that can be refused was refused as it was made.

    Attributes:
        initial: parameters before round 1.
        strategy: of the server; it has seen no round.
        facts: what the summary says of the run's place, model and data.
    """

    config: Config
    federation: FederatedData
    initial: Arrays
    plan: FederationPlan
    strategy: "Strategy"
    facts: RunFacts


def silent(_: str) -> None:
    """Say nothing."""


def prepare(
    config: Config, strategy: "Strategy", say: Callable[[str], None] = silent, *, is_begun: bool = False
) -> Prepared:
    """Return everything that a simulated run is made of, made once.

    Args:
        config: of the run.
        strategy: that they name (see `strategies.strategy_of`); it is apart so that one that can't be had is refused
            before anything is started or read.
        say: called with a few words whenever something that takes a while begins.
        is_begun: whether they are of a run that was begun, and stay as they are; else the partition is resolved.

    Raises:
        WardroundError: the data, the settings or the model don't fit, or the model can't be trusted with privacy.
    """
    say(f"reading {config.federation.dataset}")
    federation = load_federation(config.federation)
    if not is_begun:
        config = replace(config, federation=replace(config.federation, partition=federation.partition))
    say(f"building and checking the model {config.model.name}")
    model = _checked_model(config, federation)
    planned = _plan_of(config, federation, model.num_parameters)
    for note in planned.notes:
        say(f"warning: {note}")
    return Prepared(
        config=config,
        federation=federation,
        initial=model.arrays,
        plan=planned,
        strategy=strategy,
        facts=_facts(config, federation, model, planned),
    )


def plan(config: Config) -> FederationPlan:
    """Return who would pay what, before any training.

    A model whose size is known in closed form is not built, nor its device looked for: `run` does both.

    Raises:
        WardroundError: the data, the settings or the model don't fit.
    """
    federation = load_federation(config.federation)
    check_loss_weights(config.training, federation.class_names)
    counted = count_parameters(config.model, input_shape=federation.input_shape, num_outputs=federation.num_classes)
    # The other modes don't take every model and every patient column: only building the trainer tells.
    if counted is None or config.training.grad_sample_mode != "auto":
        counted = _checked_model(config, federation).num_parameters
    return _plan_of(config, federation, counted)


def _plan_of(config: Config, federation: FederatedData, num_parameters: int) -> FederationPlan:
    profiles = [hospital_profile(hospital, federation) for hospital in federation.hospitals]
    measures = {hospital.hospital_id: profile_measures(hospital, federation.task) for hospital in federation.hospitals}
    made = plan_federation(config, profiles, num_parameters, measures=measures)
    return replace(made, notes=reach_notes(config, federation, made))


def _checked_model(config: Config, federation: FederatedData) -> "InitialModel":
    """Return the model before round 1, once what trains it has taken it."""
    import torch

    from wardround.clients.initial_models import InitialModel, built_model
    from wardround.clients.trainers import build_trainer
    from wardround.models import parameters_of

    if _device_of(config) == "cuda" and not torch.cuda.is_available():
        raise ConfigError('device = "cuda" but torch finds none here ([training] device): set "cpu" or "auto"')
    module, changes = built_model(config, federation.input_shape, federation.num_classes)
    trainer = build_trainer(config, federation, model=module)
    mode = trainer.mode_for(federation.input_shape) if cell_of(config.privacy).clips_records else None
    return InitialModel(arrays=parameters_of(module), task=federation.task, changes=changes, mode=mode)


def _facts(config: Config, federation: FederatedData, model: "InitialModel", planned: FederationPlan) -> RunFacts:
    from wardround.simulations.engines.opening import ENGINES

    most_workers = ENGINES[config.simulation.engine].num_workers(config.simulation)
    return replace(
        model.facts,
        partition=federation.partition,
        engine=config.simulation.engine,
        num_workers=min(most_workers, len(federation.hospitals)),
        device=_device_of(config),
        class_names=tuple(federation.class_names),
        notes=(*federation.notes, *planned.notes, *model.facts.notes),
        excluded=tuple(federation.excluded),
    )


def _device_of(config: Config) -> str:
    from wardround.clients.held_model import resolve_device

    return resolve_device(config.training.device).type
