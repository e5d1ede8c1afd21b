"""Outside the two rooms of cells nothing asks which cell it is: its names are in no comparison, match or table."""

import ast
from pathlib import Path

import wardround
from wardround.privacy.cells import CELLS

SOURCE = Path(wardround.__file__).parent
ROOMS = (SOURCE / "privacy" / "cells", SOURCE / "clients" / "cells")
WORDS = {word for cell in CELLS for word in (cell.name, cell.unit, cell.placement, cell.mechanism, cell.relation)}
WORDS |= {"skellam", "Skellam"}
CELL_OBJECTS = {cell.name.upper().replace("-", "_") for cell in CELLS}
ALLOWED = {
    ("server.record.tables", "item.name not in {'hospital', 'further', *_SCORES}"): "a column of hospitals.csv",
    ("server.record.strategy_state", "kind == 'record'"): "Flower's ArrayRecord among what a strategy remembers",
}
"""By module and source text, why it stays; five at most."""


def words_in(node: ast.AST) -> set[str]:
    """Return the names of cells, and of what they are made of, that stand in an expression as they are written."""
    if isinstance(node, ast.Constant):
        return {node.value} & WORDS if isinstance(node.value, str) else set()
    if isinstance(node, ast.Name):
        return {node.id} & CELL_OBJECTS
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return set().union(*(words_in(item) for item in node.elts))
    return set()


def asks(node: ast.AST) -> bool:
    """Return whether an expression asks which cell it is: compares with a name of one, or looks up by it."""
    if isinstance(node, ast.Compare):
        parts = (node.left, *node.comparators)
        # Where a patient's number holds: one of its two words is also a unit's.
        is_scope = any(isinstance(part, ast.Attribute) and part.attr == "patient_scope" for part in parts)
        return not is_scope and any(words_in(part) for part in parts)
    if isinstance(node, ast.MatchValue):
        return bool(words_in(node.value))
    if isinstance(node, ast.Dict):
        # A row of a table has columns of these names; a table by cell has nothing else.
        keys = [words_in(key) if key is not None else set() for key in node.keys]
        return len(keys) > 1 and all(keys)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("startswith", "endswith") and any(words_in(argument) for argument in node.args)
    return False


def questions(path: Path) -> list[str]:
    """Return the source of every expression in a file that asks which cell it is."""
    text = path.read_text()
    return [" ".join(ast.unparse(node).split()) for node in ast.walk(ast.parse(text)) if asks(node)]


def test_nothing_outside_the_rooms_of_cells_asks_which_cell_it_is():
    found = {
        (path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", "."), question)
        for path in SOURCE.rglob("*.py")
        if not any(path.is_relative_to(room) for room in ROOMS)
        for question in questions(path)
    }
    assert found == set(ALLOWED)
    assert len(ALLOWED) <= 5


def test_a_question_is_found_however_it_is_put(tmp_path):
    asked = [
        'cell.placement == "central"',
        '"hospital" != plan.unit',
        '(unit, placement) == ("record", "local")',
        'placement in ("distributed", "central")',
        "cell is RECORD_LOCAL",
        '{"local": 1, "central": 2}[placement]',
        'cell.mechanism.endswith("skellam")',
    ]
    plain = ['row["hospital"]', '{"hospital": 1, "epsilon": 2.0}', "cell.placement == other.placement", "x == 'ray'"]
    file = tmp_path / "module.py"
    for question in asked:
        file.write_text(question)
        assert questions(file), question
    for other in plain:
        file.write_text(other)
        assert not questions(file), other
    file.write_text("match unit:\n    case 'record':\n        pass\n")
    assert questions(file)
