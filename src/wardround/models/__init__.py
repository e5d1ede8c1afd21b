"""Torch models by name or by a user's factory, made fit for records that are kept apart."""

from wardround.models.building import build_model, load_parameters, parameters_of
from wardround.models.named import ResidualBlock
from wardround.models.own_parts import own_names

__all__ = ["ResidualBlock", "build_model", "load_parameters", "own_names", "parameters_of"]
