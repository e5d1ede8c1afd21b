"""The work of pfl-research's CIFAR-10 benchmark, and the bare loop that does it; these need torch and NumPy alone.

Without training, hospitals return the model as they get it, and what is left of a round is its bookkeeping, on a model
of linear layers of the same size.

Source: pfl-research, benchmarks/image_classification (model and settings); Xavier initialisation, as there. The images
are random: what they show changes no cost.
"""

import os
import time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from turns import Turns

DEVICE = os.environ.get("YARDSTICK_DEVICE", "cpu")
"""On a GPU there are ten times as many users, and seconds are those of the clock."""
NUM_USERS, NUM_RECORDS, NUM_TEST = 100 if DEVICE == "cpu" else 1000, 50, 10
BATCH_SIZE, NUM_STEPS, LEARNING_RATE, CLIP, NOISE = 10, 5, 0.1, 0.4, 0.01
TEST_EVERY, NEVER = 10, 10**6


class User(NamedTuple):
    """The records of one user, and those that the model is tested on."""

    features: np.ndarray
    labels: np.ndarray
    test_features: np.ndarray
    test_labels: np.ndarray


def cnn(input_shape: tuple[int, ...] = (3, 32, 32), num_outputs: int = 10) -> nn.Module:
    """Return the model, of 1,626,442 parameters."""
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Dropout(0.25), nn.Flatten(), nn.Linear(64 * 14 * 14, 128), nn.ReLU(), nn.Dropout(0.5)]
    model = nn.Sequential(*layers, nn.Linear(128, num_outputs))
    for parameter in model.parameters():
        nn.init.xavier_uniform_(parameter) if parameter.dim() > 1 else nn.init.zeros_(parameter)
    return model


def linear(input_shape: tuple[int, ...] = (3, 32, 32), num_outputs: int = 10) -> nn.Module:
    """Return a model that nobody trains, of 1,578,506 parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 512), nn.ReLU(), nn.Linear(512, num_outputs))


def users() -> list[User]:
    """Return everyone's records."""
    generator = np.random.default_rng(0)

    def images(number: int) -> tuple[np.ndarray, np.ndarray]:
        features = generator.standard_normal((number, 3, 32, 32), dtype=np.float32)
        return features, generator.integers(0, 10, number)

    return [User(*images(NUM_RECORDS), *images(NUM_TEST)) for _ in range(NUM_USERS)]


def turns_of(num_rounds: int) -> Turns:
    """Return the turns of so many rounds: processor seconds on a processor, and those of the clock on a GPU."""
    return Turns(num_rounds, time.process_time if DEVICE == "cpu" else _clock)


def _clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def our_job(engine: str, cohort: int, num_rounds: int, *, trains: bool = True) -> dict[str, Any]:
    """Return the work as what `wardround.run` is given: so many users in each of so many rounds, on an engine."""
    import wardround as wr

    people = {f"user-{number:03d}": user for number, user in enumerate(users())}
    config = wr.Config().change(
        training={
            "num_rounds": num_rounds,
            "fraction_train": cohort / NUM_USERS,
            "local_steps": NUM_STEPS if trains else 1,
            "batch_size": BATCH_SIZE,
            "learning_rate": LEARNING_RATE,
            "evaluate_every": TEST_EVERY if trains else NEVER,
            "device": DEVICE,
        },
        privacy={"unit": "hospital", "placement": "central", "max_grad_norm": CLIP, "noise_multiplier": NOISE},
        simulation={"engine": engine},
    )
    federation = wr.Federation.from_arrays(
        {name: user[:2] for name, user in people.items()}, test={name: user[2:] for name, user in people.items()}
    )
    return {"config": config, "federation": federation, "model": cnn if trains else linear}


def train(model: nn.Module, features: torch.Tensor, labels: torch.Tensor) -> None:
    """Train on one user's records for an epoch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    model.train()
    for batch in torch.randperm(NUM_RECORDS, device=features.device).split(BATCH_SIZE):
        optimizer.zero_grad()
        functional.cross_entropy(model(features[batch]), labels[batch]).backward()
        optimizer.step()


@torch.no_grad()
def test(model: nn.Module, features: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Return the mean loss of the records of all users, and how many are right."""
    model.eval()
    outputs = torch.cat([model(part) for part in features.split(1000)])
    return functional.cross_entropy(outputs, labels).item(), (outputs.argmax(1) == labels).float().mean().item()


def bare(cohort: int, num_rounds: int, *, trains: bool = True) -> None:
    """Run the loop that one would write without any framework.

    Of each user: copy the model, train it, take the difference, its norm over all parameters, and add it, clipped, to
    a sum. Of a round: noise, the mean, the step of the model, and every tenth time the test. All float32.
    """
    torch.manual_seed(0)
    people = [tuple(torch.tensor(part).to(DEVICE) for part in user) for user in users()]
    tested = torch.cat([person[2] for person in people]), torch.cat([person[3] for person in people])
    model, turns = (cnn() if trains else linear()).to(DEVICE), turns_of(num_rounds)
    parameters = list(model.parameters())
    shared = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def load() -> None:
        for parameter, value in zip(parameters, shared, strict=True):
            parameter.copy_(value)

    for round_number in range(1, num_rounds + 2):
        total = [torch.zeros_like(parameter) for parameter in shared]
        for user in torch.randperm(NUM_USERS)[:cohort].tolist():
            load()
            if trains:
                train(model, *people[user][:2])
            with torch.no_grad():
                update = [parameter - value for parameter, value in zip(parameters, shared, strict=True)]
                norm = torch.stack([part.norm() for part in update]).norm()
                factor = min(1.0, CLIP / max(float(norm), 1e-12))
                for summed, part in zip(total, update, strict=True):
                    summed.add_(part, alpha=factor)
        with torch.no_grad():
            for value, summed in zip(shared, total, strict=True):
                value.add_(summed + CLIP * NOISE * torch.randn_like(summed), alpha=1 / cohort)
        if trains and (round_number - 1) % TEST_EVERY == 0:
            load()
            test(model, *tested)
        turns.ended(round_number)
