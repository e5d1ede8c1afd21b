"""Print quantiles of the norms of records' gradients, by which a clip can be set: at a run's first and last model.

    python examples/studies/gradient_norms.py RUN_DIR

The training records of simulated hospitals are read again, by the settings; no epsilon covers what is printed.
A run whose features are standardised by released statistics is refused, as its records would have to be scaled first.
"""

import sys

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from wardround.clients.losses import loss_per_record
from wardround.config import PRIVATE
from wardround.datasets import FederatedData, load_federation
from wardround.door.runs import Run
from wardround.models import build_model

_QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)


def norms_of(module: nn.Module, federation: FederatedData) -> np.ndarray:
    """Return the L2 norm of each training record's gradient (n,), all hospitals together."""
    parameters = {name: value.detach() for name, value in module.named_parameters()}
    loss = loss_per_record(federation.task)

    def one(values: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss(functional_call(module, values, (x[None],)), y[None])[0]

    found = []
    for hospital in federation.hospitals:
        features = torch.from_numpy(np.array(hospital.train_features))
        labels = torch.from_numpy(np.array(hospital.train_labels))
        made = vmap(grad(one), in_dims=(None, 0, 0))(parameters, features, labels)
        found.append(sum(part.flatten(1).square().sum(1) for part in made.values()).sqrt().numpy())
    return np.concatenate(found)


def main() -> None:
    """Print a line of quantiles for the first model, and one for the last."""
    run = Run.open(sys.argv[1])
    federation = load_federation(run.config.federation, run.config.features)
    if federation.standardise == PRIVATE:
        raise SystemExit(f'{run.folder} standardises by released statistics: use a run with standardise = "public"')
    shape, outputs = federation.input_shape, federation.num_classes or 1
    first, _ = build_model(run.config.model, input_shape=shape, num_outputs=outputs, seed=run.config.federation.seed)
    print("model", *(f"{quantile:>7.0%}" for quantile in _QUANTILES))
    for name, module in (("first", first), ("last ", run.model())):
        print(name, *(f"{value:7.3f}" for value in np.quantile(norms_of(module, federation), _QUANTILES)))


if __name__ == "__main__":
    main()
