"""The Flower ClientApp: profile, train and evaluate, for simulated hospitals and for Flower's own engine alike.

Everything a reply carries is named in `leaves.LEAVES_HOSPITAL`. What is left out on purpose: any decision. The server
plans and charges; the hospital does as assigned, and refuses what it can't do.
"""

import shlex
from functools import lru_cache

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod

from wardround import wire
from wardround.clients.assignments import check_assignment
from wardround.clients.checks import check_training
from wardround.clients.evaluation import evaluate
from wardround.clients.held_model import fresh_copy
from wardround.clients.profiles import hospital_profile, profile_measures
from wardround.clients.secagg import SecAggMod, site_from_context, weight_in_metrics
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import Config, load_config
from wardround.datasets import Federation, HospitalData, load_federation
from wardround.errors import CohortError, ProtocolError, Refusal
from wardround.identity import agreed_digest, source_of
from wardround.leaves import LEAVES_HOSPITAL
from wardround.models import build_model
from wardround.privacy.schedules import schedule_of
from wardround.secagg import Site, Terms, simulated_site

__all__ = ["app", "build_trainer", "hospital_tensors", "make_client_app"]


def make_client_app(config: Config, federation: Federation) -> ClientApp:
    """Return a ClientApp that answers for any hospital of the federation, told apart by node_config["partition-id"].

    The model is built once for all hospitals of a process; a hospital's records become tensors at its first message.
    """
    client_app = ClientApp(mods=_mods(config, federation))
    kept: dict[str, HospitalTensors] = {}
    trainers: dict[bool, LocalTrainer] = {}

    def trainer_at(context: Context) -> LocalTrainer:
        # A site's noise is its own: a seed that others know would take it out again.
        is_real = _is_real(context)
        if is_real not in trainers:
            trainers[is_real] = build_trainer(config, federation, is_real=is_real)
        return trainers[is_real]

    def tensors_of(hospital: HospitalData, device: torch.device) -> HospitalTensors:
        if hospital.hospital_id not in kept:
            kept[hospital.hospital_id] = hospital_tensors(hospital, device)
        return kept[hospital.hospital_id]

    @client_app.query("profile")
    def profile(message: Message, context: Context) -> Message:
        hospital = _hospital(federation, context)
        measures = profile_measures(hospital, federation.task)
        return wire.simulated_profile_reply(hospital_profile(hospital, federation), measures, message)

    @client_app.train()
    def train(message: Message, context: Context) -> Message:
        hospital = _hospital(federation, context)
        assignment = wire.assignment_of(message)
        _check_site(config, context)
        check_assignment(assignment, config, hospital.hospital_id, hospital.num_records)
        trainer = trainer_at(context)
        arrays, execution, measures = trainer.train(
            wire.arrays_in(message),
            tensors_of(hospital, trainer.device),
            assignment,
            proximal_mu=_proximal_mu(message),
        )
        return wire.simulated_execution_reply(execution, measures, arrays, message)

    @client_app.evaluate()
    def evaluate_model(message: Message, context: Context) -> Message:
        hospital = _hospital(federation, context)
        trainer = trainer_at(context)
        tensors = tensors_of(hospital, trainer.device)
        model = trainer.scoring_model(wire.arrays_in(message), tensors)
        evaluation = evaluate(model, tensors, hospital_id=hospital.hospital_id, task=federation.task)
        return wire.evaluation_reply(evaluation, message)

    return client_app


def _mods(config: Config, federation: Federation) -> list[Mod]:
    """Return what masks the replies, where secure aggregation is set."""
    if config.aggregation.protocol != "secagg+":
        return []
    names = tuple(hospital.hospital_id for hospital in federation.hospitals)

    def site_of(context: Context) -> Site:
        if _is_real(context):
            return site_from_context(context)
        return simulated_site(
            config.federation.seed,
            _hospital(federation, context).hospital_id,
            names,
            min_survivors=config.aggregation.min_survivors,
            max_colluding=config.aggregation.max_colluding,
        )

    agreed = agreed_digest(config)

    def check_terms(terms: Terms, message: Message | None) -> None:
        if terms.settings_digest != agreed:
            raise Refusal("the server's settings are not this hospital's: give both the same settings")

    def weight_of(message: Message, reply: Message) -> float:
        # By the hospital's own settings and records, not by what a server says.
        return schedule_of(config, int(weight_in_metrics(message, reply))).weight

    # What may leave was picked by `simulated_execution_reply`.
    return [
        SecAggMod(
            site_of, check_terms=check_terms, weight_of=weight_of, keep_metrics=LEAVES_HOSPITAL, has_assignment=True
        )
    ]


def _is_real(context: Context) -> bool:
    """Return whether the node is a site of its own: told more than Flower and our engines tell simulated ones."""
    return not set(context.node_config) <= {"partition-id", "num-partitions"}


def _check_site(config: Config, context: Context) -> None:
    """Refuse settings under which a real site would send what is not masked, or count on other honest sites.

    Raises:
        ProtocolError: naming the setting.
    """
    if not _is_real(context):
        return
    aggregation, roster = config.aggregation, site_from_context(context).roster
    if aggregation.protocol != "secagg+":
        raise ProtocolError(
            f'protocol = "{aggregation.protocol}" would send this site\'s update unmasked, and it has a key to mask '
            'it: set [aggregation] protocol = "secagg+", or start its node without a site-key to simulate it'
        )
    honest = roster.min_survivors - roster.max_colluding
    if aggregation.honest_survivors != honest:
        raise ProtocolError(
            f"min-survivors - max-colluding = {aggregation.honest_survivors} must be the roster's {honest} "
            "([aggregation]): nothing was trained"
        )


def _proximal_mu(message: Message) -> float:
    """Return the strength of FedProx' pull that the strategy asks for; 0.0 where it asks for none."""
    value = wire.config_in(message).get(wire.PROXIMAL_MU, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def build_trainer(config: Config, federation: Federation, *, is_real: bool = False) -> LocalTrainer:
    """Return what trains one hospital after the other, its model checked by `check_training`.

    Args:
        config: all settings.
        federation: for the shapes of its data, and what tells it from any other.
        is_real: whether for a site of its own, which draws from the operating system whatever the settings say.

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
    # What a module's own way of being copied makes of it is what is checked.
    model = fresh_copy(model)
    mode = check_training(config, federation, model)
    fingerprints = [hospital.fingerprint for hospital in federation.hospitals]
    source = source_of(config, fingerprints=fingerprints, is_real=is_real)
    protects = mode is not None
    trainer = LocalTrainer(model, config.training, task=federation.task, source=source, protects_records=protects)
    if protects:
        trainer.mode_for(federation.input_shape)  # refuses now what it would refuse once it is charged
    return trainer


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
    if not _is_real(context):
        # As in every other engine: the last bits of sums depend on it, and seeded noise on everything that does.
        torch.set_num_threads(1)
    return _app_of(str(context.run_config.get("config", "")), str(context.run_config.get("set", "")))(message, context)


app.query("profile")(_forwarded)
app.train()(_forwarded)
app.evaluate()(_forwarded)
