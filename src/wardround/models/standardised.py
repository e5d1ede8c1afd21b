"""A trained model behind the constants that its features were standardised by: it takes them as tables have them.

What is left out on purpose: training, where features are standardised once and the model meets no others.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wardround.config import MOST_DEVIATIONS

__all__ = ["Standardised"]


class Standardised(nn.Module):
    """A model of features in their own unit, nan where missing; a record's output depends on that record alone."""

    middle: Tensor
    reach: Tensor
    bound: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        model: nn.Module,
        centre: Sequence[float],
        scale: Sequence[float],
        *,
        numbers: Sequence[int] = (),
        low: Sequence[float] = (),
        high: Sequence[float] = (),
    ) -> None:
        """Wrap a model of standardised features (n, d).

        Args:
            model: as it was trained.
            centre: d numbers, what is subtracted of each feature.
            scale: d numbers (> 0), what it is divided by.
            numbers: places of the features that are first brought from [low, high] to [-1, 1], and held within.
            low: of each of these.
            high: of each of these.
        """
        super().__init__()
        middle, reach = torch.zeros(len(centre), dtype=torch.float64), torch.ones(len(centre), dtype=torch.float64)
        lowest, highest = torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)
        places = list(numbers)
        middle[places], reach[places] = (lowest + highest) / 2, (highest - lowest) / 2
        bound = torch.full_like(reach, torch.inf)
        bound[places] = 1.0
        for name, values in (("middle", middle), ("reach", reach), ("bound", bound)):
            self.register_buffer(name, values)
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        """Return the model's outputs (n, k) of features (n, d)."""
        held = (features.double() - self.middle) / self.reach
        held = torch.minimum(torch.maximum(held, -self.bound), self.bound)
        scaled = torch.clamp((held - self.centre) / self.scale, -MOST_DEVIATIONS, MOST_DEVIATIONS)
        outputs: Tensor = self.model(torch.nan_to_num(scaled, nan=0.0).float())
        return outputs
