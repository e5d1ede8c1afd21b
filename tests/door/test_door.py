"""The doors from Python and from Flower leave what the command line leaves: a run's folder with its page."""

from pathlib import Path
from typing import Any

import torch
from flower_grid import FlowerGrid
from flwr.app import Context, Message, RecordDict
from small_runs import small_config

import wardround
from wardround.clients.app import app as client_app
from wardround.config import config_to_toml
from wardround.flower import app


class TwoThreads(FlowerGrid):
    """Flower gives an app as many threads as it likes."""

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
        replies = []
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        for message in messages:
            self.number(message)
            replies.append(self.reply_to(message))
        torch.set_num_threads(before)
        return replies


def test_a_run_from_python_has_its_page_and_says_in_one_line_what_it_was(tmp_path: Path) -> None:
    said: list[str] = []
    finished = wardround.run(small_config(training={"num-rounds": 1}), out=tmp_path / "run", say=said.append)
    assert "Epsilon is at most" in (tmp_path / "run" / "report.html").read_text()
    assert repr(finished).startswith("Run('") and "done after round 1, epsilon " in repr(finished)
    assert len(repr(finished)) < 150 + len(str(tmp_path)) and "\n" not in repr(finished)
    assert said[0] == "reading breast-cancer"
    (tmp_path / "run" / "report.html").unlink()
    wardround.resume(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_run_under_flower_has_its_page_and_the_bits_of_any_other(tmp_path: Path) -> None:
    config = small_config(training={"num-rounds": 1})
    (tmp_path / "c.toml").write_text(config_to_toml(config))
    settings = {"config": str(tmp_path / "c.toml"), "out": str(tmp_path / "run"), "num-nodes": 3}
    nodes = [
        Context(1, index + 1, {"partition-id": index, "num-partitions": 3}, RecordDict(), settings)
        for index in range(3)
    ]
    grid = TwoThreads(client_app, {context.node_id: context for context in nodes})
    app(grid, Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=settings))
    assert "Epsilon is at most" in (tmp_path / "run" / "report.html").read_text()
    elsewhere = wardround.run(config, out=tmp_path / "elsewhere").folder
    assert (tmp_path / "run/model.safetensors").read_bytes() == (elsewhere / "model.safetensors").read_bytes()
