"""Normal numbers from a counter: the published generator, the right law, and streams that never meet."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from wardround.privacy.counter_noise import counter_normals, counter_words, stream_words
from wardround.streams import Draw, SeededSource

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_cuda])]
STREAM = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (STREAM, [0xA4093822, 0x299F31D0], [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
    ],
)
def test_words_are_those_of_the_authors_known_answers(counter, key, words, device):
    made = counter_words([torch.tensor([word], device=device) for word in counter], key)
    assert [int(word) for word in made] == words


@pytest.mark.parametrize("device", DEVICES)
def test_numbers_are_normal_to_their_tails(device):
    drawn = counter_normals([STREAM], 0, 2_000_000, torch.device(device))[0].cpu().double().numpy()
    assert stats.kstest(drawn, "norm").pvalue > 0.01
    assert stats.kstest(drawn**2, stats.chi2(1).cdf).pvalue > 0.01
    for bound in (3.0, 4.0, 4.5):
        beyond = int((np.abs(drawn) > bound).sum())
        assert stats.binomtest(beyond, len(drawn), 2 * stats.norm.sf(bound)).pvalue > 0.001
    # The two numbers of a block, and numbers of neighbouring blocks.
    for lag in (1, 2, 3):
        assert abs(np.corrcoef(drawn[lag:], drawn[:-lag])[0, 1]) < 5 / np.sqrt(len(drawn))


def test_a_stream_goes_on_where_it_was_left_whoever_is_drawn_with_it():
    others = [STREAM, (1, 2, 3, 4), (4, 3, 2, 1)]
    whole = counter_normals(others, 0, 1_000, CPU)
    parts = [counter_normals([each], first, 250, CPU)[0] for each in others for first in range(0, 500, 125)]
    assert torch.equal(whole.flatten(), torch.cat(parts))
    far = counter_normals([STREAM], 2**32 - 1, 4, CPU)[0]
    assert torch.equal(far[2:], counter_normals([STREAM], 2**32, 2, CPU)[0])
    assert not torch.equal(far[2:], whole[0, :2])  # the counter carries into its second word


def test_every_one_of_the_128_bits_makes_another_stream():
    num_normals = 2_000
    flipped = [
        tuple(word ^ (1 << bit) if place == where else word for place, word in enumerate(STREAM))
        for where, bit in itertools.product(range(4), range(32))
    ]
    drawn = counter_normals([STREAM, *flipped], 0, num_normals, CPU).double().numpy()
    correlations = np.corrcoef(drawn)[np.triu_indices(len(drawn), 1)]
    assert stats.kstest(correlations * np.sqrt(num_normals), "norm").pvalue > 0.001
    assert np.abs(correlations).max() < 6 / np.sqrt(num_normals)


def test_twenty_thousand_hospital_rounds_have_a_stream_each():
    source = SeededSource(seed=1, job=b"")
    words = {
        stream_words(
            source.key(round_number=number // 1_000, attempt=1, hospital_id=str(number % 1_000)).generator(Draw.NOISE)
        )
        for number in range(20_000)
    }
    assert len(words) == 20_000
    lower = np.array(sorted(words))
    assert lower.min() >= 0 and lower.max() < 2**32
    for place in range(4):
        assert stats.kstest(lower[:, place] / 2**32, "uniform").pvalue > 0.001


def test_the_farthest_numbers_are_finite():
    assert bool(torch.isfinite(counter_normals([(0, 0, 0, 0), (2**32 - 1,) * 4], 0, 100_000, CPU)).all())
    assert counter_normals([STREAM], 0, 0, CPU).shape == (1, 0)
