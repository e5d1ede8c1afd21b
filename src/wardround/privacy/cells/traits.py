"""The plain facts about a cell that its behaviour, and whoever shows or plans it, begins from."""

from dataclasses import dataclass
from typing import ClassVar

from wardround.privacy.cells.words import PlainWords

__all__ = ["READERS", "Traits"]

READERS = ("server", "hospital", "recipient")
"""Who may look: the server, another hospital of the federation, whoever receives the model."""


@dataclass(frozen=True)
class Traits:
    """The traits of a cell; the defaults are those of DP-SGD at the hospital.

    Attributes:
        name: of the cell, as events and assignments have it.
        unit: what is protected, "record" or "hospital".
        placement: where the noise is added, as the settings name it.
        mechanism: as the ledger has it.
        relation: which data are neighbours; figures of different units or relations are never added.
        clips_apart: most that neighbours differ by in what is released, in clips (max_grad_norm).
        is_private: whether anything is protected.
        clips_records: whether every record's gradient is clipped by itself, which not every model can do.
        adapts_clip: whether the clip may follow a quantile of the updates' norms.
        shares_noise: whether one noise covers the sum of all hospitals, so that all have the same noise multiplier.
        sends_sum: whether hospitals send one clipped gradient sum a round instead of training.
        adds_noise_at_server: whether the server adds the noise, and sees what it covers without it.
        needs_secure_sum: whether the bill holds only while the sum is all that the server sees.
        payload: what hospitals sum, as the terms of a secure sum have it: "parameters", "values" or "residues".
        accountant: by which the headline is proved, "pld" or "rdp".
        noise_correlation: of the noise of different rounds, as the settings name it.
        plain_words: sentences for people (see `words`).
    """

    __slots__ = ()
    name: ClassVar[str]
    unit: ClassVar[str] = "record"
    placement: ClassVar[str]
    mechanism: ClassVar[str]
    relation: ClassVar[str] = "zero-out-one-record"
    clips_apart: ClassVar[float] = 1.0
    is_private: ClassVar[bool] = True
    clips_records: ClassVar[bool] = True
    adapts_clip: ClassVar[bool] = False
    shares_noise: ClassVar[bool] = False
    sends_sum: ClassVar[bool] = False
    adds_noise_at_server: ClassVar[bool] = False
    needs_secure_sum: ClassVar[bool] = False
    payload: ClassVar[str] = "parameters"
    accountant: ClassVar[str] = "pld"
    noise_correlation: ClassVar[str] = "none"
    plain_words: ClassVar[PlainWords]
