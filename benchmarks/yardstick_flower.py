"""The work of `yardstick_work` by Flower's own simulation engine, run by `yardstick.py`.

A ClientApp that trains, FedAvg under Flower's own fixed clipping and noise at the server, and one Ray worker of one
processor. Users' records and the model are made once in the worker, which is kinder than a ClientApp that loads them
for every message. CPU seconds are those of this process and of all that it started: Ray's own processes too.
"""

import logging
from functools import cache

import torch
import yardstick_work as work
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
from flwr.simulation import run_simulation
from processes import processor_seconds
from turns import Turns

__all__ = ["run"]

client = ClientApp()


@cache
def _held() -> tuple[torch.nn.Module, list[work.User]]:
    """Return the model and the users of a worker."""
    torch.set_num_threads(1)
    return work.cnn(), work.users()


@client.train()
def train(message: Message, context: Context) -> Message:
    """Train the model of a message on the records of the node's user."""
    model, people = _held()
    user = people[int(context.node_config["partition-id"])]
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    work.train(model, torch.from_numpy(user.features), torch.from_numpy(user.labels))
    metrics = MetricRecord({"num-examples": work.NUM_RECORDS})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)


def run(cohort: int, num_rounds: int) -> None:
    """Run the work; the strategy asks for a test after each round, which is when it ends."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    torch.manual_seed(0)
    model, people, turns = work.cnn(), work.users(), Turns(num_rounds, processor_seconds)
    tested = [torch.cat([torch.from_numpy(user[place]) for user in people]) for place in (2, 3)]
    server = ServerApp()

    def ended(round_number: int, arrays: ArrayRecord) -> MetricRecord | None:
        scores = None
        if round_number and (round_number - 1) % work.TEST_EVERY == 0:
            model.load_state_dict(arrays.to_torch_state_dict())
            scores = MetricRecord(dict(zip(("loss", "accuracy"), work.test(model, *tested), strict=True)))
        turns.ended(round_number)
        return scores

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        average = FedAvg(fraction_train=cohort / work.NUM_USERS, fraction_evaluate=0.0, min_train_nodes=cohort)
        strategy = DifferentialPrivacyServerSideFixedClipping(average, work.NOISE, work.CLIP, cohort)
        initial = ArrayRecord(model.state_dict())
        strategy.start(grid, initial, num_rounds + 1, train_config=ConfigRecord(), evaluate_fn=ended)

    one_worker = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 1}}
    run_simulation(server, client, work.NUM_USERS, backend_config=one_worker)
