"""Flower strategies: by name or from a user's factory, and secure aggregation around any that averages."""

from wardround.strategies.by_name import needs_only_sum, strategy_of
from wardround.strategies.secagg_plus import SecAggPlus

__all__ = ["SecAggPlus", "needs_only_sum", "strategy_of"]
