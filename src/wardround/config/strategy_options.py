"""Flower's averaging strategies by name, and the options that each takes: known before Flower is imported.

What is left out on purpose: the strategies themselves (see `strategies`), and what a user's own one takes.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from wardround.errors import ConfigError
from wardround.names import did_you_mean

__all__ = ["STRATEGY_OPTIONS", "check_strategy"]

STRATEGY_OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "fedavg": (),
        "fedavgm": ("server-learning-rate", "server-momentum"),
        "fedadam": ("eta", "eta-l", "beta-1", "beta-2", "tau"),
        "fedyogi": ("eta", "eta-l", "beta-1", "beta-2", "tau"),
        "fedadagrad": ("eta", "eta-l", "tau"),
        "fedprox": ("proximal-mu",),
    }
)
"""By strategy, what Flower's class takes of [aggregation]."""


def check_strategy(aggregation: Any) -> None:
    """Refuse a strategy that there is not, and options that it does not have, or lacks.

    Args:
        aggregation: the section of the settings.

    Raises:
        ConfigError: naming the strategy, or the option.
    """
    name = aggregation.strategy
    if ":" not in name and name not in STRATEGY_OPTIONS:
        hint = did_you_mean(name, STRATEGY_OPTIONS, otherwise="")
        raise ConfigError(
            f'strategy = "{name}" must be one of {", ".join(STRATEGY_OPTIONS)} or "package.module:factory" '
            f"([aggregation] strategy){hint}"
        )
    allowed = STRATEGY_OPTIONS.get(name, ())
    for option in sorted({option for options in STRATEGY_OPTIONS.values() for option in options}):
        if getattr(aggregation, option.replace("-", "_")) is not None and option not in allowed:
            raise ConfigError(
                f'{option} is no option of strategy = "{name}" (its options: {", ".join(allowed) or "none"}): remove '
                "it from [aggregation]"
            )
    if name == "fedprox" and aggregation.proximal_mu is None:  # Flower's default pulls nowhere
        raise ConfigError('strategy = "fedprox" needs [aggregation] proximal-mu: add proximal-mu = 0.01')
