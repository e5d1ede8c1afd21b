"""What all hospitals are told beside a model, since it was released before round 1: constants of features and classes.

What is left out on purpose: the release that they come from (see `moments`), and how they travel (see `wire`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from wardround.config import ImbalanceConfig
from wardround.datasets.moments import MomentLayout, scaling_from, shares_from
from wardround.datasets.scaling import Scaling
from wardround.errors import ProtocolError

__all__ = ["NO_CONSTANTS", "Balance", "Constants", "constants_from", "copies_of", "weights_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What a record of each class counts, in class order.

    Attributes:
        loss_weights: what its loss is multiplied with, finite and > 0.
        copies: how often it counts in a sum, >= 1.
    """

    loss_weights: tuple[float, ...]
    copies: tuple[int, ...]

    def __post_init__(self) -> None:
        is_one_each = len(self.loss_weights) == len(self.copies) > 0
        if not (is_one_each and np.isfinite(self.loss_weights).all() and min(self.loss_weights) > 0):
            raise ProtocolError(
                f"a balance of {len(self.loss_weights)} weights and {len(self.copies)} copies is refused: they must be "
                "as many, and weights finite and > 0"
            )
        if min(self.copies) < 1:
            raise ProtocolError(f"copies = {list(self.copies)} of a balance are refused: they must be >= 1")

    def check(self, num_classes: int, most_copies: int) -> None:
        """Refuse a balance of other classes, or one by which a record counts more often than is billed.

        Raises:
            ProtocolError: naming the numbers.
        """
        if len(self.copies) != num_classes or max(self.copies) > most_copies:
            raise ProtocolError(
                f"a balance of {len(self.copies)} classes with copies up to {max(self.copies)} is refused: there are "
                f"{num_classes} classes, and a record may count {most_copies} times at most ([imbalance])"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """What was released before round 1, and every message tells; None of what was not.

    Attributes:
        scaling: of features.
        balance: of classes.
    """

    scaling: Scaling | None = None
    balance: Balance | None = None


NO_CONSTANTS = Constants()
"""Of a run that released nothing before round 1."""


def weights_of(shares: tuple[float, ...]) -> tuple[float, ...]:
    """Return inverse shares of classes, of which the mean over records that have these shares is 1.

    >>> weights_of((0.8, 0.2))
    (0.625, 2.5)

    Args:
        shares: of each class, > 0, which add up to 1.
    """
    return tuple(1 / (len(shares) * share) for share in shares)


def copies_of(shares: tuple[float, ...], most_copies: int) -> tuple[int, ...]:
    """Return how often each class must count to be about as many as the largest, at most so often.

    >>> copies_of((0.65, 0.3, 0.05), most_copies=4)
    (1, 2, 4)

    Args:
        shares: as of `weights_of`.
        most_copies: >= 1.
    """
    return tuple(min(most_copies, max(1, round(max(shares) / share))) for share in shares)


def constants_from(
    imbalance: ImbalanceConfig, layout: MomentLayout, mean: ArrayLike | None, *, stddev: float
) -> Constants:
    """Return what all hospitals are told of a released mean; that nothing changes where there is none.

    Args:
        imbalance: whether weights or copies are made of shares, and how many copies at most.
        layout: of the mean.
        mean: (num_values,), or None.
        stddev: of the noise in each of its coordinates (>= 0).
    """
    scaling = balance = None
    if layout.num_features:
        scaling = Scaling(centre=(0.0,) * layout.num_features, scale=(1.0,) * layout.num_features)
        scaling = scaling if mean is None else scaling_from(mean, layout, stddev=stddev)
    if layout.num_classes:
        size = layout.num_classes
        shares = (1 / size,) * size if mean is None else shares_from(mean, layout, stddev=stddev)
        weighs = imbalance.remedy == "loss-weights"
        balance = Balance(
            loss_weights=weights_of(shares) if weighs else (1.0,) * size,
            copies=copies_of(shares, imbalance.most_copies),
        )
    return Constants(scaling=scaling, balance=balance)
