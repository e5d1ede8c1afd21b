"""summary.json: a pure function of what the ledger holds, so that it can be made anew from it and compared."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wardround.leaves import fields_sent
from wardround.privacy.account import Account
from wardround.privacy.cells import READERS, cell_named
from wardround.server.plan.alternatives import plan_notes
from wardround.server.plan.plans import FederationPlan
from wardround.small_counts import shown_count, shown_share

__all__ = ["attacker_figures", "build_summary", "dp_events"]


def build_summary(
    plan: FederationPlan,
    account: Account,
    records: Sequence[Mapping[str, Any]],
    *,
    closing: Mapping[str, Any],
    head: tuple[int, str],
) -> dict[str, Any]:
    """Return what summary.json holds; epsilon is recomputed from the charges in the account.

    Args:
        plan: of the run.
        account: every charge in the ledger.
        records: the committed rounds, round 0 first, as JSON gives them back.
        closing: how it ended: its status ("done", "stopped-at-budget" or "interrupted"), and the facts that only the
            starter of the run knew (task, notes, engine, dates, ...), taken over as they are.
        head: number of rows of the ledger and its last digest, right after the closing was booked.
    """
    config, facts = plan.config, closing["facts"]
    cell = plan.cell
    last = records[-1]["round_row"]
    regression = facts.get("task") == "regression"
    scores = {"r2": last["accuracy"]} if regression else {"accuracy": last["accuracy"], "auc": last["auc"]}
    headline = account.headline(config.privacy.patient_overlap)
    deltas = {hospital.profile.hospital_id: hospital.target_delta for hospital in plan.hospitals}
    left_out = _left_out(records)
    num_lost = sum(bool(record["abandoned"]) + record["attempt"] - 1 for record in records)
    sent = fields_sent(
        protocol=config.aggregation.protocol,
        task=str(facts.get("task")),
        # Who fails says why; where that may have been so, it is listed.
        failed=bool(left_out) or num_lost > 0 or closing["status"] == "interrupted",
        are_sites=not plan.is_measured,
    )
    summary = {
        "dataset": config.federation.dataset,
        "num_hospitals": len(plan.hospitals),
        "num_rounds": last["round"],
        "num_rounds_planned": config.training.num_rounds,
        "status": closing["status"],
        "unit": config.privacy.unit,
        "record_is": plan.record_is,
        "own_statistics": any(hospital.profile.own_statistics for hospital in plan.hospitals),
        "placement": config.privacy.placement,
        "relation": cell.relation,
        "mechanism": cell.mechanism,
        "target_delta": next(iter(deltas.values())) if len(set(deltas.values())) == 1 else deltas,
        "epsilon": {
            "max": headline.max,
            "total": headline.total,
            "hospitals": headline.hospitals,
            # Of max and total: the hospitals' smallest.
            "target_delta": headline.target_delta,
            "readers": account.epsilons_by_reader(config.privacy.patient_overlap),
        },
        **attacker_figures(account, config.privacy.patient_overlap),
        "accountant": cell.accountant,
        "events": dp_events(account),
        "patient_overlap": config.privacy.patient_overlap,
        "noise_multiplier": records[-1]["noise_multipliers"],
        "max_grad_norm": records[-1]["max_grad_norm"] if cell.is_private else None,
        "measured": plan.is_measured,
        "loss": last["loss"],
        **scores,
        "majority_r2" if regression else "majority_accuracy": _mean_over_tests(plan) if plan.is_measured else None,
        "seconds": sum(record["round_row"]["seconds"] for record in records),
        "seed": config.federation.seed,
        "strategy": config.aggregation.strategy,
        "protocol": config.aggregation.protocol,
        "min_survivors": config.aggregation.min_survivors,
        "max_colluding": config.aggregation.max_colluding,
        "model": config.model.name,
        "left_out": left_out,
        # Rounds that were abandoned, and attempts that were interrupted: both are charged.
        "num_rounds_lost": num_lost,
        "hospitals": [
            {
                "hospital": hospital.profile.hospital_id,
                "num_train": shown_count(hospital.profile.num_train),
                "num_test": None if hospital.measures is None else shown_count(hospital.measures.num_test),
                "majority_accuracy": majority,
            }
            for hospital, majority in zip(plan.hospitals, _majorities(plan, regression), strict=True)
        ],
        "leaves_hospital": sent,
        "versions": dict(line.split(" ", 1) for line in records[0]["packages"]),
        # Kept elsewhere, it shows whether the whole ledger was rewritten.
        "ledger_head": {"count": head[0], "digest": head[1]},
        "notes": [*facts.get("notes", ()), *plan_notes(plan), *_forgotten(records[-1]), *_resumed(records)],
    }
    # Whoever starts a run tells what the ledger can't, and never takes the place of what follows from it.
    return summary | {name: fact for name, fact in facts.items() if name not in summary}


def attacker_figures(account: Account, patient_overlap: int) -> dict[str, Any]:
    """Return what attackers can reach at most: in all, by reader and by hospital (see `privacy.attackers`)."""
    total = account.attacker(patient_overlap)
    by_reader = {reader: account.against(reader).attacker(patient_overlap).to_dict() for reader in READERS}
    return {
        "gdp_mu": total.reported_mu,
        "gdp_mu_reason": total.reason,
        "attacker": total.to_dict(),
        "attackers": by_reader,
        "attackers_by_hospital": {name: attacker.to_dict() for name, attacker in account.attackers().items()},
    }


def dp_events(account: Account) -> dict[str, list[str]]:
    """Return by hospital what was done as dp-accounting writes it, or in words of ours where it has none."""
    return {
        name: [cell_named(event.cell).event_text(event) for event in events]
        for name, events in account.events.items()
        if all(event.noise_multiplier > 0 for event in events)
    }


def _majorities(plan: FederationPlan, regression: bool) -> list[float | None]:
    """Return the baseline's score by hospital; of none where one would tell a class of fewer than ten people.

    The mean over hospitals is shown, so that a single one that is left out would follow from the others.
    """
    measures = [hospital.measures for hospital in plan.hospitals if hospital.measures is not None]
    shares: list[float | None] = [measured.majority_accuracy for measured in measures]
    if not regression:
        shares = [shown_share(m.majority_accuracy, m.num_test) for m in measures if m.num_test]
    is_hidden = None in shares or any(isinstance(shown_count(measured.num_test), str) for measured in measures)
    return [None if is_hidden or h.measures is None else h.measures.majority_accuracy for h in plan.hospitals]


def _forgotten(record: Mapping[str, Any]) -> list[str]:
    return [
        f"what the strategy keeps in {name} is not saved with a round: after a resume it starts anew"
        for name in record["strategy_forgets"]
    ]


def _resumed(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what a resumed run is not: paid for once, or made with one set of versions."""
    notes = [
        f"round {record['round_row']['round']} was interrupted and done again: {record['attempt']} attempts are charged"
        for record in records
        if record["attempt"] > 1
    ]
    others = dict.fromkeys(line for record in records for line in record["other_versions"])
    return notes + ([f"a part of the run was made with {', '.join(others)}"] if others else [])


def _mean_over_tests(plan: FederationPlan) -> float:
    """Return the baseline's score, averaged over hospitals by their test records, as accuracy is."""
    measures = [hospital.measures for hospital in plan.hospitals if hospital.measures and hospital.measures.num_test]
    num_test = sum(measured.num_test for measured in measures)
    return sum(m.num_test * m.majority_accuracy for m in measures) / num_test if num_test else float("nan")


def _left_out(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return one sentence per hospital and reason."""
    silent: dict[str, list[int]] = {}
    dropped: dict[str, list[tuple[int, str]]] = {}
    scrubbed: dict[str, int] = {}
    sentences: list[str] = []
    for record in records:
        for name, reason in record["left"].items():
            if (sentence := f"{name} {reason}") not in sentences:
                sentences.append(sentence)
        sentences += [f"{name} {reason}".strip() for name, reason in record.get("absent", {}).items()]
        of_round = record.get("dropped", {})
        for name, reason in of_round.items():
            dropped.setdefault(name, []).append((record["round_row"]["round"], reason))
        for name, count in record["num_scrubbed"].items():
            scrubbed[name] = scrubbed.get(name, 0) + count
        if reason := record["abandoned"]:
            number = record["round_row"]["round"]
            sentences.append(f"round {number} was charged but left the model as it was: {reason}")
            continue
        for row in record["hospital_rows"]:
            if row["selected"] and not row["completed"] and row["hospital"] not in of_round:
                silent.setdefault(row["hospital"], []).append(row["round"])
    for name, count in scrubbed.items():
        sentences.append(
            f"{name}: gradients or updates that were not finite counted as zero ({shown_count(count)} in all)"
        )
    for name, reasons in dropped.items():
        number, reason = reasons[0]
        more = f", and in {len(reasons) - 1} more" if len(reasons) > 1 else ""
        sentences.append(f"{name} dropped out of round {number}{more}: {reason}")
    for name, rounds in silent.items():
        sentences.append(
            f"{name} was charged but did not answer in {len(rounds)} "
            f"round{'s' if len(rounds) > 1 else ''} (first: {rounds[0]})"
        )
    return sentences
