"""The work of `yardstick_work` by pfl-research, run by `yardstick.py` with the Python of an environment that has it.

pip install pfl torch
python benchmarks/yardstick_pfl.py COHORT ROUNDS
"""

import sys

import numpy as np
import torch
import yardstick_work as work
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.callback.central_evaluation import CentralEvaluationCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from pfl.privacy import CentrallyAppliedPrivacyMechanism, GaussianMechanism
from torch.nn import functional

NEVER = 10**9


class Cnn(torch.nn.Module):
    """The model with the two methods that pfl-research asks of it."""

    def __init__(self):
        super().__init__()
        self.layers = work.cnn()

    def forward(self, features):
        """Return the outputs."""
        return self.layers(features)

    def loss(self, features, labels, eval=False):
        """Return the mean loss of a batch."""
        self.train(not eval)
        return functional.cross_entropy(self(features), labels)

    @torch.no_grad()
    def metrics(self, features, labels, eval=True):
        """Return what is measured of a batch."""
        self.eval()
        outputs = self(features)
        loss = functional.cross_entropy(outputs, labels, reduction="sum").item()
        right = (outputs.argmax(1) == labels).sum().item()
        return {"loss": Weighted(loss, len(labels)), "accuracy": Weighted(right, len(labels))}


class Timed(TrainingProcessCallback):
    """Tells when an iteration has ended."""

    def __init__(self, turns):
        self.turns = turns

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        """Go on, whatever came of it."""
        self.turns.ended(central_iteration + 1)
        return False, Metrics()


def tensor(values):
    """Return values on the device."""
    return torch.tensor(values).to(work.DEVICE)


def run(cohort, num_rounds):
    """Run the work."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  pfl-research draws from it
    module, people, turns = Cnn().to(work.DEVICE), work.users(), work.turns_of(num_rounds)
    data = {
        number: Dataset(
            raw_data=[tensor(user.features), tensor(user.labels)],
            user_id=number,
            train_kwargs={"eval": False},
            eval_kwargs={"eval": True},
        )
        for number, user in enumerate(people)
    }
    federation = FederatedDataset(data.__getitem__, get_user_sampler("minimize_reuse", list(data)))
    test = Dataset(
        raw_data=[
            tensor(np.concatenate([user.test_features for user in people])),
            tensor(np.concatenate([user.test_labels for user in people])),
        ],
        eval_kwargs={"eval": True},
    )
    model = PyTorchModel(
        model=module,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(module.parameters(), lr=1.0),
    )
    noise = CentrallyAppliedPrivacyMechanism(GaussianMechanism(work.CLIP, work.NOISE))
    FederatedAveraging().run(
        # Users' own scores before and after training are not asked for: nobody else here works them out.
        NNAlgorithmParams(
            central_num_iterations=num_rounds + 1,
            evaluation_frequency=NEVER,
            train_cohort_size=cohort,
            val_cohort_size=0,
        ),
        SimulatedBackend(training_data=federation, val_data=federation, postprocessors=[noise]),
        model,
        NNTrainHyperParams(
            local_batch_size=work.BATCH_SIZE, local_num_epochs=1, local_learning_rate=work.LEARNING_RATE
        ),
        NNEvalHyperParams(local_batch_size=1000),
        [
            CentralEvaluationCallback(test, NNEvalHyperParams(local_batch_size=1000), frequency=work.TEST_EVERY),
            Timed(turns),
        ],
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(int(sys.argv[1]), int(sys.argv[2]))
