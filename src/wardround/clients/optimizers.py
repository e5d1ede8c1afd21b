"""The step of an optimizer: torch's own functions of it, without its classes.

Making one imports a compiler (seconds, in every process) for what nothing here asks of them. Left out on purpose:
schedules (see `agreed.learning_rates`), and any state kept between rounds.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from wardround.config import TrainingConfig

__all__ = ["LocalOptimizer"]


class LocalOptimizer:
    """SGD, Adam or AdamW over some parameters, with the state of `torch.optim`'s classes and their arithmetic.

    AdamW's weight decay is apart from the gradient (Loshchilov and Hutter 2019, algorithm 2); SGD and Adam have it in
    the gradient, as the one of an L2 penalty.
    """

    def __init__(self, parameters: Sequence[Tensor], training: TrainingConfig, learning_rate: float) -> None:
        """Begin afresh.

        Args:
            parameters: that are moved.
            training: the optimizer, its momentum (of SGD) and its weight decay.
            learning_rate: of every step (> 0).
        """
        self._parameters, self._training, self._learning_rate = list(parameters), training, learning_rate
        self._momenta: list[Tensor | None] = [None for _ in self._parameters]
        if training.optimizer != "sgd":
            self._means = [torch.zeros_like(parameter) for parameter in self._parameters]
            self._squares = [torch.zeros_like(parameter) for parameter in self._parameters]
            self._counts = [torch.tensor(0.0) for _ in self._parameters]

    def forget_gradients(self) -> None:
        """Leave no gradient behind."""
        for parameter in self._parameters:
            parameter.grad = None

    def keep(self, parameters: Sequence[Tensor]) -> None:
        """Go on with the first rows of every parameter, of as many of which these are views; the rest stays as it is.

        The step of an element follows from that element's own gradients, so that of hospitals stacked in the first
        dimension those that go on are stepped as if they had been alone.
        """
        num_kept = len(parameters[0])
        self._parameters = list(parameters)
        self._momenta = [None if momentum is None else momentum[:num_kept] for momentum in self._momenta]
        if self._training.optimizer != "sgd":
            self._means = [mean[:num_kept] for mean in self._means]
            self._squares = [square[:num_kept] for square in self._squares]

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient; what has none stays where it is."""
        moved = [index for index, parameter in enumerate(self._parameters) if parameter.grad is not None]
        parameters = [self._parameters[index] for index in moved]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self._training.optimizer == "sgd":
            self._descend(moved, parameters, gradients)
        else:
            self._adapt(moved, parameters, gradients)

    def _descend(self, moved: list[int], parameters: list[Tensor], gradients: list[Tensor]) -> None:
        momenta = [self._momenta[index] for index in moved]
        sgd(
            parameters,
            gradients,
            momenta,
            weight_decay=self._training.weight_decay,
            momentum=self._training.momentum,
            lr=self._learning_rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        for index, momentum in zip(moved, momenta, strict=True):
            self._momenta[index] = momentum

    def _adapt(self, moved: list[int], parameters: list[Tensor], gradients: list[Tensor]) -> None:
        adam(
            parameters,
            gradients,
            [self._means[index] for index in moved],
            [self._squares[index] for index in moved],
            [],
            [self._counts[index] for index in moved],
            decoupled_weight_decay=self._training.optimizer == "adamw",
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self._learning_rate,
            weight_decay=self._training.weight_decay,
            eps=1e-8,
            maximize=False,
        )
