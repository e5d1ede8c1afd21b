"""summary.json: a pure function of what the ledger holds, so that it can be made anew from it and compared."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from wardround.config import Config
from wardround.leaves import fields_sent
from wardround.privacy.cells import READERS, cell_named
from wardround.privacy.spending import Account
from wardround.server.plan.alternatives import plan_notes
from wardround.server.plan.plans import FederationPlan
from wardround.server.record.beginnings import begun_with
from wardround.server.record.records import Closing, RoundFigures, RoundRecord
from wardround.server.record.summaries import (
    AttackerSummary,
    ClassScores,
    EpsilonSummary,
    HospitalSummary,
    LedgerHead,
    Protection,
    RegressionScores,
    SettingsSummary,
    Summary,
)
from wardround.small_counts import shown_count, shown_share

__all__ = ["build_summary"]


def build_summary(
    plan: FederationPlan, account: Account, records: Sequence[RoundRecord], *, closing: Closing, head: LedgerHead
) -> Summary:
    """Return what summary.json holds; epsilon is recomputed from the charges in the account, which are all there are.

    The records are of the committed rounds, round 0 first; the facts in the closing, which only the starter of the run
    knew, are taken over as they are; the head is the ledger's, right after the closing was booked.
    """
    config, cell, last, tested = plan.config, plan.cell, records[-1], _last_tested(records)
    left_out = tuple(dict.fromkeys(_left_out(records)))
    # Rounds that were abandoned, and attempts that were interrupted: both are charged.
    num_lost = sum(bool(record.outcome.abandoned) + record.attempt - 1 for record in records)
    regression = closing.facts.task == "regression"
    return Summary(
        dataset=config.federation.dataset,
        num_hospitals=len(plan.hospitals),
        num_rounds=last.round_row.round,
        num_rounds_planned=config.training.num_rounds,
        status=closing.status,
        protection=_protection(plan),
        epsilon=_epsilon(account, config.privacy.patient_overlap),
        attackers=_attackers(account, config.privacy.patient_overlap),
        accountant=cell.accountant,
        events=_dp_events(account),
        patient_overlap=config.privacy.patient_overlap,
        noise_multiplier=last.noise_multipliers,
        max_grad_norm=last.max_grad_norm if cell.is_private else None,
        measured=plan.is_measured,
        loss=tested.round_row.loss,
        scores=_scores(plan, tested.round_row, regression),
        seconds=sum(record.round_row.seconds for record in records),
        settings=_settings(config),
        left_out=left_out,
        num_rounds_lost=num_lost,
        hospitals=_hospitals(plan, regression),
        leaves_hospital=_leaves_hospital(plan, closing, is_whole=not left_out and not num_lost),
        versions=dict(line.split(" ", 1) for line in begun_with(records[0]).packages),
        ledger_head=head,
        facts=replace(
            closing.facts,
            notes=tuple(dict.fromkeys((*closing.facts.notes, *plan_notes(plan), *_notes(records)))),
        ),
    )


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
    )


def _leaves_hospital(plan: FederationPlan, closing: Closing, *, is_whole: bool) -> dict[str, str]:
    return fields_sent(
        protocol=plan.config.aggregation.protocol,
        task=str(closing.facts.task),
        # Who fails says why; where that may have been so, it is listed.
        failed=not is_whole or closing.status == "interrupted",
        are_sites=not plan.is_measured,
    )


def _epsilon(account: Account, patient_overlap: int) -> EpsilonSummary:
    return EpsilonSummary(
        max=account.headline_total(1),
        total=account.headline_total(patient_overlap),
        hospitals=account.headline_epsilons(),
        # Of max and total: the hospitals' smallest.
        target_delta=account.common_delta,
        readers=account.epsilons_by_reader(patient_overlap),
    )


def _attackers(account: Account, patient_overlap: int) -> AttackerSummary:
    total = account.attacker(patient_overlap)
    return AttackerSummary(
        gdp_mu=total.figures.gdp_mu,
        gdp_mu_reason=total.reason,
        attacker=total.figures,
        attackers={reader: account.against(reader).attacker(patient_overlap).figures for reader in READERS},
        attackers_by_hospital={name: attacker.figures for name, attacker in account.attackers().items()},
    )


def _dp_events(account: Account) -> dict[str, tuple[str, ...]]:
    """Return by hospital what was done as dp-accounting writes it, or in words of ours where it has none."""
    return {
        name: tuple(cell_named(event.cell).event_text(event) for event in events)
        for name, events in account.events.items()
        if all(event.noise_multiplier > 0 for event in events)
    }


def _last_tested(records: Sequence[RoundRecord]) -> RoundRecord:
    """Return the last round after which the model was evaluated; the last of all where it never was.

    It is the last of all unless the run was interrupted between evaluations.
    """
    return next((record for record in reversed(records) if record.round_row.loss is not None), records[-1])


def _scores(plan: FederationPlan, tested: RoundFigures, regression: bool) -> ClassScores | RegressionScores:
    majority = _mean_over_tests(plan) if plan.is_measured else None
    if regression:
        return RegressionScores(score=tested.score, majority=majority)
    return ClassScores(score=tested.score, auc=tested.auc, majority=majority)


def _hospitals(plan: FederationPlan, regression: bool) -> tuple[HospitalSummary, ...]:
    """Return the hospitals; the baseline's score of none where one would tell a class of fewer than ten people.

    The mean over hospitals is shown, so that a single one that is left out would follow from the others.
    """
    measures = [hospital.measures for hospital in plan.hospitals if hospital.measures is not None]
    shares: list[float | None] = [measured.majority_score for measured in measures]
    if not regression:
        shares = [shown_share(m.majority_score, m.num_test) for m in measures if m.num_test]
    is_hidden = None in shares or any(isinstance(shown_count(measured.num_test), str) for measured in measures)
    return tuple(
        HospitalSummary(
            hospital=hospital.name,
            num_train=shown_count(hospital.num_train),
            num_test=None if hospital.measures is None else shown_count(hospital.measures.num_test),
            majority_score=None if is_hidden or hospital.measures is None else hospital.measures.majority_score,
        )
        for hospital in plan.hospitals
    )


def _mean_over_tests(plan: FederationPlan) -> float:
    """Return the baseline's score, averaged over hospitals by their test records, as scores are."""
    measures = [hospital.measures for hospital in plan.hospitals if hospital.measures and hospital.measures.num_test]
    num_test = sum(measured.num_test for measured in measures)
    return sum(m.num_test * m.majority_score for m in measures) / num_test if num_test else float("nan")


def _notes(records: Sequence[RoundRecord]) -> Iterator[str]:
    """Yield what an interrupted run is not: tested, paid for once, of one set of versions, or as if it had gone on."""
    for name in records[-1].saved.strategy_forgets:
        yield f"what the strategy keeps in {name} is not saved with a round: after a resume it starts anew"
    last, tested = records[-1].round_row.round, _last_tested(records).round_row.round
    if tested < last:
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
            yield f"round {record.round_row.round} was charged but left the model as it was: {why}"
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
