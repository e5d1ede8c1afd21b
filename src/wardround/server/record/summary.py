"""summary.json: a pure function of what the ledger holds, so that it can be made anew from it and compared."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wardround.config import Config
from wardround.leaves import fields_sent
from wardround.privacy.spending import Account
from wardround.server.plan.alternatives import plan_notes
from wardround.server.plan.plans import FederationPlan
from wardround.server.record.account_figures import account_figures
from wardround.server.record.beginnings import begun_with
from wardround.server.record.class_reports import class_report
from wardround.server.record.evaluated import AUC_POOLED, PUBLIC_LOSS, SURVIVAL_COLUMNS, hospital_columns
from wardround.server.record.keeping import kept_record
from wardround.server.record.records import Closing, RoundFigures, RoundRecord, noise_after
from wardround.server.record.released_scores import scores_of_release
from wardround.server.record.score_intervals import hospital_intervals, run_intervals
from wardround.server.record.summaries import (
    ClassScores,
    HospitalSummary,
    LedgerHead,
    Protection,
    RegressionScores,
    SettingsSummary,
    Summary,
    SurvivalScores,
)
from wardround.small_counts import shown_count, shown_share
from wardround.survival import SURVIVAL

__all__ = ["build_summary"]


def build_summary(
    plan: FederationPlan, account: Account, records: Sequence[RoundRecord], *, closing: Closing, head: LedgerHead
) -> Summary:
    """Return what summary.json holds; epsilon is recomputed from the charges in the account, which are all there are.

    The records are of the committed rounds, round 0 first; the facts in the closing, which only the starter of the run
    knew, are taken over as they are; the head is the ledger's, right after the closing was booked.
    """
    config, cell, last = plan.config, plan.cell, records[-1]
    opening = begun_with(records[0])
    left_out = tuple(dict.fromkeys(_left_out(records)))
    # Rounds that were abandoned, and attempts that were interrupted: both are charged.
    num_lost = sum(bool(record.outcome.abandoned) + record.attempt - 1 for record in records)
    return Summary(
        dataset=config.federation.dataset,
        num_hospitals=len(plan.hospitals),
        num_rounds=last.round_row.round,
        num_rounds_planned=config.training.num_rounds,
        status=closing.status,
        **_of_model(plan, records, closing),
        protection=_protection(plan),
        **account_figures(account, config.privacy.patient_overlap),
        accountant=cell.accountant,
        patient_overlap=config.privacy.patient_overlap,
        noise_multiplier=noise_after(records),
        max_grad_norm=last.max_grad_norm if cell.is_private else None,
        measured=plan.is_measured,
        seconds=sum(record.round_row.seconds for record in records),
        settings=_settings(config),
        left_out=left_out,
        num_rounds_lost=num_lost,
        leaves_hospital=_leaves_hospital(
            plan, closing, is_whole=not left_out and not num_lost, is_pooled=opening.columns is not None
        ),
        versions=dict(line.split(" ", 1) for line in opening.packages),
        ledger_head=head,
        facts=replace(closing.facts, notes=_every_note(plan, closing, records)),
    )


def _of_model(plan: FederationPlan, records: Sequence[RoundRecord], closing: Closing) -> dict[str, Any]:
    """Return how good the run's model is, by fields of the summary; the last that was tested, where it was not."""
    kept = kept_record(plan.config, records)
    is_best = plan.config.evaluation.keep == "best"
    tested = kept if is_best else _last_tested(records)
    row, counts = tested.round_row, tested.class_counts
    further = dict(zip(begun_with(records[0]).columns or (), row.further or (), strict=True))
    own = hospital_columns(tuple(further))
    task = closing.facts.task or "classification"
    hospitals = _hospitals(plan, tested, task)
    return {
        "kept_round": kept.round_row.round if is_best else None,
        "loss": row.loss,
        "scores": _scores(plan, row, task, further),
        "public_loss": further.get(PUBLIC_LOSS),
        "metrics": {name: further[name] for name in own if further[name] is not None} or None,
        "class_report": class_report(counts, closing.facts.class_names) if counts else None,
        "intervals": run_intervals(tested, further, hospitals, task),
        "released_scores": scores_of_release(plan, closing.test_sums, kept.round_row.round),
        "hospitals": hospitals,
    }


def _every_note(plan: FederationPlan, closing: Closing, records: Sequence[RoundRecord]) -> tuple[str, ...]:
    """Return each note once: what a plan says of the data stands among the facts already."""
    return tuple(dict.fromkeys((*closing.facts.notes, *plan_notes(plan), *_notes(plan.config, records))))


def _protection(plan: FederationPlan) -> Protection:
    privacy, cell, deltas = plan.config.privacy, plan.cell, plan.target_deltas
    return Protection(
        unit=privacy.unit,
        record_is=plan.record_is,
        own_statistics=any(hospital.profile.own_statistics for hospital in plan.hospitals),
        placement=privacy.placement,
        relation=cell.relation,
        mechanism=cell.mechanism,
        target_delta=next(iter(deltas.values())) if len(set(deltas.values())) == 1 else deltas,
    )


def _settings(config: Config) -> SettingsSummary:
    return SettingsSummary(
        seed=config.federation.seed,
        strategy=config.aggregation.strategy,
        protocol=config.aggregation.protocol,
        min_survivors=config.aggregation.min_survivors,
        max_colluding=config.aggregation.max_colluding,
        model=config.model.name,
        personal=config.personal.method if config.personal.is_used else None,
    )


def _leaves_hospital(plan: FederationPlan, closing: Closing, *, is_whole: bool, is_pooled: bool) -> dict[str, str]:
    return fields_sent(
        protocol=plan.config.aggregation.protocol,
        task=str(closing.facts.task),
        # Who fails says why; where that may have been so, it is listed.
        failed=not is_whole or closing.status == "interrupted",
        are_sites=not any(hospital.measures is not None for hospital in plan.hospitals),
        release=plan.config.evaluation.release,
        is_pooled=is_pooled,
    )


def _last_tested(records: Sequence[RoundRecord]) -> RoundRecord:
    """Return the last round after which the model was evaluated; the last of all where it never was.

    It is the last of all unless the run was interrupted between evaluations.
    """
    return next((record for record in reversed(records) if record.round_row.loss is not None), records[-1])


def _scores(
    plan: FederationPlan, row: RoundFigures, task: str | None, further: Mapping[str, float | None]
) -> ClassScores | RegressionScores | SurvivalScores:
    majority = _mean_over_tests(plan) if plan.is_measured else None
    if task == "regression":
        return RegressionScores(score=row.score, majority=majority)
    if task == SURVIVAL:
        mean, *brier = (further.get(name) for name in SURVIVAL_COLUMNS)
        own = dict(zip(("brier_integrated", "brier_kaplan_meier"), brier, strict=True))
        return SurvivalScores(score=row.score, concordance=mean, majority=majority, **own)
    return ClassScores(score=row.score, auc=row.auc, auc_pooled=further.get(AUC_POOLED), majority=majority)


def _hospitals(plan: FederationPlan, tested: RoundRecord, task: str) -> tuple[HospitalSummary, ...]:
    """Return the hospitals; the baseline's score of none where one would tell a class of fewer than ten people.

    The mean over hospitals is shown, so that a single one that is left out would follow from the others.
    """
    measures = [hospital.measures for hospital in plan.hospitals if hospital.measures is not None]
    shares: list[float | None] = [measured.majority_score for measured in measures]
    if task not in ("regression", SURVIVAL):
        shares = [shown_share(m.majority_score, m.num_test) for m in measures if m.num_test]
    is_hidden = (
        not plan.is_measured
        or None in shares
        or any(isinstance(shown_count(measured.num_test), str) for measured in measures)
    )
    hospitals = (
        HospitalSummary(
            hospital=hospital.name,
            num_train=shown_count(hospital.num_train),
            num_test=None if hospital.measures is None else shown_count(hospital.measures.num_test),
            majority_score=None if is_hidden or hospital.measures is None else hospital.measures.majority_score,
        )
        for hospital in plan.hospitals
    )
    lines = {line.hospital: line for line in tested.hospital_rows}
    errors = tested.hospital_errors or {}
    return tuple(
        replace(each, intervals=hospital_intervals(each, lines.get(each.hospital), errors.get(each.hospital), task))
        for each in hospitals
    )


def _mean_over_tests(plan: FederationPlan) -> float:
    """Return the baseline's score over all test records; of an r2 that earlier versions measured, a weighted mean."""
    measures = [hospital.measures for hospital in plan.hospitals if hospital.measures and hospital.measures.num_test]
    num_test = sum(measured.num_test for measured in measures)
    sums = [
        (m.num_test, m.test_mean, m.test_spread, m.majority_error)
        for m in measures
        if m.test_mean is not None and m.test_spread is not None and m.majority_error is not None
    ]
    if sums and len(sums) == len(measures):
        middle = sum(num * mean for num, mean, _, _ in sums) / num_test
        spread = sum(own + num * (mean - middle) ** 2 for num, mean, own, _ in sums)
        return 1.0 - sum(error for *_, error in sums) / spread if spread > 0 else float("nan")
    return sum(m.num_test * m.majority_score for m in measures) / num_test if num_test else float("nan")


def _notes(config: Config, records: Sequence[RoundRecord]) -> Iterator[str]:
    """Yield what an interrupted run is not: tested, paid for once, of one set of versions, or as if it had gone on."""
    if (balance := begun_with(records[0]).balance) is not None:
        weighs = config.imbalance.remedy == "loss-weights"
        numbers = ", ".join(f"{each:.3g}" for each in (balance.loss_weights if weighs else balance.copies))
        counted = "losses are weighted with" if weighs else "records count"
        yield f"by the class shares that were released before round 1 {counted} {numbers}, in the order of the classes"
    for name in records[-1].saved.strategy_forgets:
        yield f"what the strategy keeps in {name} is not saved with a round: after a resume it starts anew"
    last, tested = records[-1].round_row.round, _last_tested(records).round_row.round
    if tested < last and config.evaluation.keep == "last":  # the best model was tested
        yield f"loss and scores are those after round {tested}, and the model is that after round {last}, untested"
    for record in records:
        if (attempts := record.attempt) > 1:
            yield f"round {record.round_row.round} was interrupted and done again: {attempts} attempts are charged"
    if others := dict.fromkeys(line for record in records for line in record.other_versions):
        yield f"a part of the run was made with {', '.join(others)}"


def _left_out(records: Sequence[RoundRecord]) -> Iterator[str]:
    """Yield one sentence per hospital and reason; who is left out for good is told of again in each round."""
    for record in records:
        yield from (f"{name} {reason}" for name, reason in record.left.items())
        if record.opening:
            yield from (f"{name} {reason}".strip() for name, reason in record.opening.absent.items())
        if why := record.outcome.abandoned:
            left = "the model as it was" if record.round_row.round else "features and classes as they were"
            yield f"round {record.round_row.round} was charged but left {left}: {why}"
    yield from _scrubbed(records)
    yield from _missing(records)


def _scrubbed(records: Sequence[RoundRecord]) -> Iterator[str]:
    counts: Counter[str] = Counter()
    for record in records:
        counts.update(record.outcome.num_scrubbed)
    for name, count in counts.items():
        yield f"{name}: gradients or updates that were not finite counted as zero ({shown_count(count)} in all)"


def _missing(records: Sequence[RoundRecord]) -> Iterator[str]:
    """Yield who dropped out of rounds, and who did not answer in them."""
    dropped: dict[str, list[tuple[int, str]]] = {}
    silent: dict[str, list[int]] = {}
    for record in records:
        for name, reason in record.outcome.dropped.items():
            dropped.setdefault(name, []).append((record.round_row.round, reason))
        for row in () if record.outcome.abandoned else record.hospital_rows:
            if row.selected and not row.completed and row.hospital not in record.outcome.dropped:
                silent.setdefault(row.hospital, []).append(row.round)
    for name, reasons in dropped.items():
        number, reason = reasons[0]
        more = f", and in {len(reasons) - 1} more" if len(reasons) > 1 else ""
        yield f"{name} dropped out of round {number}{more}: {reason}"
    for name, rounds in silent.items():
        plural = "s" if len(rounds) > 1 else ""
        yield f"{name} was charged but did not answer in {len(rounds)} round{plural} (first: {rounds[0]})"
