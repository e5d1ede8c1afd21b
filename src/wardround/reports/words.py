"""Say in plain sentences what a run protects, from whom, and what its epsilon means.

The sentences are text without markup; page and terminal share them. Every number that bounds a leak is rounded up.
"""

import math
from collections.abc import Mapping
from typing import Any

from wardround.privacy.mechanisms import RELATIONS
from wardround.reports.folder import RunResult
from wardround.reports.numbers import count_text, delta_text, epsilon_text, factor_text, percent_text

__all__ = [
    "assumptions",
    "epsilon_meaning",
    "headline",
    "method",
    "privacy_sentence",
    "quality_sentence",
    "reader_lines",
    "relation_text",
    "status_sentence",
    "unit_text",
]

_UNITS = {
    "record": "one record (one row of a hospital's training data)",
    "patient": "one patient (all of their rows at a hospital)",
    "hospital": "one hospital (everything it contributes)",
}
_PLACEMENTS = {
    "local": "Each hospital clips and adds noise while it trains, so nothing leaves it without noise.",
    "distributed": (
        "Each hospital adds a share of the noise, and only the securely computed sum carries enough of it: against the "
        "server the guarantee holds as long as secure aggregation does and enough hospitals are honest."
    ),
    "central": (
        "The server adds the noise to the sum, so the server itself sees contributions without it: the guarantee holds "
        "against the other hospitals and whoever receives the model, not against the server."
    ),
    "none": "No noise is added anywhere.",
}
_READER_NAMES = {
    "server": "The server that runs the training",
    "hospital": "Another hospital that takes part",
    "recipient": "Whoever receives the finished model",
}


def unit_text(run: RunResult) -> str:
    """Return what one unit of protection is."""
    return _UNITS.get(run.unit, run.unit)


def relation_text(run: RunResult) -> str:
    """Return what the relation hides and what it does not, as its cell says; empty where the run did not say."""
    stated = str(run.facts.get("relation", ""))
    return RELATIONS.get(stated, stated)


def headline(run: RunResult) -> tuple[str, str]:
    """Return the verdict in a few words and the paragraph that carries it."""
    if not run.is_private:
        return (
            "Trained without privacy",
            "No noise was added, so epsilon is infinite for every reader: nothing limits what the model, or what the "
            "hospitals sent while training it, can reveal about any one record.",
        )
    if math.isinf(run.epsilon_total):
        return (
            "No privacy guarantee: epsilon is infinite",
            "Training clipped every record's influence but at least one hospital trained without noise. Without noise "
            "there is no bound on what can be learnt about its records.",
        )
    if math.isnan(run.epsilon_total):
        return (
            "Epsilon is not recorded",
            "The run folder does not say how much epsilon was spent, so nothing is claimed.",
        )
    overlap = (
        "for a patient whose records lie in one hospital only"
        if run.patient_overlap == 1
        else f"for a patient whose records lie in up to {run.patient_overlap} hospitals"
    )
    if run.unit == "hospital":
        overlap = "for each hospital"
    weaker = "".join(
        f" Against {_READER_NAMES[name][0].lower()}{_READER_NAMES[name][1:]} it is {epsilon_text(run.readers[name])}."
        for name in _weaker_readers(run)
    )
    return (
        f"Epsilon is at most {epsilon_text(run.epsilon_total)}",
        f"Protected is {unit_text(run)}. Hidden from the readers below is "
        f"{relation_text(run) or 'whether it was used'}. How well is measured by epsilon, at most "
        f"{epsilon_text(run.epsilon_total)} {overlap}, and delta, {delta_text(run.target_delta)}. "
        f"{_PLACEMENTS.get(run.placement, '')}{weaker}".strip(),
    )


def _weaker_readers(run: RunResult) -> list[str]:
    """Return the readers that a finite but larger epsilon holds against: those who know part of the noise."""
    return [name for name, value in run.readers.items() if run.epsilon_total < value < math.inf]


def privacy_sentence(run: RunResult) -> str:
    """Return one sentence for the terminal: what is protected, by how much, from whom."""
    if not run.is_private:
        return "Trained without privacy: epsilon is infinite, nothing limits what the model reveals about a record."
    if math.isinf(run.epsilon_total):
        return "No privacy guarantee: at least one hospital trained without noise, so epsilon is infinite."
    if math.isnan(run.epsilon_total):
        return "The run folder does not say how much epsilon was spent, so nothing is claimed."
    covered = [name for name, value in run.readers.items() if math.isfinite(value)]
    names = {"server": "the server", "hospital": "other hospitals", "recipient": "whoever receives the model"}
    weaker = {name: f" (epsilon <= {epsilon_text(run.readers[name])})" for name in _weaker_readers(run)}
    from_whom = ", ".join(names[name] + weaker.get(name, "") for name in covered) or "nobody named here"
    uncovered = [names[name] for name, value in run.readers.items() if math.isinf(value)]
    but = f", but not from {', '.join(uncovered)}" if uncovered else ""
    relation = f" ({relation_text(run)})" if relation_text(run) else ""
    return (
        f"Protected: {_UNITS.get(run.unit, run.unit).split(' (')[0]}{relation} at "
        f"epsilon <= {epsilon_text(run.epsilon_total)} and delta {delta_text(run.target_delta, words=False)}, "
        f"from {from_whom}{but}."
    )


def epsilon_meaning(epsilon: float, target_delta: float, unit: str = "record") -> tuple[str, ...]:
    """Return what an epsilon means, in sentences that hold for every attacker.

    Args:
        epsilon: spent, >= 0 or inf.
        target_delta: in [0, 1), or nan where unknown (then the sentences that need it are left out).
        unit: what is protected.

    Source: the bounds are those of (epsilon, delta)-indistinguishability as a hypothesis test, Kairouz, Oh and
    Viswanath 2015, theorem 2.1; the three bands are those of Ponomareva et al. 2023 (arXiv 2303.00654), section 5.2.1.
    """
    if math.isnan(epsilon):
        return ()
    if math.isinf(epsilon):
        return (f"An infinite epsilon is no bound: an attacker may be certain whether a {unit} was used.",)
    likely = (
        f"Anything an observer may see is at most {factor_text(epsilon)} times as likely with a given {unit} in the "
        "data as without it (e to the power of epsilon)"
    )
    return (*_attack_bounds(epsilon, target_delta, unit, likely), _band(epsilon))


def _attack_bounds(epsilon: float, target_delta: float, unit: str, likely: str) -> tuple[str, ...]:
    if math.isnan(target_delta):
        return (f"{likely}.",)
    odds = math.exp(min(epsilon, 700.0))
    right = (odds + target_delta) / (1 + odds)
    found = min(1.0, odds * 0.01 + target_delta, 1 - (1 - target_delta - 0.01) / odds)
    return (
        f"{likely}, but for events whose chance is at most delta, {delta_text(target_delta)}.",
        f"If it is a coin toss whether one {unit} was used, an attacker who knows everything else can tell rightly at "
        f"most {percent_text(right)} of the time; 50 % is blind guessing.",
        f"If the attacker may wrongly accuse 1 {unit} in 100, at most {percent_text(found)} of the {unit}s really used "
        "can be found; 1 % is blind guessing.",
    )


def _band(epsilon: float) -> str:
    if epsilon <= 1:
        return "By common convention this is a strong guarantee (epsilon up to 1)."
    if epsilon <= 10:
        return (
            "By common convention this is a reasonable guarantee (epsilon up to 10), not a strong one (up to 1): "
            "real attacks usually do far worse than these bounds, but nothing here proves it."
        )
    return (
        "By common convention an epsilon above 10 is a weak guarantee: the bound alone excludes almost nothing and "
        "should not be relied on without evidence from attacks."
    )


def reader_lines(run: RunResult) -> tuple[tuple[str, float, str], ...]:
    """Return (reader, epsilon, what that reader sees) for the three readers."""
    sees = {
        "server": {
            "local": "every hospital's parameters after each round, noise already inside",
            "distributed": "the sum over hospitals, noise already inside",
            "central": "every hospital's contribution before the noise is added",
        }.get(run.placement, "every hospital's parameters after each round"),
        "hospital": "the shared model after each round",
        "recipient": "the model after the last round",
    }
    return tuple((_READER_NAMES[key], run.readers[key], sees[key]) for key in _READER_NAMES)


def quality_sentence(run: RunResult) -> str:
    """Return how good the model is against answering without looking; empty where the run did not say."""
    score, baseline, auc = run.scores["accuracy"], run.scores["majority_accuracy"], run.scores["auc"]
    if math.isnan(score):
        return ""
    if run.is_regression:
        verdict = "better" if score > (0.0 if math.isnan(baseline) else baseline) else "no better"
        return f"r2 on the hospitals' test records is {score:.3f}: {verdict} than always answering the mean."
    text = f"Accuracy on the hospitals' test records is {score:.3f}"
    if not math.isnan(baseline):
        same = f"{score:.3f}" == f"{baseline:.3f}"
        verdict = "the same as" if same else "above" if score > baseline else "not above"
        text += f", {verdict} the {baseline:.3f} of always answering the most frequent class"
    if not math.isnan(auc):
        text += f"; AUC is {auc:.3f}, where 0.5 is guessing"
    return text + "."


def status_sentence(run: RunResult) -> str:
    """Return how far the run got; empty where it is done as planned."""
    if run.status == "done":
        return ""
    rounds = f"{run.num_rounds} of {count_text(run.num_rounds_planned, 'round')}"
    if run.status == "stopped-at-budget":
        reason = run.facts.get("stopped_because", "the next round would have spent more epsilon than allowed")
        return f"Stopped at the budget after {rounds}: {reason}."
    return (
        f"Not finished: {rounds} are in. A round under way is charged in the ledger before it shows here; "
        f"`wardround ledger show {run.folder.name}` has the last word, `wardround resume {run.folder.name}` goes on."
    )


def assumptions(run: RunResult) -> tuple[str, ...]:
    """Return what must hold for the epsilon to mean what it says, and what it does not cover."""
    if not run.is_private:
        return ("None: without noise there is no guarantee that could rest on assumptions.",)
    once = (
        "No patient has records in two hospitals, so the total is the largest of the hospitals (parallel composition)."
        if run.patient_overlap == 1
        else f"No patient has records in more than {run.patient_overlap} hospitals; the total adds up the worst "
        f"{run.patient_overlap}."
    )
    lines = [
        once if run.unit == "record" else "Which hospitals take part in a round is public.",
        ("Every step draws its records at random with the stated rate. " if run.unit == "record" else "")
        + _about_the_sum(run.facts),
        "The figure is for this run alone. Other runs on the same data add to it.",
        "In a simulation the noise is drawn from the seed, so whoever knows the seed could take it out again. The "
        "figure is what the same settings spend where each site draws its noise from the operating system.",
        f"Epsilon is about the presence of one {run.unit}. It does not stop anyone from learning what is true of "
        "patients in general, and it does not cover choices made by looking at these data before the run, such as "
        "learning rates.",
        "The scores, losses and counts on this page are measurements for those who may see the hospitals' data. They "
        "are not covered by epsilon.",
    ]
    if run.unit == "record":
        lines.insert(
            1,
            "One record is one patient: the data have one row per patient, or name the patient of each row, and then "
            "all rows of a patient are sampled together and clipped as one. A patient whose rows are not known to "
            "belong together is protected less (group privacy).",
        )
    return tuple(lines)


def _about_the_sum(facts: Mapping[str, Any]) -> str:
    """Return what the server is trusted with, and what keeps the rest from it."""
    protocol = facts.get("protocol")
    if protocol == "secagg+":
        colluding = count_text(int(facts.get("max_colluding", 0)), "hospital")
        return (
            "The server gets masked updates, of which it can read only the sum over a majority of a round's hospitals "
            f"(secure aggregation, SecAgg+), as long as no more than {colluding} side with it (docs/security.md). The "
            "hospitals follow the protocol."
        )
    curious = "The hospitals follow the protocol; the server may be curious about everything it receives."
    if protocol == "secure-sum":
        curious += (
            " That the server receives sums alone is acted out by the simulation; between real sites it takes secure "
            'aggregation (protocol = "secagg+").'
        )
    return curious


def method(run: RunResult) -> tuple[str, ...]:
    """Return how the figures were computed."""
    if not run.is_private:
        return ("No epsilon was computed: it is infinite without noise.",)
    lines = [
        "Each hospital's steps were booked in the ledger (noise multiplier, sample rate, number of steps) before their "
        "result left the hospital, and epsilon is derived from these entries.",
        "The curves by round compose the entries with Renyi differential privacy, which is fast enough to run live.",
    ]
    if run.facts.get("accountant") == "pld":
        lines.append(
            "The headline and the tables give the smaller of two valid upper bounds: Renyi, and the privacy loss "
            "distribution at the end of the run. They may therefore lie a little below the end of the curves."
        )
    else:
        lines.append("The headline and the tables give the same figure; no tighter one was computed for this run.")
    lines.append("Every epsilon is rounded up.")
    return tuple(lines)
