"""The cells of unit x placement: what each one releases, which neighbours it protects, and who learns what from it.

A cell that is not in `MECHANISMS` does not exist. The proofs are in docs/privacy.md. Left out on purpose: drawing the
noise (see `noise`, `integers`) and adding it up (`server.round.release`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wardround.errors import ConfigError
from wardround.privacy.clipping import JOINT_NORM

__all__ = ["MECHANISMS", "READERS", "RELATIONS", "Mechanism", "hidden_words", "mechanism_of"]

READERS = ("server", "hospital", "recipient")
"""Who may look: the server, another hospital of the federation, whoever receives the model."""

_ZERO_OUT_RECORD, _ZERO_OUT_HOSPITAL, _REPLACE = "zero-out-one-record", "zero-out-one-hospital", "replace-one-update"

_HIDDEN: Mapping[str, str] = MappingProxyType(
    {
        _ZERO_OUT_RECORD: (
            "whether {one} was used or replaced by an empty one; that the hospital has n {many} is public"
        ),
        _ZERO_OUT_HOSPITAL: (
            "whether a hospital's contribution was used or replaced by zero; that the hospital took part, and its "
            "weight, are public"
        ),
        _REPLACE: (
            "whether a hospital sent the update it did or any other; that the hospital took part, and its weight, are "
            "public"
        ),
    }
)
RELATIONS = tuple(_HIDDEN)
"""Which data are neighbours, by the names that ledgers and summaries have."""

_BILL = "the bill"
_OTHER_SHARES = "the bill with the reader's own share of the noise taken out"
_EVERYTHING = "everything: epsilon is infinite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """One cell.

    Attributes:
        unit: what is protected, "record" or "hospital".
        placement: where the noise is added, "local", "distributed" or "central".
        relation: which data are neighbours, one of RELATIONS.
        name: of the mechanism, as the ledger has it.
        clips_apart: most that neighbours differ by in what is released, in clips (max_grad_norm).
        released: what leaves a hospital in a round, in words.
        noise: who adds what, in words.
        learns: by reader, the epsilon that holds against it, in words.
    """

    unit: str
    placement: str
    relation: str
    name: str
    clips_apart: float
    released: str
    noise: str
    learns: Mapping[str, str]

    @property
    def shares_noise(self) -> bool:
        """Whether one noise covers the sum of all hospitals, so that all have the same noise multiplier."""
        return self.placement in ("distributed", "central")

    @property
    def sends_sum(self) -> bool:
        """Whether hospitals send one clipped gradient sum a round instead of training."""
        return self.unit == "record" and self.shares_noise

    @property
    def holds_against(self) -> str:
        """The readers that the ledger's bill holds against, as the ledger has it."""
        readers = [reader for reader in READERS if self.learns[reader] == _BILL]
        return "anyone" if len(readers) == len(READERS) else ",".join(readers)

    def sensitivity(self, max_grad_norm: float, *, adaptive_clipping: bool = False) -> float:
        """Return the L2 distance of neighbours, before rounding.

        >>> mechanism_of("hospital", "local").sensitivity(0.5)
        1.0
        """
        return max_grad_norm * self.clips_apart * (JOINT_NORM if adaptive_clipping else 1.0)

    def noise_against(self, reader: str, noise_multiplier: float, num_shares: int) -> float:
        """Return the noise multiplier that is left against a reader, who subtracts what it added or sees it without.

        A hospital's own share is in every sum that its data is in, so against another hospital at least one share of
        `num_shares` is left, and all but one where more are guaranteed.

        Args:
            reader: one of READERS.
            noise_multiplier: billed.
            num_shares: replies guaranteed (>= 1), placement "distributed" only.
        """
        learns = self.learns[reader]
        if learns == _EVERYTHING:
            return 0.0
        if learns == _OTHER_SHARES:
            return noise_multiplier * math.sqrt(max(1, num_shares - 1) / num_shares)
        return noise_multiplier


def _cell(
    unit: str, placement: str, relation: str, name: str, clips_apart: float, released: str, noise: str
) -> Mechanism:
    learns = dict.fromkeys(READERS, _BILL)
    if placement == "central":
        learns["server"] = _EVERYTHING
    elif placement == "distributed":
        learns["hospital"] = _OTHER_SHARES
    return Mechanism(
        unit=unit,
        placement=placement,
        relation=relation,
        name=name,
        clips_apart=clips_apart,
        released=released,
        noise=noise,
        learns=MappingProxyType(learns),
    )


_GRADIENT = "the sum of a Poisson batch's clipped gradients, one for each record"
_UPDATE = "the hospital's clipped update"
_INTEGER_SHARES = "integer Skellam noise, a share from each hospital, inside the sum"
_ONCE = "Gaussian noise, once, by the server"

MECHANISMS: Mapping[tuple[str, str], Mechanism] = MappingProxyType(
    {
        (cell.unit, cell.placement): cell
        for cell in (
            _cell(
                *("record", "local", _ZERO_OUT_RECORD, "poisson-subsampled-gaussian", 1.0),
                *("the model after local steps", "Gaussian noise in every local step, by the hospital (DP-SGD)"),
            ),
            _cell(
                *("record", "distributed", _ZERO_OUT_RECORD, "poisson-subsampled-skellam", 1.0),
                *(f"{_GRADIENT} and rounded", _INTEGER_SHARES),
            ),
            _cell("record", "central", _ZERO_OUT_RECORD, "poisson-subsampled-gaussian", 1.0, _GRADIENT, _ONCE),
            _cell(
                *("hospital", "local", _REPLACE, "gaussian", 2.0),
                *(_UPDATE, "Gaussian noise, once a round, by the hospital"),
            ),
            _cell(
                "hospital", "distributed", _ZERO_OUT_HOSPITAL, "skellam", 1.0, f"{_UPDATE}, rounded", _INTEGER_SHARES
            ),
            _cell("hospital", "central", _ZERO_OUT_HOSPITAL, "gaussian", 1.0, _UPDATE, _ONCE),
        )
    }
)
"""Every cell there is, by unit and placement."""


def hidden_words(relation: str, unit: str) -> str:
    """Return what a relation hides and what it does not: the one source of the words of every page.

    Args:
        relation: one of RELATIONS; anything else is handed back as it is.
        unit: the noun of what is protected: a record that is a row is not a patient.

    >>> hidden_words("zero-out-one-record", "patient")
    'whether your record was used or replaced by an empty one; that the hospital has n patients is public'
    """
    one, many = ("your record", "patients") if unit == "patient" else ("a record of yours", "records")
    return _HIDDEN.get(relation, relation).format(one=one, many=many)


def mechanism_of(unit: str, placement: str) -> Mechanism:
    """Return the cell.

    Raises:
        ConfigError: there is none, as for placement "none", which protects nobody.
    """
    if (unit, placement) not in MECHANISMS:
        raise ConfigError(
            f'unit = "{unit}" with placement = "{placement}" is no mechanism ([privacy]): choose one of '
            + ", ".join(f"{known[0]} x {known[1]}" for known in MECHANISMS)
        )
    return MECHANISMS[unit, placement]
