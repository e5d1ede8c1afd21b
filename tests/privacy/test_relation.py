"""What a record's bill holds for: one record zeroed out, the number of records public; and why for nothing wider."""

import hashlib
import itertools

import numpy as np
import pytest
import torch
from dp_accounting.pld import privacy_loss_distribution
from flwr.app import Message, RecordDict
from scipy import stats
from small_runs import small_config

from wardround import wire
from wardround.agreed.schedules import schedule_of
from wardround.clients.app import make_client_app
from wardround.clients.profiles import hospital_profile
from wardround.clients.trainers import build_trainer
from wardround.clients.training import HospitalTensors
from wardround.config import Config
from wardround.datasets import FederatedData, HospitalData
from wardround.models import parameters_of
from wardround.privacy.accounting import headline_epsilon
from wardround.privacy.integers import round_within
from wardround.rounds import Assignment, Execution
from wardround.server.plan.planning import assign_round, plan_federation
from wardround.server.plan.plans import FederationPlan
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node
from wardround.step_events import StepEvent

NOISE, STEPS, DELTA = 2.0, 10, 1e-3
CONFIG = small_config(
    model={"name": "logistic"},
    training={"sample-rate": None, "batch-size": 32, "local-steps": STEPS, "learning-rate": 1.0},
    privacy={"noise-multiplier": NOISE, "max-grad-norm": 1.0, "target-delta": DELTA},
)

# Every record's clipped gradient is one clip along one direction: forwards, backwards, or (of an empty record) nothing.
# A hospital is given by how many of each it has.
Hospital = tuple[int, int, int]


def hospital_of(num_forwards: int, num_backwards: int = 0, num_empty: int = 0) -> Hospital:
    return num_forwards, num_backwards, num_empty


def bill_of(num_records: int) -> float:
    rate = schedule_of(CONFIG, num_records).sample_rate
    return headline_epsilon([StepEvent(noise_multiplier=NOISE, sample_rate=rate, num_steps=STEPS)], DELTA)


class Released:
    """The distribution of what a hospital's steps release: a Poisson batch's clipped sum and its noise, over q n.

    That is a binomial mixture of normal distributions, in clips over the expected batch.
    """

    def __init__(self, hospital: Hospital, num_steps: int) -> None:
        forwards, backwards, _ = hospital
        rate, self.divisor = min(1.0, 32 / sum(hospital)), min(32.0, sum(hospital))
        plus, minus = num_steps * forwards, num_steps * backwards
        counts = stats.binom.pmf(np.arange(plus + 1), plus, rate)
        counts = np.convolve(counts, stats.binom.pmf(np.arange(minus + 1), minus, rate)[::-1])
        places = np.arange(-minus, plus + 1)
        self._places, self._weights = places[counts > 0], counts[counts > 0]
        self._deviation = NOISE * np.sqrt(num_steps)

    def below(self, points: np.ndarray) -> np.ndarray:
        """Return the probability of at most each point."""
        return stats.norm.cdf(self._standard(points)) @ self._weights

    def above(self, points: np.ndarray) -> np.ndarray:
        """Return the probability of more than each point, exact where it is tiny."""
        return stats.norm.sf(self._standard(points)) @ self._weights

    def within(self, edges: np.ndarray) -> np.ndarray:
        """Return the probability of each interval between edges, and of what is beyond the first and last."""
        left, right = self.below(edges), self.above(edges)
        middle = np.where(left[1:] < 0.5, np.diff(left), -np.diff(right))
        return np.concatenate([left[:1], middle, right[-1:]])

    def _standard(self, points: np.ndarray) -> np.ndarray:
        return (points[:, None] * self.divisor - self._places) / self._deviation


def spent_in_one_event(first: Hospital, second: Hospital) -> float:
    """Return an epsilon that the model after all local steps exceeds: of one half-line, whatever else could be seen.

    (epsilon, delta) asks P(S) <= exp(epsilon) Q(S) + delta of every event S.
    """
    points = np.linspace(-5.0, 20.0, 5001)
    p, q = Released(first, STEPS), Released(second, STEPS)
    largest = 0.0
    for a, b in itertools.permutations((p, q)):
        for likely, rare in ((a.below(points), b.below(points)), (a.above(points), b.above(points))):
            usable = (likely > DELTA) & (rare > 1e-250)
            largest = max(largest, float(np.log((likely[usable] - DELTA) / rare[usable]).max(initial=0.0)))
    return largest


def spent_in_every_step(first: Hospital, second: Hospital) -> float:
    """Return an epsilon that ten released steps exceed: the hockey-stick divergence of their intervals.

    Telling only in which interval a step fell is post-processing, and losses are rounded down.
    """
    edges = np.linspace(-0.5, 2.0, 2001)
    p, q = (dict(enumerate(np.log(Released(hospital, 1).within(edges)))) for hospital in (first, second))
    epsilons = []
    for upper, lower in itertools.permutations((p, q)):
        step = privacy_loss_distribution.from_two_probability_mass_functions(
            lower, upper, pessimistic_estimate=False, value_discretization_interval=1e-4
        )
        epsilons.append(step.self_compose(STEPS).get_epsilon_for_delta(DELTA))
    return float(max(epsilons))


@pytest.mark.parametrize(
    ("num_records", "bill", "in_one_event", "in_every_step"), [(33, 5.42, 15.8, 16.2), (37, 4.81, 7.68, 7.68)]
)
def test_adding_or_removing_a_record_costs_more_than_the_bill(num_records, bill, in_one_event, in_every_step):
    with_it, without = hospital_of(num_records - 1, 1), hospital_of(num_records - 1)
    assert bill_of(num_records) < bill
    assert spent_in_one_event(with_it, without) >= in_one_event
    assert spent_in_every_step(with_it, without) >= in_every_step
    # One record more, against one of as many: no number of records is the one to bill.
    more = hospital_of(num_records, 1)
    assert spent_in_one_event(hospital_of(num_records), more) > 1.2 * max(
        bill_of(num_records), bill_of(num_records + 1)
    )


@pytest.mark.parametrize("num_records", [33, 37, 60, 320])
@pytest.mark.parametrize("share_backwards", [0.0, 0.4])
def test_zeroing_out_the_same_record_costs_at_most_the_bill(num_records, share_backwards):
    backwards = round(share_backwards * num_records)
    forwards = num_records - 1 - backwards
    with_it, without = hospital_of(forwards, backwards + 1), hospital_of(forwards, backwards, 1)
    bill = bill_of(num_records)
    assert 0 < spent_in_one_event(with_it, without) <= bill
    assert 0 < spent_in_every_step(with_it, without) <= bill


@pytest.mark.parametrize("num_records", [33, 37, 320])
def test_the_bill_is_what_zeroing_out_costs_among_records_that_hide_nothing(num_records):
    alone, none = hospital_of(0, 1, num_records - 1), hospital_of(0, 0, num_records)
    assert 0.99 * bill_of(num_records) <= spent_in_every_step(alone, none) <= bill_of(num_records)


def test_the_divisor_alone_tells_how_many_records_there_are():
    """A site of the stroke trial: full batches of 38 records, 70 parameters, 30 rounds, noise for epsilon 5.

    No gradient at all: what is released is noise over n, whose sum of squares is a chi-square variable over n^2.
    """
    freedom = 70 * 30
    points = np.linspace(0.5, 1.6, 20001) * freedom
    likely, rare = (stats.chi2.sf(points * (size / 38) ** 2, freedom) for size in (37, 38))
    usable = likely > DELTA
    assert np.log((likely[usable] - DELTA) / rare[usable]).max() > 6.5


def rows_of(hospital: Hospital, empty: float = np.nan) -> tuple[np.ndarray, np.ndarray]:
    """Return features and far targets that give these gradients; a gradient that is not finite counts as zero."""
    forwards, backwards, num_empty = hospital
    targets = np.array([-1e4] * forwards + [1e4] * backwards + [0.0] * num_empty, np.float32)
    features = np.ones((len(targets), 1), np.float32)
    features[len(targets) - num_empty :] = empty
    return features, targets


def federation_of(**hospitals: Hospital) -> FederatedData:
    records = []
    for name, hospital in hospitals.items():
        features, targets = rows_of(hospital)
        records.append(
            HospitalData(
                hospital_id=name,
                train_features=features,
                train_labels=targets,
                test_features=np.ones((2, 1), np.float32),
                test_labels=np.array([0.0, 1.0], np.float32),
                fingerprint=hashlib.sha256(features.tobytes() + targets.tobytes()).hexdigest(),
            )
        )
    return FederatedData(
        dataset_name="made up",
        task="regression",
        class_names=(),
        feature_names=("x",),
        input_shape=(1,),
        hospitals=tuple(records),
        excluded=(),
        notes=(),
        partition="natural",
    )


def plan_of(config: Config, federation: FederatedData) -> FederationPlan:
    profiles = [hospital_profile(hospital, federation) for hospital in federation.hospitals]
    return plan_federation(config, profiles, num_parameters=2)


def released_by_the_client(hospital: Hospital, num_rounds: int) -> np.ndarray:
    """Return what the real client's models moved by in single rounds, in clips over the expected batch."""
    federation = federation_of(basel=hospital)
    trainer = build_trainer(CONFIG, federation)
    start = {name: np.zeros_like(array) for name, array in parameters_of(trainer.model).items()}
    features, targets = (torch.tensor(array) for array in rows_of(hospital))
    tensors = HospitalTensors(
        train_features=features, train_labels=targets, test_features=features, test_labels=targets
    )
    plan = plan_of(CONFIG, federation)
    moves = []
    for round_number in range(1, num_rounds + 1):
        (assignment,) = assign_round(plan, ["basel"], round_number, {"basel": NOISE})
        arrays, *_ = trainer.train(start, tensors, assignment)
        # Weight and bias see the same gradient: the direction is (1, 1) / sqrt(2).
        moves.append(-sum(float(array.sum()) for array in arrays.values()) / np.sqrt(2))
    return np.array(moves)


def test_what_the_client_releases_is_what_the_bounds_above_are_of():
    pair = {"all": hospital_of(32, 1), "zeroed out": hospital_of(32, 0, 1), "removed": hospital_of(32)}
    for name, hospital in pair.items():
        moves = released_by_the_client(hospital, 150)
        for other, believed in pair.items():
            match = stats.kstest(moves, Released(believed, STEPS).below).pvalue
            # Whatever noise the code of the day draws: the right law fails once in 10^6, a wrong one is below 10^-25.
            assert match > 1e-6 if name == other else match < 1e-12, (name, other, match)


def asked_of(
    federation: FederatedData, placement: str, batch: dict[str, float | None]
) -> tuple[dict[str, Assignment], dict[str, dict[str, object]]]:
    """Return what the plan asks of each hospital, and what each really executed."""
    protocol = {"protocol": "secure-sum", "min-survivors": 2} if placement == "distributed" else {}
    config = small_config(
        model={"name": "logistic"},
        training={**batch, "local-steps": 3 if placement == "local" else 1},
        privacy={"placement": placement, "target-delta": DELTA},
        aggregation=protocol,
    )
    plan = plan_of(config, federation)
    names = [hospital.hospital_id for hospital in federation.hospitals]
    assignments = assign_round(plan, names, 1, dict.fromkeys(names, 2.0))
    nodes = [Node(node_id=index + 1, node_config={"partition-id": index}) for index in range(len(names))]
    grid = InlineGrid(lambda: make_client_app(config, federation), nodes)
    start = parameters_of(build_trainer(config, federation).model)
    executed = {}
    for index, assignment in enumerate(assignments):
        message = Message(
            RecordDict({wire.ARRAYS: wire.array_record(start)}), dst_node_id=index + 1, message_type="train"
        )
        (reply,) = grid.send_and_receive([wire.with_assignment(message, assignment)])
        executed[assignment.hospital_id] = wire.read_metrics(Execution, reply, assignment.hospital_id)
    return {assignment.hospital_id: assignment for assignment in assignments}, executed


@pytest.mark.parametrize(
    "batch", [{"sample-rate": None, "batch-size": 32}, {"sample-rate": 0.5}], ids=["batch", "rate"]
)
@pytest.mark.parametrize("placement", ["local", "distributed", "central"])
def test_an_empty_record_changes_nothing_that_is_public_and_a_removed_one_does(placement, batch):
    whole = asked_of(federation_of(basel=hospital_of(36, 1), bern=hospital_of(50)), placement, batch)
    zeroed = asked_of(federation_of(basel=hospital_of(36, 0, 1), bern=hospital_of(50)), placement, batch)
    assert zeroed == whole
    assigned, _ = asked_of(federation_of(basel=hospital_of(36), bern=hospital_of(50)), placement, batch)
    changed = "sample_rate" if "batch-size" in batch else "expected_batch_size"
    assert getattr(assigned["basel"].schedule, changed) != getattr(whole[0]["basel"].schedule, changed)
    if placement == "local":
        # The other hospital's weight, too, tells how many this one has.
        assert assigned["bern"].weight != whole[0]["bern"].weight


def test_an_empty_record_is_one_whose_part_of_the_sum_is_zero():
    """By gradients that are not finite, or by a patient without rows: the same model either way."""
    trainer = build_trainer(CONFIG, federation_of(basel=hospital_of(12)))
    start = parameters_of(trainer.model)
    generator = np.random.default_rng(5)
    features, targets = generator.normal(size=(12, 1)), generator.normal(size=12) * 9
    owners = np.repeat(np.arange(6), 2)
    emptied = features.copy()
    emptied[owners == 2] = np.nan
    plan = plan_of(CONFIG, federation_of(basel=hospital_of(6)))
    (assignment,) = assign_round(plan, ["basel"], 1, {"basel": 0.0})
    assert (assignment.schedule.sample_rate, assignment.schedule.expected_batch_size) == (1.0, 6.0)

    def trained(rows: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
        tensors = HospitalTensors(
            train_features=torch.tensor(values[rows], dtype=torch.float32),
            train_labels=torch.tensor(targets[rows], dtype=torch.float32),
            test_features=torch.zeros(1, 1),
            test_labels=torch.zeros(1),
            train_owners=torch.tensor(owners[rows]),
        )
        return trainer.train(start, tensors, assignment)[0]

    everything = np.arange(12)
    whole, by_value = trained(everything, features), trained(everything, emptied)
    without_rows = trained(everything[owners != 2], features)
    for name in whole:
        np.testing.assert_allclose(by_value[name], without_rows[name], rtol=1e-6)
    assert any(np.abs(whole[name] - by_value[name]).max() > 0.01 for name in whole)


def test_a_zero_gradient_is_rounded_to_zero():
    """So the integer sum around an empty record is the sum of the others, as the proof for Skellam noise has it."""
    assert not round_within(np.zeros((50, 7)), 40, np.random.default_rng(1)).any()
