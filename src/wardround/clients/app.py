"""The Flower ClientApp: profile, train and evaluate, for simulated hospitals and for Flower's own engine alike.

Everything a reply carries is named in `leaves.LEAVES_HOSPITAL`. A node that is told anything but its partition, or
nothing, is a real site, and answers from its own file alone (`site_app`). What is left out on purpose: any decision.
The server plans and charges; the hospital does as assigned, and refuses what its settings don't say.
"""

from functools import cache, lru_cache

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod

from wardround import wire
from wardround.clients.assignments import Part, check_assignment, check_sum
from wardround.clients.evaluation import evaluate
from wardround.clients.profiles import hospital_profile, profile_measures
from wardround.clients.secagg import SecAggMod, weight_in_metrics
from wardround.clients.site_app import answer_as_site
from wardround.clients.trainers import build_trainer, hospital_tensors
from wardround.clients.training import HospitalTensors, LocalTrainer
from wardround.config import Config, load_config, split_overrides
from wardround.datasets import Federation, HospitalData, load_federation
from wardround.errors import CohortError
from wardround.identity import agreed_digest
from wardround.leaves import LEAVES_HOSPITAL
from wardround.privacy.cells import cell_of
from wardround.secagg import Site, Terms, simulated_site

__all__ = ["app", "make_client_app"]


def make_client_app(config: Config, federation: Federation) -> ClientApp:
    """Return a ClientApp that answers for any hospital of the federation, told apart by node_config["partition-id"].

    The model is built once for all hospitals of a process; a hospital's records become tensors at its first message.
    """
    client_app = ClientApp(mods=_mods(config, federation))
    kept: dict[str, HospitalTensors] = {}
    names = tuple(hospital.hospital_id for hospital in federation.hospitals)
    num_records = sum(hospital.num_records for hospital in federation.hospitals)

    @cache
    def the_trainer() -> LocalTrainer:
        return build_trainer(config, federation)

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
        trainer = the_trainer()
        part = Part(
            config=config,
            hospital_id=hospital.hospital_id,
            num_train=hospital.num_records,
            names=names,
            num_parameters=trainer.num_parameters,
            num_records=num_records,
        )
        check_assignment(assignment, part)
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
        trainer = the_trainer()
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
        return simulated_site(
            config.federation.seed,
            _hospital(federation, context).hospital_id,
            names,
            min_survivors=config.aggregation.min_survivors,
            max_colluding=config.aggregation.max_colluding,
        )

    agreed = agreed_digest(config)

    def check_terms(terms: Terms, message: Message | None) -> None:
        check_sum(config, terms, None if message is None else wire.assignment_of(message), agreed=agreed)

    def weight_of(message: Message, reply: Message) -> float:
        # By the hospital's own settings and records, not by what a server says.
        return cell_of(config.privacy).vector_weight(int(weight_in_metrics(message, reply)))

    # What may leave was picked by `simulated_execution_reply`.
    return [
        SecAggMod(
            site_of, check_terms=check_terms, weight_of=weight_of, keep_metrics=LEAVES_HOSPITAL, has_assignment=True
        )
    ]


def _proximal_mu(message: Message) -> float:
    """Return the strength of FedProx' pull that the strategy asks for; 0.0 where it asks for none."""
    value = wire.config_in(message).get(wire.PROXIMAL_MU, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def _hospital(federation: Federation, context: Context) -> HospitalData:
    index = context.node_config.get("partition-id")
    if not isinstance(index, int) or not 0 <= index < len(federation.hospitals):
        raise CohortError(
            f"partition-id = {index} must be in 0..{len(federation.hospitals) - 1}: start as many nodes as the "
            f"federation has hospitals ({len(federation.hospitals)})"
        )
    return federation.hospitals[index]


@lru_cache(maxsize=1)
def _app_of(path: str, overrides: str) -> ClientApp:
    config = load_config(path or None, split_overrides(overrides))
    return make_client_app(config, load_federation(config.federation))


app = ClientApp()
"""The app `flwr run` loads. Simulated hospitals take their settings from the run config's `config` (a path) and `set`
(overrides); a real site takes all from the file that its node config's `site` names."""


def _forwarded(message: Message, context: Context) -> Message:
    if set(context.node_config) != {"partition-id", "num-partitions"}:
        # Told anything but what simulations tell their hospitals, or nothing: no server may name this node's files.
        return answer_as_site(message, context)
    # As in every other engine: the last bits of sums depend on it, and seeded noise on everything that does.
    torch.set_num_threads(1)
    return _app_of(str(context.run_config.get("config", "")), str(context.run_config.get("set", "")))(message, context)


app.query("profile")(_forwarded)
app.train()(_forwarded)
app.evaluate()(_forwarded)
