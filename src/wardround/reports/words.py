"""Say in plain sentences what a run protects, from whom, and what must hold for that.

The sentences are text without markup; page and terminal share them. Words about a cell are its own
(`privacy.cells`), numbers are quoted from the summary; every number that bounds a leak is rounded up.
"""

import math
from collections.abc import Mapping, Sequence

from wardround.privacy.cells import READER_NAMES, CellWords
from wardround.reports.endings import stopped_early
from wardround.reports.meaning import coin_toss, right_of_1000
from wardround.reports.numbers import between_text, count_text, delta_text, epsilon_text
from wardround.reports.released import is_of_sites, scores_uncovered, unmeasured_sentence
from wardround.reports.results import RunResult
from wardround.server.record.summaries import Summary

__all__ = [
    "OTHER_RUNS",
    "assumptions",
    "caveats",
    "headline",
    "hidden_text",
    "listed",
    "method",
    "privacy_sentence",
    "quality_sentence",
    "reader_lines",
    "relation_text",
    "sources",
    "status_sentence",
]

_NO_PRIVACY = "Trained without privacy"
_NO_GUARANTEE = "No privacy guarantee: epsilon is infinite"
_NOT_RECORDED = "The run folder does not say how much epsilon was spent, so nothing is claimed."
OTHER_RUNS = "Epsilons of several runs on the same data add up; Wardround does not add them."


def relation_text(run: RunResult) -> str:
    """Return what the neighbouring relation hides: empty where the run did not say."""
    return hidden_text(run.words, run.summary.protection.relation)


def hidden_text(words: CellWords, relation: str) -> str:
    """Return what a cell's relation hides; of a run that states another relation, its name."""
    return words.hidden if relation == words.relation else relation


def headline(run: RunResult) -> tuple[str, str]:
    """Return the verdict in a few words and the paragraph that carries it, with what changes the claim."""
    if not run.is_private:
        return (
            _NO_PRIVACY,
            "No noise was added, so epsilon is infinite for every reader: nothing limits what the model, or what the "
            f"hospitals sent while training it, can reveal about any one {run.words.unit}.",
        )
    if math.isinf(run.epsilon.total):
        return (
            _NO_GUARANTEE,
            "At least one hospital trained without noise. Without noise there is no bound on what can be learned about "
            "its records.",
        )
    if math.isnan(run.epsilon.total):
        return "Epsilon is not recorded", _NOT_RECORDED
    hidden = relation_text(run)
    lines = [
        f"Protected is {run.words.protected}.",
        f"Epsilon and delta bound how well the readers below can tell {hidden}." if hidden else "",
        f"Epsilon is at most {epsilon_text(run.epsilon.total)} {run.words.whom}, at delta "
        f"{delta_text(run.target_delta)}.",
        run.words.trust,
        *(
            f"Against {READER_NAMES[name]} it is {epsilon_text(run.epsilon.readers[name])}."
            for name in _weaker_readers(run)
        ),
        *caveats(run.summary, run.words),
    ]
    return f"Epsilon is at most {epsilon_text(run.epsilon.total)}", " ".join(line for line in lines if line)


def caveats(summary: Summary, words: CellWords) -> tuple[str, ...]:
    """Return what changes the claim of a run, and so stands beside it wherever it is made.

    Args:
        summary: of the run.
        words: what is said of its cell.
    """
    lines = [*words.caveats]
    if summary.protection.own_statistics is None and summary.dataset == "csv":
        lines.append(
            "Whether hospitals standardised features by means and deviations of their own records, which the figure "
            "does not cover, is recorded when the run ends."
        )
    if summary.protection.own_statistics:
        lines.append(
            "Not covered are the means and deviations by which each hospital standardised its features: they are of "
            "its own records, and no noise is on them."
        )
    if summary.facts.noise != "system":
        lines.append(
            "The noise comes from a simulation's seed: whoever knows the seed can take it out. The figure holds with "
            "noise from the operating system."
        )
    if summary.settings.protocol == "secure-sum":
        lines.append(
            "That the server receives sums alone is acted out by the simulation; between real sites it takes secure "
            'aggregation (protocol = "secagg+").'
        )
    if summary.status == "stopped-at-budget":
        lines.append("The run stopped at its budget: the figure covers the rounds up to there.")
    if summary.status == "interrupted":
        lines.append("The run is not finished: a round under way is charged, and not in this figure.")
    lost = summary.num_rounds_lost
    if lost:
        verb = "is" if lost == 1 else "are"
        lines.append(
            f"Charged, and so counted, {verb} {count_text(lost, 'round')} whose result the model does not have."
        )
    return tuple(lines)


def sources(summary: Summary) -> list[tuple[str, str]]:
    """Return where the data are from, in which version, as their source says: terms of the guarantee."""
    return [("Data", note.removeprefix("source: ")) for note in summary.facts.notes if note.startswith("source: ")]


def _weaker_readers(run: RunResult) -> list[str]:
    """Return the readers that a finite but larger epsilon holds against: those who know part of the noise."""
    return [name for name, value in run.epsilon.readers.items() if run.epsilon.total < value < math.inf]


def privacy_sentence(run: RunResult) -> str:
    """Return the paragraph for the terminal: what is protected, by how much, from whom, and what changes the claim."""
    if not run.is_private:
        return f"{_NO_PRIVACY}: epsilon is infinite, nothing limits what the model reveals about a {run.words.unit}."
    if math.isinf(run.epsilon.total):
        return f"{_NO_GUARANTEE}, since at least one hospital trained without noise."
    if math.isnan(run.epsilon.total):
        return _NOT_RECORDED
    names = {"server": "the server", "hospital": "other hospitals", "recipient": "whoever receives the model"}
    weaker = {name: f" (epsilon <= {epsilon_text(run.epsilon.readers[name])})" for name in _weaker_readers(run)}
    covered = [name for name, value in run.epsilon.readers.items() if math.isfinite(value)]
    uncovered = [names[name] for name, value in run.epsilon.readers.items() if math.isinf(value)]
    from_whom = f", from {listed([names[name] + weaker.get(name, '') for name in covered])}" if covered else ""
    but = f"{',' if covered else ', and'} but not from {listed(uncovered)}" if uncovered else ""
    hidden = relation_text(run)
    toss = coin_toss(run.attacker, run.words)
    lines = [
        f"Protected: {run.words.protected} at epsilon <= {epsilon_text(run.epsilon.total)} and delta "
        f"{delta_text(run.target_delta, words=False)}{from_whom}{but}.",
        f"Hidden is {hidden}." if hidden else "",
        f"{'; '.join([toss, *_better_guesses(run, names)])}." if toss else "",
        *caveats(run.summary, run.words),
    ]
    return " ".join(line for line in lines if line)


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them: a, b and c."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _better_guesses(run: RunResult, names: Mapping[str, str]) -> list[str]:
    """Return how often those readers guess right whom a larger epsilon holds against."""
    known = {name: run.guesses[name] for name in _weaker_readers(run)}
    return [f"{names[name]}: at most {right_of_1000(share)}" for name, share in known.items() if share == share]


def reader_lines(run: RunResult) -> tuple[tuple[str, str, float, float], ...]:
    """Return (reader, what it sees, epsilon, how often it guesses a coin toss right) for the three readers."""
    return tuple(
        (f"{name[0].upper()}{name[1:]}", run.words.sees[key], run.epsilon.readers[key], run.guesses[key])
        for key, name in READER_NAMES.items()
    )


def quality_sentence(run: RunResult) -> str:
    """Return how good the model is against answering without looking; empty where the run did not say."""
    if not run.summary.measured:
        return unmeasured_sentence(run)
    score, baseline, auc = run.scores["score"], run.scores["majority_score"], run.scores["auc"]
    if math.isnan(score):
        return ""
    if not run.score_words.has_auc:
        verdict = "better" if score > (0.0 if math.isnan(baseline) else baseline) else "no better"
        where = "over all" if "predictions" in run.summary.leaves_hospital else "on the hospitals'"
        between = between_text(run.intervals.get(run.score_words.key))
        answer = "always answering the mean" if run.score_words.short == "r2" else "chance, which is 0.5"
        return f"{run.score_words.name} {where} test records is {score:.3f}{between}: {verdict} than {answer}."
    between = between_text(run.intervals.get("accuracy"))
    text = f"Accuracy on the hospitals' test records is {score:.3f}{between}"
    if not math.isnan(baseline):
        same = f"{score:.3f}" == f"{baseline:.3f}"
        verdict = "the same as" if same else "above" if score > baseline else "not above"
        text += f", {verdict} the {baseline:.3f} of always answering the most frequent class"
    if not math.isnan(auc):
        text += f"; AUC is {auc:.3f}{between_text(run.intervals.get('auc'))}, where 0.5 is guessing"
    return text + "."


def status_sentence(run: RunResult) -> str:
    """Return how far the run got; empty where it is done as planned."""
    if run.summary.status == "done":
        return ""
    rounds = f"{run.summary.num_rounds} of {count_text(run.summary.num_rounds_planned, 'round')}"
    if run.summary.status == "stopped-at-budget":
        reason = run.summary.facts.stopped_because or "the next round would have spent more epsilon than allowed"
        return f"Stopped at the budget after {rounds}: {reason}."
    if run.summary.status == "stopped-early":
        return stopped_early(run, rounds)
    again = f"`wardround resume {run.folder.name}` continues it"
    if is_of_sites(run):
        again = "the server app continues it when it is started again with the same folder as `out`"
    return (
        f"Not finished: {rounds} are in. A round under way is charged in the ledger before it shows here: "
        f"`wardround ledger show {run.folder.name}` shows what was charged, {again}."
    )


def assumptions(run: RunResult) -> tuple[str, ...]:
    """Return what must hold for the epsilon to mean what it says, and what it does not cover."""
    if not run.is_private:
        return ("None: without noise there is no guarantee that could rest on assumptions.",)
    return (
        *run.words.assumes,
        _who_follows(run.summary),
        f"The figure is for this run alone. {OTHER_RUNS}",
        f"Epsilon is about one {run.words.unit}. It does not stop anyone from learning what is true of patients in "
        "general, and it does not cover choices made by looking at these data before the run, such as learning rates.",
        _uncovered(run),
    )


def _uncovered(run: RunResult) -> str:
    """Return what on the page epsilon does not cover."""
    if not run.summary.measured:
        return (
            f"How many {run.words.counted} each hospital trains on is public by decision, and not covered by epsilon; "
            f"fewer than ten are not shown. {scores_uncovered(run)}"
        )
    return (
        "The scores, losses and counts on this page are measurements for those who may see the hospitals' data. They "
        "are not covered by epsilon. Counts of fewer than ten people are not shown, nor scores of fewer than ten test "
        "records; the scores of a small hospital, or of a rare class, can still tell how many of the test records have "
        "the rarer answer."
    )


def _who_follows(summary: Summary) -> str:
    """Return what the server is trusted with, and what keeps the rest from it."""
    if summary.settings.protocol == "secagg+":
        colluding = summary.settings.max_colluding
        side = f"no more than {count_text(colluding, 'hospital')}" if colluding else "no hospital"
        return (
            "The server gets masked updates, of which it can read only the sum over a majority of a round's hospitals "
            f"(secure aggregation, SecAgg+), as long as {side} {'side' if colluding > 1 else 'sides'} with it. The "
            "hospitals follow the protocol."
        )
    return "The hospitals follow the protocol; the server may be curious about everything it receives."


def method(run: RunResult) -> tuple[str, ...]:
    """Return how the figures were computed."""
    if not run.is_private:
        return ("No epsilon was computed: it is infinite without noise.",)
    lines = [
        "Each hospital's steps were booked in the ledger (noise multiplier, sample rate, number of steps) before their "
        "result left the hospital, and epsilon is derived from these entries.",
        "The curves by round and the progress line compose the entries with Renyi differential privacy, which is fast "
        "enough to run live.",
    ]
    if run.summary.accountant == "pld":
        lines.append(
            "The headline and the tables give the smaller of two valid upper bounds: Renyi's, and that of the privacy "
            "loss distribution, which is computed at the end of the run. So they may be below the end of the curves; "
            "both bounds hold, and the smaller one is what the run is said to have spent."
        )
    else:
        lines.append("The headline and the tables give the same figure; no tighter one is proved for this mechanism.")
    lines.append("Every epsilon is rounded up.")
    return tuple(lines)
