"""Say in plain sentences what a study compared, what came out, and what must hold for it to mean that.

The sentences are text without markup. Every number in them is a mean over rows of results.csv, or one of its cells.
"""

import math
from collections.abc import Mapping, Sequence

from wardround.privacy.mechanisms import RELATIONS
from wardround.reports.numbers import count_text, delta_text, epsilon_text, number_text
from wardround.reports.study_figures import BASELINE_NAMES, middle_group
from wardround.reports.study_folder import StudyResult
from wardround.reports.study_statistics import RunGroup, groups_of, spread_of
from wardround.reports.study_terminal import spread_text

__all__ = ["assumptions", "findings", "guarantees", "headline", "method", "reader_rows"]

_TRUST = {
    "local": "Nobody outside the hospital is trusted: noise is in everything that leaves it.",
    "distributed": "The server is trusted with nothing but the sum: each hospital adds a share of the noise, and "
    "secure "
    "aggregation hides the single contributions. Enough hospitals must answer and add their share.",
    "central": "The server is trusted with the hospitals' contributions without noise; it adds the noise before anyone "
    "else sees the model.",
}
_PRICES = {
    "central": "That is the price of not trusting the server with what the hospitals send.",
    "distributed": "That is what a secure sum buys.",
}
_UNITS = {
    "record": "one record (a row of a hospital's training data)",
    "hospital": "one hospital (everything it contributes)",
}


def headline(study: StudyResult) -> tuple[str, str]:
    """Return what came out in one line, and the paragraph that says what was compared."""
    name = study.metric[1]
    groups = groups_of(study.rows)
    first = middle_group([group for group in groups if group.unit == study.facts["units"][0]])
    compared = _compared(study)
    if first is None:
        return f"{study.facts['name']}: without privacy only", compared
    scores = [
        f"{number_text(group.spread(study.metric[0]).mean)} with {group.placement} noise"
        for group in _same_level(groups, first)
    ]
    held = "target epsilon" if first.held == "epsilon" else "noise multiplier"
    return f"{name} {_listed(scores)}, at {held} {first.level:g} for every {first.unit}", compared


def findings(study: StudyResult) -> tuple[str, ...]:
    """Return what the placements cost against each other, at the strictest and the middle level, and baselines."""
    column, name = study.metric
    groups = groups_of(study.rows)
    sentences = []
    for unit in study.facts["units"]:
        middle = middle_group([group for group in groups if group.unit == unit])
        if middle is None:
            continue
        same_kind = [group for group in groups if (group.unit, group.held) == (unit, middle.held)]
        # Where privacy is strictest the placements differ most.
        strictest = (min if middle.held == "epsilon" else max)(same_kind, key=lambda group: group.level)
        for wanted in (strictest, middle) if strictest.level != middle.level else (middle,):
            sentences += _gaps({group.placement: group for group in _same_level(groups, wanted)}, column, name)
    for group in groups:
        if group.baseline:
            sentences.append(
                f"{BASELINE_NAMES[group.baseline].capitalize()}: {name} {spread_text(group.spread(column))}."
            )
    return tuple(sentences)


def _gaps(chosen: Mapping[str, RunGroup], column: str, name: str) -> list[str]:
    """Return what the other placements change against local noise, at one level."""
    sentences = []
    for other in ("central", "distributed"):
        if "local" in chosen and other in chosen:
            gap, is_clear = _paired(chosen[other], chosen["local"], column)
            sentences.append(
                f"At {_level_text(chosen[other])}, {other} noise changes {name} by {gap} against local noise "
                f"(difference by seed). {_PRICES[other] if is_clear else 'These runs show no clear difference.'}"
            )
    return sentences


def reader_rows(study: StudyResult) -> list[tuple[str, str, dict[str, float], str]]:
    """Return (unit and placement, level, largest epsilon by reader, whom to trust) at the middle level of each unit."""
    groups = groups_of(study.rows)
    rows = []
    for unit in study.facts["units"]:
        first = middle_group([group for group in groups if group.unit == unit])
        for group in _same_level(groups, first) if first else ():
            readers = {
                reader: max(row.epsilon_readers[reader] for row in group.rows)
                for reader in ("server", "hospital", "recipient")
            }
            rows.append((f"{unit}, {group.placement}", _level_text(group), readers, _TRUST[group.placement]))
    return rows


def guarantees(study: StudyResult) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return by unit the terms of its guarantee as (term, value), in the words of NIST SP 800-226."""
    result = []
    for unit in study.facts["units"]:
        known = {
            placement: summary
            for (of, placement), summary in study.summaries.items()
            if of == unit and placement != "none"
        }
        if not known:
            continue
        relations = {
            placement: RELATIONS.get(str(summary["relation"]), str(summary["relation"]))
            for placement, summary in known.items()
        }
        mechanisms = {placement: str(summary["mechanism"]).replace("-", " ") for placement, summary in known.items()}
        any_summary = next(iter(known.values()))
        rows = [
            ("Unit of privacy", _UNITS[unit]),
            ("What is hidden", _by_placement(relations)),
            ("Mechanism", _by_placement(mechanisms)),
            ("Delta", _delta_text(any_summary["target_delta"])),
            ("Trust model", "honest but curious: all follow the protocol, and may look at what reaches them"),
            ("Data set", f"{any_summary['dataset']}, {count_text(int(any_summary['num_hospitals']), 'hospital')}"),
            ("Rounds", str(any_summary["num_rounds_planned"])),
        ]
        result.append((unit, rows))
    return result


def assumptions(study: StudyResult) -> tuple[str, ...]:
    """Return what must hold for the epsilons to mean what they say, and what they do not cover."""
    placements = study.facts["placements"]
    lines = []
    if placements:
        lines.append(
            "Every epsilon is that of one run. The study trained many models on the same data: whoever sees several of "
            "them, or settings that were chosen by looking at them, learns more than one epsilon says."
        )
    if "central" in placements:
        lines.append(
            "Central noise protects from other hospitals and recipients, not from the server, whose epsilon is "
            "infinite."
        )
    if "distributed" in placements:
        lines.append(
            "Distributed noise relies on the secure sum and on at least min-survivors hospitals that answer and add "
            "their "
            "share ([aggregation] min-survivors). A hospital can take its own share out of the sum, so its epsilon is "
            "larger."
        )
    if "hospital" in study.facts["units"] and "local" in placements and len(placements) > 1:
        lines.append(
            "A hospital's epsilon with local noise is about exchanging its update for any other, with distributed and "
            "central noise about leaving its contribution out: different promises, whatever the figures say."
        )
    if len(study.facts["units"]) > 1:
        lines.append(
            "Epsilons of records and of hospitals are different promises: they are never on one axis here, and no "
            "number of "
            "one can be set against a number of the other."
        )
    lines += [
        "In a simulation the noise is drawn from the seed, so whoever knows the seed could take it out again. The "
        "figures "
        "are what the same settings spend where each site draws its noise from the operating system.",
        "All baselines are without privacy, so their epsilon is infinite for whoever sees their models; pooling the "
        "records "
        "exists in simulation only.",
        "The scores are measurements for those who may see the hospitals' data. They are not covered by epsilon.",
    ]
    return tuple(lines)


def method(study: StudyResult) -> tuple[str, ...]:
    """Return how the numbers were computed."""
    seeds = study.facts["seeds"]
    lines = [
        f"Every setting was run with {count_text(len(seeds), 'seed')} ({', '.join(map(str, seeds))}). A seed draws "
        "the split "
        "into training and test records, the initial parameters, the batches and the noise."
    ]
    if len(seeds) > 1:
        lines.append(
            "Intervals are mean plus or minus t(0.975, n - 1) s / sqrt(n) over the n seeds: 95 % intervals of the "
            "mean if "
            "the scores are about normal. They say how sure the mean is, not how far single runs spread."
        )
    if study.facts["placements"]:
        lines.append(
            "Epsilon is recomputed from every run's ledger: by privacy loss distributions and Renyi divergences for "
            "Gaussian "
            "noise, whichever is smaller, and by Renyi divergences for Skellam noise, for which nothing tighter is "
            "proved. A "
            "run may therefore have spent a little less than its target; figures stand at what was spent, rounded up."
        )
    lines.append("Every run is what `wardround run` gives for the same settings; runs/ has all their files.")
    return tuple(lines)


def _compared(study: StudyResult) -> str:
    facts = study.facts
    parts = [count_text(study.num_runs, "run")]
    if facts["placements"]:
        parts.append(f"noise {_listed(facts['placements'])}")
    if facts["target_epsilons"]:
        parts.append(f"at equal epsilon ({', '.join(f'{value:g}' for value in facts['target_epsilons'])})")
    if facts["noise_multipliers"]:
        parts.append(f"at equal noise multiplier ({', '.join(f'{value:g}' for value in facts['noise_multipliers'])})")
    text = f"{', '.join(parts)}, with {count_text(len(facts['seeds']), 'seed')} each"
    if facts["baselines"]:
        text += (
            f"; baselines without privacy: "
            f"{_listed([BASELINE_NAMES[name].split(',')[0] for name in facts['baselines']])}"
        )
    return f"{text}."


def _same_level(groups: Sequence[RunGroup], wanted: RunGroup) -> list[RunGroup]:
    key = (wanted.unit, wanted.held, wanted.level)
    return [group for group in groups if (group.unit, group.held, group.level) == key]


def _level_text(group: RunGroup) -> str:
    if group.held == "noise":
        return f"noise multiplier {group.level:g} for every {group.unit}"
    spent = epsilon_text(max(row.epsilon_max for row in group.rows))
    return f"target epsilon {group.level:g} for every {group.unit} (largest spent: {spent})"


def _paired(group: RunGroup, other: RunGroup, column: str) -> tuple[str, bool]:
    """Return the mean difference of two settings with the same seeds, and whether its interval leaves out zero."""
    by_seed = {row.seed: getattr(row, column) for row in other.rows}
    spread = spread_of(getattr(row, column) - by_seed[row.seed] for row in group.rows if row.seed in by_seed)
    sign = "" if math.isnan(spread.mean) or number_text(spread.mean).startswith("-") else "+"
    return f"{sign}{spread_text(spread)}", abs(spread.mean) > spread.half_width


def _by_placement(values: dict[str, str]) -> str:
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return "; ".join(f"{placement}: {value}" for placement, value in values.items())


def _delta_text(stated: object) -> str:
    if isinstance(stated, dict):
        return f"{delta_text(min(stated.values()))} to {delta_text(max(stated.values()))}, by hospital"
    return delta_text(float(str(stated)))


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
