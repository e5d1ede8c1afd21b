"""Streams: each argument makes another one, nothing else does, and what is released never draws from the seed alone."""

import dataclasses
import hashlib
import itertools

import numpy as np
import pytest

from wardround.streams import (
    Draw,
    SeededSource,
    SetUp,
    SystemSource,
    stream,
)

RELEASE = {"round_number": 1, "attempt": 1, "hospital_id": "north"}


def test_streams_differ_by_seed_purpose_round_and_name_and_repeat() -> None:
    keys = list(itertools.product((1, 2), SetUp, (0, 1), ("", "a", "b")))
    draws = {key: stream(*key).random(4) for key in keys}
    assert len({tuple(draw) for draw in draws.values()}) == len(keys)
    assert all(np.array_equal(stream(*key).random(4), draw) for key, draw in draws.items())


def test_streams_of_many_hospitals_and_rounds_are_uncorrelated() -> None:
    source = SeededSource(seed=7, job=b"job")
    noise = np.array(
        [
            source.key(round_number=number, attempt=1, hospital_id=name).generator(Draw.NOISE).standard_normal(2_000)
            for number in range(20)
            for name in ("a", "b", "c")
        ]
    )
    correlations = np.corrcoef(noise)[np.triu_indices(len(noise), 1)]
    # 1,770 pairs of correlation N(0, 1 / 2000): the largest is below 4.5 deviations except for one case in 80.
    assert np.abs(correlations).max() < 4.5 / np.sqrt(2_000)
    assert abs(correlations.std() * np.sqrt(2_000) - 1) < 0.1


def test_seeds_beyond_32_bits_count() -> None:
    assert stream(1, SetUp.COHORT).random() != stream(1 + 2**32, SetUp.COHORT).random()


@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1, 2**32, 2**64 + 7, 2**128 - 1, 2**128 + 5, 2**200 + 1])
@pytest.mark.parametrize(("round_number", "name"), [(0, ""), (3, "north"), (2**32 - 1, "Zürich")])
def test_a_stream_is_that_of_numpys_spawn_key(seed: int, round_number: int, name: str) -> None:
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4").tolist()
    sequence = np.random.SeedSequence(seed, spawn_key=(int(SetUp.SPLIT), round_number, *words))
    expected = np.random.Generator(np.random.SFC64(sequence)).random(8)
    np.testing.assert_array_equal(stream(seed, SetUp.SPLIT, round_number, name).random(8), expected)


@pytest.mark.parametrize("purpose", [*Draw, 1, 3])
def test_what_is_released_cannot_draw_from_the_seed_alone(purpose: int) -> None:
    with pytest.raises(TypeError, match="must be a SetUp"):
        stream(1, purpose)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [SeededSource(seed=1, job=b""), SystemSource()])
def test_what_is_set_up_cannot_draw_from_a_release(source: SeededSource | SystemSource) -> None:
    with pytest.raises(TypeError, match="must be a Draw"):
        source.key(**RELEASE).generator(SetUp.COHORT)  # type: ignore[arg-type]


def test_everything_in_a_key_makes_another_stream_and_an_equal_key_the_same() -> None:
    source = SeededSource(seed=1, job=b"job")
    keys = [
        source.key(b"model", b"data", **RELEASE),
        source.key(b"modeldata", **RELEASE),
        source.key(b"model", b"data", b"", **RELEASE),
        source.key(b"data", b"model", **RELEASE),
        *(source.key(b"model", b"data", **RELEASE | {name: 2}) for name in ("round_number", "attempt")),
        source.key(b"model", b"data", **RELEASE | {"hospital_id": "south"}),
        SeededSource(seed=2, job=b"job").key(b"model", b"data", **RELEASE),
        SeededSource(seed=1, job=b"jo").key(b"bmodel", b"data", **RELEASE),
    ]
    first = [key.generator(draw).random() for key in keys for draw in Draw]
    assert len(set(first)) == len(keys) * len(Draw)
    assert first == [dataclasses.replace(key).generator(draw).random() for key in keys for draw in Draw]


def test_the_operating_systems_streams_keep_all_bits_that_their_state_takes() -> None:
    generator = SystemSource().key(b"model", **RELEASE).generator(Draw.NOISE)
    state = generator.bit_generator.state["state"]["state"]
    # Of the four words the last one counts what was drawn.
    assert generator.bit_generator.seed_seq.pool_size * 32 >= 64 * (len(state) - 1)


def test_the_operating_systems_streams_are_fresh_at_every_call() -> None:
    key = SystemSource().key(b"model", **RELEASE)
    assert len({key.generator(draw).random() for draw in Draw for _ in range(50)}) == 50 * len(Draw)
