"""The model card: on one page what the model is, what it was trained on, what protects whom, and how good it is."""

import math

from wardround.audits.records import Audit
from wardround.privacy.cells import READER_NAMES
from wardround.reports import audited, words
from wardround.reports.dossier.page import run_in
from wardround.reports.dossier.records import Dossier
from wardround.reports.numbers import between_text, delta_text, epsilon_text, number_text, percent_text
from wardround.reports.reconstructed import reconstruction_sentences, view_lines
from wardround.reports.released import released_figures, unmeasured_sentence
from wardround.reports.results import RunResult
from wardround.server.record.evaluated import metric_key

__all__ = ["CARD", "model_card"]

CARD = "model-card.md"
"""The file's name, beside the model and in the dossier."""
_MOST_LINES = 6
"""Of attackers: more are on the page."""


def model_card(dossier: Dossier) -> str:
    """Return the model card, in Markdown."""
    run = run_in(dossier)
    parts = {
        "What it is": _model(run, dossier),
        "Data": [
            *(note for _, note in words.sources(run.summary)),
            f"{run.summary.num_hospitals} hospitals took part.",
        ],
        "Privacy": _privacy(run),
        "What attackers were seen to get": _seen(dossier.audit, run),
        "Records that hospitals really have": _members(dossier.audit),
        "Records from gradients": _reconstructed(dossier.audit),
        "Scores": _scores(run),
        "Limits": [
            *words.assumptions(run),
            "Whether the model serves all groups of patients alike was not measured.",
            "It was made to study federated training. It is no medical device, and no decision about a patient should "
            "rest on it.",
        ],
    }
    text = f"# Model card: {run.summary.settings.model} on {run.summary.dataset}\n"
    for heading, lines in ((heading, lines) for heading, lines in parts.items() if lines):
        text += f"\n## {heading}\n\n" + "".join(f"- {line}\n" for line in lines if line)
    return text


def _model(run: RunResult, dossier: Dossier) -> list[str]:
    facts, settings = run.summary.facts, run.summary.settings
    size = "" if facts.num_parameters is None else f", {facts.num_parameters:,} parameters"
    kept = "" if run.summary.kept_round is None else f" The model is that after round {run.summary.kept_round}."
    return [
        f"{settings.model}{size}; task: {facts.task or 'not recorded'}.",
        f"Trained in {run.summary.num_rounds} rounds by {settings.strategy or 'federated averaging'}, made with "
        f"{dossier.made_with}.{kept}",
        f"model.safetensors, sha256 {dossier.model_sha256}." if dossier.model_sha256 else "",
        f"It tells apart: {', '.join(facts.class_names)}." if facts.class_names else "",
    ]


def _privacy(run: RunResult) -> list[str]:
    if not run.is_private or math.isinf(run.epsilon.total):
        return [words.headline(run)[1]]
    guesses = run.guesses
    return [
        words.headline(run)[1],
        *(
            f"Against {name}: epsilon {epsilon_text(run.epsilon.readers[key])} at delta "
            f"{delta_text(run.target_delta, words=False)}; a coin toss is guessed right in at most "
            f"{percent_text(guesses[key])} of cases."
            for key, name in READER_NAMES.items()
        ),
    ]


def _seen(audit: Audit | None, run: RunResult) -> list[str]:
    if audit is None:
        return []
    return [
        audited.audit_sentence(audit),
        *(
            f"{line.hospitals} against {line.readers}: right in {line.right} of coin tosses that decide whether "
            f"{run.words.used}; the bill allows {line.right_most}."
            for line in audited.audit_lines(audit)[:_MOST_LINES]
        ),
        "A bound far below the bill says that this attack found little, never that there is little to be found.",
    ]


def _members(audit: Audit | None) -> list[str]:
    """Return what attacks got of real records of the hospital that most was got of."""
    lines = audited.member_lines(audit, 1) if audit else []
    told = [
        f"{line.hospital}, of which most was got, by {line.attack}: AUC {line.auc}; epsilon seen at least "
        f"{line.epsilon_lower} of {line.epsilon}."
        for line in lines
    ]
    return [audited.MEMBERS, *told] if told else []


def _reconstructed(audit: Audit | None) -> list[str]:
    found = audit.reconstruction if audit else None
    if found is None:
        return []
    told = (
        f"{line.seen[:1].upper()}{line.seen[1:]}. Features are off by {line.error} standard deviations; told apart are "
        f"{line.identified}."
        for line in view_lines(found)
    )
    return [reconstruction_sentences(found)[0], *told]


def _scores(run: RunResult) -> list[str]:
    summary = run.summary
    if not summary.measured:
        released = [f"{name}: {value} ({compared})" for name, value, compared in released_figures(run)]
        return [unmeasured_sentence(run), *released]
    names = {"score": run.score_words.name, "auc": "AUC, mean over hospitals", "auc_pooled": "AUC, all test records"}
    intervals = {"score": run.score_words.key, "auc": "auc", "auc_pooled": "auc_pooled"}
    return [
        *(
            f"{name}: {number_text(run.scores[key])}{between_text(run.intervals.get(intervals[key]))}"
            for key, name in names.items()
            if not math.isnan(run.scores[key])
        ),
        *(
            f"{name}: {number_text(value)}{between_text(run.intervals.get(metric_key(name)))}"
            for name, value in (summary.metrics or {}).items()
        ),
        "Measured on the hospitals' test records; epsilon does not cover these measurements.",
    ]
