"""Flower's averaging strategies by name with their options, or a user's own.

Server optimizers are Flower's, not ours: they meet one reply, the exact weighted mean of the round. What is left
out on purpose: client sampling inside a strategy, because Flower draws node ids that change from run to run.
"""

import importlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi, Strategy

from wardround.config import AggregationConfig, Config
from wardround.errors import ConfigError, WardroundError
from wardround.names import did_you_mean
from wardround.privacy.cells import cell_of

__all__ = ["STRATEGIES", "Recipe", "build_strategy", "needs_only_sum", "strategy_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One of Flower's averaging strategies, served by the weighted mean of a round alone.

    Attributes:
        build: Flower's class.
        options: keys of [aggregation] that it takes.
        needed: those of them that have no default there; each with a value to begin with.
    """

    build: type[Strategy]
    options: tuple[str, ...] = ()
    needed: Mapping[str, float] = field(default_factory=dict)


STRATEGIES: Mapping[str, Recipe] = {
    "fedavg": Recipe(build=FedAvg),
    "fedavgm": Recipe(build=FedAvgM, options=("server_learning_rate", "server_momentum")),
    "fedadam": Recipe(build=FedAdam, options=("eta", "eta_l", "beta_1", "beta_2", "tau")),
    "fedyogi": Recipe(build=FedYogi, options=("eta", "eta_l", "beta_1", "beta_2", "tau")),
    "fedadagrad": Recipe(build=FedAdagrad, options=("eta", "eta_l", "tau")),
    "fedprox": Recipe(build=FedProx, options=("proximal_mu",), needed={"proximal_mu": 0.01}),
}
_OPTIONS = tuple(dict.fromkeys(option for recipe in STRATEGIES.values() for option in recipe.options))


def strategy_of(config: Config) -> Strategy:
    """Return the strategy that the settings name.

    Raises:
        ConfigError: there is none, or it wants single updates where only their sum may be seen.
    """
    return build_strategy(config.aggregation, only_sum=cell_of(config.privacy).shares_noise)


def build_strategy(config: AggregationConfig, *, only_sum: bool = False) -> Strategy:
    """Return the strategy with its options; every node that the grid shows it takes part.

    A user's factory, "package.module:factory", is called without arguments and returns a Flower Strategy. It is given
    every reply by itself unless the strategy has an attribute `needs_only_sum` that is true.

    Args:
        config: name, options and protocol.
        only_sum: whether the noise is in the sum alone, so that no single reply may be seen.

    Raises:
        ConfigError: the name is unknown, an option belongs to another strategy, or a user's factory failed.
    """
    # Flower logs a handful of lines a round at INFO; the progress bar says the same in one.
    logging.getLogger("flwr").setLevel(logging.WARNING)
    given = {option: value for option in _OPTIONS if (value := getattr(config, option)) is not None}
    if ":" in config.strategy:
        _check_options(config.strategy, given, ())
        strategy = _users_strategy(config.strategy)
    else:
        strategy = _named_strategy(config.strategy, given)
    if only_sum and not needs_only_sum(strategy):
        raise ConfigError(
            f'strategy = "{config.strategy}" wants every hospital\'s update by itself, which carries no noise with '
            f'placement = "distributed" or "central": set [privacy] placement = "local", or use one of '
            f"{', '.join(STRATEGIES)}"
        )
    if config.protocol != "plain" and not needs_only_sum(strategy):
        raise ConfigError(
            f'strategy = "{config.strategy}" wants every hospital\'s update by itself, which protocol = '
            f'"{config.protocol}" never shows: set protocol = "plain", or use one of {", ".join(STRATEGIES)}'
        )
    return strategy


def needs_only_sum(strategy: Strategy) -> bool:
    """Return whether the strategy is served by the weighted mean alone.

    True for Flower's own averaging classes (not for their subclasses, which may do anything) and for a strategy
    that says so with `needs_only_sum = True`.
    """
    return any(type(strategy) is recipe.build for recipe in STRATEGIES.values()) or bool(
        getattr(strategy, "needs_only_sum", False)
    )


def _named_strategy(name: str, given: Mapping[str, float]) -> Strategy:
    if name not in STRATEGIES:
        hint = did_you_mean(name, STRATEGIES, otherwise="")
        raise ConfigError(
            f'strategy = "{name}" must be one of {", ".join(STRATEGIES)} or "package.module:factory" ([aggregation] '
            f"strategy){hint}"
        )
    recipe = STRATEGIES[name]
    _check_options(name, given, recipe.options)
    for option, value in recipe.needed.items():
        if option not in given:
            key = option.replace("_", "-")
            raise ConfigError(f'strategy = "{name}" needs [aggregation] {key}: add {key} = {value}')
    # Flower's classes don't take a common type's arguments: their names are its interface.
    build: Any = recipe.build
    strategy: Strategy = build(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1, **given)
    return strategy


def _check_options(name: str, given: Iterable[str], allowed: tuple[str, ...]) -> None:
    for option in given:
        if option not in allowed:
            words = ", ".join(word.replace("_", "-") for word in allowed) or "none"
            raise ConfigError(
                f'{option.replace("_", "-")} is no option of strategy = "{name}" (its options: {words}): remove it '
                "from [aggregation]"
            )


def _users_strategy(name: str) -> Strategy:
    module_name, _, factory_name = name.partition(":")
    try:
        strategy = getattr(importlib.import_module(module_name), factory_name)()
    except WardroundError:
        raise
    except Exception as error:
        raise ConfigError(
            f'strategy = "{name}" could not be built: {type(error).__name__}: {error}. It must be a callable without '
            "arguments, importable from here ([aggregation] strategy)"
        ) from error
    if not isinstance(strategy, Strategy):
        raise ConfigError(f'strategy = "{name}" returned {type(strategy).__name__}, not a flwr Strategy')
    return strategy
