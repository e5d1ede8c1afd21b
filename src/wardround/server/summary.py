"""summary.json: the figures of a run, each traceable to the ledger, the settings or the last committed round."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wardround import wire
from wardround.privacy.account import Account
from wardround.server.planning import FederationPlan
from wardround.server.run_folder import RunFolder

__all__ = ["build_summary"]


def build_summary(
    plan: FederationPlan,
    account: Account,
    records: Sequence[Mapping[str, Any]],
    *,
    status: str,
    facts: Mapping[str, Any],
    folder: RunFolder,
) -> dict[str, Any]:
    """Return what summary.json holds; epsilon is recomputed from the charges in the account.

    Args:
        plan: of the run.
        account: every charge in the ledger.
        records: the committed rounds, round 0 first.
        status: "done", "stopped-at-budget" or "interrupted".
        facts: what only the starter of the run knows (task, notes, engine, parameters, ...), taken over as it is.
        folder: of the run; its versions.txt is taken over.
    """
    config = plan.config
    private = config.privacy.placement != "none"
    last = records[-1]["round_row"]
    regression = facts.get("task") == "regression"
    scores = {"r2": last["accuracy"]} if regression else {"accuracy": last["accuracy"], "auc": last["auc"]}
    headline = account.headline(config.privacy.patient_overlap)
    deltas = {hospital.profile.hospital_id: hospital.target_delta for hospital in plan.hospitals}
    return {
        "dataset": config.federation.dataset,
        "num_hospitals": len(plan.hospitals),
        "num_rounds": last["round"],
        "num_rounds_planned": config.training.num_rounds,
        "status": status,
        "unit": config.privacy.unit,
        "placement": config.privacy.placement,
        "relation": "add-or-remove-one" if private else "none",
        "mechanism": "poisson-subsampled-gaussian" if private else "none",
        "target_delta": next(iter(deltas.values())) if len(set(deltas.values())) == 1 else deltas,
        "epsilon": {
            "max": headline.max,
            "total": headline.total,
            "hospitals": headline.hospitals,
            # Noise is added before anything leaves the hospital: one bound holds against all three.
            # Of max and total: the hospitals' smallest.
            "target_delta": headline.target_delta,
            "readers": dict.fromkeys(("server", "hospital", "recipient"), headline.total),
        },
        "accountant": "pld",
        "patient_overlap": config.privacy.patient_overlap,
        "noise_multiplier": records[-1]["noise_multipliers"],
        "max_grad_norm": config.privacy.max_grad_norm if private else None,
        "loss": last["loss"],
        **scores,
        "majority_r2" if regression else "majority_accuracy": _mean_over_tests(plan),
        "seconds": sum(record["round_row"]["seconds"] for record in records),
        "seed": config.federation.seed,
        "strategy": config.aggregation.strategy,
        "protocol": config.aggregation.protocol,
        "model": config.model.name,
        "left_out": _left_out(records),
        "hospitals": [
            {
                "hospital": hospital.profile.hospital_id,
                "num_train": hospital.profile.num_train,
                "num_test": hospital.profile.num_test,
                "majority_accuracy": hospital.profile.majority_accuracy,
            }
            for hospital in plan.hospitals
        ],
        "leaves_hospital": dict(wire.LEAVES_HOSPITAL),
        "versions": dict(line.split(" ", 1) for line in folder.versions()),
        **facts,
        "notes": [*facts.get("notes", ()), *_forgotten(records[-1])],
    }


def _forgotten(record: Mapping[str, Any]) -> list[str]:
    return [
        f"what the strategy keeps in {name} is not saved with a round: after a resume it starts anew"
        for name in record.get("strategy_forgets", ())
    ]


def _mean_over_tests(plan: FederationPlan) -> float:
    """Return the baseline's score, averaged over hospitals by their test records, as accuracy is."""
    profiles = [hospital.profile for hospital in plan.hospitals if hospital.profile.num_test]
    num_test = sum(profile.num_test for profile in profiles)
    return sum(p.num_test * p.majority_accuracy for p in profiles) / num_test if num_test else float("nan")


def _left_out(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return one sentence per hospital and reason."""
    silent: dict[str, list[int]] = {}
    sentences: list[str] = []
    for record in records:
        for name, reason in record["left"].items():
            if (sentence := f"{name} {reason}") not in sentences:
                sentences.append(sentence)
        for row in record["hospital_rows"]:
            if row["selected"] and not row["completed"]:
                silent.setdefault(row["hospital"], []).append(row["round"])
    for name, rounds in silent.items():
        sentences.append(
            f"{name} was charged but did not answer in {len(rounds)} "
            f"round{'s' if len(rounds) > 1 else ''} (first: {rounds[0]})"
        )
    return sentences
