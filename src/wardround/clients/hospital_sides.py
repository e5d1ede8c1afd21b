"""A strategy's own code at the hospitals: made a program before it meets a gradient, and run after clip and noise.

It is a function of the gradient of a step and of arrays that the strategy sent. The function itself is run once, on
tensors that have shapes and no values; what is recorded of it, a list of the framework's own operations, is what meets
numbers. So nothing that it does on the side can carry anything from one step, round or hospital to the next, which
matters where the unit is a hospital: its gradients carry no noise yet.

No proof changes. Where records are the unit, the gradient is released already: clipped, summed and noised, whatever is
made of it and of what was sent is post-processing (Dwork and Roth 2014, proposition 2.1), and what was sent is made of
earlier releases, over which the account composes whatever they decide (Mironov 2017, proposition 1). Where
hospitals are the unit, their whole update is clipped and noised after all steps, whatever steps these were, so that its
sensitivity is the clip's. What is left out on purpose: anything that a hospital would keep or send for it; a strategy
knows what the hospital released, and keeps what it makes of it at the server.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from wardround.clients.programs import program_digest, record_once, refusing
from wardround.clients.purity import Impure
from wardround.digests import array_digest, digest_of
from wardround.errors import ConfigError
from wardround.exact_sums import Arrays

if TYPE_CHECKING:
    from wardround.strategies import HospitalSide

__all__ = ["SideInRound", "side_in_round"]

_Shapes = tuple[tuple[str, tuple[int, ...], torch.dtype], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SideInRound:
    """A strategy's hospital side in one round of a hospital.

    Attributes:
        program: of gradients and of what was received, in this order.
        received: what the strategy sent.
        digest: of what was received and of the program; what is released is a function of both.
    """

    program: GraphModule
    received: tuple[Tensor, ...]
    digest: bytes

    def step(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return what the optimizer is given instead of a step's gradients, in their order; memory of its own."""
        return [part.clone() for part in self.program(*gradients, *self.received)]


def side_in_round(side: "HospitalSide", model: nn.Module, received: Arrays) -> SideInRound:
    """Return what a strategy does in a round of local training.

    Args:
        side: its function.
        model: that is trained, on its device.
        received: what the strategy sent the hospital for it.

    Raises:
        ConfigError: its code fails, or is no function of what it is given.
    """
    parameters = {name: part for name, part in model.named_parameters() if part.requires_grad}
    device = next(iter(parameters.values())).device
    try:
        with refusing():
            sent = {name: torch.tensor(array, device=device) for name, array in received.items()}
            program = _program(side, _shapes(parameters), _shapes(sent), device)
    except Impure as error:
        raise ConfigError(
            f"the hospital side of strategy {side.strategy} failed: {error.reason}. It must be a function of its two "
            "arguments, a step's gradient and the arrays that the strategy sent, in torch's own operations "
            "([aggregation] strategy)"
        ) from error
    return SideInRound(
        program=program,
        received=tuple(sent.values()),
        digest=digest_of(array_digest(received), program_digest(program)),
    )


def _shapes(tensors: Mapping[str, Tensor]) -> _Shapes:
    return tuple((name, tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items())


@lru_cache(maxsize=8)  # the hospitals of a process are sent the same shapes, round after round
def _program(side: "HospitalSide", parameters: _Shapes, received: _Shapes, device: torch.device) -> GraphModule:
    """Return the side's step as a program of gradients like the parameters and of what is received."""

    def run(*tensors: Tensor) -> list[Tensor]:
        gradients = {name: tensor for (name, *_), tensor in zip(parameters, tensors, strict=False)}
        sent = {name: tensor for (name, *_), tensor in zip(received, tensors[len(parameters) :], strict=True)}
        made = side.step(dict(gradients), sent)
        if not isinstance(made, Mapping) or made.keys() != gradients.keys():
            raise TypeError("it must return a tensor by every parameter's name, and nothing else")
        for name, gradient in gradients.items():
            if made[name].shape != gradient.shape:
                raise ValueError(
                    f"{name} became {tuple(made[name].shape)}, and its gradient is {tuple(gradient.shape)}"
                )
        return [made[name].to(gradient.dtype) for name, gradient in gradients.items()]

    given = [torch.zeros(shape, dtype=dtype, device=device) for _, shape, dtype in (*parameters, *received)]
    return record_once(run, tuple(given))
