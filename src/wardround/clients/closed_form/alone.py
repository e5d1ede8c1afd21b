"""A model whose gradients by record are known in closed form, for the records of one hospital.

What is left out on purpose: clipping and adding up (see `clients.gradients`).
"""

from torch import Tensor, nn

from wardround.clients.closed_form.by_record import ByRecord
from wardround.clients.closed_form.layers import floats_by_record, layers_of, run
from wardround.clients.losses import LossPerRecord

__all__ = ["ClosedForm"]


class ClosedForm:
    """What computes gradients by record in closed form, with the model's parameters as they are at every call."""

    def __init__(self, model: nn.Module) -> None:
        """Follow a known model that is covered (`layers.uncovered_because`)."""
        self._model, self._layers = model, layers_of(model)
        self._floats: dict[tuple[int, ...], int] = {}

    def train(self) -> "ClosedForm":
        """Let random layers draw, and return itself."""
        self._model.train()
        return self

    def floats_by_record(self, record_shape: tuple[int, ...]) -> int:
        """Return about how many numbers a record takes on its way, those gradients included that are formed."""
        if record_shape not in self._floats:
            self._floats[record_shape] = floats_by_record(self._model, record_shape)
        return self._floats[record_shape]

    def gradients_of(self, features: Tensor, labels: Tensor, loss: LossPerRecord) -> tuple[Tensor, list[ByRecord]]:
        """Return the losses (n,) of records (n, ...), and their gradients by every layer, of one hospital.

        Random layers draw anew for every record.
        """

        def losses_of(outputs: Tensor) -> Tensor:
            return loss(outputs[0], labels)[None]

        parameters = [parameter.detach()[None] for parameter in self._model.parameters() if parameter.requires_grad]
        losses, taps, gradients = run(self._layers, parameters, features[None], losses_of)
        return losses[0], [tap.by_record(each) for tap, each in zip(taps, gradients, strict=True)]
