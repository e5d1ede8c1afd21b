"""Flower strategies by name or from a user's factory, and what the server may assume of them."""

from wardround.strategies.by_name import build_strategy, needs_only_sum

__all__ = ["build_strategy", "needs_only_sum"]
