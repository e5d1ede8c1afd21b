"""Flower strategies: by name or from a user's factory, and secure aggregation around any that averages."""

from wardround.strategies.by_name import needs_only_sum, only_averages_scores, strategy_of
from wardround.strategies.hospital_sides import HospitalSide, check_hospital_side, hospital_side_of
from wardround.strategies.personal_models import kept_models, know_own_names
from wardround.strategies.secagg_plus import SecAggPlus

__all__ = [
    "HospitalSide",
    "SecAggPlus",
    "check_hospital_side",
    "hospital_side_of",
    "kept_models",
    "know_own_names",
    "needs_only_sum",
    "only_averages_scores",
    "strategy_of",
]
