"""What a strategy remembers comes back as it was, in its order and its types."""

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAdam
from own_strategies import Remembering

from wardround.server.record.strategy_state import read_strategy_state, restore_strategy_state


def test_flowers_adam_comes_back_in_the_order_of_its_parameters() -> None:
    strategy, other = FedAdam(), FedAdam()
    strategy.current_arrays = {"z": np.ones((2, 3), np.float32), "a": np.zeros(2, np.float32)}
    strategy.m_t = {"z": np.full((2, 3), 0.1), "a": np.full(2, 0.2)}
    arrays, values, _ = read_strategy_state(strategy)
    restore_strategy_state(other, arrays, values)
    assert list(other.current_arrays or {}) == ["z", "a"]
    for name, array in strategy.m_t.items():
        assert other.m_t is not None
        np.testing.assert_array_equal(other.m_t[name], array)
        assert other.m_t[name].dtype == array.dtype


def test_inner_strategies_tuples_and_records_are_kept_and_the_rest_is_named() -> None:
    strategy, other = Remembering(), Remembering()
    strategy.inner.seen = [4, 5]
    strategy.inner.record = ArrayRecord({"y": _array(1.0), "b": _array(2.0)})  # type: ignore[attr-defined]
    strategy.pair = (2, np.float64(0.25), float("inf"), None)
    strategy.names = {"a": [np.arange(4, dtype=np.int32)], "0": []}
    arrays, values, lost = read_strategy_state(strategy)
    restore_strategy_state(other, arrays, values)
    assert lost == ("visited",)
    assert other.inner.seen == [4, 5]
    assert list(other.inner.record) == ["y", "b"]  # type: ignore[attr-defined]
    assert other.pair == (2, 0.25, float("inf"), None)
    assert list(other.names) == ["a", "0"]
    assert other.names["a"][0].dtype == np.int32
    assert read_strategy_state(other)[1] == values


def _array(value: float) -> object:
    from flwr.app import Array

    return Array(np.array([value]))
