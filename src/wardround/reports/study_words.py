"""Say in plain sentences what a study compared, what came out, and what must hold for it to mean that.

The sentences are text without markup. Every number in them is a mean over rows of results.csv, or one of its cells.
"""

import math
from collections.abc import Mapping, Sequence

from wardround.privacy.cells import READERS, CellWords
from wardround.reports.numbers import count_text, delta_text, epsilon_text, number_text
from wardround.reports.study_folder import StudyResult, setting_text
from wardround.reports.study_panels import MOST_PANELS, groups_in
from wardround.reports.study_statistics import (
    RunGroup,
    groups_of,
    middle_group,
    middle_groups,
    over_settings,
    place_of_level,
    spread_of,
    spread_text,
)
from wardround.reports.study_styles import baselines_of
from wardround.reports.words import OTHER_RUNS, caveats, hidden_text, listed, sources
from wardround.server.record.summaries import Summary

__all__ = [
    "assumptions",
    "deltas",
    "findings",
    "guarantees",
    "headline",
    "method",
    "reader_rows",
    "study_caveats",
]


def headline(study: StudyResult) -> tuple[str, str]:
    """Return what came out in one line, and the paragraph that says what was compared."""
    metric = study.metric
    groups = groups_of(study.rows)
    first = middle_group([group for group in groups if group.unit == study.facts.units[0]])
    compared = " ".join((_compared(study), *study_caveats(study)))
    if first is None:
        without = [group for group in groups if group.baseline == "federated" and len(study.settings) > 1]
        scores = f": {metric.name} {_span(without, metric.field)}" if without else ""
        return f"{study.facts.name}: without privacy only{scores}", compared
    by_placement: dict[str, list[RunGroup]] = {}
    for group in _same_level(groups, first):
        by_placement.setdefault(group.placement, []).append(group)
    scores_of = [
        f"{_span(found, metric.field)} with {_words(study, found[0]).kind} noise" for found in by_placement.values()
    ]
    held = "target epsilon" if first.held == "epsilon" else "noise multiplier"
    return (
        f"{metric.name} {listed(scores_of)}, at {held} {first.level:g} for every {_words(study, first).unit}",
        compared,
    )


def _span(groups: Sequence[RunGroup], field: str) -> str:
    """Return the score of a group, or the lowest and the highest where settings are varied, and with which values."""
    known = [group for group in groups if not math.isnan(group.spread(field).mean)]
    if len(known) < 2:
        return spread_text((known or groups)[0].spread(field))
    low, *_, high = sorted(known, key=lambda group: group.spread(field).mean)
    texts = [f"{spread_text(group.spread(field))} ({setting_text(group.setting)})" for group in (low, high)]
    return " to ".join(texts)


def findings(study: StudyResult) -> tuple[str, ...]:
    """Return what the placements cost against each other, at the strictest and the middle level, and baselines."""
    metric = study.metric
    groups = groups_of(study.rows)
    sentences = []
    for middle in middle_groups(study):
        same_kind = [group for group in groups if (group.unit, group.held) == (middle.unit, middle.held)]
        # Where privacy is strictest the placements differ most.
        strictest = (min if middle.held == "epsilon" else max)(same_kind, key=lambda group: group.level)
        for wanted in (strictest, middle) if strictest.level != middle.level else (middle,):
            for setting in study.settings[:MOST_PANELS]:
                sentences += _gaps(study, groups_in(_same_level(groups, wanted), setting))
    labels = baselines_of(study.score_words)
    for group in groups:
        if group.baseline:
            text = setting_text(group.setting)
            sentences.append(
                f"{labels[group.baseline].label.capitalize()}{f' ({text})' if text else ''}: {metric.name} "
                f"{spread_text(group.spread(metric.field))}."
            )
    return tuple(sentences)


def _gaps(study: StudyResult, chosen: Sequence[RunGroup]) -> list[str]:
    """Return what other noise changes against noise that each hospital adds alone, at one level."""
    shared = [group for group in chosen if study.cell_of(group.unit, group.placement).shares_noise]
    own = next((group for group in chosen if group not in shared), None)
    if own is None:
        return []
    sentences = []
    with_ = f" and {setting_text(own.setting)}" if own.setting else ""
    for group in sorted(shared, key=lambda group: -_words(study, group).chart_order):
        words = _words(study, group)
        gap, is_clear = _paired(group, own, study.metric.field)
        sentences.append(
            f"At {_level_text(study, group)}{with_}, {words.kind} noise changes {study.metric.name} by {gap} against "
            f"{_words(study, own).kind} noise (difference by seed). "
            f"{words.price if is_clear else 'These runs show no clear difference.'}"
        )
    return sentences


def reader_rows(study: StudyResult) -> list[tuple[str, str, dict[str, float], str]]:
    """Return (cell, level and which one it is, largest epsilon by reader, whom to trust) at one level of each unit."""
    groups = groups_of(study.rows)
    rows = []
    for first in middle_groups(study):
        mine = [group for group in groups if group.unit == first.unit]
        for group in dict.fromkeys(over_settings(groups, group) for group in _same_level(groups, first)):
            readers = {reader: max(getattr(row, f"epsilon_{reader}") for row in group.rows) for reader in READERS}
            words = _words(study, group)
            level = f"{_level_text(study, group)}, {place_of_level(mine, group.held)}"
            rows.append((words.name, level, readers, words.trust))
    return rows


def guarantees(study: StudyResult) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return by unit the terms of its guarantee as (term, value), in the words of NIST SP 800-226."""
    result = []
    for unit in study.facts.units:
        stated = study.stated(unit)
        if not stated:
            continue
        words, one = stated[0]
        hidden = {said.kind: hidden_text(said, summary.protection.relation) for said, summary in stated}
        rows = [
            ("Unit of privacy", words.protected),
            ("What is hidden", _by_noise(hidden)),
            ("Noise", _by_noise({said.kind: said.noise for said, _ in stated})),
            ("Clip (L2 norm)", f"{one.max_grad_norm:g}" if one.max_grad_norm else "not recorded"),
            ("Delta", _delta_text(one)),
            ("Trust model", "honest but curious: all follow the protocol, and may look at what reaches them"),
            ("Data set", f"{one.dataset}, {count_text(one.num_hospitals, 'hospital')}"),
            *sources(one),
            ("Rounds", str(one.num_rounds_planned)),
            ("Date", f"{one.facts.dates[0]} UTC" if one.facts.dates else "not recorded"),
        ]
        varied = {term: (study.facts.vary or {}).get(name) for term, name in _TERMS.items()}
        rows = [(term, f"varied: {', '.join(texts)}" if (texts := varied.get(term)) else value) for term, value in rows]
        result.append((words.unit, rows))
    return result


_TERMS = {
    "Clip (L2 norm)": "privacy.max-grad-norm",
    "Delta": "privacy.target-delta",
    "Data set": "federation.dataset",
    "Rounds": "training.num-rounds",
}
"""By term of the guarantee, the setting that it states."""


def deltas(study: StudyResult) -> str:
    """Return the deltas that the study's epsilons are stated at, as its runs say; "not recorded" where they don't."""
    stated = sorted({row.target_delta for row in study.rows if row.target_delta == row.target_delta})
    return ", ".join(delta_text(value, words=False) for value in stated) or "not recorded"


def study_caveats(study: StudyResult) -> list[str]:
    """Return what changes the claims of the study's runs, each once."""
    stated = [cell for unit in study.facts.units for cell in study.stated(unit)]
    return list(dict.fromkeys(sentence for words, summary in stated for sentence in caveats(summary, words)))


def assumptions(study: StudyResult) -> tuple[str, ...]:
    """Return what must hold for the epsilons to mean what they say, and what they do not cover."""
    by_unit = [tuple(study.cells_of(unit).values()) for unit in study.facts.units]
    cells = [words for words_of_unit in by_unit for words in words_of_unit]
    lines = []
    if cells:
        lines.append(
            "Every epsilon is that of one run. The study trained many models on the same data: whoever sees several of "
            f"them, or settings that were chosen by looking at them, learns more than one epsilon says. {OTHER_RUNS}"
        )
    lines += dict.fromkeys(sentence for words in cells for sentence in words.relies)
    lines += [sentence for words_of_unit in by_unit for sentence in _promises(words_of_unit)]
    if cells and len(by_unit) > 1:
        nouns = [f"of {words_of_unit[0].units}" for words_of_unit in by_unit]
        lines.append(
            f"Epsilons {listed(nouns)} are different promises: they are never on one axis here, and no number of one "
            "can be set against a number of the other."
        )
    return (
        *lines,
        "All baselines are without privacy, so their epsilon is infinite for whoever sees their models; pooling the "
        "records exists in simulation only.",
        "The scores are measurements for those who may see the hospitals' data. They are not covered by epsilon.",
    )


def _promises(cells: Sequence[CellWords]) -> tuple[str, ...]:
    """Return what the epsilons of a unit's cells promise, where they do not all promise the same."""
    kinds: dict[str, list[str]] = {}
    for words in cells:
        kinds.setdefault(words.promise, []).append(words.kind)
    if len(kinds) < 2:
        return ()
    first, *others = ((f"with {listed(names)} noise", promise) for promise, names in kinds.items())
    parts = [f"{first[0]} is about {first[1]}", *(f"{noise} about {promise}" for noise, promise in others)]
    return (f"A {cells[0].unit}'s epsilon {', '.join(parts)}: different promises, whatever the figures say.",)


def method(study: StudyResult) -> tuple[str, ...]:
    """Return how the numbers were computed."""
    seeds = study.facts.seeds
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
    if study.facts.placements:
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
    parts = [count_text(len(study.facts.runs), "run")]
    if facts.placements:
        parts.append(f"noise {listed(facts.placements)}")
    if facts.target_epsilons:
        parts.append(f"at equal epsilon ({', '.join(f'{value:g}' for value in facts.target_epsilons)})")
    if facts.noise_multipliers:
        parts.append(f"at equal noise multiplier ({', '.join(f'{value:g}' for value in facts.noise_multipliers)})")
    parts += [f"{name} {listed(texts)}" for name, texts in (facts.vary or {}).items()]
    text = f"{', '.join(parts)}, with {count_text(len(facts.seeds), 'seed')} each"
    if facts.baselines:
        labels = baselines_of(study.score_words)
        text += f"; baselines without privacy: {listed([labels[name].label.split(',')[0] for name in facts.baselines])}"
    own = {"baselines": facts.of_baselines} if facts.of_baselines else {}
    for name, texts in {**own, **(facts.of_placements or {}), **(facts.variants or {})}.items():
        text += f"; {name} with {listed([f'{key} {value}' for key, value in texts.items()] or ['no change'])}"
    return f"{text}."


def _same_level(groups: Sequence[RunGroup], wanted: RunGroup) -> list[RunGroup]:
    key = (wanted.unit, wanted.held, wanted.level)
    return [group for group in groups if (group.unit, group.held, group.level) == key]


def _words(study: StudyResult, group: RunGroup) -> CellWords:
    return study.words_of(group.unit, group.placement)


def _level_text(study: StudyResult, group: RunGroup) -> str:
    noun = _words(study, group).unit
    if group.held == "noise":
        return f"noise multiplier {group.level:g} for every {noun}"
    spent = epsilon_text(max(row.epsilon_max for row in group.rows))
    return f"target epsilon {group.level:g} for every {noun} (largest spent: {spent})"


def _paired(group: RunGroup, other: RunGroup, field: str) -> tuple[str, bool]:
    """Return the mean difference of two settings with the same seeds, and whether its interval leaves out zero."""
    by_seed = {row.seed: getattr(row, field) for row in other.rows}
    spread = spread_of(getattr(row, field) - by_seed[row.seed] for row in group.rows if row.seed in by_seed)
    sign = "" if math.isnan(spread.mean) or number_text(spread.mean).startswith("-") else "+"
    return f"{sign}{spread_text(spread)}", abs(spread.mean) > spread.half_width


def _by_noise(values: Mapping[str, str]) -> str:
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return "; ".join(f"{kind}: {value}" for kind, value in values.items())


def _delta_text(summary: Summary) -> str:
    """Return the delta of a run's largest and total epsilon, and the hospitals' own where they differ."""
    stated, own = summary.epsilon.target_delta, summary.protection.target_delta
    if not isinstance(own, Mapping):
        return delta_text(own)
    by_hospital = f"{delta_text(min(own.values()))} to {delta_text(max(own.values()))}, by hospital"
    return by_hospital if stated is None else f"{delta_text(stated)} for largest and total; {by_hospital}"
