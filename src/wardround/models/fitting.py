"""A model made fit for records that are kept apart, and tried on copies before any hospital is charged.

What is left out on purpose: whether records are apart, which is never tried (see `clients.modes`).
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from wardround.errors import ConfigError, WardroundError

__all__ = ["check_records_apart", "copied", "take_shapes", "try_one_batch", "without_batch_statistics"]

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def copied(name: str, model: nn.Module) -> nn.Module:
    """Return a copy to try things on: the model itself is not run before it is trained."""
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise ConfigError(
            f'model "{name}" can\'t be copied: {type(error).__name__}: {error}. Keep generators, files and modules out '
            "of its attributes ([model] name)"
        ) from error


def take_shapes(name: str, model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Run two empty records through a model with lazy layers, so that they become what they are to be."""
    if any(isinstance(parameter, UninitializedParameter) for parameter in model.parameters()):
        with _trying(name, input_shape) as records:
            model(records)


@contextmanager
def _trying(name: str, input_shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Give two empty records for a model to take; whatever its own code raises about them is a ConfigError."""
    try:
        with torch.no_grad():
            yield torch.zeros((2, *input_shape))
    except Exception as error:
        raise ConfigError(
            f'model "{name}" can\'t take records of shape {input_shape}: {type(error).__name__}: {error}'
        ) from error


def without_batch_statistics(
    name: str, model: nn.Module, input_shape: tuple[int, ...]
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the model with every layer replaced that normalises over a batch, and a note where there was one.

    BatchNorm becomes GroupNorm (Wu and He 2018) of 32 groups or the most that divides the channels; InstanceNorm loses
    its running statistics. Frozen layers are replaced as well: in training they would see the batch like the others.

    Raises:
        ConfigError: the replacement would be a constant.
    """
    replaced = {path: layer for path, layer in model.named_modules() if _sees_batches(layer)}
    if not replaced:
        return model, ()
    for path, layer in replaced.items():
        instead = _apart(layer)
        if not path:
            model = instead
            continue
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, instead)
    _regroup(name, model, set(replaced), input_shape)
    kinds = ", ".join(sorted({type(layer).__name__ for layer in replaced.values()}))
    return model, (
        f'model "{name}" was changed so that no layer mixes records: {kinds} replaced by GroupNorm or by statistics of '
        "each record",
    )


def _sees_batches(layer: nn.Module) -> bool:
    return type(layer) in _BATCH_NORMS or (type(layer) in _INSTANCE_NORMS and bool(layer.track_running_stats))


def _apart(layer: Any) -> nn.Module:
    if type(layer) in _BATCH_NORMS:
        instead = nn.GroupNorm(math.gcd(32, layer.num_features), layer.num_features, affine=layer.affine)
    else:
        instead = type(layer)(layer.num_features, eps=layer.eps, affine=layer.affine)
    frozen = layer.affine and not layer.weight.requires_grad
    return instead.requires_grad_(not frozen)


def _regroup(name: str, model: nn.Module, replaced: set[str], input_shape: tuple[int, ...]) -> None:
    """Give every layer that replaced a batch normalisation groups of two values or more: one alone is a constant."""
    sizes = _sizes_of_inputs(name, model, replaced, input_shape)
    for path, size in sizes.items():
        layer = model.get_submodule(path)
        if not isinstance(layer, nn.GroupNorm) or size > layer.num_groups:
            continue
        if size < 2:
            raise ConfigError(
                f'model "{name}" normalises a single value a record in {path}, which leaves a constant once records '
                "are kept apart: remove the layer ([model] name)"
            )
        layer.num_groups = 1


def _sizes_of_inputs(name: str, model: nn.Module, paths: set[str], input_shape: tuple[int, ...]) -> dict[str, int]:
    """Return how many values of one record each of the layers gets, found with two empty records in evaluation."""
    sizes: dict[str, int] = {}
    tried = copied(name, model).eval()

    def look_at(path: str) -> Callable[..., None]:
        def look(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            sizes[path] = given[0][0].numel()

        return look

    for path in paths:
        tried.get_submodule(path).register_forward_pre_hook(look_at(path))
    with _trying(name, input_shape) as records:
        tried(records)
    return sizes


def try_one_batch(name: str, model: nn.Module, input_shape: tuple[int, ...], num_outputs: int) -> None:
    """Run two empty records through a copy, so that a misfit is found before any hospital is charged."""
    tried = copied(name, model)
    with torch.random.fork_rng(devices=[]), _trying(name, input_shape) as records:
        buffers = {key: buffer.clone() for key, buffer in tried.named_buffers()}
        tried.train()(records)
        after = dict(tried.named_buffers())
        changed = buffers.keys() != after.keys() or not all(torch.equal(buffers[key], after[key]) for key in buffers)
        shape = tuple(tried.eval()(records).shape)
    if changed:
        raise ConfigError(
            f'model "{name}" keeps statistics of its batches in buffers, which neither travel nor are protected: '
            "remove them"
        )
    if shape != (2, num_outputs):
        raise ConfigError(f'model "{name}" returned shape {shape} for 2 records, want (2, {num_outputs})')


def check_records_apart(name: str, model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Refuse a model whose output for one record changes with another record of the batch.

    No privacy rests on this: `clients.modes` does not run such a forward on batches. But one that is meant to see them
    would be another model record by record.
    """
    outputs = []
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            record, *others = torch.randn((4, 1, *input_shape))
            others[1] = others[1] * 1e3
            others[2] = torch.zeros_like(others[2])
            for other in others:
                torch.manual_seed(1)  # the same dropout, if there is any
                outputs.append(copied(name, model).train()(torch.cat([record, other]))[0])
    except WardroundError:
        raise
    except Exception as error:
        raise ConfigError(
            f'model "{name}" failed on two random records in training mode: {type(error).__name__}: {error}. Correct '
            "its forward ([model] name)"
        ) from error
    if not all(torch.allclose(outputs[0], other, rtol=1e-4, atol=1e-5, equal_nan=True) for other in outputs[1:]):
        raise ConfigError(
            f'model "{name}" mixes records: its output for one changes with another in the batch, so no clipping '
            'protects it. Change the model, or set [privacy] placement = "none"'
        )
