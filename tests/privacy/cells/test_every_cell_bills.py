"""Every cell: what it bills, against dp-accounting or the bound written out; who learns what; what is never added."""

import dataclasses
import math
from contextlib import suppress

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import pld_privacy_accountant
from dp_accounting.rdp import rdp_privacy_accountant
from made_up import cohort_of

from wardround.errors import ConfigError, ProtocolError
from wardround.privacy.accounting import headline_epsilon, overlap_epsilon, pld_epsilon, rdp_epsilon
from wardround.privacy.calibration import calibrate_noise_multiplier
from wardround.privacy.cells import CELLS, READERS, cell_in_words, cell_named
from wardround.privacy.entries import entry_for, entry_of, entry_row
from wardround.privacy.events import event_against
from wardround.privacy.ledger import open_ledger
from wardround.privacy.renyi import ORDERS
from wardround.privacy.spending import open_account
from wardround.rounds import Schedule
from wardround.step_events import StepEvent

PRIVATE = [cell for cell in CELLS if cell.is_private]
SHARED = [cell for cell in PRIVATE if cell.shares_noise]
DELTA = 1e-5
every_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
every_private_cell = pytest.mark.parametrize("cell", PRIVATE, ids=lambda cell: cell.name)


def charged(cell, **changes):
    return entry_for(cohort_of(cell, [40, 60, 100], **changes)[0], "run", "f" * 64)


def test_cells_have_names_and_words_of_their_own():
    assert len({cell.name for cell in CELLS}) == len({cell.booked for cell in CELLS}) == len(CELLS)
    for cell in CELLS:
        assert cell_named(cell.name) is cell
        assert cell_in_words(cell.unit, cell.placement, cell.mechanism) is cell
    with pytest.raises(ProtocolError, match='cell = "ward-local" is no known cell: choose one of none, record-local'):
        cell_named("ward-local")
    with pytest.raises(ProtocolError, match='placement = "elsewhere" is no known cell'):
        cell_in_words("record", "elsewhere")


@every_private_cell
def test_the_bill_is_what_an_independent_accountant_says(cell):
    event = dataclasses.replace(charged(cell, sample_rate=0.2).event, num_steps=40)
    if cell.dp_event(event) is None:
        assert cell.accountant == "rdp" and math.isinf(pld_epsilon([event], DELTA))
        wanted = microbatch_epsilon(event) if cell.clips_groups else skellam_epsilon(event)
        # dp-accounting's divergences at fractional orders are sums that are cut off.
        assert headline_epsilon([event], DELTA) == pytest.approx(wanted, rel=1e-4 if cell.clips_groups else 1e-6)
        return
    assert cell.accountant == "pld"
    step = dp_accounting.GaussianDpEvent(1.5)
    if cell.unit == "record":
        step = dp_accounting.PoissonSampledDpEvent(0.2, step)
    written_out = dp_accounting.SelfComposedDpEvent(step, 40)
    assert cell.dp_event(event) == written_out and cell.event_text(event) == repr(written_out)
    zero_out = dp_accounting.NeighboringRelation.REPLACE_SPECIAL
    for accountant, ours in (
        (rdp_privacy_accountant.RdpAccountant(neighboring_relation=zero_out), rdp_epsilon),
        (pld_privacy_accountant.PLDAccountant(zero_out, 1e-4), pld_epsilon),
    ):
        assert ours([event], DELTA) == pytest.approx(accountant.compose(written_out).get_epsilon(DELTA), rel=2e-3)


def test_replacing_a_record_by_another_is_more_than_the_bill():
    event = StepEvent(noise_multiplier=1.5, sample_rate=0.2, num_steps=40)
    wider = dp_accounting.NeighboringRelation.REPLACE_ONE
    written_out = cell_named(event.cell).dp_event(event)
    assert not rdp_privacy_accountant.RdpAccountant(neighboring_relation=wider).supports(written_out)
    replaced = pld_privacy_accountant.PLDAccountant(wider, 1e-4).compose(written_out).get_epsilon(DELTA)
    assert replaced > 1.5 * pld_epsilon([event], DELTA)


def microbatch_epsilon(event):
    """Twice as many steps with half the variance, relative to one clip."""
    step = dp_accounting.GaussianDpEvent(math.sqrt(2) * event.noise_multiplier)
    steps = dp_accounting.SelfComposedDpEvent(
        dp_accounting.PoissonSampledDpEvent(event.sample_rate, step), 2 * event.num_steps
    )
    zero_out = dp_accounting.NeighboringRelation.REPLACE_SPECIAL
    accountant = rdp_privacy_accountant.RdpAccountant(list(ORDERS), zero_out)
    return accountant.compose(steps).get_epsilon(DELTA)


@pytest.mark.parametrize("noise_multiplier", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("sample_rate", [0.01, 0.3, 1.0])
def test_a_microbatch_step_costs_at_least_what_its_worst_neighbours_do(noise_multiplier, sample_rate):
    """A group's clipped mean that turns around, by numerical integration; what TensorFlow Privacy bills is less."""
    event = StepEvent(noise_multiplier=noise_multiplier, sample_rate=sample_rate, cell="record-local-microbatches")
    stddev, orders = 2 * noise_multiplier, [order for order in (1.5, 2.0, 4.0, 8.0, 32.0) if order in ORDERS]

    def log_density(outputs, moved):
        middle, away = (-(((outputs - by) / stddev) ** 2) / 2 for by in (0.0, moved))
        with np.errstate(divide="ignore"):
            return np.logaddexp(np.log1p(-sample_rate) + middle, np.log(sample_rate) + away)

    for order in orders:
        ends = 2 * order + 15 * stddev
        outputs = np.linspace(-ends, ends, 400_001)
        one, other = log_density(outputs, 1.0), log_density(outputs, -1.0)
        logs = order * one + (1 - order) * other
        width = outputs[1] - outputs[0]
        moment = logs.max() + np.log(np.exp(logs - logs.max()).sum() * width / (stddev * math.sqrt(2 * math.pi)))
        exact = moment / (order - 1)
        billed = cell_named(event.cell).divergence(event)[order == ORDERS][0]
        assert exact <= billed * (1 + 1e-6)
        if sample_rate == 1:
            assert exact == pytest.approx(billed, rel=1e-6)
        one_clip = StepEvent(noise_multiplier=2 * noise_multiplier, sample_rate=sample_rate)
        assert exact > cell_named("record-local").divergence(one_clip)[order == ORDERS][0]


def skellam_epsilon(event):
    """The bound written out by hand, with dp-accounting's conversion of Renyi divergences."""
    root, norm = math.sqrt(event.dimension), event.scaled_norm
    squared = math.floor(min(norm**2 + event.dimension / 4 + norm + root / 2, (norm + root) ** 2))
    one = min(root * math.sqrt(squared), squared)
    variance = (event.noise_multiplier * norm) ** 2

    def whole(a):
        excess = min(((2 * a - 1) * squared + 6 * one) / (4 * variance**2), 3 * one / (2 * variance))
        return a * squared / (2 * variance) + excess

    def sampled(a, q):
        terms = [
            math.comb(a, k) * (1 - q) ** (a - k) * q**k * (math.exp((k - 1) * whole(k)) if k > 1 else 1.0)
            for k in range(a + 1)
        ]
        return min(whole(a), math.log(math.fsum(terms)) / (a - 1))

    orders = list(range(2, 40 if event.sample_rate < 1 else 200))
    divergences = [sampled(a, event.sample_rate) if event.sample_rate < 1 else whole(a) for a in orders]
    return dp_accounting.rdp.compute_epsilon(orders, [event.num_steps * value for value in divergences], DELTA)[0]


@every_cell
def test_a_round_bills_every_step_or_the_whole_update_once(cell):
    schedule = Schedule(sample_rate=0.2, expected_batch_size=8.0, num_steps=7)
    assert cell.billed(schedule) == ((1, 1.0) if cell.unit == "hospital" else (7, 0.2))


@every_cell
def test_a_charge_comes_back_from_its_row(cell, tmp_path):
    noise = 1.5 if cell.is_private else 0.0
    entry = charged(cell, noise_multiplier=noise)
    assert entry_of(entry_row(entry)) == entry
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.charge([entry])
        assert ledger.entries() == [entry] and ledger.verify() == []
        assert ledger.events() == {"hospital-000": (entry.event,)}


@every_private_cell
def test_words_of_two_cells_make_no_charge(cell):
    row = entry_row(charged(cell))
    for name, value in cell.booked._asdict().items():
        for other in {getattr(known.booked, name) for known in CELLS} - {value}:
            with suppress(ProtocolError):  # or the words are all of one other cell, which wrote just these
                read = entry_of(row | {name: other})
                assert read.event.cell != cell.name and entry_row(read) == row | {name: other}


@every_cell
def test_an_event_has_integers_where_the_noise_is_of_integers_and_nowhere_else(cell):
    event = charged(cell, noise_multiplier=0.0).event
    cell.check_event(event)
    broken = {"dimension": 0, "num_shares": 0, "scaled_norm": 0.0} if event.dimension else {"dimension": 3}
    for name, value in broken.items():
        with pytest.raises(ProtocolError, match=rf"an event of cell {cell.name} has .*{name} = {value}"):
            cell.check_event(dataclasses.replace(event, **{name: value}))


def test_without_privacy_there_is_no_noise_to_charge():
    with pytest.raises(ProtocolError, match="needs clipping"):
        cell_named("none").check_event(StepEvent(noise_multiplier=1.0, sample_rate=1.0, cell="none"))


@every_private_cell
def test_divergence_grows_with_the_rate_and_falls_with_the_noise(cell):
    shape = cohort_shape(cell)

    def divergence(noise_multiplier, sample_rate):
        return cell.divergence(cell.step_event(shape.at_rate(sample_rate), noise_multiplier, 1), cached=False)

    assert (divergence(2.0, 0.5) < divergence(1.0, 0.5)).all()
    assert (divergence(2.0, 0.1) < divergence(2.0, 0.5)).all()
    assert np.isinf(divergence(0.0, 0.5)).all() and (divergence(2.0, 0.5) > 0).all()
    assert len(divergence(2.0, 0.5)) == len(ORDERS)


def cohort_shape(cell):
    event = cohort_of(cell, [40, 60, 100])[0].event
    shape = cell.shape(dimension=6, num_shares=3, most_contributions=1, most_replies=3)
    return shape.at_rate(event.sample_rate)


@every_private_cell
def test_calibration_finds_the_least_noise(cell):
    shape = cohort_shape(cell)
    noise = calibrate_noise_multiplier(2.0, DELTA, shape, 100)
    assert headline_epsilon([cell.step_event(shape, noise, 100)], DELTA) <= 2.0
    assert headline_epsilon([cell.step_event(shape, noise * 0.999, 100)], DELTA) > 2.0
    assert calibrate_noise_multiplier(2.0, DELTA, shape, 100, guess=30.0) == pytest.approx(noise, rel=2e-4)


@every_private_cell
def test_what_each_reader_learns(cell):
    left = {reader: cell.noise_against(reader, 2.0, 4) for reader in READERS}
    assert left["recipient"] == 2.0
    assert (left["server"] == 0.0) == (cell.placement == "central")
    assert left["hospital"] == (2.0 * math.sqrt(3 / 4) if cell.needs_secure_sum else 2.0)
    assert cell.booked.reader == (
        "anyone" if set(left.values()) == {2.0} else ",".join(name for name in READERS if left[name] == 2.0)
    )
    account = open_account({"hospital-000": DELTA}).charged([charged(cell)])
    epsilons = {reader: account.against(reader).epsilon_total(1) for reader in READERS}
    assert epsilons["recipient"] == account.epsilon_total(1)
    assert math.isinf(epsilons["server"]) == (cell.placement == "central")
    seen = event_against(charged(cell).event, "hospital")
    assert epsilons["hospital"] == rdp_epsilon([seen], DELTA) >= account.epsilon_total(1)


@pytest.mark.parametrize(("num_shares", "left"), [(1, 1.0), (2, 0.5), (3, 2 / 3), (10, 0.9)])
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.needs_secure_sum], ids=lambda cell: cell.name)
def test_another_hospital_subtracts_its_own_share_and_no_more(cell, num_shares, left):
    assert cell.noise_against("hospital", 3.0, num_shares) ** 2 == pytest.approx(9.0 * left)
    assert cell.noise_against("server", 3.0, num_shares) == 3.0


def test_without_noise_every_reader_learns_everything():
    account = open_account({"hospital-000": DELTA}).charged([charged(cell_named("none"), noise_multiplier=0.0)])
    assert all(math.isinf(account.against(reader).epsilon_total(1)) for reader in READERS)


@every_private_cell
def test_epsilons_of_different_units_or_relations_are_never_added(cell):
    account = open_account({"hospital-000": DELTA}).charged([charged(cell)])
    assert account.protects == (cell.unit, cell.relation)
    for other in PRIVATE:
        if (other.unit, other.relation) != (cell.unit, cell.relation):
            with pytest.raises(ProtocolError, match="can't be added to one for unit"):
                account.charged([charged(other)])


@every_private_cell
def test_hospitals_that_share_one_noise_are_never_added_up(cell):
    event = charged(cell).event
    both = {"Basel": [event], "Bern": [event]}
    if not cell.shares_noise:
        assert overlap_epsilon(both, DELTA, 2) > headline_epsilon([event], DELTA)
        return
    with pytest.raises(ConfigError, match=f'patient-overlap must be 1 with placement = "{cell.placement}"'):
        overlap_epsilon(both, DELTA, 2)
    account = open_account({"Basel": DELTA, "Bern": DELTA}).projected([("Basel", event)])
    with pytest.raises(ConfigError, match="patient-overlap must be 1"):
        account.epsilon_total(2)
