"""Every cell of unit x placement: what it is charged, against dp-accounting; who learns what; what is never added."""

import dataclasses
import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import pld_privacy_accountant
from dp_accounting.rdp import rdp_privacy_accountant
from made_up import PRIVATE, flat_assignment

from wardround.errors import ConfigError, ProtocolError
from wardround.privacy.accounting import (
    headline_epsilon,
    overlap_epsilon,
    pld_epsilon,
    rdp_epsilon,
)
from wardround.privacy.calibration import calibrate_noise_multiplier
from wardround.privacy.cells import READERS, cell_in_words
from wardround.privacy.entries import entry_for, entry_row
from wardround.privacy.events import dp_event
from wardround.privacy.ledger import open_ledger
from wardround.privacy.skellam import skellam_rdp
from wardround.privacy.spending import open_account
from wardround.step_events import StepEvent

CELLS = sorted(PRIVATE)
DELTA = 1e-5


def assignment(unit, placement, **changes):
    cell = cell_in_words(unit, placement)
    skellam = {"scaled_norm": 3000.0, "num_shares": 3, "dimension": 50} if placement == "distributed" else {}
    values = {
        "hospital_id": "Basel",
        "round_number": 1,
        "sample_rate": 0.2,
        "expected_batch_size": 20.0,
        "num_steps": 7 if (unit, placement) == ("record", "local") or unit == "hospital" else 1,
        "noise_multiplier": 1.5,
        "max_grad_norm": 0.5,
        "weight": 1.0,
        "unit": unit,
        "placement": placement,
        "sensitivity": cell.sensitivity(0.5),
    }
    return flat_assignment(**(values | skellam | changes))


def test_the_table_is_complete_and_says_what_each_reader_learns():
    placements = ("central", "distributed", "local")
    assert [(unit, placement) for unit in ("hospital", "record") for placement in placements] == CELLS
    for (unit, placement), cell in PRIVATE.items():
        assert (cell.unit, cell.placement) == (unit, placement)
        assert tuple(cell.learns) == READERS
        assert (cell.noise_against("server", 2.0, 4) == 0) == (placement == "central")
        assert cell.noise_against("recipient", 2.0, 4) == 2.0
    with pytest.raises(ProtocolError, match=r'unit = "record", placement = "elsewhere" is no known cell'):
        cell_in_words("record", "elsewhere")


def test_relations_and_sensitivities():
    facts = {key: (cell.relation, cell.sensitivity(0.5)) for key, cell in PRIVATE.items()}
    assert facts == {
        ("record", "local"): ("zero-out-one-record", 0.5),
        ("record", "distributed"): ("zero-out-one-record", 0.5),
        ("record", "central"): ("zero-out-one-record", 0.5),
        ("hospital", "local"): ("replace-one-update", 1.0),
        ("hospital", "distributed"): ("zero-out-one-hospital", 0.5),
        ("hospital", "central"): ("zero-out-one-hospital", 0.5),
    }


def test_every_relation_has_one_clause_that_says_what_is_hidden_and_what_is_public():
    for cell in PRIVATE.values():
        hidden = cell.words().hidden
        assert hidden.startswith("whether ") and hidden.endswith("public") and "patient" not in hidden
    assert cell_in_words("record", "local").words(record_is="patient").hidden == (
        "whether your record was used or replaced by an empty one; that the hospital has n patients is public"
    )
    assert cell_in_words("record", "local").words().hidden == (
        "whether a record of yours was used or replaced by an empty one; that the hospital has n records is public"
    )


@pytest.mark.parametrize(("num_shares", "left"), [(1, 1.0), (2, 0.5), (3, 2 / 3), (10, 0.9)])
def test_another_hospital_subtracts_its_own_share_and_no_more(num_shares, left):
    cell = cell_in_words("hospital", "distributed")
    assert cell.noise_against("hospital", 3.0, num_shares) ** 2 == pytest.approx(9.0 * left)
    assert cell.noise_against("server", 3.0, num_shares) == 3.0


@pytest.mark.parametrize(("unit", "placement"), CELLS)
def test_what_is_charged_is_what_an_independent_accountant_says(unit, placement, tmp_path):
    entry = entry_for(assignment(unit, placement), "run", "f" * 64)
    cell = cell_in_words(unit, placement)
    row = entry_row(entry)
    assert (row["relation"], row["mechanism"], entry.sensitivity) == (
        cell.relation,
        cell.mechanism,
        cell.sensitivity(0.5),
    )
    assert (entry.event.sample_rate, entry.event.num_steps) == (
        (1.0, 1) if unit == "hospital" else (0.2, 7 if placement == "local" else 1)
    )
    phases = [dataclasses.replace(entry.event, num_steps=40)]
    if placement == "distributed":
        assert dp_event(phases[0]) is None
        assert math.isinf(pld_epsilon(phases, DELTA))
        expected = _skellam_epsilon(phases[0])
        assert headline_epsilon(phases, DELTA) == pytest.approx(expected, rel=1e-6)
    else:
        event = dp_event(phases[0])
        for accountant, ours in ((rdp_privacy_accountant.RdpAccountant(), rdp_epsilon), (_pld(), pld_epsilon)):
            expected = accountant.compose(event).get_epsilon(DELTA)
            assert ours(phases, DELTA) == pytest.approx(expected, rel=2e-3)
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.charge([entry])
        assert ledger.entries() == [entry]
        assert ledger.events()["Basel"] == (entry.event,)


@pytest.mark.parametrize("placement", ["local", "central"])
def test_the_bill_of_a_record_is_dp_accountings_under_its_name_for_zero_out(placement):
    phases = [dataclasses.replace(entry_for(assignment("record", placement), "run", "f" * 64).event, num_steps=40)]
    zero_out, wider = dp_accounting.NeighboringRelation.REPLACE_SPECIAL, dp_accounting.NeighboringRelation.REPLACE_ONE
    event = dp_event(phases[0])
    renyi = rdp_privacy_accountant.RdpAccountant(neighboring_relation=zero_out)
    tight = pld_privacy_accountant.PLDAccountant(zero_out, 1e-4)
    assert rdp_epsilon(phases, DELTA) == pytest.approx(renyi.compose(event).get_epsilon(DELTA), rel=2e-3)
    assert pld_epsilon(phases, DELTA) == pytest.approx(tight.compose(event).get_epsilon(DELTA), rel=2e-3)
    assert not rdp_privacy_accountant.RdpAccountant(neighboring_relation=wider).supports(event)
    replaced = pld_privacy_accountant.PLDAccountant(wider, 1e-4).compose(event).get_epsilon(DELTA)
    assert replaced > 1.5 * pld_epsilon(phases, DELTA)


def _pld():
    return pld_privacy_accountant.PLDAccountant(value_discretization_interval=1e-4)


def _skellam_epsilon(phase):
    """The bound written out by hand, with dp-accounting's conversion of Renyi divergences."""
    orders = list(range(2, 200))
    root, norm = math.sqrt(phase.dimension), phase.scaled_norm
    squared = math.floor(min(norm**2 + phase.dimension / 4 + norm + root / 2, (norm + root) ** 2))
    one = min(root * math.sqrt(squared), squared)
    variance = (phase.noise_multiplier * norm) ** 2

    def whole(a):
        excess = min(((2 * a - 1) * squared + 6 * one) / (4 * variance**2), 3 * one / (2 * variance))
        return a * squared / (2 * variance) + excess

    def sampled(a, q):
        terms = [
            math.comb(a, k) * (1 - q) ** (a - k) * q**k * (math.exp((k - 1) * whole(k)) if k > 1 else 1.0)
            for k in range(a + 1)
        ]
        return min(whole(a), math.log(math.fsum(terms)) / (a - 1))

    if phase.sample_rate < 1:
        orders = list(range(2, 40))
        divergences = [sampled(a, phase.sample_rate) for a in orders]
    else:
        divergences = [whole(a) for a in orders]
    values = [phase.num_steps * value for value in divergences]
    return dp_accounting.rdp.compute_epsilon(orders, values, DELTA)[0]


def test_readers_of_an_account():
    for (unit, placement), num_hospitals in zip(CELLS, (2,) * len(CELLS), strict=True):
        account = open_account(dict.fromkeys(("Basel", "Bern")[:num_hospitals], DELTA))
        account = account.charged([entry_for(assignment(unit, placement), "run", "f" * 64)])
        epsilons = {reader: account.against(reader).epsilon_max() for reader in READERS}
        assert epsilons["recipient"] == account.epsilon_max()
        if placement == "local":
            assert all(account.against(reader) is account for reader in READERS)
        elif placement == "central":
            assert math.isinf(epsilons["server"]) and epsilons["hospital"] == account.epsilon_max()
        else:
            assert epsilons["server"] == account.epsilon_max()
            phase = entry_for(assignment(unit, placement), "run", "f" * 64).event
            weaker = dataclasses.replace(phase, noise_multiplier=1.5 * math.sqrt(2 / 3))
            assert epsilons["hospital"] == rdp_epsilon([weaker], DELTA) > account.epsilon_max()


@pytest.mark.parametrize(
    ("first", "second"),
    [(("record", "local"), ("hospital", "local")), (("hospital", "local"), ("hospital", "central"))],
)
def test_epsilons_of_different_units_or_relations_are_never_added(first, second):
    account = open_account({"Basel": DELTA, "Bern": DELTA})
    account = account.charged([entry_for(assignment(*first), "run", "f" * 64)])
    assert account.protects == (first[0], cell_in_words(*first).relation)
    with pytest.raises(ProtocolError, match="can't be added to one for unit"):
        account.charged([entry_for(assignment(*second, hospital_id="Bern"), "run", "f" * 64)])


@pytest.mark.parametrize("placement", ["distributed", "central"])
def test_hospitals_that_share_one_noise_are_never_added_up(placement):
    phase = entry_for(assignment("record", placement), "run", "f" * 64).event
    with pytest.raises(ConfigError, match=f'patient-overlap must be 1 with placement = "{placement}"'):
        overlap_epsilon({"Basel": [phase], "Bern": [phase]}, DELTA, 2)
    account = open_account({"Basel": DELTA, "Bern": DELTA}).projected([("Basel", phase)])
    with pytest.raises(ConfigError, match="patient-overlap must be 1"):
        account.epsilon_total(2)


@pytest.mark.parametrize("sample_rate", [1.0, 0.1])
def test_calibration_finds_the_least_integer_noise(sample_rate):
    cell = cell_in_words("record", "distributed")
    shape = cell.shape(
        sample_rate=sample_rate,
        dimension=1000,
        num_shares=3,
        most_contributions=500,
        most_replies=5,
    )
    noise = calibrate_noise_multiplier(2.0, DELTA, shape, 100)
    spent = rdp_epsilon([cell.step_event(shape, noise, 100)], DELTA)
    assert spent <= 2.0 < rdp_epsilon([cell.step_event(shape, noise * 0.999, 100)], DELTA)
    guessed = calibrate_noise_multiplier(2.0, DELTA, shape, 100, guess=30.0)
    assert guessed == pytest.approx(noise, rel=2e-4)


def test_phases_without_shares_cost_what_skellam_says():
    phase = StepEvent(
        noise_multiplier=2.0,
        sample_rate=1.0,
        num_steps=3,
        cell="record-distributed",
        scaled_norm=500.0,
        dimension=20,
        num_shares=1,
    )
    account = open_account({"Basel": DELTA}).projected([("Basel", phase)])
    np.testing.assert_allclose(account.divergences[0], 3 * skellam_rdp(2.0, 500.0, 20, 1.0))
