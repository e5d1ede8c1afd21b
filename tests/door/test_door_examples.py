"""The notebook and the script of the examples do what they say, and train what the command line trains."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from small_runs import command_line, rows_of

import wardround

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "heart_disease.ipynb"
MORE_CELLS = (
    """
    on_ray = wr.run(config.change(simulation={"engine": "ray", "num_workers": 1}), **given, out=out / "ray")
    assert (on_ray.folder / "model.safetensors").read_bytes() == (run.folder / "model.safetensors").read_bytes()
    """,
    "import sys; print(sys.executable, out.absolute())",
)
"""What the test asks beside: the notebook's own objects on the other engine, and where it ran."""


def of_this_package(**more: str) -> dict[str, str]:
    """Return the environment in which another process imports this package."""
    return os.environ | {"PYTHONPATH": str(Path(wardround.__file__).parents[1])} | more


def printed(cell: Any) -> str:
    return "".join(output.get("text", "") for output in cell["outputs"] if output["output_type"] == "stream")


def test_the_notebook_is_kept_without_outputs_and_as_it_would_be_written() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    notebook = json.loads(text)
    nbformat.validate(notebook)
    assert text == json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 10
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq", "ignore::ResourceWarning")
def test_the_notebook_runs_from_top_to_bottom(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the kernel of this Python, whatever kernels a user has set up."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells += [nbformat.v4.new_code_cell(text.strip().replace("\n    ", "\n")) for text in MORE_CELLS]
    env = of_this_package(WARDROUND_DATA=str(real_data), MPLBACKEND="module://matplotlib_inline.backend_inline")
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env=env)
    cells = {cell["id"]: cell for cell in notebook.cells if cell["cell_type"] == "code"}
    python, _, out = printed(notebook.cells[-1]).strip().partition(" ")
    assert Path(python).parent == Path(sys.executable).parent
    assert "interrupted" in printed(cells["run"])
    (shown,) = cells["resume"]["outputs"]
    assert "cleveland" in shown["data"]["text/html"] and "epsilon" in shown["data"]["text/html"]
    assert [row["round"] for row in rows_of(Path(out) / "run" / "rounds.csv")] == [str(number) for number in range(9)]
    assert all(0 <= float(row["brier"]) <= 1 for row in rows_of(Path(out) / "run" / "rounds.csv"))
    assert any("image/png" in output.get("data", {}) for output in cells["plot"]["outputs"])
    assert len(rows_of(Path(out) / "study" / "results.csv")) == 6
    assert {path.parent.name for path in Path(out).glob("*/report.html")} == {"run", "ray", "study"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_script_trains_the_model_of_the_command_line(
    ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On one engine as the main program of this process, on the other as that of another, from where it stands."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT / "examples"), *sys.path])
    monkeypatch.setenv("MPLBACKEND", "agg")
    options = ("--set", "model.name=own_data:build", "--set", "simulation.engine=inline", "--json")
    code = command_line(monkeypatch, "run", "examples/own-csv.toml", "--out", str(tmp_path / "named"), *options)
    assert code == 0
    monkeypatch.setattr(sys, "argv", ["examples/own_data.py", str(tmp_path / "inline"), "inline", "1"])
    capsys.readouterr()
    runpy.run_path("examples/own_data.py", run_name="__main__")
    said = [capsys.readouterr().out]
    script = [sys.executable, "examples/own_data.py", str(tmp_path / "ray"), "ray", "1"]
    done = subprocess.run(script, env=of_this_package(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    by_name = (tmp_path / "named" / "model.safetensors").read_bytes()
    for told, out in zip([*said, done.stdout], (tmp_path / "inline", tmp_path / "ray"), strict=True):
        assert "interrupted after round 3" in told
        assert (out / "run" / "model.safetensors").read_bytes() == by_name
        assert (out / "rounds.png").is_file() and (out / "study" / "report.html").is_file()
        assert all(0 <= float(row["brier"]) <= 1 for row in rows_of(out / "run" / "rounds.csv"))


@pytest.mark.slow
def test_the_study_of_a_given_model_begins_from_that_of_other_patients(
    ray_session: Any, tmp_path: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDROUND_DATA", str(real_data))
    study = runpy.run_path(str(ROOT / "examples" / "studies" / "warm_start.py"))
    study["main"](tmp_path, num_seeds=3, levels=(0.5,))
    rows = rows_of(tmp_path / "begins" / "results.csv")
    assert len(rows) == 12
    scores = {
        name: [float(row["auc_pooled"]) for row in rows if row["variant"] == name]
        for name in ("the-model-as-it-is", "from-nothing")
    }
    # Of three draws of the noise, since one alone may be a lucky one.
    assert np.mean(scores["the-model-as-it-is"]) > np.mean(scores["from-nothing"]) + 0.05


@pytest.mark.slow
def test_the_study_of_reconstruction_leaves_figures_and_a_picture(tmp_path: Path) -> None:
    study = runpy.run_path(str(ROOT / "examples" / "studies" / "reconstruction.py"))
    study["main"](tmp_path, levels=(0.0, 3.0))
    rows = rows_of(tmp_path / "reconstruction.csv")
    assert len(rows) == 12
    told = {(row["records"], row["noise_multiplier"], row["seen"]): float(row["identified"]) for row in rows}
    for records in ("rows", "images"):
        assert told[records, "3.0", "unprotected"] == told[records, "0.0", "locally noisy"] == 1.0
        assert told[records, "3.0", "locally noisy"] <= 0.1
    assert "<svg" in (tmp_path / "reconstruction.svg").read_text()


@pytest.mark.slow
def test_settings_of_the_study_of_survival_are_chosen_without_a_test_patient(
    ray_session: Any, tmp_path: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDROUND_DATA", str(real_data))
    study = runpy.run_path(str(ROOT / "examples" / "studies" / "survival_settings.py"))
    assert str(study["training_patients"]()) == "Federation(866 rows at 6 hospitals, survival)"
    study["main"](tmp_path, num_seeds=1, most=1)
    kinds = {path.parent.name: len(rows_of(path)) for path in tmp_path.glob("*/results.csv")}
    # Without privacy the job itself is run beside each region alone.
    assert kinds == {"private": 3, "local": 1, "others": 2, "federated": 1, "alone": 2}
