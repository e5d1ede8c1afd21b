"""Which deltas are promises: refused, warned of, or neither, by how many units share them."""

import math
from collections.abc import Collection, Mapping, Sequence

from wardround.errors import ConfigError
from wardround.names import did_you_mean

__all__ = ["LARGEST_HOSPITAL_DELTA", "check_hospital_deltas", "check_record_deltas", "delta_warning", "names_text"]

LARGEST_HOSPITAL_DELTA = 0.01
"""Most that delta may be where a hospital is the unit: by itself it lets an attacker find one in a hundred for sure."""

_UNITS_PER_FAILURE = 10


def check_record_deltas(
    target_delta: float | Mapping[str, float], num_train_by_hospital: Mapping[str, int]
) -> dict[str, float]:
    """Return every hospital's delta, refusing one that is not below 1 / the number of its records.

    With delta >= 1/n, publishing one record whole would count as private.

    >>> check_record_deltas(1e-3, {"Basel": 100})
    {'Basel': 0.001}

    Raises:
        ConfigError: delta too large for a hospital, out of range, missing, or for a hospital that doesn't exist.
    """
    deltas = _deltas(target_delta, num_train_by_hospital)
    for name, num_train in sorted(num_train_by_hospital.items(), key=lambda item: item[1]):
        if not 0 < deltas[name] < 1 / num_train:
            raise ConfigError(
                f"target-delta = {deltas[name]:g} must be > 0 and < 1/{num_train} = {1 / num_train:.3g} for hospital "
                f"{name}, which has {num_train} training records ([privacy] target-delta): lower it, give each "
                "hospital its own, or leave small hospitals out with [federation] min-patients"
            )
    return deltas


def check_hospital_deltas(
    target_delta: float | Mapping[str, float], hospitals: Collection[str], num_hospitals: int
) -> dict[str, float]:
    """Return every hospital's delta, refusing one that is not below 1 / the number of hospitals, and small.

    Hospitals are few, so that 1/n alone would let 0.3 pass: delta is LARGEST_HOSPITAL_DELTA at most as well. See
    `check_record_deltas`; `num_hospitals` are those of which one is protected (>= 1).
    """
    deltas = _deltas(target_delta, hospitals)
    for delta in deltas.values():
        if not (0 < delta < 1 / num_hospitals and delta <= LARGEST_HOSPITAL_DELTA):
            raise ConfigError(
                f"target-delta = {delta:g} must be > 0, < 1/{num_hospitals}, since one of {num_hospitals} hospitals is "
                f"what is protected, and <= {LARGEST_HOSPITAL_DELTA:g}, since a promise that fails more often than one "
                "time in a hundred is none ([privacy] target-delta): lower it"
            )
    return deltas


def delta_warning(deltas: Mapping[str, float], num_units: Mapping[str, int], *, unit: str) -> str:
    """Return a sentence where a delta is above 1 / (10 times the units it is for); empty where none is.

    >>> delta_warning({"Basel": 1e-5}, {"Basel": 100}, unit="record")
    ''

    The units that share each delta are by hospital_id as well; their noun is for the sentence.
    """
    worst = max(num_units, key=lambda name: deltas[name] * num_units[name])
    if deltas[worst] * num_units[worst] * _UNITS_PER_FAILURE <= 1 + 1e-9:
        return ""
    advised = 10.0 ** math.floor(math.log10(1 / (_UNITS_PER_FAILURE * num_units[worst])))
    return (
        f"target-delta = {deltas[worst]:g} is large: the promise may fail for one {unit} in {1 / deltas[worst]:,.0f}, "
        f"and 1 / (10 times the {unit}s that share it) is the most that is customary; set [privacy] target-delta to "
        f"{advised:g} or less"
    )


def _deltas(target_delta: float | Mapping[str, float], hospitals: Collection[str]) -> dict[str, float]:
    if not isinstance(target_delta, Mapping):
        return dict.fromkeys(hospitals, float(target_delta))
    for name in target_delta:
        if name not in hospitals:
            hint = did_you_mean(name, hospitals, otherwise=f": the hospitals are {names_text(list(hospitals))}")
            raise ConfigError(f"target-delta names an unknown hospital {name} ([privacy] target-delta){hint}")
    missing = [name for name in hospitals if name not in target_delta]
    if missing:
        raise ConfigError(
            f"target-delta has no value for {names_text(missing)} ([privacy] target-delta): add one for each hospital, "
            "or give one number for all"
        )
    return {name: float(target_delta[name]) for name in hospitals}


def names_text(hospitals: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    return ", ".join(hospitals[:3]) + (f" and {len(hospitals) - 3} more" if len(hospitals) > 3 else "")
