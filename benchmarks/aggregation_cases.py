"""The cases of benchmarks/secure_aggregation.py, and what is said about their figures."""

import math
import statistics
from dataclasses import asdict
from typing import Any

from aggregation_ours import FLOWERS, OURS, PLAIN, PROTOCOLS
from aggregation_protocols import Case

INLINE, FLOWER, RAY = "inline", "flower", "ray"
ALL = [(engine, protocol) for engine in (INLINE, FLOWER) for protocol in PROTOCOLS] + [(RAY, PLAIN), (RAY, OURS)]
SMALL = {"num_parameters": 100_000, "num_dropouts": 0, "num_rounds": 1}
# Four may drop out, and our graph has about 2 log2 n neighbours; then nearly half may, and it is complete.
SCALING = [Case(num_clients=n, num_shares=n, min_survivors=n - 4, **SMALL) for n in (10, 50, 100)]
COMPLETE = [Case(num_clients=n, num_shares=n, min_survivors=n // 2 + 1, **SMALL) for n in (50, 100)]
LARGE = Case(num_clients=10, num_parameters=2_500_000, num_dropouts=0, num_shares=10, min_survivors=6, num_rounds=3)
DROPS = Case(num_clients=100, num_parameters=1_000_000, num_dropouts=10, num_shares=100, min_survivors=90, num_rounds=1)
CASES: list[tuple[Case, list[tuple[str, str]]]] = [
    (LARGE, ALL),
    *((case, [(INLINE, protocol) for protocol in PROTOCOLS]) for case in SCALING[:2]),
    *((case, [(INLINE, PLAIN), (INLINE, OURS)]) for case in SCALING[2:]),
    *((case, [(INLINE, OURS)]) for case in COMPLETE),
    (DROPS, [(INLINE, PLAIN), (INLINE, OURS), (RAY, PLAIN), (RAY, OURS)]),
]
QUICK = Case(num_clients=5, num_parameters=10_000, num_dropouts=1, num_shares=5, min_survivors=3, num_rounds=1)
# what, largest ratio to Flower's SecAgg+, where ours runs
TARGETS = [
    ("seconds_per_round", 1 / 5, RAY),
    ("seconds_per_round", 1 / 5, INLINE),
    ("bytes_up_per_client", 0.55, INLINE),
]
FLOWERS_PLACE = {RAY: FLOWER, INLINE: INLINE}
Key = tuple[int, int, int, int]


def report(rows: list[dict[str, Any]]) -> None:
    """Print what each protocol costs beside plain averaging on the same engine, medians over the repeats."""
    for case in dict.fromkeys(map(case_of, rows)):
        for engine, protocol in dict.fromkeys((row["engine"], row["protocol"]) for row in rows):
            fields = ["seconds_per_round"]
            # Other work on the machine changes a time, but hardly the processor's seconds.
            more = ["cpu_seconds_per_client", "bytes_up_per_client", "bytes_down_per_client", "bytes_per_client"]
            fields += more if engine == INLINE else []
            for field in fields:
                figure, plain = (median(rows, engine, name, case, field) for name in (protocol, PLAIN))
                if protocol == PLAIN or figure is None:
                    continue
                beside = "" if plain is None else f", {plain:.4g} plain, {figure / plain:.2f} times"
                print(f"{described(case)}, {engine}: {field} {figure:.4g} with {protocol}{beside}")


def verdicts(rows: list[dict[str, Any]]) -> None:
    """Print whether the targets are reached, and how a client's cost grows with their number."""
    large = case_of(asdict(LARGE))
    for field, target, run in TARGETS:
        ours, flowers = median(rows, run, OURS, large, field), median(rows, FLOWERS_PLACE[run], FLOWERS, large, field)
        where = "each on its own engine" if run == RAY else "both inline"
        verdict = "reached" if ours / flowers <= target else "MISSED"
        print(
            f"{described(large)}, {where}: {field} {ours / flowers:.3f} of Flower's SecAgg+, at most {target:.2f}: "
            f"{verdict}"
        )
    for field in ("cpu_seconds_per_round", "bytes_down_per_client", "bytes_per_client"):
        ours, flowers = (median(rows, INLINE, protocol, large, field) for protocol in (OURS, FLOWERS))
        print(f"{described(large)}, {field}: {ours / flowers:.3f} of Flower's SecAgg+")
    for field in ("cpu_seconds_per_client", "bytes_per_client"):
        for cases in (SCALING, [SCALING[0], *COMPLETE]):
            scaling(rows, field, [case_of(asdict(case)) for case in cases])


def scaling(rows: list[dict[str, Any]], field: str, cases: list[Key]) -> None:
    """Print what all clients together cost beyond plain averaging, against n log n, from the smallest case."""
    first = None
    for case in cases:
        plain = (*case[:3], case[0] - 4)
        beyond = median(rows, INLINE, OURS, case, field) - median(rows, INLINE, PLAIN, plain, field)
        share = beyond / math.log2(case[0])
        first = first or share
        print(
            f"{described(case)}: {field} {beyond:.4g} beyond plain; that of all, over n log n, {share / first:.2f} "
            "times the first case's"
        )


def median(rows: list[dict[str, Any]], engine: str, protocol: str, case: Key, field: str) -> float | None:
    same = [row[field] for row in rows if (row["engine"], row["protocol"], case_of(row)) == (engine, protocol, case)]
    return statistics.median(same) if same else None


def case_of(row: dict[str, Any]) -> Key:
    return row["num_clients"], row["num_parameters"], row["num_dropouts"], row["min_survivors"]


def described(case: Key) -> str:
    return f"{case[0]} x {case[1]}, {case[2]} drop out, min_survivors {case[3]}"
