"""The documents as a site: built strictly and offline; every link inside leads somewhere, and nothing is forgotten."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "wardround"
DOMAINS_LINKED = {"arxiv.org", "github.com", "pre-commit.com"}
"""Where documents may send a reader; a page loads nothing from there."""


class Page(HTMLParser):
    """The links, the anchors, what is loaded, and the headings' texts of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value}
        self.anchors |= {found[name] for name in ("id", "name") if name in found and tag != "meta"}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        self.loaded += [found[name] for name in ("src", "href") if name in found and tag != "a"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason='needs pip install "wardround[docs]"')
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


@cache
def exports(path: Path) -> tuple[str, ...]:
    """Return the names in a file's `__all__`."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
            return tuple(ast.literal_eval(node.value))
    return ()


def is_outside(link: str) -> bool:
    return bool(urlsplit(link).scheme or urlsplit(link).netloc)


@pytest.mark.slow
def test_every_link_and_anchor_inside_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    lost = []
    for path, page in pages.items():
        for link in (link for link in [*page.links, *page.loaded] if not is_outside(link)):
            parts = urlsplit(link)
            # The page for what is not found is shown at any address, so its links begin at the site's root.
            start = site if parts.path.startswith("/") else path.parent
            target = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or not target.is_relative_to(site):
                lost.append(f"{path.relative_to(site)}: {link}: no such file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                lost.append(f"{path.relative_to(site)}: {link}: no such anchor")
    assert lost == [], lost
    assert sum(len(page.links) for page in pages.values()) > 1000


@pytest.mark.slow
def test_a_page_loads_nothing_from_elsewhere_and_links_to_known_domains(pages: dict[Path, Page]) -> None:
    assert [address for page in pages.values() for address in page.loaded if is_outside(address)] == []
    linked = {link for page in pages.values() for link in page.links if is_outside(link)}
    assert all(re.fullmatch(r"https://[\w.-]+(/[\w./%#?=&-]*)?", link) for link in linked), linked
    assert {urlsplit(link).hostname for link in linked} <= DOMAINS_LINKED


@pytest.mark.slow
def test_every_document_is_a_page(site: Path) -> None:
    documents = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    assert [path for path in documents if not (site / path).is_file()] == []
    assert len(documents) > 40


@pytest.mark.slow
def test_every_public_name_of_every_room_is_in_the_reference(pages: dict[Path, Page]) -> None:
    anchors = {anchor for page in pages.values() for anchor in page.anchors}
    rooms = {path.parent for path in PACKAGE.glob("*/__init__.py")} - {PACKAGE / "cli"}
    starts = [room / "__init__.py" for room in rooms if exports(room / "__init__.py")]
    modules = [path for room in rooms if room / "__init__.py" not in starts for path in room.rglob("*.py")]
    lost = []
    for path in [*starts, *modules, *PACKAGE.glob("*.py")]:
        name = ".".join(part for part in path.relative_to(ROOT / "src").with_suffix("").parts if part != "__init__")
        lost += [f"{name}.{export}" for export in exports(path) if f"{name}.{export}" not in anchors]
    lost.remove("wardround.simulations.engines.flower_internals.Run")  # Flower's
    assert lost == [], f"not in the reference (an assignment each, with a docstring): {lost}"
