"""Who would pay what, before any training; imported without torch, Flower, Opacus or Ray, which take seconds."""

from wardround.clients.profiles import hospital_profile, profile_measures
from wardround.config import Config
from wardround.datasets import Federation, load_federation
from wardround.parameter_counts import count_parameters
from wardround.server.plan.planning import plan_federation
from wardround.server.plan.plans import FederationPlan

__all__ = ["plan", "plan_of"]


def plan(config: Config) -> FederationPlan:
    """Return who would pay what, before any training.

    A model whose size is known in closed form is not built, nor its device looked for: `run` does both.

    Raises:
        WardroundError: the data, the settings or the model don't fit.
    """
    federation = load_federation(config.federation)
    return plan_of(config, federation, _num_parameters(config, federation))


def plan_of(config: Config, federation: Federation, num_parameters: int) -> FederationPlan:
    """Return the plan of a loaded federation, whose model has so many trainable parameters."""
    profiles = [hospital_profile(hospital, federation) for hospital in federation.hospitals]
    measures = {hospital.hospital_id: profile_measures(hospital, federation.task) for hospital in federation.hospitals}
    return plan_federation(config, profiles, num_parameters, measures=measures)


def _num_parameters(config: Config, federation: Federation) -> int:
    counted = count_parameters(config.model, input_shape=federation.input_shape, num_outputs=federation.num_classes)
    # The other modes don't take every model and every patient column: only building the trainer tells.
    if counted is not None and config.training.grad_sample_mode in ("auto", "hooks"):
        return counted
    from wardround.simulations.first_model import first_model

    arrays, _ = first_model(config, federation)
    return sum(array.size for array in arrays.values())
