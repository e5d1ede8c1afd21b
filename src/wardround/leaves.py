"""What may leave a hospital, on what grounds, and in which runs: every field of a reply, with a sentence for people.

What is left out on purpose: how a field travels (see `wire`) and what it means to the server (see `rounds`).
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = [
    "CHARGED",
    "FORMERLY_SENT",
    "GROUNDS",
    "INDEPENDENT",
    "LEAVES_HOSPITAL",
    "PUBLIC",
    "SENTENCES",
    "SIMULATION_ONLY",
    "fields_sent",
]

CHARGED = "charged"
"""The grounds of what carries noise, or has it added to its sum."""
PUBLIC = "public by decision"
"""The grounds of what epsilon does not cover, and anyone may know."""
SIMULATION_ONLY = "simulation only"
"""The grounds of what no real site sends."""
INDEPENDENT = "independent of the data"
"""The grounds of keys and shares."""
GROUNDS: Mapping[str, str] = MappingProxyType(
    {
        CHARGED: "carries noise, or noise is added to its sum; its cost is in the epsilon above",
        PUBLIC: "taken to be public; epsilon does not cover it",
        SIMULATION_ONLY: "measured for research on data that the researcher holds; epsilon does not cover it, and no "
        "real site sends it",
        INDEPENDENT: "keys and shares of secure aggregation, drawn at random; they tell nothing of the data",
    }
)
"""What each ground means."""

_FIELDS = (
    ("arrays", CHARGED, "what the hospital learned in the round: parameters of the model, or its part of their change"),
    ("hospital-id", PUBLIC, "the hospital's name"),
    ("round-number", PUBLIC, "the number of the round"),
    ("num-train", PUBLIC, "how many records it trains on"),
    ("num-scored", PUBLIC, "how many of its test records the released scores are of"),
    ("task", PUBLIC, "whether a class, a number or a time is predicted"),
    ("input-shape", PUBLIC, "how many features a record has"),
    ("num-outputs", PUBLIC, "how many classes or intervals of time are told apart"),
    ("hospitals-per-patient", PUBLIC, "how many hospitals may hold rows of one patient"),
    ("record-is", PUBLIC, "whether a record is a row or all rows of a patient"),
    ("own-statistics", PUBLIC, "whether it standardised its features by means and deviations of its own"),
    ("sample-rate", PUBLIC, "how large a share of the records each step drew"),
    ("num-steps", PUBLIC, "how many steps it trained"),
    ("num-noise-draws", PUBLIC, "how often it added noise"),
    ("noise-multiplier", PUBLIC, "how strong the noise was"),
    ("num-test", SIMULATION_ONLY, "how many records it tests on"),
    ("num-examples", SIMULATION_ONLY, "how many records its measurements are of"),
    ("fingerprint", SIMULATION_ONLY, "a digest that shows whether its training records are the same as before"),
    ("num-scrubbed", SIMULATION_ONLY, "how many gradients were left out because they were not finite"),
    ("loss", SIMULATION_ONLY, "the loss on its training records and, where it is tested, on its test records"),
    ("accuracy", SIMULATION_ONLY, "the share of its test records that the model got right, r2, or C"),
    ("auc", SIMULATION_ONLY, "how well the model ranks its test records (AUC)"),
    ("majority-accuracy", SIMULATION_ONLY, "the score of always giving its most frequent answer"),
    ("test-mean", SIMULATION_ONLY, "the mean of the number that is predicted, over its test records"),
    ("test-spread", SIMULATION_ONLY, "how far its test records are from that mean"),
    ("majority-error", SIMULATION_ONLY, "how far they are from the mean of its training records"),
    (
        "predictions",
        SIMULATION_ONLY,
        "for each of its test records what the model predicts and what is right, so that scores are computed over the "
        "test records of all hospitals",
    ),
    ("seconds", SIMULATION_ONLY, "how long it trained"),
    ("error", SIMULATION_ONLY, "the text of an error, where one stopped it"),
    ("refusal", PUBLIC, "why it refuses, from its settings and what it was asked, or that its own log says why"),
    ("name", PUBLIC, "the hospital's name, beside its keys"),
    ("sealing-key", INDEPENDENT, "a public key, by which others send it sealed shares"),
    ("masking-key", INDEPENDENT, "a public key, from which it and others agree on masks"),
    ("signature", INDEPENDENT, "its signature under what it sends"),
    ("receivers", INDEPENDENT, "which hospitals its shares are for"),
    ("sealed", INDEPENDENT, "shares of its mask seeds, sealed so that only their receivers can read them"),
    ("commitment", INDEPENDENT, "a digest that binds it to its mask seed"),
    ("seeds-of", INDEPENDENT, "whose mask seeds it gives a share of, since these hospitals answered"),
    ("seed-shares", INDEPENDENT, "its shares of those seeds"),
    ("keys-of", INDEPENDENT, "whose masking keys it gives a share of, since these hospitals fell silent"),
    ("key-shares", INDEPENDENT, "its shares of those keys"),
)
_FORMER_FIELDS = (("num-empty-batches", SIMULATION_ONLY, "in how many steps no record was drawn"),)
_OF_NUMBERS = frozenset({"test-mean", "test-spread", "majority-error"})
_POOLED = frozenset({*_OF_NUMBERS, "predictions"})
_OF_TESTS = frozenset({"accuracy", "auc", "majority-accuracy"}) | _POOLED
"""What tells how exactly a model does on test records, beside the loss, which is of training records, too."""
_SECURE_SUM = frozenset(name for name, ground, _ in _FIELDS if ground == INDEPENDENT) | {"name"}
_SIMULATED = frozenset(name for name, ground, _ in _FIELDS if ground == SIMULATION_ONLY)

LEAVES_HOSPITAL: Mapping[str, str] = MappingProxyType({name: ground for name, ground, _ in _FIELDS})
"""Everything a reply may carry, and on what grounds: charged to the ledger, public by decision (stated in
docs/decisions), independent of the data (keys and shares of secure aggregation), or sent by simulated hospitals only.
"arrays" are the parameters, or what the cell of unit x placement sends in their place (`privacy.cells`), which
includes the count of adaptive clipping."""

FORMERLY_SENT: Mapping[str, str] = MappingProxyType({name: ground for name, ground, _ in _FORMER_FIELDS})
"""What replies of earlier versions carried, and summaries of their runs list."""

SENTENCES: Mapping[str, str] = MappingProxyType({name: sentence for name, _, sentence in (*_FIELDS, *_FORMER_FIELDS)})
"""All these fields in words for people."""


def fields_sent(
    *,
    protocol: str,
    task: str,
    failed: bool,
    are_sites: bool = False,
    is_pooled: bool = True,
    release: str = "simulation",
) -> dict[str, str]:
    """Return the fields that a run's replies carried, with their grounds.

    Args:
        protocol: "plain", "secure-sum" or "secagg+"; keys and shares travel with the last alone.
        task: "classification", or "regression" or "survival", which have no AUC.
        failed: whether a hospital may have reported an error.
        are_sites: whether the hospitals are real sites, which send nothing that is for simulation only.
        release: as in [evaluation]; with "private" the number of test records is public, and sums over them are among
            what carries noise.
        is_pooled: whether scores are computed over all test records; in runs of earlier versions they were not.

    >>> "sealing-key" in fields_sent(protocol="plain", task="regression", failed=False)
    False
    >>> "loss" in fields_sent(protocol="secagg+", task="regression", failed=False, are_sites=True)
    False
    """
    left_out = set() if protocol == "secagg+" else set(_SECURE_SUM)
    left_out |= set() if task == "classification" else {"auc"}
    left_out |= set() if task == "regression" else _OF_NUMBERS
    left_out |= set() if is_pooled else _POOLED
    left_out |= set() if failed else {"error", "refusal"}
    left_out |= _SIMULATED if are_sites else {"refusal"}
    left_out |= set() if release == "simulation" else _OF_TESTS
    left_out |= set() if are_sites and release == "private" else {"num-scored"}
    sent = {name: ground for name, ground in LEAVES_HOSPITAL.items() if name not in left_out}
    return sent | ({"num-test": PUBLIC} if release == "private" and not are_sites else {})
