"""What a ledger holds: one entry for everything a hospital releases, checked when it is made."""

import math
from dataclasses import dataclass

from wardround.errors import ProtocolError
from wardround.privacy.accounting import Phase
from wardround.privacy.renyi import check_rate_and_noise
from wardround.rounds import Assignment

__all__ = ["Entry", "entry_for"]

_KNOWN = {
    "unit": ("record",),
    "relation": ("add-or-remove-one",),
    "mechanism": ("poisson-subsampled-gaussian", "none"),
    "reader": ("anyone",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One release of one hospital in one round: everything that its epsilon depends on.

    Attributes:
        charge_id: "run/round/hospital", unique for a release; the same bits released again have the same id.
        fingerprint: sha256 hex digest of the training data.
        hospital_id: whose records.
        run_id: which job.
        round_number: from 1.
        unit: what is protected, "record".
        relation: which data sets are neighbours, "add-or-remove-one".
        mechanism: "poisson-subsampled-gaussian", or "none" for training without privacy.
        noise_multiplier: noise stddev / sensitivity (>= 0); 0 with mechanism "none".
        sample_rate: in (0, 1].
        num_steps: noisy steps (>= 1).
        sensitivity: max_grad_norm (> 0); inf with mechanism "none" where gradients aren't clipped.
        reader: who the bound holds against, "anyone".
    """

    charge_id: str
    fingerprint: str
    hospital_id: str
    run_id: str
    round_number: int
    unit: str = "record"
    relation: str = "add-or-remove-one"
    mechanism: str = "poisson-subsampled-gaussian"
    noise_multiplier: float
    sample_rate: float
    num_steps: int
    sensitivity: float
    reader: str = "anyone"

    def __post_init__(self) -> None:
        # Digests are taken over JSON, where 1 and 1.0 differ, and NumPy's numbers have no place.
        for name in ("noise_multiplier", "sample_rate", "sensitivity"):
            object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("round_number", "num_steps"):
            object.__setattr__(self, name, int(getattr(self, name)))
        for name, known in _KNOWN.items():
            if getattr(self, name) not in known:
                raise ProtocolError(f'ledger entry {name} = "{getattr(self, name)}" must be one of {", ".join(known)}')
        if not self.charge_id or self.num_steps < 1 or self.round_number < 1 or not self.sensitivity > 0:
            raise ProtocolError(
                f'ledger entry charge_id = "{self.charge_id}", round_number = {self.round_number}, num_steps = '
                f"{self.num_steps}, sensitivity = {self.sensitivity} must be non-empty, >= 1, >= 1 and > 0"
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
        return Phase(noise_multiplier=self.noise_multiplier, sample_rate=self.sample_rate, num_steps=self.num_steps)


def entry_for(assignment: Assignment, run_id: str, fingerprint: str) -> Entry:
    """Return the entry that pays for an assignment.

    Args:
        assignment: what the hospital is asked to do.
        run_id: which job; no "/" in it.
        fingerprint: of the hospital's training data.
    """
    unclipped = assignment.max_grad_norm is None
    return Entry(
        charge_id=f"{run_id}/{assignment.round_number}/{assignment.hospital_id}",
        fingerprint=fingerprint,
        hospital_id=assignment.hospital_id,
        run_id=run_id,
        round_number=assignment.round_number,
        mechanism="none" if unclipped else "poisson-subsampled-gaussian",
        noise_multiplier=assignment.noise_multiplier,
        sample_rate=assignment.sample_rate,
        num_steps=assignment.num_steps,
        sensitivity=math.inf if assignment.max_grad_norm is None else assignment.max_grad_norm,
    )
