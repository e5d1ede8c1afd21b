"""What privacy costs and how it is kept: accounting, the ledger, the account, the budget.

`GaussianNoise` and `PoissonSampler` are in `privacy.noise` and `privacy.sampling`, apart, because they bring torch.
"""

from wardround.privacy.account import Account, Headline, account_from_ledger, open_account
from wardround.privacy.accounting import (
    Phase,
    headline_epsilon,
    overlap_epsilon,
    pld_epsilon,
    rdp_epsilon,
)
from wardround.privacy.calibration import calibrate_noise_multiplier
from wardround.privacy.deltas import check_target_delta
from wardround.privacy.entries import Entry, entry_for
from wardround.privacy.ledger import Ledger, open_ledger
from wardround.privacy.policy import Decision, RemainingPlan, decide

__all__ = [
    "Account",
    "Decision",
    "Entry",
    "Headline",
    "Ledger",
    "Phase",
    "RemainingPlan",
    "account_from_ledger",
    "calibrate_noise_multiplier",
    "check_target_delta",
    "decide",
    "entry_for",
    "headline_epsilon",
    "open_account",
    "open_ledger",
    "overlap_epsilon",
    "pld_epsilon",
    "rdp_epsilon",
]
