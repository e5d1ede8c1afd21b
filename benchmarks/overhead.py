"""What does the federation cost on top of the bare Opacus loop, in CPU seconds?

    python benchmarks/overhead.py

Ten hospitals of Fashion-MNIST train a CNN with DP-SGD, a few steps a round, with one torch thread. "bare" is the loop a
researcher would write: one model wrapped by Opacus' GradSampleModule and DPOptimizer, the hospitals one after the
other, a weighted mean, and the same evaluation on the hospitals' test records; its Poisson batches are
those of a run before. "wardround" is a whole run with the inline engine: planning, ledger, messages, exact sums,
checkpoints, tables. Both are timed in this process in alternation; data are loaded once before. Writes
benchmarks/results/overhead.csv.
"""

import argparse
import copy
import csv
import platform
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch.nn import functional

import wardround
from wardround.clients.app import make_client_app
from wardround.clients.evaluation import macro_auc
from wardround.clients.training import LocalTrainer
from wardround.config import Config, config_from_dict
from wardround.datasets import FederatedData, load_federation
from wardround.models import build_model, parameters_of
from wardround.privacy.sampling import PoissonSampler
from wardround.rounds import Assignment
from wardround.run_facts import RunFacts
from wardround.server.record.run_folder import create_run_folder
from wardround.server.round.introductions import connect
from wardround.server.round.loop import federate
from wardround.simulations.engines.inline import InlineGrid
from wardround.simulations.engines.nodes import Node
from wardround.strategies import strategy_of

Batches = dict[tuple[int, str], list[torch.Tensor]]
RESULTS = Path(__file__).parent / "results" / "overhead.csv"


def settings(num_rounds: int, local_steps: int, batch_size: int) -> Config:
    """Return the job: ten hospitals, iid, noise multiplier 1."""
    return config_from_dict(
        {
            "federation": {"dataset": "fashion-mnist", "partition": "iid", "num-hospitals": 10},
            "model": {"name": "cnn"},
            "training": {
                "num-rounds": num_rounds,
                "local-steps": local_steps,
                "batch-size": batch_size,
                "learning-rate": 0.5,
            },
            "privacy": {"noise-multiplier": 1.0},
            "simulation": {"engine": "inline"},
        }
    )


def record_batches(config: Config, federation: FederatedData) -> Batches:
    """Return the Poisson batches of every round and hospital, as a whole run draws them."""
    batches: Batches = {}
    train, draw = LocalTrainer.train, PoissonSampler.draw
    current: list[torch.Tensor] = []

    def training(self: LocalTrainer, arrays: Any, tensors: Any, assignment: Assignment, **options: Any) -> Any:
        current.clear()
        result = train(self, arrays, tensors, assignment, **options)
        batches[assignment.round_number, assignment.hospital_id] = list(current)
        return result

    def drawing(self: PoissonSampler) -> torch.Tensor:
        current.append(draw(self))
        return current[-1]

    LocalTrainer.train, PoissonSampler.draw = training, drawing
    try:
        run_wardround(config, federation)
    finally:
        LocalTrainer.train, PoissonSampler.draw = train, draw
    return batches


def run_bare(config: Config, federation: FederatedData, batches: Batches) -> float:
    """Return the CPU seconds of the bare loop; tensors are made before the clock starts."""
    data = {
        hospital.hospital_id: tuple(
            torch.tensor(getattr(hospital, name))
            for name in ("train_features", "train_labels", "test_features", "test_labels")
        )
        for hospital in federation.hospitals
    }
    model, _ = build_model(config.model, input_shape=federation.input_shape, num_outputs=10, seed=42)
    started = time.process_time()
    module = GradSampleModule(model)
    for round_number in range(config.training.num_rounds + 1):
        if round_number:
            start = copy.deepcopy(model.state_dict())
            total = {name: torch.zeros_like(value) for name, value in start.items()}
            for name, (features, labels, _, _) in data.items():
                model.load_state_dict(start)
                optimizer = DPOptimizer(
                    torch.optim.SGD(model.parameters(), lr=config.training.learning_rate),
                    noise_multiplier=1.0,
                    max_grad_norm=1.0,
                    expected_batch_size=config.training.batch_size,
                )
                module.train()
                for batch in batches[round_number, name]:
                    optimizer.zero_grad()
                    functional.cross_entropy(module(features[batch]), labels[batch]).backward()
                    optimizer.step()
                for key, value in model.state_dict().items():
                    total[key] += value / len(data)
            model.load_state_dict(total)
        model.eval()
        with torch.no_grad():
            for _, _, features, labels in data.values():
                outputs = torch.cat([model(part) for part in features.split(1024)])
                functional.cross_entropy(outputs, labels).item()
                (outputs.argmax(dim=1) == labels).double().mean().item()
                macro_auc(outputs.softmax(dim=1).double().numpy(), labels.numpy())
    return time.process_time() - started


def run_wardround(config: Config, federation: FederatedData) -> float:
    """Return the CPU seconds of a whole run in this process."""
    model, _ = build_model(config.model, input_shape=federation.input_shape, num_outputs=10, seed=42)
    nodes = [
        Node(node_id=index + 1, node_config={"partition-id": index, "num-partitions": 10}, load=1.0)
        for index in range(10)
    ]
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        grid = InlineGrid(lambda: make_client_app(config, federation), nodes)
        run_folder = create_run_folder(Path(folder) / "run", config)
        initial, facts = parameters_of(model), RunFacts(task="classification")
        federate(config, connect(grid), run_folder, initial, strategy=strategy_of(config), facts=facts)
        return time.process_time() - started


def main() -> None:
    """Time both in alternation and write the medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--local-steps", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=256)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    config = settings(arguments.rounds, arguments.local_steps, arguments.batch_size)
    federation = load_federation(config.federation, config.features)
    batches = record_batches(config, federation)
    bare, ours = [], []
    run_bare(config, federation, batches)
    for repeat in range(arguments.repeats):
        bare.append(run_bare(config, federation, batches))
        ours.append(run_wardround(config, federation))
        print(f"repeat {repeat}: bare {bare[-1]:.2f} s, wardround {ours[-1]:.2f} s, ratio {ours[-1] / bare[-1]:.3f}")
    ratios = [our / their for our, their in zip(ours, bare, strict=True)]
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        file.write(
            f"# python benchmarks/overhead.py {' '.join(sys.argv[1:])}; wardround {wardround.__version__}; "
            f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}; seed 42; "
            f"10 hospitals, {arguments.rounds} rounds x {arguments.local_steps} steps, batch {arguments.batch_size}\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["what", "min", "median", "max"])
        for what, values in (("bare CPU seconds", bare), ("wardround CPU seconds", ours), ("ratio", ratios)):
            writer.writerow([what, *(f"{value:.3f}" for value in (min(values), np.median(values), max(values)))])
    print(RESULTS.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
