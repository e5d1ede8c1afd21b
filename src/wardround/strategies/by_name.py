"""Flower's averaging strategies by name with their options, or a user's own.

Server optimizers are Flower's, not ours: they meet one reply, the exact weighted mean of the round. What is left
out on purpose: client sampling inside a strategy, because Flower draws node ids that change from run to run.
"""

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import fields
from inspect import signature
from typing import Any

from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi, Strategy
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords

from wardround.config import AggregationConfig, Config
from wardround.errors import ConfigError, WardroundError
from wardround.objects import from_name
from wardround.privacy.cells import cell_of
from wardround.strategies.hospital_sides import check_hospital_side
from wardround.strategies.personal_models import PersonalModels

__all__ = ["STRATEGIES", "needs_only_sum", "only_averages_scores", "options_of", "strategy_of"]


STRATEGIES: Mapping[str, type[Strategy]] = {
    "fedavg": FedAvg,
    "fedavgm": FedAvgM,
    "fedadam": FedAdam,
    "fedyogi": FedYogi,
    "fedadagrad": FedAdagrad,
    "fedprox": FedProx,
}
"""Flower's averaging strategies, served by the weighted mean of a round alone."""


def options_of(name: str) -> tuple[str, ...]:
    """Return the settings of [aggregation] that one of `STRATEGIES` takes: what its class calls its arguments.

    >>> options_of("fedavgm")
    ('server_learning_rate', 'server_momentum')
    """
    arguments = signature(STRATEGIES[name]).parameters
    return tuple(item.name for item in fields(AggregationConfig) if item.name in arguments)


def strategy_of(config: Config) -> Strategy:
    """Return the strategy that the settings name, with its options; every node that the grid shows it takes part.

    A user's factory, "package.module:factory", returns a Flower Strategy. It is called with the settings where it has
    an argument `config`, and without arguments elsewhere. The strategy is given every reply by itself unless it has an
    attribute `needs_only_sum` that is true; one with an attribute `hospital_side` also does something at hospitals.

    Raises:
        ConfigError: a user's factory failed, or it wants single updates where only their sum may be seen, or has a
            hospital side where there can't be one.
    """
    # Flower logs a handful of lines a round at INFO; the progress bar says the same in one.
    logging.getLogger("flwr").setLevel(logging.WARNING)
    name, protocol = config.aggregation.strategy, config.aggregation.protocol
    known = {option for each in STRATEGIES for option in options_of(each)}
    values = ((option, getattr(config.aggregation, option)) for option in sorted(known))
    given = {option: value for option, value in values if value is not None}
    strategy = _users_strategy(config) if ":" in name else _named_strategy(name, given)
    if config.personal.is_used:
        strategy = PersonalModels(config.personal)
    check_hospital_side(strategy, config)
    if needs_only_sum(strategy):
        return strategy
    wants, others = f'strategy = "{name}" wants every hospital\'s update by itself, which', ", ".join(STRATEGIES)
    if cell_of(config.privacy).shares_noise:
        raise ConfigError(
            f'{wants} carries no noise with placement = "distributed" or "central": set [privacy] placement = "local", '
            f"or use one of {others}"
        )
    if protocol != "plain":
        raise ConfigError(
            f'{wants} protocol = "{protocol}" never shows: set protocol = "plain", or use one of {others}'
        )
    return strategy


def needs_only_sum(strategy: Strategy) -> bool:
    """Return whether the strategy is served by the weighted mean alone.

    True for Flower's own averaging classes (not for their subclasses, which may do anything) and for a strategy
    that says so with `needs_only_sum = True`.
    """
    return type(strategy) in STRATEGIES.values() or bool(getattr(strategy, "needs_only_sum", False))


def only_averages_scores(strategy: Strategy) -> bool:
    """Return whether all that the strategy makes of evaluations is their average, which nobody reads.

    True for Flower's own averaging classes, unless one was given a function of its own for it.
    """
    own = getattr(strategy, "evaluate_metrics_aggr_fn", None)
    return type(strategy) in STRATEGIES.values() and own is aggregate_metricrecords


def _named_strategy(name: str, given: Mapping[str, float]) -> Strategy:
    # Flower's classes don't take a common type's arguments: their names are its interface.
    build: Any = STRATEGIES[name]
    strategy: Strategy = build(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1, **given)
    return strategy


def _users_strategy(config: Config) -> Strategy:
    name = config.aggregation.strategy
    try:
        made = from_name(name, config.aggregation.handed)
        # A copy, as a strategy remembers: another run with the same one begins where this one did.
        strategy = copy.deepcopy(made) if isinstance(made, Strategy) else _called(made, config)
    except WardroundError:
        raise
    except Exception as error:
        raise ConfigError(
            f'strategy = "{name}" could not be built: {type(error).__name__}: {error}. It must be a Flower Strategy, '
            "or a callable that returns one, without arguments or with config as the one it needs, importable from "
            "here ([aggregation] strategy)"
        ) from error
    if not isinstance(strategy, Strategy):
        raise ConfigError(f'strategy = "{name}" returned {type(strategy).__name__}, not a flwr Strategy')
    return strategy


def _called(factory: Callable[..., Any], config: Config) -> Any:
    """Return what a factory makes, of the settings where it asks for them."""
    return factory(config=config) if "config" in signature(factory).parameters else factory()
