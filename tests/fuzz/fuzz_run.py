"""Give readers inputs that nobody meant, count what they make of them, and print the table of docs and README.

python tests/fuzz/fuzz_run.py [--cases 10000] [--reader NAME] [--write]
"""

import argparse
import tempfile
import time
import traceback
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from wardround.errors import WardroundError

__all__ = ["MEBI", "Outcome", "Reader", "Ways", "each", "fuzz"]

MEBI = 2**20
Ways = tuple[Any, Callable[[Random], Any], Callable[[Any], object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """One reader.

    Attributes:
        name: of the reader.
        most_bytes: of memory that it may ask for beyond what it had, whatever the input.
        prepare: given an empty folder, returns an input as it should be, what draws one that is not, and the reader.
        share: of the number of cases that are tried by default; slow readers have fewer.
    """

    name: str
    most_bytes: int
    prepare: Callable[[Path], Ways]
    share: float = 1.0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a reader made of its cases; `others` are errors that are not ours, with the first case of each."""

    refused: int = 0
    accepted: int = 0
    most_bytes: int = 0
    seconds: float = 0.0
    others: Counter[str] = field(default_factory=Counter)
    first: dict[str, Any] = field(default_factory=dict)


def fuzz(reader: Reader, num_cases: int, folder: Path, seed: int = 1) -> Outcome:
    """Return what the reader made of so many cases; the same seed draws the same ones."""
    good, draw, read = reader.prepare(folder)
    read(good)  # what is as it should be is read, or nothing below means anything
    random, outcome = Random(f"{reader.name} {seed}"), Outcome()
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(num_cases):
            case = draw(random)
            tracemalloc.start()
            try:
                read(case)
                outcome.accepted += 1
            except WardroundError:
                outcome.refused += 1
            except Exception as error:
                kind = f"{type(error).__name__}: {str(error)[:60]}"
                outcome.others[kind] += 1
                outcome.first.setdefault(kind, (case, error))
            outcome.most_bytes = max(outcome.most_bytes, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    outcome.seconds = time.perf_counter() - started
    return outcome


def each(*calls: Callable[[], object]) -> None:
    """Call all, and raise the last refusal; any other error comes through at once."""
    refusal: WardroundError | None = None
    for call in calls:
        try:
            call()
        except WardroundError as error:
            refusal = error
    if refusal is not None:
        raise refusal


def main() -> None:
    """Fuzz, a process for each processor, and print the table; with --write also into README.md beside this file."""
    from fuzz_readers import READERS

    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--reader", default="", help="those whose name begins so")
    parser.add_argument("--show", action="store_true", help="where other errors come from")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    names = [reader.name for reader in READERS if reader.name.startswith(options.reader)]
    rows = []
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for row, others in pool.map(_tried, names, [options.cases] * len(names), [options.show] * len(names)):
            print(row, *others, sep="\n", flush=True)
            rows.append(row)
    if options.write:
        path = Path(__file__).with_name("README.md")
        head, mark, _ = path.read_text(encoding="utf-8").partition("<!-- table -->\n")
        path.write_text(head + mark + _HEADER + "".join(f"{row}\n" for row in rows), encoding="utf-8")


def _tried(name: str, num_cases: int, is_shown: bool) -> tuple[str, list[str]]:
    """Return a reader's line of the table, and what came of the cases that ended otherwise than they should."""
    from fuzz_readers import READERS

    reader = next(reader for reader in READERS if reader.name == name)
    with tempfile.TemporaryDirectory() as folder:
        outcome = fuzz(reader, num_cases, Path(folder))
    others = [f"    {number} x {kind}" for kind, number in outcome.others.most_common()]
    for case, error in outcome.first.values() if is_shown else ():
        others += [f"    {case!r}"[:300], "".join(traceback.format_exception(error)[-3:])]
    return _row(reader, num_cases, outcome), others


_HEADER = (
    "| reader | cases | refused | accepted | other errors | most memory (MiB) | bound (MiB) |\n"
    "|---|--:|--:|--:|--:|--:|--:|\n"
)


def _row(reader: Reader, num_cases: int, outcome: Outcome) -> str:
    mebi = 2**20
    return (
        f"| {reader.name} | {num_cases:,} | {outcome.refused:,} | {outcome.accepted:,} | {outcome.others.total():,} "
        f"| {outcome.most_bytes / mebi:.1f} | {reader.most_bytes / mebi:g} |"
    )


if __name__ == "__main__":
    main()
