"""The Flower ClientApp: profile, train and evaluate, for simulated hospitals and for Flower's own engine alike.

Everything a reply carries is named in `wire.LEAVES_HOSPITAL`. What is left out on purpose: any decision. The server
plans and charges; the hospital does as assigned, and refuses what it can't do.
"""

import math
import shlex
from functools import lru_cache
from typing import Any

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod

from wardround import wire
from wardround.clients.checks import check_training
from wardround.clients.evaluation import evaluate
from wardround.clients.profiles import hospital_profile
from wardround.clients.secagg import SecAggMod, site_from_context, weight_in_metrics
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import Config, load_config
from wardround.datasets import Federation, HospitalData, load_federation
from wardround.errors import CohortError, ProtocolError
from wardround.models import build_model, load_parameters
from wardround.privacy.mechanisms import mechanism_of
from wardround.rounds import Assignment
from wardround.secagg import Site, simulated_site

__all__ = ["app", "build_trainer", "hospital_tensors", "make_client_app"]


def make_client_app(config: Config, federation: Federation) -> ClientApp:
    """Return a ClientApp that answers for any hospital of the federation, told apart by node_config["partition-id"].

    The model is built once for all hospitals of a process; a hospital's records become tensors at its first message.
    """
    client_app = ClientApp(mods=_mods(config, federation))
    tensors: dict[str, HospitalTensors] = {}
    trainers: list[LocalTrainer] = []

    def trainer() -> LocalTrainer:
        if not trainers:
            trainers.append(build_trainer(config, federation))
        return trainers[0]

    def tensors_of(hospital: HospitalData) -> HospitalTensors:
        if hospital.hospital_id not in tensors:
            tensors[hospital.hospital_id] = hospital_tensors(hospital, trainer().device)
        return tensors[hospital.hospital_id]

    @client_app.query("profile")
    def profile(message: Message, context: Context) -> Message:
        return wire.profile_reply(hospital_profile(_hospital(federation, context), federation), message)

    @client_app.train()
    def train(message: Message, context: Context) -> Message:
        hospital = _hospital(federation, context)
        assignment = wire.assignment_of(message)
        _check_assignment(assignment, hospital.hospital_id)
        _check_cell(assignment, config)
        arrays, execution = trainer().train(
            wire.arrays_in(message),
            tensors_of(hospital),
            assignment,
            proximal_mu=_proximal_mu(message),
        )
        return wire.execution_reply(execution, arrays, message)

    @client_app.evaluate()
    def evaluate_model(message: Message, context: Context) -> Message:
        hospital = _hospital(federation, context)
        model = trainer().model
        load_parameters(model, wire.arrays_in(message))
        evaluation = evaluate(model, tensors_of(hospital), hospital_id=hospital.hospital_id, task=federation.task)
        return wire.evaluation_reply(evaluation, message)

    return client_app


def _mods(config: Config, federation: Federation) -> list[Mod]:
    """Return what masks the replies, where secure aggregation is set."""
    if config.aggregation.protocol != "secagg+":
        return []
    names = tuple(hospital.hospital_id for hospital in federation.hospitals)

    def site_of(context: Context) -> Site:
        if "site-key" in context.node_config:
            return site_from_context(context)
        return simulated_site(
            config.federation.seed,
            _hospital(federation, context).hospital_id,
            names,
            min_survivors=config.aggregation.min_survivors,
            max_colluding=config.aggregation.max_colluding,
        )

    # What may leave was picked by `execution_reply`.
    return [SecAggMod(site_of, weight_of=_weight, told_of=_told, keep_metrics=wire.LEAVES_HOSPITAL)]


def _weight(message: Message, reply: Message) -> float:
    """Return what the update weighs: the hospital's records, not what a server says; gradient sums weigh the same."""
    assignment = wire.assignment_of(message)
    cell = None if assignment.max_grad_norm is None else mechanism_of(assignment.unit, assignment.placement)
    return 1.0 if cell is not None and cell.sends_sum else weight_in_metrics(message, reply)


def _told(message: Message) -> dict[str, Any]:
    """Return what everyone in the round is told alike."""
    return dict(wire.config_in(message)) | wire.same_for_all(wire.assignment_of(message))


def _check_assignment(assignment: Assignment, hospital_id: str) -> None:
    """Refuse another hospital's assignment, which would draw that one's noise, and one that can't be accounted for.

    Raises:
        ProtocolError: naming the value that is wrong.
    """
    if assignment.hospital_id != hospital_id:
        raise ProtocolError(f"the assignment is hospital {assignment.hospital_id}'s, and this is {hospital_id}")
    clip, noise = assignment.max_grad_norm, assignment.noise_multiplier
    fits = {
        "num_steps must be >= 1": assignment.num_steps >= 1,
        "sample_rate must be > 0 and <= 1": 0 < assignment.sample_rate <= 1,
        "noise_multiplier must be >= 0 and finite": 0 <= noise < math.inf,
        "max_grad_norm must be > 0 and finite": clip is None or 0 < clip < math.inf,
        "expected_batch_size must be > 0": assignment.expected_batch_size > 0,
    }
    for rule, holds in fits.items():
        if not holds:
            name = rule.split(" ", 1)[0]
            raise ProtocolError(f"the assignment's {rule}, not {getattr(assignment, name)}: nothing was trained")


def _check_cell(assignment: Assignment, config: Config) -> None:
    """Refuse to send what another cell sends: one that adds noise elsewhere would get this hospital's data without any.

    Raises:
        ProtocolError: naming the value that is not what the hospital's own settings say.
    """
    privacy = config.privacy
    wanted: dict[str, Any] = {"max_grad_norm": None}
    if privacy.placement != "none":
        if assignment.max_grad_norm is None:
            raise ProtocolError(
                "the assignment's max_grad_norm = None, and this hospital's settings ask for privacy: nothing was "
                "trained"
            )
        clip = assignment.max_grad_norm
        cell = mechanism_of(privacy.unit, privacy.placement)
        wanted = {
            "unit": privacy.unit,
            "placement": privacy.placement,
            "adaptive_clipping": privacy.adaptive_clipping,
        }
        sensitivity = cell.sensitivity(clip, adaptive_clipping=privacy.adaptive_clipping)
        if assignment.sensitivity is not None or sensitivity != clip:
            wanted["sensitivity"] = sensitivity
        if privacy.placement == "distributed":
            wanted["num_shares"] = config.aggregation.honest_survivors
    for name, value in wanted.items():
        if getattr(assignment, name) != value:
            raise ProtocolError(
                f"the assignment's {name} = {getattr(assignment, name)}, and this hospital's settings say {value}: "
                "nothing was trained"
            )
    if privacy.placement == "distributed" and not (0 < assignment.contribution <= 1 and assignment.scaled_norm > 0):
        raise ProtocolError(
            f"the assignment's contribution = {assignment.contribution} must be in (0, 1] and scaled_norm = "
            f"{assignment.scaled_norm} > 0: nothing was trained"
        )


def _proximal_mu(message: Message) -> float:
    """Return the strength of FedProx' pull that the strategy asks for; 0.0 where it asks for none."""
    value = wire.config_in(message).get(wire.PROXIMAL_MU, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def build_trainer(config: Config, federation: Federation) -> LocalTrainer:
    """Return what trains one hospital after the other, its model checked by `check_training`.

    Raises:
        ConfigError: the model or the mode can't be trusted with privacy, or does not fit the data.
    """
    model, _ = build_model(
        config.model,
        input_shape=federation.input_shape,
        num_outputs=federation.num_classes,
        seed=config.federation.seed,
        private=config.privacy.placement != "none",
    )
    check_training(config, federation, model)
    return LocalTrainer(model, config.training, task=federation.task, seed=config.federation.seed)


def _hospital(federation: Federation, context: Context) -> HospitalData:
    index = context.node_config.get("partition-id")
    if not isinstance(index, int) or not 0 <= index < len(federation.hospitals):
        raise CohortError(
            f"partition-id = {index} must be in 0..{len(federation.hospitals) - 1}: start as many nodes as the "
            f"federation has hospitals ({len(federation.hospitals)})"
        )
    return federation.hospitals[index]


def hospital_tensors(hospital: HospitalData, device: torch.device) -> HospitalTensors:
    """Return a hospital's records as tensors on the device, copied: the arrays are read-only and may be shared."""
    return HospitalTensors(
        train_features=torch.tensor(hospital.train_features, device=device),
        train_labels=torch.tensor(hospital.train_labels, device=device),
        test_features=torch.tensor(hospital.test_features, device=device),
        test_labels=torch.tensor(hospital.test_labels, device=device),
        train_owners=None if hospital.train_owners is None else torch.tensor(hospital.train_owners, device=device),
    )


@lru_cache(maxsize=1)
def _app_of(path: str, overrides: str) -> ClientApp:
    config = load_config(path or None, shlex.split(overrides))
    return make_client_app(config, load_federation(config.federation))


app = ClientApp()
"""The app `flwr run` loads: settings come from the run config's `config` (a path) and `set` (overrides)."""


def _forwarded(message: Message, context: Context) -> Message:
    return _app_of(str(context.run_config.get("config", "")), str(context.run_config.get("set", "")))(message, context)


app.query("profile")(_forwarded)
app.train()(_forwarded)
app.evaluate()(_forwarded)
