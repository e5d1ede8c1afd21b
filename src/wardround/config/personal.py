"""The section [personal]: whether hospitals keep a model of their own, or a part of one, and what pulls it to the mean.

What is left out on purpose: which parameters a part is, which the model says (see `models.own_parts`), and how they
are kept (see `strategies.personal_models`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wardround.config.limits import Default, check_section, setting
from wardround.errors import ConfigError
from wardround.privacy.cells import cell_of

__all__ = ["PersonalConfig", "check_personal_use"]

_METHODS = ("mr-mtl", "local-head", "fedbn")
_FULL_PULL = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalConfig:
    """What of the model is each hospital's own; "none" is one model for all.

    "mr-mtl" gives every hospital a whole model, pulled to the mean of all with `strength` (default 0.1): Liu, Hu, Wu
    and Smith 2022, mean-regularised multi-task learning. With "local-head" the last layer is its own (Arivazhagan et
    al. 2019, FedPer), with "fedbn" the scales and shifts of normalisation layers are (Li et al. 2021); the rest is
    averaged.
    """

    method: str = setting("none", choices=("none", *_METHODS), unwritten=True)
    strength: float | None = setting(None, least=0, most=1e6, unwritten=True)

    def __post_init__(self) -> None:
        check_section("personal", self)
        if self.method == "mr-mtl" and self.strength is None:
            object.__setattr__(self, "strength", Default(0.1))

    @property
    def is_used(self) -> bool:
        """Whether anything is a hospital's own."""
        return self.method in _METHODS

    @property
    def is_part(self) -> bool:
        """Whether a part of the model is, and which one hangs on its layers."""
        return self.method in ("local-head", "fedbn")

    @property
    def pull(self) -> float:
        """Strength of the pull to the mean (>= 0): 0 where what is a hospital's own is pulled nowhere."""
        return float(self.strength or 0.0) if self.method == "mr-mtl" else 0.0


def check_personal_use(config: Any) -> None:
    """Refuse models of hospitals' own beside settings that they can't be with.

    Args:
        config: all settings.

    Raises:
        ConfigError: naming the value and the next step.
    """
    if config.personal.is_used:
        for message in (*_unreleased(config), *_of_one_model(config), *_overshooting(config)):
            raise ConfigError(message)


def _unreleased(config: Any) -> Iterator[str]:
    """Yield what keeps the server from having every hospital's model."""
    has = f'method = "{config.personal.method}" needs every hospital\'s own model at the server ([personal] method)'
    cell, protocol = cell_of(config.privacy), config.aggregation.protocol
    if not cell.releases_models:
        yield (
            f'{has}, and with unit = "{config.privacy.unit}" and placement = "{config.privacy.placement}" that is no '
            'release by itself: set unit = "record" and placement = "local", or method = "none"'
        )
    if protocol != "plain":
        yield (
            f'{has}, and protocol = "{protocol}" shows it their sum alone, so that real sites take no part in it: set '
            '[aggregation] protocol = "plain" in simulation, or method = "none"'
        )


def _of_one_model(config: Any) -> Iterator[str]:
    """Yield what is made for one model of all."""
    has, evaluation = f'method = "{config.personal.method}" ([personal] method)', config.evaluation
    if config.aggregation.strategy != "fedavg":
        yield (
            f'{has} averages by itself and goes with strategy = "fedavg", not "{config.aggregation.strategy}" '
            "([aggregation] strategy): remove one of them"
        )
    if evaluation.chooses:
        key = "patience" if evaluation.patience else "keep"
        yield (
            f"{has} has a model for each hospital, and {key} chooses by one model of all ([evaluation] {key}): remove "
            "one of them"
        )


def _overshooting(config: Any) -> Iterator[str]:
    """Yield a pull that would take a plain step past the mean."""
    training, pull = config.training, config.personal.pull
    if training.optimizer == "sgd" and pull * training.learning_rate > _FULL_PULL:
        yield (
            f"strength = {pull:g} must be <= 1 / learning-rate = {1 / training.learning_rate:.4g}, or a step would "
            "take a hospital's model past the mean ([personal] strength): lower one of them"
        )
