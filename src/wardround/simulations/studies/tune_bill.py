"""What a tune on private data costs, all of its repetitions together, and how much each of them may spend.

Who sees every repetition, as the server and the other hospitals do, is billed for all that was charged. Whoever
receives the chosen model and nothing else is billed for the best of a random number of repetitions (see
`privacy.selection`). Each repetition has the noise that keeps the most of them there can be within the target,
whichever candidates are drawn, so that no noise hangs on what was drawn. What is left out on purpose: running anything.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround.config import Config
from wardround.errors import BudgetError
from wardround.privacy.accounting import largest_rdp
from wardround.privacy.ledger import open_ledger
from wardround.privacy.profiles import gaussian_epsilon
from wardround.privacy.renyi import epsilon_from_rdp
from wardround.privacy.selection import selected_rdp
from wardround.privacy.spending import Account, account_from_ledger, open_account
from wardround.server.plan.statistics import gaussian_mu
from wardround.server.record.summaries import EpsilonSummary
from wardround.simulations.prepared import plan
from wardround.simulations.studies.noisy_scores import Load, planned_score
from wardround.simulations.studies.tune import EACH_ONCE, Candidate, Tune

__all__ = ["Shares", "Sizing", "bill", "charged", "planning_with", "shares_of", "size_repetitions", "together"]

_TRIALS = 12
_WITHIN = 0.97, 0.985
"""Shares of the target: what is enough of it, and what is aimed at."""
_RECIPIENT = "recipient"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What a repetition may spend.

    Attributes:
        whole: on everything, about: by zero-concentrated terms, in which costs add up.
        training: the target-epsilon of its run.
        score: that of the release of its score; None where scores cost nothing.
    """

    whole: float
    training: float
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """What each repetition may spend, and what that comes to.

    Attributes:
        shares: of each repetition, whichever the candidate.
        planned: by candidate, the account of one repetition.
        score_stddev: of the noise on a score, the largest of the candidates'; nan where there is none.
    """

    shares: Shares
    planned: tuple[Account, ...]
    score_stddev: float = math.nan


def shares_of(tune: Tune, whole: float) -> Shares:
    """Return the parts of what a repetition may spend: mu^2, by which a Gaussian release costs, is shared out.

    Args:
        tune: on private data.
        whole: epsilon of a repetition (> 0).
    """
    share, delta = tune.score_share, _smallest_delta(tune.job.privacy.target_delta)
    if share is None:
        return Shares(whole=whole, training=whole, score=None)
    mu = gaussian_mu(whole, delta)
    training, score = (_rounded(gaussian_epsilon(math.sqrt(part) * mu, delta)) for part in (1 - share, share))
    return Shares(whole=whole, training=training, score=score)


def size_repetitions(tune: Tune, planned_at: Callable[[Shares], Sizing]) -> Sizing:
    """Return what a repetition may spend, so that the whole tune keeps its target whatever is drawn.

    Args:
        tune: on private data.
        planned_at: plans a repetition of each candidate (see `planning_with`).

    Raises:
        BudgetError: nothing that a repetition may spend does.
        ConfigError: a candidate does not fit the data.
    """
    privacy = tune.job.privacy
    target, most = float(privacy.target_epsilon or 0.0), len(tune.law)
    delta = _smallest_delta(privacy.target_delta)
    found: Sizing | None = None
    trial = gaussian_epsilon(gaussian_mu(target, delta) / math.sqrt(most), delta)
    for _ in range(_TRIALS):
        sizing = planned_at(shares_of(tune, _rounded(trial)))
        spent = _most_spent(tune, sizing.planned)
        if spent <= target and (found is None or sizing.shares.whole > found.shares.whole):
            found = sizing
        if _WITHIN[0] * target <= spent <= target:
            break
        trial *= _WITHIN[1] * target / spent
    if found is None:
        raise BudgetError(
            f"target-epsilon = {target:g} can't be kept over {most} repetitions ([privacy] target-epsilon): raise it, "
            "or lower [tune] mean-repetitions and most-repetitions"
        )
    return found


def planning_with(tune: Tune, load: Load) -> Callable[[Shares], Sizing]:
    """Return what plans a repetition of each candidate of a tune, given what may be spent."""
    candidates = tune.candidates()

    def planned_at(shares: Shares) -> Sizing:
        accounts, stddevs = [], []
        for candidate in candidates:
            account = _planned_run(candidate, shares.training, load)
            if shares.score is not None:
                score = planned_score(candidate.config, shares.score, load)
                account = together([account, score.account])
                stddevs.append(score.stddev)
            accounts.append(account)
        return Sizing(shares=shares, planned=tuple(accounts), score_stddev=max(stddevs, default=math.nan))

    return planned_at


def together(accounts: Iterable[Account]) -> Account:
    """Return the account of everything in several of the same hospitals (>= 1)."""
    first, *others = accounts
    for other in others:
        first = first.projected((name, event) for name, events in other.events.items() for event in events)
    return first


def charged(folder: Path, like: Account) -> Account:
    """Return the account of what a run's ledger holds; nothing where it has none, as nothing was charged.

    Raises:
        ProtocolError: it charges a hospital that is not in the account that it is to be like.
    """
    path = folder / "ledger.sqlite"
    if not path.is_file():
        return open_account(like.target_deltas)
    with open_ledger(path, read_only=True) as ledger:
        return account_from_ledger(ledger, like.target_deltas)


def bill(tune: Tune, planned: Sequence[Account], repetitions: Sequence[Account]) -> EpsilonSummary:
    """Return the epsilon of a whole tune against each reader; max and total hold for whoever the cell protects from.

    Args:
        tune: on private data.
        planned: what a run of each candidate costs.
        repetitions: what each repetition was charged for, those without a result included.
    """
    overlap, whole = tune.job.privacy.patient_overlap, together(repetitions)
    readers = whole.epsilons_by_reader(overlap)
    most, total = whole.headline_total(1), whole.headline_total(overlap)
    if tune.repetitions != EACH_ONCE:
        accounts = [*planned, *repetitions]
        readers[_RECIPIENT] = _of_the_best(tune, accounts, overlap)
        most, total = max(most, _of_the_best(tune, accounts, 1)), max(total, readers[_RECIPIENT])
    return EpsilonSummary(
        max=most,
        total=total,
        hospitals=whole.headline_epsilons(),
        target_delta=whole.common_delta,
        readers=readers,
    )


def _planned_run(candidate: Candidate, epsilon: float, load: Load) -> Account:
    config: Config = candidate.config
    privacy = replace(config.privacy, target_epsilon=epsilon)
    # Whichever engine trains, the bill is the same, and to plan for this one no model has to be built.
    settings = replace(config, privacy=privacy, simulation=replace(config.simulation, engine="inline"))
    return plan(settings, load=load).account


def _most_spent(tune: Tune, planned: Sequence[Account]) -> float:
    """Return the most that a tune can spend: at every hospital's own delta, and in total at the common one."""
    overlap = tune.job.privacy.patient_overlap
    if tune.repetitions == EACH_ONCE:
        whole = together(planned)
        return max(*whole.headline_epsilons().values(), whole.headline_total(overlap))
    # Of any mixture of candidates, at every order, no more than the costliest as often as there can be repetitions.
    worst = len(tune.law) * _worst(planned)
    deltas = list(planned[0].target_deltas.values())
    own = float(epsilon_from_rdp(worst, deltas).max())
    return max(own, float(epsilon_from_rdp(largest_rdp(worst, overlap), min(deltas))))


def _of_the_best(tune: Tune, accounts: Sequence[Account], overlap: int) -> float:
    """Return the epsilon against whoever sees the chosen repetition alone.

    One repetition costs no more than the costliest of what was planned and charged, at every order and hospital.
    """
    worst = _worst([account.against(_RECIPIENT) for account in accounts])
    base = largest_rdp(worst, overlap)
    return float(epsilon_from_rdp(selected_rdp(base, tune.law), accounts[0].common_delta))


def _worst(accounts: Sequence[Account]) -> NDArray[np.float64]:
    """Return the largest divergences of several accounts of the same hospitals: (num_hospitals, len(ORDERS))."""
    return np.asarray(np.max([np.array(account.divergences) for account in accounts], axis=0))


def _rounded(epsilon: float) -> float:
    """Return epsilon to six digits, as settings are to be read by people."""
    return float(f"{max(epsilon, 1e-6):.6g}")


def _smallest_delta(target_delta: float | dict[str, float]) -> float:
    return min(target_delta.values()) if isinstance(target_delta, dict) else target_delta
