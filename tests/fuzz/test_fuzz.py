"""Whatever a reader is given, it reads it or raises an error of ours, and asks for no more memory than is stated.

The whole of it, 10,000 cases a reader, is marked `fuzz`; `make fuzz` runs the same and prints the table of README.md.
"""

from pathlib import Path

import pytest
from fuzz_readers import READERS
from fuzz_run import Outcome, Reader, fuzz

FEW, MANY = 300, 10_000


def check(reader: Reader, outcome: Outcome) -> None:
    assert not outcome.others, {kind: repr(case)[:300] for kind, (case, _) in outcome.first.items()}
    assert outcome.most_bytes <= reader.most_bytes
    assert outcome.refused and outcome.accepted, "cases that are all refused, or all read, try nothing"


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_nothing_but_our_errors_and_no_more_memory_than_stated(reader: Reader, tmp_path: Path) -> None:
    check(reader, fuzz(reader, int(FEW * reader.share), tmp_path))


@pytest.mark.fuzz
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_nothing_but_our_errors_in_ten_thousand_cases(reader: Reader, tmp_path: Path) -> None:
    check(reader, fuzz(reader, MANY, tmp_path, seed=2))


def test_an_error_of_another_kind_is_found_and_memory_is_measured(tmp_path: Path) -> None:
    def read(number: int) -> object:
        return bytes(2**22) if number == 1 else 1 / (number - 2)

    careless = Reader(
        name="careless", most_bytes=2**20, prepare=lambda _: (0, lambda random: random.randrange(3), read)
    )
    outcome = fuzz(careless, 30, tmp_path)
    assert list(outcome.others) == ["ZeroDivisionError: division by zero"]
    assert outcome.most_bytes >= 2**22 > careless.most_bytes
