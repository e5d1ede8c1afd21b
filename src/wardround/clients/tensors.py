"""One hospital's rows as torch tensors on the device that trains."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from wardround.digests import array_digest

__all__ = ["HospitalTensors"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HospitalTensors:
    """One hospital's rows on the device: features (n, ...) float32, labels (n,) int64 or float32.

    `train_owners` (n,) int64, ascending from 0, is the patient of each training row; None where every row is one. The
    last `num_synthetic` of the training records are nobody's (see `datasets.oversampling`). `group_size` records, as
    they stand, are drawn and clipped as one (>= 1); where it is not 1 every row is a record. Records that
    are `left_out` (n,) bool are drawn like all others, and have no part in what is made of a batch; None where all
    have.
    """

    train_features: Tensor
    train_labels: Tensor
    test_features: Tensor
    test_labels: Tensor
    train_owners: Tensor | None = None
    left_out: Tensor | None = None
    num_synthetic: int = 0
    group_size: int = 1
    _digests: list[bytes] = field(init=False, repr=False, default_factory=list)

    @property
    def train_digest(self) -> bytes:
        """Of the training rows and owners, on whatever device they are; 32 bytes, taken once, when first asked for.

        Whoever is only tested is not hashed.
        """
        if not self._digests:
            self._digests.append(self._digest_of_training())
        return self._digests[0]

    def _digest_of_training(self) -> bytes:
        owners = {} if self.train_owners is None else {"owners": self.train_owners}
        left_out = {} if self.left_out is None else {"left out": self.left_out}
        rows = {"features": self.train_features, "labels": self.train_labels, **owners, **left_out}
        return array_digest({name: tensor.detach().cpu().numpy() for name, tensor in rows.items()})

    @property
    def num_train(self) -> int:
        """Number of training records: of patients, where patients own several rows."""
        return len(self.train_labels) if self.train_owners is None else int(self.train_owners[-1]) + 1

    @property
    def num_drawn(self) -> int:
        """Number of what batches are drawn of: records, or groups of them."""
        return math.ceil(self.num_train / self.group_size)

    @property
    def num_bytes(self) -> int:
        """Bytes of the rows on the device."""
        rows = (self.train_features, self.train_labels, self.test_features, self.test_labels, self.train_owners)
        return sum(tensor.nbytes for tensor in rows if tensor is not None)

    @property
    def record_shape(self) -> tuple[int, ...]:
        """Of one record's features."""
        return tuple(self.train_features.shape[1:])

    def rows_of(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the rows of a batch of records, or of groups, and of which it is each row where they differ.

        Raises:
            ValueError: a record of a group is left out, whose mean would be another.
        """
        if self.left_out is not None:
            if self.group_size > 1:
                raise ValueError("no record of a group can be left out")
            batch = batch[~self.left_out[batch]]
        if self.group_size > 1:
            places = torch.arange(self.group_size, device=batch.device)
            rows = (batch[:, None] * self.group_size + places).flatten()
            rows = rows[rows < self.num_train]
            return rows, rows // self.group_size
        if self.train_owners is None:
            return batch, None
        chosen = torch.zeros(self.num_train, dtype=torch.bool, device=self.train_owners.device)
        chosen[batch] = True
        rows = chosen[self.train_owners].nonzero().squeeze(1)
        return rows, self.train_owners[rows]
