"""The house rules that a machine can hold: import layers, who may import what, file sizes, public names, start."""

import ast
import functools
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import wardround

SOURCE = Path(wardround.__file__).parent
FILES = sorted(path for path in SOURCE.rglob("*.py"))
LAYERS = [
    {"code_digests", "collector", "digests", "disk", "errors", "json_records", "json_text", "leaves", "small_counts"},
    {"interruptions", "names", "object_digests", "parsing", "step_events", "survival"},
    {"objects"},
    {"exact_sums", "npy_bytes", "rounds", "run_facts", "score_sums", "scores", "streams", "typed_records"},
    {"privacy"},
    {"config"},
    {"agreed", "identity", "parameter_counts"},
    {"wire_values"},
    {"wire_arrays"},
    {"wire"},
    {"datasets", "models", "secagg"},
    {"strategies"},
    {"clients"},
    {"server"},
    {"simulations"},
    {"attacks", "audits"},
    {"reports", "trackers"},
    {"door", "flower"},
    {"cli"},
    {"__main__"},
]
LAYER_OF = {name: number for number, layer in enumerate(LAYERS) for name in layer}
ROOMS = {
    "server": [{"plan"}, {"record"}, {"round"}, {"app"}],
    "simulations": [
        {"engines"},
        {"prepared", "scoring"},
        {"runs"},
        {"released_means"},
        {"private_description", "studies"},
    ],
}
"""The layers within a package."""
ROOM_OF = {package: {name: n for n, layer in enumerate(layers) for name in layer} for package, layers in ROOMS.items()}
ALLOWED = {
    "flwr": (
        "attacks",
        "audits.watched_runs",
        "wire",
        "wire_arrays",
        "wire_values",
        "strategies",
        "clients.app",
        "clients.hospital_app",
        "clients.joint_answers",
        "clients.secagg",
        "clients.site_app",
        "server",
        "simulations",
    ),
    "opacus": ("clients.gradients", "clients.ghost_clipping"),
    "ray": ("simulations",),
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
HEAVY = ("torch", "flwr", "ray", "opacus", "pandas", "sklearn", "matplotlib", "jinja2", "dp_accounting")


def module_of(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@functools.cache
def nodes_of(path):
    return tuple(ast.walk(ast.parse(path.read_text())))


def imports_of(path):
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            if node.module == "wardround":
                yield from (f"wardround.{alias.name}" for alias in node.names)


def test_every_module_has_its_layer():
    assert set(LAYER_OF) == {module_of(path).split(".")[0] for path in FILES} - {""}
    assert len(LAYER_OF) == sum(len(layer) for layer in LAYERS)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_left_never_imports_right_and_siblings_not_each_other(path):
    mine = module_of(path).split(".")[0]
    if not mine:  # the package itself is the public door to everything
        return
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "wardround" or len(parts) == 1 or parts[1] not in LAYER_OF:
            continue
        other = parts[1]
        if other != mine:
            assert LAYER_OF[other] < LAYER_OF[mine], f"{module_of(path)} imports {name}"


@functools.cache
def graph():
    """Return by module the modules of the house that it imports, as a name may be a module or something in one."""
    names = {module_of(path) for path in FILES}
    arrows = {}
    for path in FILES:
        found = set()
        for node in nodes_of(path):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "wardround":
                room = node.module.removeprefix("wardround").lstrip(".")
                inside = [f"{room}.{alias.name}".lstrip(".") for alias in node.names]
                found |= {name if name in names else room for name in inside}
        arrows[module_of(path)] = found - {module_of(path), ""}
    return arrows


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_have_their_order(package):
    ranks = ROOM_OF[package]
    for mine, others in graph().items():
        parts = mine.split(".")
        if parts[0] != package or len(parts) == 1:
            continue
        for other in others:
            there = other.split(".")
            if there[0] == package and len(there) > 1 and there[1] != parts[1]:
                assert ranks[there[1]] < ranks[parts[1]], f"{mine} imports {other}"


def test_no_module_imports_itself_by_way_of_others():
    arrows, done, path = graph(), set(), []

    def visit(name):
        assert name not in path, f"a cycle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in done:
            path.append(name)
            for other in sorted(arrows[name]):
                visit(other)
            path.pop()
            done.add(name)

    for name in arrows:
        visit(name)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_heavy_libraries_stay_at_the_rim(path):
    mine = module_of(path)
    for name in imports_of(path):
        library = name.split(".")[0]
        if library in ALLOWED:
            places = ALLOWED[library]
            assert any(mine == place or mine.startswith(f"{place}.") for place in places), f"{mine} imports {name}"


MOST_LINES, MOST_TEST_LINES, MOST_FUNCTION_LINES = 300, 500, 39


def long_parts(path):
    """Yield a file that is too long, and the functions in it that are, docstrings left out."""
    name, text = module_of(path), path.read_text()
    if len(text.splitlines()) > MOST_LINES:
        yield name
    for node in nodes_of(path):
        if isinstance(node, FUNCTIONS):
            inside = [part for part in ast.walk(node) if isinstance(part, FUNCTIONS) and ast.get_docstring(part)]
            told = sum(part.body[0].end_lineno - part.body[0].lineno + 1 for part in inside)
            if node.end_lineno - node.lineno + 1 - told > MOST_FUNCTION_LINES:
                yield f"{name}:{node.name}"


def test_files_and_functions_stay_short():
    assert [name for path in FILES for name in long_parts(path)] == []


def test_files_of_tests_stay_short():
    longer = [
        path for path in Path(__file__).parent.rglob("*.py") if len(path.read_text().splitlines()) > MOST_TEST_LINES
    ]
    assert longer == []


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_nothing_is_asserted_and_nothing_caught_unnamed(path):
    for node in nodes_of(path):
        assert not isinstance(node, ast.Assert), f"{module_of(path)}:{node.lineno} asserts"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{module_of(path)}:{node.lineno} has a bare except"


@pytest.mark.parametrize(
    "name", sorted(module.name for module in pkgutil.walk_packages([str(SOURCE)], "wardround.")), ids=str
)
def test_every_module_says_what_is_public_and_has_it(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert isinstance(module.__all__, list)
    for public in module.__all__:
        assert hasattr(module, public), f"{name}.{public}"
        value = getattr(module, public)
        if callable(value) and getattr(value, "__module__", "").startswith("wardround"):
            assert value.__doc__, f"{name}.{public} has no docstring"


def imported_by(statement, *names):
    """Return which of the libraries a fresh process has loaded after a statement."""
    code = f"import sys; {statement}; print(*set({names}) & set(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1].split()


def test_a_plan_is_printed_without_the_pages_of_runs_and_studies():
    pages = [f"wardround.reports.{name}" for name in ("report", "study", "study_folder", "study_drawing")]
    assert imported_by("from wardround.reports.terminal import print_plan", *pages) == []


_FIRST_WORDS = """
import io, os, sys

class First(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        os.write(2, repr((bytes(data).decode(), sorted({library.split(".")[0] for library in sys.modules}))).encode())
        os._exit(0)

sys.stderr = io.TextIOWrapper(io.BufferedWriter(First()), line_buffering=True)
sys.argv = ["wardround", *COMMAND]
from wardround.cli import main
main()
"""


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["run"], "reading the settings"),
        (["run", "heart.toml"], "reading heart.toml"),
        (["resume", "run"], "reading run"),
        (["compare", "study.toml"], "reading study.toml"),
        (["plan"], "reading the settings"),
        (["data", "describe", "ist"], "reading ist"),
    ],
    ids=str,
)
def test_the_first_words_come_before_any_library_but_the_command_line_is_imported(command, words):
    code = _FIRST_WORDS.replace("COMMAND", repr(command))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    text, loaded = ast.literal_eval(done.stderr)
    assert text.startswith(words)
    bare = subprocess.run(
        [sys.executable, "-c", "import typer, sys; print(*{name.split('.')[0] for name in sys.modules})"],
        capture_output=True,
        text=True,
        check=True,
    )
    others = set(loaded) - set(bare.stdout.split()) - set(sys.stdlib_module_names)
    assert others == {"wardround"}


def test_only_tests_import_pytest():
    names = {path: {name.split(".")[0] for name in imports_of(path)} for path in FILES}
    users = {module_of(path) for path, libraries in names.items() if "pytest" in libraries}
    assert users == {"attacks.conformance", "attacks.plugin"}
    importers = {mine for mine, others in graph().items() if others & users}
    assert importers == set()
    assert imported_by("import wardround, wardround.cli, wardround.attacks.by_server", "pytest", "_pytest") == []


def test_the_plugin_that_pytest_loads_in_every_run_imports_no_library():
    assert imported_by("import wardround.attacks.plugin", *HEAVY, "numpy", "scipy") == []


def test_help_does_not_import_torch():
    assert imported_by("import wardround.cli", *HEAVY, "scipy") == []


def test_a_run_with_gradients_in_closed_form_imports_no_library_that_it_can_do_without(tmp_path):
    statement = f"from wardround.cli import app; app(['run', '--out', '{tmp_path / 'run'}'], standalone_mode=False)"
    assert set(imported_by(statement, *HEAVY)) == {"torch", "flwr", "matplotlib", "jinja2"}


@pytest.mark.parametrize("dataset", ["synthetic-regression", "breast-cancer", "ist"])
def test_a_plan_imports_none_of_the_large_libraries(dataset, request):
    settings = {"federation.dataset": dataset, "privacy.target-epsilon": 2.0, "privacy.target-delta": 1e-5}
    if dataset == "ist":
        settings["federation.data-dir"] = str(request.getfixturevalue("real_data"))
    words = ["plan", *(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))]
    statement = f"from wardround.cli import app; app({words}, standalone_mode=False)"
    assert imported_by(statement, *HEAVY) == []
