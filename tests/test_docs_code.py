"""Code that the documents show runs as it stands."""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = {
    path.relative_to(ROOT).as_posix(): blocks
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if (
        blocks := [
            block
            for block in _BLOCK.findall(path.read_text(encoding="utf-8"))
            if "wr." in block or "wardround" in block
        ]
    )
}
"""Blocks that have to do with this package; others are parts of a user's own app."""


def test_there_are_pages_that_show_code() -> None:
    assert {"docs/for/researcher.md", "docs/how-to/python.md"} <= PAGES.keys()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs_from_top_to_bottom(
    page: str, real_data: Path, ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the root of the repository, as the pages say: in a folder with its examples, so that runs/ is new."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WARDROUND_DATA", str(real_data))
    shared: dict[str, object] = {"__name__": "shown_code"}
    for block in PAGES[page]:
        exec(compile(block, page, "exec"), shared)
    assert list((tmp_path / "runs").glob("*/report.html"))
