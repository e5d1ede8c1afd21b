"""Flower's averaging strategies by name with their options, or a user's own.

Server optimizers are Flower's, not ours: they meet one reply, the exact weighted mean of the round. What is left
out on purpose: client sampling inside a strategy, because Flower draws node ids that change from run to run.
"""

import importlib
import logging
from collections.abc import Callable
from typing import Any

from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi, Strategy

from wardround.config import AggregationConfig, Config
from wardround.errors import ConfigError, WardroundError
from wardround.privacy.cells import cell_of

__all__ = ["build_strategy", "needs_only_sum", "strategy_of"]

_STRATEGIES: dict[str, tuple[Callable[..., Strategy], tuple[str, ...]]] = {
    "fedavg": (FedAvg, ()),
    "fedavgm": (FedAvgM, ("server_learning_rate", "server_momentum")),
    "fedadam": (FedAdam, ("eta", "eta_l", "beta_1", "beta_2", "tau")),
    "fedyogi": (FedYogi, ("eta", "eta_l", "beta_1", "beta_2", "tau")),
    "fedadagrad": (FedAdagrad, ("eta", "eta_l", "tau")),
    "fedprox": (FedProx, ("proximal_mu",)),
}
_OPTIONS = tuple(dict.fromkeys(option for _, options in _STRATEGIES.values() for option in options))
_ONLY_SUM = (FedAvg, FedAvgM, FedAdam, FedYogi, FedAdagrad, FedProx)


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
        if config.strategy not in _STRATEGIES:
            raise ConfigError(
                f'strategy = "{config.strategy}" must be one of {", ".join(_STRATEGIES)} or "package.module:factory" '
                "([aggregation] strategy)"
            )
        build, options = _STRATEGIES[config.strategy]
        _check_options(config.strategy, given, options)
        if config.strategy == "fedprox" and "proximal_mu" not in given:
            raise ConfigError('strategy = "fedprox" needs [aggregation] proximal-mu: add proximal-mu = 0.01')
        strategy = build(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1, **given)
    if only_sum and not needs_only_sum(strategy):
        raise ConfigError(
            f'strategy = "{config.strategy}" wants every hospital\'s update by itself, which carries no noise with '
            f'placement = "distributed" or "central": set [privacy] placement = "local", or use one of '
            f"{', '.join(_STRATEGIES)}"
        )
    if config.protocol != "plain" and not needs_only_sum(strategy):
        raise ConfigError(
            f'strategy = "{config.strategy}" wants every hospital\'s update by itself, which protocol = '
            f'"{config.protocol}" never shows: set protocol = "plain", or use one of {", ".join(_STRATEGIES)}'
        )
    return strategy


def needs_only_sum(strategy: Strategy) -> bool:
    """Return whether the strategy is served by the weighted mean alone.

    True for Flower's own averaging classes (not for their subclasses, which may do anything) and for a strategy
    that says so with `needs_only_sum = True`.
    """
    return type(strategy) in _ONLY_SUM or bool(getattr(strategy, "needs_only_sum", False))


def _check_options(name: str, given: dict[str, Any], allowed: tuple[str, ...]) -> None:
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
