"""The model before round 1: built once, with what was changed to make it fit and how its gradients are computed.

What is left out on purpose: whether it can be trusted with privacy, which the data decide too (see `trainers`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from wardround.clients.forwards import unknown_because
from wardround.clients.modes import Mode, choose_mode
from wardround.config import Config
from wardround.exact_sums import Arrays
from wardround.models import build_model, own_names, parameters_of
from wardround.privacy.cells import cell_of
from wardround.rounds import HospitalProfile
from wardround.run_facts import RunFacts

__all__ = ["InitialModel", "build_initial_model", "built_model", "initial_model"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InitialModel:
    """The model before round 1: what changed to make it fit, as sentences, and how gradients by record are computed.

    There is no mode where no record's gradient is clipped. `own` are names of parameters that are each hospital's own.
    """

    arrays: Arrays
    own: tuple[str, ...] = ()
    task: str
    changes: tuple[str, ...]
    mode: Mode | None

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(array.size for array in self.arrays.values())

    @property
    def facts(self) -> RunFacts:
        """What the summary says of it: what was changed, and why it is run record by record where it is."""
        name, reason = self.mode or (None, None)
        notes = (*self.changes, str(reason)) if name == "per-record" else self.changes
        return RunFacts(
            task=self.task,
            num_parameters=self.num_parameters,
            notes=notes,
            model_changes=notes,
            grad_sample_mode=name,
            grad_sample_reason=reason,
        )


def build_initial_model(config: Config, profile: HospitalProfile) -> InitialModel:
    """Return the model before round 1: the same in every process, made for the shapes of any hospital's records.

    Raises:
        ConfigError: the model does not fit the hospitals' records, or not per-record gradients.
    """
    module, changes = built_model(config, profile.input_shape, profile.num_outputs)
    asked, mode = config.training.grad_sample_mode, None
    if cell_of(config.privacy).clips_records:
        mode = choose_mode(asked, module, unknown_because(module, tuple(profile.input_shape), ghost=asked == "ghost"))
    return initial_model(config, module, task=profile.task, changes=changes, mode=mode)


def initial_model(
    config: Config, module: nn.Module, *, task: str, changes: tuple[str, ...], mode: Mode | None
) -> InitialModel:
    """Return a model that was built, as it is before round 1.

    Raises:
        ConfigError: a part of it is to be each hospital's own that it does not have.
    """
    arrays, own = parameters_of(module), own_names(config.personal, module)
    return InitialModel(arrays=arrays, own=own, task=task, changes=changes, mode=mode)


def built_model(config: Config, input_shape: Sequence[int], num_outputs: int) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the model that the settings name, and what was changed to make it fit (see `models.build_model`).

    Raises:
        ConfigError: the model does not fit the records.
    """
    return build_model(
        config.model,
        input_shape=input_shape,
        num_outputs=num_outputs,
        seed=config.federation.seed,
        private=cell_of(config.privacy).is_private,
    )
