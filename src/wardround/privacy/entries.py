"""What a ledger holds: one entry for everything a hospital releases, checked when it is made."""

import math
from dataclasses import dataclass

from wardround.errors import ProtocolError
from wardround.privacy.mechanisms import MECHANISMS, Mechanism
from wardround.privacy.phases import KIND_FIELDS, Phase
from wardround.privacy.renyi import check_rate_and_noise
from wardround.rounds import Assignment

__all__ = ["Entry", "charge_id", "entry_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One release of one hospital in one round: everything that its epsilon depends on.

    Attributes:
        charge_id: "run/round/attempt/hospital", unique for a release.
        fingerprint: sha256 hex digest of the training data; "" of a real site, which does not tell it.
        hospital_id: whose records.
        run_id: which job.
        round_number: from 1.
        unit: what is protected, "record" or "hospital".
        relation: which data are neighbours, as the cell says (see `mechanisms`).
        placement: where the noise is added.
        mechanism: the cell's, or "none" for training without privacy.
        noise_multiplier: noise stddev / sensitivity (>= 0); 0 with mechanism "none".
        sample_rate: in (0, 1].
        num_steps: noisy steps (>= 1).
        sensitivity: most that neighbours differ by, L2 (> 0); inf with mechanism "none" where nothing is clipped.
        reader: who the bound holds against, "anyone" or some of `mechanisms.READERS`.
        scaled_norm: the sensitivity in integer steps before rounding (> 0), of Skellam noise; else 0.
        dimension: coordinates of the integer vector (>= 1), of Skellam noise; else 0.
        num_shares: replies guaranteed, each with its share of the noise (>= 1), of Skellam noise; else 0.
        attempt: at the round, from 1; every attempt is paid for, also one that was interrupted.
    """

    charge_id: str
    fingerprint: str
    hospital_id: str
    run_id: str
    round_number: int
    unit: str = "record"
    relation: str = "zero-out-one-record"
    placement: str = "local"
    mechanism: str = "poisson-subsampled-gaussian"
    noise_multiplier: float
    sample_rate: float
    num_steps: int
    sensitivity: float
    reader: str = "anyone"
    scaled_norm: float = 0.0
    dimension: int = 0
    num_shares: int = 0
    attempt: int = 1

    def __post_init__(self) -> None:
        # Digests are taken over JSON, where 1 and 1.0 differ, and NumPy's numbers have no place.
        for name in ("noise_multiplier", "sample_rate", "sensitivity", "scaled_norm"):
            object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("round_number", "num_steps", "dimension", "num_shares", "attempt"):
            object.__setattr__(self, name, int(getattr(self, name)))
        self._check_cell()
        if not self.charge_id or min(self.num_steps, self.round_number, self.attempt) < 1 or not self.sensitivity > 0:
            raise ProtocolError(
                f'ledger entry charge_id = "{self.charge_id}", round_number = {self.round_number}, num_steps = '
                f"{self.num_steps}, attempt = {self.attempt}, sensitivity = {self.sensitivity} must be non-empty, "
                ">= 1, >= 1, >= 1 and > 0"
            )
        if self.noise_multiplier and (self.mechanism == "none" or math.isinf(self.sensitivity)):
            raise ProtocolError(
                f"ledger entry noise_multiplier = {self.noise_multiplier} needs clipping: give a finite sensitivity "
                'and mechanism "poisson-subsampled-gaussian"'
            )
        check_rate_and_noise(self.noise_multiplier, self.sample_rate)

    @property
    def phase(self) -> Phase:
        """The steps it pays for."""
        return Phase(**{name: getattr(self, name) for name in KIND_FIELDS}, num_steps=self.num_steps)

    def _check_cell(self) -> None:
        """Refuse an entry whose parts don't belong to one cell."""
        cell = MECHANISMS.get((self.unit, self.placement))
        if cell is None:
            raise ProtocolError(f'ledger entry unit = "{self.unit}", placement = "{self.placement}" is no known cell')
        wanted = {
            "relation": (cell.relation,),
            "mechanism": (cell.name, "none"),
            "reader": (cell.holds_against,),
        }
        for name, known in wanted.items():
            if getattr(self, name) not in known:
                raise ProtocolError(f'ledger entry {name} = "{getattr(self, name)}" must be one of {", ".join(known)}')
        skellam = self.placement == "distributed"
        parts = (self.scaled_norm > 0, self.dimension >= 1, self.num_shares >= 1)
        if (skellam and not all(parts)) or (not skellam and any(parts)):
            raise ProtocolError(
                f"ledger entry scaled_norm = {self.scaled_norm}, dimension = {self.dimension}, num_shares = "
                f'{self.num_shares} must be > 0 with placement "distributed", and 0 elsewhere'
            )


def charge_id(run_id: str, round_number: int, attempt: int, hospital_id: str) -> str:
    """Return the name of a release's charge; no two releases share one, as no run_id has a "/" in it."""
    return f"{run_id}/{round_number}/{attempt}/{hospital_id}"


def entry_for(assignment: Assignment, run_id: str, fingerprint: str) -> Entry:
    """Return the entry that pays for an assignment.

    Args:
        assignment: what the hospital is asked to do.
        run_id: which job; no "/" in it.
        fingerprint: of the hospital's training data.
    """
    unclipped = assignment.max_grad_norm is None
    cell: Mechanism = MECHANISMS[assignment.unit, assignment.placement]
    return Entry(
        charge_id=charge_id(run_id, assignment.round_number, assignment.attempt, assignment.hospital_id),
        fingerprint=fingerprint,
        hospital_id=assignment.hospital_id,
        run_id=run_id,
        round_number=assignment.round_number,
        unit=cell.unit,
        relation=cell.relation,
        placement=cell.placement,
        mechanism="none" if unclipped else cell.name,
        noise_multiplier=assignment.noise_multiplier,
        sample_rate=assignment.billed_rate,
        num_steps=assignment.billed_steps,
        sensitivity=_sensitivity(assignment),
        reader=cell.holds_against,
        scaled_norm=assignment.scaled_norm,
        dimension=assignment.dimension,
        num_shares=assignment.num_shares,
        attempt=assignment.attempt,
    )


def _sensitivity(assignment: Assignment) -> float:
    if assignment.max_grad_norm is None:
        return math.inf
    return assignment.max_grad_norm if assignment.sensitivity is None else assignment.sensitivity
