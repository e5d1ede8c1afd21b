"""What people read stops nobody whose work is not programming: no phrase that did, and no name of a field."""

import re
from pathlib import Path

import pytest

from wardround.leaves import LEAVES_HOSPITAL, SENTENCES
from wardround.privacy.cells import CELLS

ROOT = Path(__file__).parents[1]
STOPS_THE_READER = {
    r"noise as long as": "noise as large as the signal",
    r"the bits of the ideal": "equals the ideal sum bit for bit",
    r"interrupted, the same|the same command with|the same `flwr run` with": "if interrupted, repeat the command with",
    r"add up in reality|no file adds": "epsilons of several runs add up; Wardround does not add them",
    r"on what ground\b": "on what grounds",
    r"can tell rightly|tells rightly": "can guess right",
    r"\bbut for\b": "except for",
    r"has the last word": "shows what was charged",
    r"below zero it pays": "below zero, privacy costs it",
    r"as many noisy steps": "the same number of steps",
    r"\bcounted on\b": "expected",
    r"\b(has|have) not the\b|columns of its heading": "does not have the columns of its header",
    r"not one of \S+ runs|came through\b(?! shared memory)": "all runs failed",
    r"who is whose": "which rows belong to one patient",
    r"no one replied|nobody replied": "no hospital replied",
    r"as accounted while running": "say which of two bounds a figure is, and which one holds",
    r"no more than 0 ": "say that there is none",
    r"looser bound of the same": "say which of two bounds a figure is, and which one holds",
    r"at most so many of its guesses": "how often at most it guesses right",
}
"""What stood there once, and what is said in its place."""


def as_read(path: Path) -> str:
    """Return a file's text without what breaks its sentences: quotes between two lines, comment signs, blanks."""
    text = re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
    return re.sub(r"\s+", " ", re.sub(r"\n\s*#", " ", text))


def pages() -> list[Path]:
    documents = [path for path in (ROOT / "docs").rglob("*.md") if "decisions" not in path.parts]
    rest = [path for end in ("py", "html") for path in (ROOT / "src").rglob(f"*.{end}")]
    settings = [path for end in ("toml", "py", "md") for path in (ROOT / "examples").rglob(f"*.{end}")]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *documents, *rest, *settings]


@pytest.mark.parametrize("phrase", STOPS_THE_READER)
def test_no_sentence_stops_a_reader_who_does_not_program(phrase: str) -> None:
    said = {str(path.relative_to(ROOT)): re.search(phrase, as_read(path), re.IGNORECASE) for path in pages()}
    assert {path: found[0] for path, found in said.items() if found} == {}, f"say: {STOPS_THE_READER[phrase]}"


def test_the_phrases_are_found_across_lines_and_quotes(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(
        'x = (\n    "replies that are counted "\n    "on"\n)\n# a comment, but\n# for one\n'
    )
    for phrase in (r"\bcounted on\b", r"\bbut for\b"):
        assert re.search(phrase, as_read(tmp_path / "words.py"))


def test_every_field_that_leaves_a_hospital_has_a_sentence_without_a_field_s_name() -> None:
    names = [name for name in SENTENCES if "-" in name]
    said = [*SENTENCES.values(), *(cell.words().sent for cell in CELLS)]
    assert set(SENTENCES) >= set(LEAVES_HOSPITAL) and all(said)
    assert [name for name in names for sentence in said if name in sentence] == []
