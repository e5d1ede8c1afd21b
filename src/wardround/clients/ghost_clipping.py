"""Ghost clipping: norms in a first backward pass, the clipped sum in a second, in float64.

What is left out on purpose: chunks of a batch, and what becomes of their sums (see `gradients`).

Source: Li et al. 2022 (arXiv 2110.05679), by Opacus.
"""

import copy

import torch
from torch import Tensor, nn

from wardround.clients.clipped_sums import with_margin
from wardround.clients.losses import LossPerRecord

__all__ = ["GhostTwin", "clipped_backward"]


class GhostTwin(nn.Module):
    """A float64 copy of a model, wrapped for ghost clipping, that follows the model's parameters.

    Ghost clipping scales losses and lets one backward pass do the sum, which is rounded however long the batch is; in
    float64 that is far below the margin of the clip (see `clipped_sums`).
    """

    def __init__(self, model: nn.Module, max_grad_norm: float) -> None:
        """Copy the model; it is followed from now on."""
        from opacus.grad_sample import grad_sample_module_fast_gradient_clipping as ghost

        super().__init__()
        self._followed = [each for each in model.parameters() if each.requires_grad]
        copied = copy.deepcopy(model).double()
        self.parameters_in_double = [each for each in copied.parameters() if each.requires_grad]
        self.wrapped = ghost.GradSampleModuleFastGradientClipping(
            copied, loss_reduction="mean", max_grad_norm=with_margin(max_grad_norm), use_ghost_clipping=True
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return the outputs (n, k), float64, of the model as it is now."""
        with torch.no_grad():
            for parameter, followed in zip(self.parameters_in_double, self._followed, strict=True):
                parameter.copy_(followed)
        return self.wrapped(features.double())  # type: ignore[no-any-return]


def clipped_backward(
    twin: GhostTwin, features: Tensor, labels: Tensor, loss: LossPerRecord, counts: Tensor | None = None
) -> tuple[Tensor, int]:
    """Leave the clipped sum in the twin, and return the losses, and how many records were not finite.

    Norms in a first backward pass, the clipped sum in a second (Li et al. 2022, ghost clipping).
    """
    on_cuda = features.device.type == "cuda"
    generator = torch.cuda.default_generators[features.device.index or 0] if on_cuda else torch.default_generator
    draws = generator.get_state()
    losses, finite = _ghost_norms(twin, features, labels, loss)
    shown, num_lost = losses.detach().float(), int((~finite).sum())
    if num_lost:
        # A zero coefficient can't hide a nan (0 * nan = nan): such records are emptied, and keep their place, so that
        # random layers draw for the others what they drew before.
        generator.set_state(draws)
        broken = ~finite.view(-1, *(1 for _ in features.shape[1:]))
        emptied = features.masked_fill(broken, 0), labels.masked_fill(~finite, 0)
        losses, again = _ghost_norms(twin, *emptied, loss)
        if not bool(again.all()):
            # Not even an empty record has a gradient: these leave the batch.
            twin.zero_grad(set_to_none=True)
            if bool(finite.any()):
                counted = None if counts is None else counts[finite]
                _, more_lost = clipped_backward(twin, features[finite], labels[finite], loss, counted)
                num_lost += more_lost
            return shown, num_lost
    coefficients = twin.wrapped.get_clipping_coef() * finite
    coefficients = coefficients if counts is None else coefficients * counts
    twin.wrapped.disable_hooks()
    torch.autograd.backward((coefficients * losses).sum())
    twin.wrapped.enable_hooks()
    return shown, num_lost


def _ghost_norms(twin: GhostTwin, features: Tensor, labels: Tensor, loss: LossPerRecord) -> tuple[Tensor, Tensor]:
    """Return the losses, whose graph is kept, and which records have a finite norm; norms stay with the twin."""
    twin.zero_grad(set_to_none=True)
    losses = loss(twin(features), labels)
    torch.autograd.backward(losses.mean(), retain_graph=True)
    finite = twin.wrapped.get_norm_sample().isfinite()
    twin.zero_grad(set_to_none=True)
    return losses, finite
