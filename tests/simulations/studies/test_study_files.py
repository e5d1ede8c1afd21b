"""Files of a study: whole or not at all, and what to do where they can't be written."""

from pathlib import Path

import pytest

from wardround.errors import WardroundError
from wardround.simulations.studies.study_files import csv_text, write_text


def test_a_table_has_its_columns_and_nothing_where_a_row_lacks_one(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "results.csv", csv_text(("run", "auc"), [{"run": "a,b", "auc": None}, {"run": "c"}]))
    assert (tmp_path / "new" / "results.csv").read_bytes() == b'run,auc\n"a,b",\nc,\n'


def test_a_file_that_cannot_be_written_says_how_to_go_on_and_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "results.csv").mkdir()
    with pytest.raises(WardroundError, match=r"can't write .*results\.csv: .*repeat the command with the same --out"):
        write_text(tmp_path / "results.csv", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]
