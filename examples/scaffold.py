"""SCAFFOLD: federated averaging whose hospitals don't drift apart, as a strategy with a hospital side.

Hospital i keeps going downhill on its own records in a round of local steps; where records differ from hospital to
hospital, each walks towards a place of its own. SCAFFOLD tells each in which direction it errs: a control c_i is what
hospital i's gradient is like, c what all hospitals' are like on average, and every local step goes by

    y <- y - learning_rate * (gradient + c - c_i)                     (Karimireddy et al. 2020, algorithm 1, line 10)

After K steps from the model x the control becomes that of option II (line 12), the mean gradient of these steps:

    c_i <- c_i - c + (x - y) / (K * learning_rate)

Privacy. A hospital releases y and nothing else; c_i, c and all that is sent are made of models that were released
before. They cost nothing (post-processing), and the next round is one more release of the same kind, whatever it is
asked with (adaptive composition): the account is that of federated averaging. At the hospital c - c_i is added to the
gradient after clip and noise, so neither becomes another (records), or within the steps whose whole update is clipped
and noised afterwards (hospitals; where that clip cuts, c_i goes towards the cut mean gradient round by round). This is
DP-SCAFFOLD (Noble, Bellet, Dieuleveut 2022, algorithm 1), which has hospitals send c_i beside y: here the server
computes it, so that no hospital has to remember anything.

Decided here: hospitals count by their records, in c as in the model, so that the optimum is that of all records (in the
paper all count alike). One that was never asked before is not corrected. One that is not asked, or does not answer,
keeps its control. K is each hospital's own number of steps, and the learning rate that of the round. With
momentum or Adam the sum of the steps is no mean gradient: they are refused. A weight decay is part of the gradient.

    PYTHONPATH=examples wardround run examples/scaffold.toml
"""

from collections.abc import Iterable

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from torch import Tensor

from wardround.agreed.learning_rates import learning_rate_in
from wardround.config import Config
from wardround.errors import ConfigError
from wardround.wire import HOSPITAL_SIDE

Parameters = dict[str, np.ndarray]


class Scaffold(FedAvg):
    """Federated averaging with control variates; what a resumed run needs is in its public attributes."""

    def __init__(self, config: Config) -> None:
        """Begin without controls; the settings say how large a local step is."""
        super().__init__(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)
        training = config.training
        if training.optimizer != "sgd" or training.momentum:
            raise ConfigError(
                f'SCAFFOLD takes plain steps, and these are of optimizer = "{training.optimizer}" with momentum = '
                f'{training.momentum} ([training]): set optimizer = "sgd" and momentum = 0.0'
            )
        self.learning_rates = [learning_rate_in(training, 1 + done) for done in range(training.num_rounds)]
        self.controls: dict[str, Parameters] = {}  # c_i by hospital, of those that answered once
        self.num_examples: dict[str, float] = {}  # training records, of the same
        self.sent: dict[str, Parameters] = {}  # c - c_i by node, of the round that is under way
        self.hospitals: dict[str, str] = {}  # names by node, of the same
        self.model: Parameters = {}  # x, of the same

    @staticmethod
    def hospital_side(gradient: dict[str, Tensor], received: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the direction of a local step: the noisy gradient and what the server sent, c - c_i."""
        return {name: part + received[name] for name, part in gradient.items()}

    def mean_control(self) -> Parameters:
        """Return c, the mean of all controls by records; zeros before any."""
        total = sum(self.num_examples.values())
        mean = {name: np.zeros(array.shape) for name, array in self.model.items()}
        for hospital, control in self.controls.items():
            for name in mean:
                mean[name] += self.num_examples[hospital] / total * control[name]
        return mean

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send every hospital the model x, and c - c_i beside it."""
        self.model = {name: array.numpy().astype(np.float64) for name, array in arrays.items()}
        self.hospitals = {str(node): hospital for node, hospital in grid.hospital_ids.items()}
        mean, messages = self.mean_control(), list(super().configure_train(server_round, arrays, config, grid))
        for message in messages:
            node = str(message.metadata.dst_node_id)
            own = self.controls.get(self.hospitals[node], mean)
            self.sent[node] = {name: (mean[name] - own[name]).astype(np.float32) for name in mean}
            record = ArrayRecord({name: Array(array) for name, array in self.sent[node].items()})
            # Flower shares one content between all messages: each gets its own.
            message.content = RecordDict({**message.content, HOSPITAL_SIDE: record})
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the mean of the models by records, and take the controls of those who answered from their models."""
        replies = list(replies)
        for reply in replies:
            node, metrics = str(reply.metadata.src_node_id), reply.content["metrics"]
            hospital, path = self.hospitals[node], metrics["num-steps"] * self.learning_rates[server_round - 1]
            moved = {name: self.model[name] - array.numpy() for name, array in reply.content["arrays"].items()}
            self.controls[hospital] = {name: moved[name] / path - self.sent[node][name] for name in moved}
            self.num_examples[hospital] = metrics["num-examples"]
        self.model, self.sent, self.hospitals = {}, {}, {}
        return super().aggregate_train(server_round, replies)


def scaffold(config: Config) -> Scaffold:
    """Return the strategy, for `strategy = "scaffold:scaffold"`."""
    return Scaffold(config)
