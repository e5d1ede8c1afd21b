"""What of a strategy runs at the hospitals: its attribute `hospital_side`, a function, and which settings it goes with.

What is left out on purpose: how it is run there (see `clients.hospital_sides`), and what it is sent: the strategy puts
that into its training messages (`wire.HOSPITAL_SIDE`).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wardround.config import Config
from wardround.errors import ConfigError
from wardround.privacy.cells import cell_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HospitalSide", "check_hospital_side", "hospital_side_of"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HospitalSide:
    """What a strategy does at hospitals.

    Attributes:
        strategy: name of its class, for errors.
        step: returns what the optimizer is given instead of a step's gradient, of that gradient by parameter name,
            and of the arrays that the strategy sent, by theirs.
    """

    strategy: str
    step: "Callable[[dict[str, Tensor], dict[str, Tensor]], Mapping[str, Tensor]]"


def hospital_side_of(strategy: object) -> HospitalSide | None:
    """Return what a strategy does at hospitals; None where it does nothing there.

    Raises:
        ConfigError: it is no function, or a method that would see the strategy object, which stays at the server.
    """
    step = getattr(strategy, "hospital_side", None)
    if step is None:
        return None
    name = type(strategy).__name__
    if not callable(step) or inspect.ismethod(step):
        raise ConfigError(
            f"hospital_side of strategy {name} must be a function of a step's gradient and of the arrays that the "
            "strategy sent, and not of the strategy, which stays at the server: make it a @staticmethod"
        )
    return HospitalSide(strategy=name, step=step)


def check_hospital_side(strategy: object, config: Config) -> None:
    """Refuse a hospital side where the settings give it no step to change, or hospitals that may not be sent it.

    Raises:
        ConfigError: see `hospital_side_of`; or the reason, and what to set instead.
    """
    side = hospital_side_of(strategy)
    if side is None:
        return
    has = f"strategy {side.strategy} has a hospital side, which changes the steps of local training"
    privacy = config.privacy
    if cell_of(privacy).sends_sum:
        raise ConfigError(
            f'{has}, and with unit = "{privacy.unit}" and placement = "{privacy.placement}" a hospital sends the '
            'gradient of a batch and takes no step: set placement = "local", or use another strategy ([aggregation] '
            "strategy)"
        )
    if config.aggregation.protocol == "secagg+":
        raise ConfigError(
            f'{has} by what the server sends each hospital, and with protocol = "secagg+" a hospital trains by its own '
            "settings alone and is told nothing that the others are not: a real site takes no part in it. Set protocol "
            '= "plain" in simulation, or use another strategy ([aggregation] strategy)'
        )
