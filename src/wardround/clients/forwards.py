"""What kind of forward a model has, told from how it is built, not by what it makes of numbers: known, or any other.

A known forward consists of the framework's own layers, of exactly the types listed here, whose code keeps the records
of a batch apart whatever their values. Opacus' modes are for these. Every other forward is run record by record (see
`programs`). What is left out on purpose: subclasses, and every layer that needs a second look.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from wardround.errors import ConfigError
from wardround.models import ResidualBlock

__all__ = ["check_unwatched", "unknown_because"]

_DIMENSIONS: dict[type[nn.Module], int] = {
    nn.Conv1d: 3, nn.Conv2d: 4, nn.Conv3d: 5,
    nn.Dropout: 0, nn.Dropout1d: 3, nn.Dropout2d: 4, nn.Dropout3d: 5, nn.AlphaDropout: 0,
    nn.MaxPool1d: 3, nn.MaxPool2d: 4, nn.MaxPool3d: 5, nn.AvgPool1d: 3, nn.AvgPool2d: 4, nn.AvgPool3d: 5,
    nn.AdaptiveAvgPool1d: 3, nn.AdaptiveAvgPool2d: 4, nn.AdaptiveAvgPool3d: 5,
    nn.AdaptiveMaxPool1d: 3, nn.AdaptiveMaxPool2d: 4, nn.AdaptiveMaxPool3d: 5,
}  # fmt: skip
"""Dimensions of a batch for these layers, if not any; with one less they would take the records for channels."""

_ALONG_A_DIMENSION: set[type[nn.Module]] = {nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU, nn.Flatten}
_ELEMENTWISE = {
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh,
    nn.Sigmoid, nn.LogSigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Tanhshrink,
    nn.Softshrink, nn.Hardshrink, nn.Threshold,
}  # fmt: skip
_KNOWN: set[type[nn.Module]] = {
    nn.Sequential, ResidualBlock, nn.Linear, nn.GroupNorm, nn.LayerNorm, nn.Embedding,
    *_ELEMENTWISE, *_ALONG_A_DIMENSION, *_DIMENSIONS,
}  # fmt: skip
# A setting, and what it must be for the layer to keep records apart and Opacus' gradients to be the layer's.
_SETTINGS = {
    "inplace": False, "return_indices": False, "padding_mode": "zeros", "max_norm": None, "scale_grad_by_freq": False,
    "sparse": False,
}  # fmt: skip

_CALL_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_MODULE_HOOKS = (*_CALL_HOOKS, "_state_dict_hooks", "_load_state_dict_pre_hooks")
_PLAIN_ATTRIBUTES = vars(nn.Module())
_SCALARS = (bool, int, float, str, type(None))
_NUM_PROBES = 7


def unknown_because(model: nn.Module, record_shape: tuple[int, ...], *, ghost: bool = False) -> str | None:
    """Return why the model's forward is not a known one, as a clause; None where it is known.

    The proof by cases: each listed layer computes row i of its output from row i of its input alone, for inputs whose
    first dimension is the batch; `nn.Sequential` and `ResidualBlock` compose such layers; without hooks, overrides and
    shared or subclassed parameters nothing else runs; and without buffers nothing is kept.

    No code but the framework's own is run. With `ghost` it also refuses what makes norms of ghost clipping inexact.
    """
    seen: set[int] = set()
    for name, module in _every_part(model):
        where = f"{name or 'the model'} ({type(module).__name__})"
        if reason := _unlisted(module):
            return f"{where} {reason}"
        for parameter in module._parameters.values():
            if parameter is None:
                continue
            if reason := _odd_parameter(parameter, id(parameter) in seen):
                return f"a parameter of {where} {reason}"
            seen.add(id(parameter))
    return _walk(model, record_shape, ghost)


def check_unwatched() -> None:
    """Refuse to train while something in this process is told of every operation on records, or changes it.

    Raises:
        ConfigError: naming what.
    """
    modes = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    watchers = {
        "global module hooks": any(getattr(torch_module, f"_global{name}", None) for name in _CALL_HOOKS),
        "hooks on saved tensors": torch._C._autograd._top_saved_tensors_default_hooks(True) is not None,
        "a torch function mode": any(type(mode) is not DeviceContext for mode in modes),
        "a torch dispatch mode": bool(_get_current_dispatch_mode_stack()),
    }
    if active := [name for name, is_active in watchers.items() if is_active]:
        raise ConfigError(
            f"{active[0]} in this process could mix records or keep them, and no record is protected from that: remove "
            'them, or set [privacy] placement = "none"'
        )


def _every_part(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the module and all parts that it will call: from where it looks them up, and not by asking it."""
    yield name, module
    for key, part in module._modules.items():
        if part is not None:
            yield from _every_part(part, f"{name}.{key}" if name else key)


def _unlisted(module: nn.Module) -> str | None:
    # By identity: a class can be equal to any other that it likes.
    if not any(type(module) is kind for kind in _KNOWN):
        return "is not on the list of layers that are known to keep records apart"
    if overridden := sorted(set(vars(module)) & set(dir(type(module)))):
        return f"has {overridden[0]} replaced on the instance"
    if any(getattr(module, name, None) for name in _MODULE_HOOKS):
        return "has hooks"
    if module._buffers:
        return "has buffers"
    for setting, value in vars(module).items():
        if setting in _SETTINGS and value != _SETTINGS[setting]:
            return f"has {setting} = {value!r}"
        if not _is_plain(setting, value):
            return f"has an object for {setting}"
    return None


def _is_plain(name: str, value: Any) -> bool:
    """Return whether an attribute is what torch puts there, or numbers and texts: nothing with code of its own.

    A copy of a module is made by what its attributes say (`__deepcopy__`, or an object that has one).
    """
    if name in ("_parameters", "_modules"):
        return type(value) is dict
    if name in _PLAIN_ATTRIBUTES and name != "training":
        return type(value) is type(_PLAIN_ATTRIBUTES[name]) and value == _PLAIN_ATTRIBUTES[name]
    return type(value) in _SCALARS or (type(value) in (tuple, list) and all(type(part) in _SCALARS for part in value))


def _odd_parameter(parameter: nn.Parameter, used_before: bool) -> str | None:
    if used_before:
        return "is used twice"
    if type(parameter) is not nn.Parameter or parameter.layout != torch.strided or not parameter.is_leaf:
        return "is no plain parameter"
    if any(name.startswith("__") for name in vars(parameter)):
        return "says how it is copied"
    if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
        return "has hooks"
    return None


def _walk(model: nn.Module, record_shape: tuple[int, ...], ghost: bool) -> str | None:
    """Follow the shapes of a batch of zeros through a model of listed layers, and check each layer's.

    Without numbers at all (torch's device "meta") it would take seconds: shapes are then worked out by its compiler.
    """
    found: list[str] = []
    shapes: dict[int, torch.Size] = {}

    def look(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        shapes[id(module)] = output.shape
        if isinstance(module, ResidualBlock) and shapes[id(module.body)] != shapes[id(module.shortcut)]:
            # They would be spread over each other's dimensions, the records' among them.
            found.append("a ResidualBlock adds outputs of different shapes")
        found.extend(f"a {type(module).__name__} {reason}" for reason in _misuses(module, given[0], output, ghost))

    try:
        copied = copy.deepcopy(model).to("cpu").train()
        for module in copied.modules():
            module.register_forward_hook(look)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            copied(torch.zeros((_NUM_PROBES, *record_shape), device="cpu"))
    except Exception as error:
        return f"its layers don't fit records of shape {record_shape}: {type(error).__name__}: {error}"
    return found[0] if found else None


def _misuses(module: nn.Module, given: Tensor, output: Tensor, ghost: bool) -> Iterator[str]:
    kind = type(module)
    if given.shape[0] != _NUM_PROBES or output.shape[0] != _NUM_PROBES:
        yield "changes the number of records"
    wanted = _DIMENSIONS.get(kind, 0)
    if wanted and given.dim() != wanted:
        yield f"takes {given.dim()} dimensions, and {wanted} are a batch"
    if kind in _ALONG_A_DIMENSION:
        dimension = getattr(module, "start_dim" if kind is nn.Flatten else "dim")
        if dimension is None or dimension % given.dim() == 0:
            yield "works along the dimension of the records"
    if kind is nn.LayerNorm and len(module.normalized_shape) >= given.dim():  # type: ignore[arg-type]
        yield "normalises over the records"
    if kind is nn.GroupNorm and given[0].numel() == module.num_groups:
        yield "has one value in each group, which leaves a constant"
    if ghost and (kind is nn.Embedding or (kind is nn.Linear and given.dim() > 2)):
        yield "takes several positions of a record, whose ghost norm is a difference of large numbers"
