"""Strategies that a user could write, by "own_strategies:name"."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, FedMedian

_NODES = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 1}


class Counting(FedAvg):
    """Remembers how many replies it was given, and that they are arrays of their own."""

    def __init__(self) -> None:
        super().__init__(**_NODES)
        self.seen: list[int] = []

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        replies = list(replies)
        self.seen.append(len(replies))
        return super().aggregate_train(server_round, replies)


class CountingSums(Counting):
    needs_only_sum = True


class AsksTwice(FedAvg):
    """Sends two models to each hospital, whose difference would carry no noise."""

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: Any, grid: Grid) -> list[Message]:
        return [*super().configure_train(server_round, arrays, config, grid)] * 2


class AsksByItself(FedAvg):
    def configure_train(self, server_round: int, arrays: ArrayRecord, config: Any, grid: Grid) -> list[Message]:
        messages = list(super().configure_train(server_round, arrays, config, grid))
        grid.send_and_receive(messages)
        return messages


class TrainsWhileEvaluating(FedAvg):
    def configure_evaluate(self, server_round: int, arrays: ArrayRecord, config: Any, grid: Grid) -> list[Message]:
        return list(super().configure_train(server_round, arrays, config, grid))


class AsksNobody(FedAvg):
    needs_only_sum = True

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: Any, grid: Grid) -> list[Message]:
        return []


class Fails(FedAvg):
    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        raise KeyError("weights")


class MakesNan(FedAvg):
    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord]:
        arrays, metrics = super().aggregate_train(server_round, replies)
        return ArrayRecord({key: type(a)(np.full_like(a.numpy(), np.nan)) for key, a in arrays.items()}), metrics


class Remembering(FedAvg):
    """Keeps a moving average in an inner strategy, a tuple and a dict, and a set, which can't be kept."""

    def __init__(self) -> None:
        super().__init__(**_NODES)
        self.inner = Counting()
        self.pair: tuple[Any, ...] = (1, np.float64(0.5))
        self.names = {"a": [np.arange(3, dtype=np.int32)]}
        self.visited = {1, 2}


def median() -> FedMedian:
    return FedMedian(**_NODES)


def counting() -> Counting:
    return Counting()


def counting_sums() -> CountingSums:
    return CountingSums()


def asks_twice() -> AsksTwice:
    return AsksTwice(**_NODES)


def asks_by_itself() -> AsksByItself:
    return AsksByItself(**_NODES)


def trains_while_evaluating() -> TrainsWhileEvaluating:
    return TrainsWhileEvaluating(**_NODES)


def asks_nobody() -> AsksNobody:
    return AsksNobody(**_NODES)


def fails() -> Fails:
    return Fails(**_NODES)


def makes_nan() -> MakesNan:
    return MakesNan(**_NODES)


def not_a_strategy() -> int:
    return 3


def raises() -> None:
    raise OSError("no such disk")


class WithSide(FedAvg):
    """Sends every hospital the same arrays, like parameters, and leaves a step's gradient as it is."""

    needs_only_sum = True

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: Any, grid: Grid) -> list[Message]:
        messages = list(super().configure_train(server_round, arrays, config, grid))
        for message in messages:
            sent = ArrayRecord({name: Array(np.full_like(array.numpy(), 0.5)) for name, array in arrays.items()})
            message.content = RecordDict({**message.content, "hospital-side": sent})
        return messages

    @staticmethod
    def hospital_side(gradient: Any, received: Any) -> Any:
        return gradient


class Pushes(WithSide):
    @staticmethod
    def hospital_side(gradient: Any, received: Any) -> Any:
        return {name: part + received[name] for name, part in gradient.items()}


class SideFails(WithSide):
    @staticmethod
    def hospital_side(gradient: Any, received: Any) -> Any:
        return received["momentum"]


class SideIsAMethod(WithSide):
    def hospital_side(self, gradient: Any, received: Any) -> Any:  # type: ignore[override]
        return gradient


class SendsWithoutSide(WithSide):
    hospital_side = None  # type: ignore[assignment]


def with_side() -> WithSide:
    return WithSide(**_NODES)


def pushes() -> Pushes:
    return Pushes(**_NODES)


def side_fails() -> SideFails:
    return SideFails(**_NODES)


def side_is_a_method() -> SideIsAMethod:
    return SideIsAMethod(**_NODES)


def sends_without_side() -> SendsWithoutSide:
    return SendsWithoutSide(**_NODES)
