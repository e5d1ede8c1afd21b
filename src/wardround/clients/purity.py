"""Whether a recorded program is a pure function of one record: what it may consist of, and what is refused and why.

A program is a list of operations of the framework. Each is a function of its arguments, apart from the kinds refused
here. What is left out on purpose: how a program is recorded and run (see `programs`).
"""

import operator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import GraphModule, Node

from wardround.errors import ConfigError

__all__ = ["WRITES", "Impure", "check_pure", "zero_what_is_empty"]

_RANDOM = {"bernoulli", "rand", "randn", "rand_like", "randn_like", "normal_functional", "native_dropout", "uniform"}
_RAISING = {"_linalg_check_errors", "_assert_async", "_functional_assert_async", "_assert_scalar"}
WRITES = "it writes into a buffer, a parameter or another tensor that outlives the call"
_EMPTY: dict[str, Any] = {
    "aten::empty": torch.ops.aten.zeros.default,
    "aten::empty_like": torch.ops.aten.zeros_like.default,
    "aten::new_empty": torch.ops.aten.new_zeros.default,
}


class Impure(ConfigError):
    """Code is no pure function of what it is given; of one argument, the reason, in words that fit any code."""

    @property
    def reason(self) -> str:
        """Why."""
        return str(self.args[0])

    def __str__(self) -> str:
        return (
            f"the model can't be run record by record: {self.reason}. Write its forward as a function of the record "
            'and the parameters alone, or set [privacy] placement = "none"'
        )


def check_pure(recorded: GraphModule, *, writes: bool) -> None:
    """Refuse what is not a function of a record, the parameters, the constants and fresh random numbers.

    Writes are refused where that is asked for: before functionalisation those within the call are none.

    Raises:
        Impure: the reason.
    """
    for node in recorded.graph.nodes:
        if node.op == "get_attr":
            _check_constant(recorded, node)
        elif node.op == "call_module":
            raise Impure("it calls a module in a way that can't be recorded")
        elif node.op == "call_function" and node.target is not operator.getitem:
            _check_operation(node, writes=writes)


def _check_constant(recorded: GraphModule, node: Node) -> None:
    value = getattr(recorded, str(node.target))
    if isinstance(value, torch.Generator):
        raise Impure("it draws from a generator of its own, which would outlive the call")
    if not isinstance(value, Tensor) or isinstance(value, FakeTensor):
        raise Impure("it uses something of an earlier call")
    if value.requires_grad:
        raise Impure("it uses a parameter that is not the module's own")


def _check_operation(node: Node, *, writes: bool) -> None:
    operation = node.target
    if not isinstance(operation, torch._ops.OpOverload) or operation.namespace not in ("aten", "prims"):
        raise Impure(f"it calls {operation}, which is not one of the framework's own operations")
    name = operation._schema.name.split("::")[1]
    if any(isinstance(value, torch.Generator) for value in (*node.args, *node.kwargs.values())):
        raise Impure("it draws from a generator of its own, which would outlive the call")
    if name in _RAISING:
        raise Impure(f"it stops at some records and not at others ({name})")
    if torch.Tag.data_dependent_output in operation.tags:
        raise Impure("what it does next depends on the values that it is given (an if, a loop, .item())")
    if torch.Tag.dynamic_output_shape in operation.tags:
        raise Impure("the shape of something in it depends on the values that it is given")
    if writes and operation._schema.is_mutable:
        raise Impure(WRITES)
    if torch.Tag.nondeterministic_seeded in operation.tags and name.rstrip("_") not in _RANDOM:
        raise Impure(f"it draws with {name}, whose number of draws may depend on a record")
    if writes and name.startswith(("as_strided", "_reshape_alias")):
        raise Impure("it reads memory by strides, past what belongs to the record (as_strided, or a write to a part)")
    if name.startswith(("resize", "set_")):
        raise Impure(f"it takes other memory than its tensors have, which may hold another record ({name})")
    if name.startswith(("empty", "new_empty")) and operation._schema.name not in _EMPTY:
        raise Impure(f"it reads memory that was not written to ({name})")


def zero_what_is_empty(recorded: GraphModule) -> None:
    """Replace memory that nobody wrote to by zeros, in place: it may hold another record."""
    for node in recorded.graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            node.target = _EMPTY.get(node.target._schema.name, node.target)
            if node.target in _EMPTY.values():
                node.kwargs = {key: value for key, value in node.kwargs.items() if key != "memory_format"}
    recorded.recompile()
