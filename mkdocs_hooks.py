"""What the site lists by itself: rooms of the code, decisions, and whatever else lies in docs/; and how doctests look.

Left out on purpose: `cli`, which `--help` tells of.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

__all__ = ["Doctests", "on_config", "on_files"]

PACKAGE = Path(__file__).parent / "src" / "wardround"
DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add to the navigation what it does not name."""
    sections = {title: pages for section in config.nav or [] for title, pages in section.items()}
    docs, named = Path(config.docs_dir), str(config.nav)
    sections["Reference"] += [{name: f"reference/{name}.md"} for name in reference()]
    sections["Decisions"] += [f"decisions/{path.name}" for path in decisions(docs)]
    sections["Documents"] += [path.name for path in sorted(docs.glob("*.md")) if f"'{path.name}'" not in named]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference."""
    for name, text in reference().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Append their list to the page of the decisions."""
    if page.file.src_uri != "decisions.md":
        return markdown
    pages = decisions(Path(config.docs_dir))
    titles = [path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ") for path in pages]
    lines = (f"- [{title}](decisions/{path.name})" for title, path in zip(titles, pages, strict=True))
    return "\n".join([markdown, *lines])


class Doctests(griffe.Extension):
    """Show examples in docstrings as code, not as quotations."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Put a fence around every doctest."""
        if obj.docstring is not None:
            obj.docstring.value = DOCTEST.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)


def decisions(docs: Path) -> list[Path]:
    """Return the pages of the decisions, in their order."""
    return sorted((docs / "decisions").glob("[0-9]*.md"))


def reference() -> dict[str, str]:
    """Return the text of a page for each room: what the package exports or, where it exports nothing, its modules."""
    rooms = sorted(path.parent for path in PACKAGE.glob("*/__init__.py") if path.parent.name != "cli")
    alone = [path for path in sorted(PACKAGE.glob("*.py")) if not path.name.startswith("__")]
    pages = {room.name: "\n\n".join(_room(room)) for room in rooms}
    return pages | {"modules": "\n\n".join(["# Modules beside the rooms", *_modules(alone)])}


def _room(room: Path) -> Iterator[str]:
    start = room / "__init__.py"
    yield f"# wardround.{room.name}\n\n" + _block(start, has_heading=False)
    if not exports(start):
        yield from _modules(path for path in sorted(room.rglob("*.py")) if path != start and exports(path))


def _modules(paths: Iterable[Path]) -> Iterator[str]:
    yield from (_block(path) for path in paths)


def _block(path: Path, *, has_heading: bool = True) -> str:
    names = path.relative_to(PACKAGE.parent).with_suffix("").parts
    name = ".".join(part for part in names if part != "__init__")
    options = ["heading_level: 2", f"members: {exports(path) or 'false'}"]
    options += [] if has_heading else ["show_root_heading: false", "show_root_toc_entry: false"]
    return "\n      ".join([f"::: {name}\n    options:", *options])


def exports(path: Path) -> list[str]:
    """Return the names in a file's `__all__`."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return list(ast.literal_eval(node.value)) if node.value else []
    return []
