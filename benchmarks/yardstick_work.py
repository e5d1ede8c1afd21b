"""The work of pfl-research's CIFAR-10 benchmark, and the bare loop that does it; these need torch and NumPy alone.

Source: pfl-research, benchmarks/image_classification (model and settings); Xavier initialisation, as there. The images
are random: what they show changes no cost.
"""

import sys
import time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

NUM_USERS, NUM_RECORDS, NUM_TEST = 100, 50, 10
BATCH_SIZE, NUM_STEPS, LEARNING_RATE, CLIP, NOISE = 10, 5, 0.1, 0.4, 0.01
TEST_EVERY = 10
TOLD = "CPU seconds of a round:"


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


def users() -> list[User]:
    """Return everyone's records."""
    generator = np.random.default_rng(0)

    def images(number: int) -> tuple[np.ndarray, np.ndarray]:
        features = generator.standard_normal((number, 3, 32, 32), dtype=np.float32)
        return features, generator.integers(0, 10, number)

    return [User(*images(NUM_RECORDS), *images(NUM_TEST)) for _ in range(NUM_USERS)]


def our_job(engine: str, cohort: int, num_rounds: int) -> dict[str, Any]:
    """Return the work as what `wardround.run` is given: so many users in each of so many rounds, on an engine."""
    import wardround as wr

    people = {f"user-{number:03d}": user for number, user in enumerate(users())}
    config = wr.Config().change(
        training={
            "num_rounds": num_rounds,
            "fraction_train": cohort / NUM_USERS,
            "local_steps": NUM_STEPS,
            "batch_size": BATCH_SIZE,
            "learning_rate": LEARNING_RATE,
            "evaluate_every": TEST_EVERY,
        },
        privacy={"unit": "hospital", "placement": "central", "max_grad_norm": CLIP, "noise_multiplier": NOISE},
        simulation={"engine": engine},
    )
    federation = wr.Federation.from_arrays(
        {name: user[:2] for name, user in people.items()}, test={name: user[2:] for name, user in people.items()}
    )
    return {"config": config, "federation": federation, "model": cnn}


class Turns:
    """Rounds of a process that takes turns with others: it tells each round's CPU seconds, and waits to be asked."""

    def __init__(self, num_rounds: int) -> None:
        """Rounds 2 to the last are timed, of which there are so many; the first is a warm-up."""
        self._num_rounds, self._started = num_rounds, 0.0

    def ended(self, round_number: int) -> None:
        """Tell what a round took, from 1, and wait for the next one's turn; round 0 is before training."""
        if round_number < 1 or round_number > self._num_rounds + 1:
            return
        seconds = time.process_time() - self._started
        print(f"{TOLD} {seconds if round_number > 1 else 0.0}", flush=True)
        if round_number <= self._num_rounds:
            sys.stdin.readline()
        self._started = time.process_time()


def bare(cohort: int, num_rounds: int) -> None:
    """Run the loop that one would write without any framework."""
    torch.manual_seed(0)
    people = [tuple(map(torch.tensor, user)) for user in users()]
    test = torch.cat([person[2] for person in people]), torch.cat([person[3] for person in people])
    model, turns = cnn(), Turns(num_rounds)
    parameters = list(model.parameters())
    shared = [parameter.detach().clone() for parameter in parameters]
    for round_number in range(1, num_rounds + 2):
        total = [torch.zeros_like(parameter) for parameter in shared]
        for user in torch.randperm(NUM_USERS)[:cohort].tolist():
            features, labels = people[user][:2]
            with torch.no_grad():
                for parameter, value in zip(parameters, shared, strict=True):
                    parameter.copy_(value)
            optimizer = torch.optim.SGD(parameters, lr=LEARNING_RATE)
            model.train()
            for batch in torch.randperm(NUM_RECORDS).split(BATCH_SIZE):
                optimizer.zero_grad()
                functional.cross_entropy(model(features[batch]), labels[batch]).backward()
                optimizer.step()
            with torch.no_grad():
                update = [parameter - value for parameter, value in zip(parameters, shared, strict=True)]
                norm = torch.stack([part.norm() for part in update]).norm()
                factor = min(1.0, CLIP / float(norm))
                for summed, part in zip(total, update, strict=True):
                    summed.add_(part, alpha=factor)
        with torch.no_grad():
            for value, summed in zip(shared, total, strict=True):
                value.add_(summed + CLIP * NOISE * torch.randn_like(summed), alpha=1 / cohort)
            if (round_number - 1) % TEST_EVERY == 0:
                for parameter, value in zip(parameters, shared, strict=True):
                    parameter.copy_(value)
                model.eval()
                outputs = torch.cat([model(part) for part in test[0].split(1000)])
                functional.cross_entropy(outputs, test[1]).item(), (outputs.argmax(1) == test[1]).float().mean().item()
        turns.ended(round_number)
