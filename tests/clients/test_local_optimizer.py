"""The optimizer of local training takes the steps of torch's classes, bit for bit, and imports no compiler."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from wardround.clients.optimizers import LocalOptimizer
from wardround.config import Config

KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize(("name", "momentum"), [("sgd", 0.0), ("sgd", 0.9), ("adam", 0.0), ("adamw", 0.0)])
def test_steps_are_those_of_torchs_classes(name: str, momentum: float, weight_decay: float) -> None:
    training = Config.of({"training": {"optimizer": name, "momentum": momentum, "weight-decay": weight_decay}}).training
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in ((3, 2), (4,), (1,))]
    theirs = [nn.Parameter(part.detach().clone()) for part in ours]
    more: dict[str, Any] = {"momentum": momentum} if name == "sgd" else {}
    optimizer = LocalOptimizer(ours, training, 0.05)
    reference = KINDS[name](theirs, lr=0.05, weight_decay=weight_decay, **more)
    for step in range(7):
        for index, (own, their) in enumerate(zip(ours, theirs, strict=True)):
            # The last one has no gradient at first, and the second one none now and then.
            missing = (index == 2 and step < 3) or (index == 1 and step == 4)
            own.grad = None if missing else torch.randn(own.shape)
            their.grad = None if own.grad is None else own.grad.clone()
        optimizer.step()
        reference.step()
        assert all(map(torch.equal, ours, theirs))
    optimizer.forget_gradients()
    assert all(part.grad is None for part in ours)


def test_training_without_records_by_themselves_imports_neither_opacus_nor_a_compiler() -> None:
    """They take longer to import than such a run takes."""
    run = (
        "import sys, tempfile, wardround as wr\n"
        "wr.run({'training': {'num_rounds': 1}, 'privacy': {'placement': 'none'}, 'simulation': {'engine': 'inline'}},"
        " out=tempfile.mkdtemp() + '/run')\n"
        "print([name for name in ('opacus', 'torch._dynamo', 'sympy', 'ray') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
