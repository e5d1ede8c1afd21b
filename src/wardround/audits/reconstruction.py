"""Reconstruct stand-ins from what a server receives, in each view, and measure how well: what the audit shows of it.

Each stand-in is used in one step alone, in a batch of its own, by the run's model as it begins, and at the run's clip
and noise: the worst batch that there is. Two figures: how far the reconstruction is from the record, and how often the
record is told among other stand-ins, for which a server needs no reconstruction: it takes the one whose gradient points
most nearly where what it received does. Left out on purpose: what many rounds show together, which the audit's canaries
ask (see `canaries`).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import nn

from wardround.audits.inversion import best_fits, inputs_by_matching, inputs_of_linear, labels_of
from wardround.audits.records import Reconstruction, ReconstructionView
from wardround.audits.scores import share_of
from wardround.audits.stand_ins import StandIns, stand_ins_of
from wardround.audits.views import LOCAL, SUMMED, UNPROTECTED, receive
from wardround.config import Config
from wardround.datasets import FederatedData, load_federation
from wardround.datasets.records import CLASSIFICATION
from wardround.errors import ConfigError
from wardround.models import build_model, load_parameters
from wardround.streams import SetUp, stream

__all__ = ["reconstruct"]

_FloatArray = NDArray[np.float64]
_MODELS = ("logistic", "mlp", "cnn")
_MOST_NUMBERS = 64 * 64 * 3
"""In one record."""
_NUM_RECORDS, _NUM_SEARCHED = 100, 12
"""That are to be told apart, and how many of them are reconstructed where each takes a search."""
_MOST_SUMMED = 20
"""Hospitals in a sum: more hide a record better, and take longer."""
_SEARCH_STEPS = 200


def reconstruct(config: Config, noise_multiplier: float, *, num_hospitals: int, seed: int) -> Reconstruction:
    """Return how well stand-ins are reconstructed unprotected, from local noise, and from secure sums.

    Args:
        config: of the run.
        noise_multiplier: of its steps (>= 0), the same where hospitals add noise of their own and where they share it.
        num_hospitals: of the run (>= 1); of them at most 20 and at least 2 are in a sum.
        seed: of stand-ins, model and noise, in 0..2**62.

    Raises:
        ConfigError: there is no reconstruction of such records, or by such a model.
    """
    data = load_federation(config.federation, config.features)
    _check(config, data)
    generator = stream(seed, SetUp.STAND_INS)
    num_summed = min(max(num_hospitals, 2), _MOST_SUMMED)
    drawn = stand_ins_of(data, _NUM_RECORDS + num_summed - 1, generator)
    records, others = drawn.part(slice(_NUM_RECORDS)), drawn.part(slice(_NUM_RECORDS, None))
    views = {}
    for protection in (UNPROTECTED, LOCAL, SUMMED):
        noise = 0.0 if protection == UNPROTECTED else noise_multiplier
        model, received = _received(config, records, others, protection, noise, data.num_classes, seed)
        inverted = _inverted(config, model, received, records, seed)
        guesses = best_fits(model, received, records.features, records.labels)
        in_sum = num_summed if protection == SUMMED else 1
        views[protection] = _view(inverted, guesses, records, noise=noise, num_summed=in_sum)
    guessed = np.broadcast_to(records.features.mean(axis=0), records.features.shape)
    return Reconstruction(
        model=config.model.name,
        num_records=len(inverted),
        num_candidates=_NUM_RECORDS,
        guessed_error=float(_errors(guessed, records).mean()),
        input_shape=data.input_shape,
        feature_names=records.names,
        shown=_written(records.features[0]),
        views=views,
    )


def _check(config: Config, data: FederatedData) -> None:
    if data.task != CLASSIFICATION or config.model.name not in _MODELS:
        raise ConfigError(
            f"records are reconstructed of classifications by the models {', '.join(_MODELS)}, and this is a "
            f'{data.task} by "{config.model.name}" ([model] name): audit the run without reconstruction'
        )
    if len(data.input_shape) not in (1, 3) or np.prod(data.input_shape) > _MOST_NUMBERS:
        raise ConfigError(
            f"records of shape {data.input_shape} are not reconstructed, but rows of a table and images, of at most "
            f"{_MOST_NUMBERS:,} numbers: audit the run without reconstruction"
        )


def _received(
    config: Config,
    records: StandIns,
    others: StandIns,
    protection: str,
    noise: float,
    num_classes: int,
    seed: int,
) -> tuple[nn.Module, dict[str, _FloatArray]]:
    """Return the model as it was sent, and what came back, by name: one reply or sum for each record."""

    def seen(features: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[Mapping[str, _FloatArray], ...]:
        view = receive(
            config,
            features,
            labels,
            protection=protection,
            num_classes=num_classes,
            noise_multiplier=noise,
            seed=seed,
        )
        return view.before, view.received

    if protection == SUMMED:  # each record with the same others, and noise of its own
        sums = [
            seen(np.concatenate([one.features, others.features]), np.concatenate([one.labels, others.labels]))
            for one in (records.part(slice(place, place + 1)) for place in range(len(records.labels)))
        ]
        before = sums[0][0]
        received = {name: np.concatenate([each[name] for _, each in sums]) for name in before}
    else:
        before, by_name = seen(records.features, records.labels)
        received = dict(by_name)
    model, _ = build_model(config.model, input_shape=records.features.shape[1:], num_outputs=num_classes, seed=seed)
    load_parameters(model, before)
    return model, received


def _inverted(
    config: Config, model: nn.Module, received: Mapping[str, _FloatArray], records: StandIns, seed: int
) -> _FloatArray:
    """Return the records as they are reconstructed, (n, ...), within what the features can be."""
    low, high = records.features.min(axis=0), records.features.max(axis=0)
    shape = records.features.shape[1:]
    if config.model.name != "cnn":
        first, second = list(received)[:2]
        inputs = inputs_of_linear(received[first], received[second])
        return inputs.reshape(-1, *shape).clip(low, high)
    few = {name: each[:_NUM_SEARCHED] for name, each in received.items()}
    return inputs_by_matching(
        model,
        few,
        labels_of(list(few.values())[-1]),
        shape,
        low=float(low.min()),
        high=float(high.max()),
        num_steps=_SEARCH_STEPS,
        seed=seed,
    )


def _errors(inverted: NDArray[np.floating], records: StandIns) -> _FloatArray:
    """Return by record how far features are off on average, in their standard deviations; of pixels in that of all."""
    own = records.features.astype(np.float64)
    spread = own.std(axis=0) if records.names else own.std()
    apart = np.abs(inverted - own[: len(inverted)]) / np.where(spread > 0, spread, 1.0)
    errors: _FloatArray = apart.reshape(len(inverted), -1).mean(axis=1)
    return errors


def _view(
    inverted: _FloatArray, guesses: NDArray[np.int64], records: StandIns, *, noise: float, num_summed: int
) -> ReconstructionView:
    from scipy.special import stdtrit

    errors = _errors(inverted, records)
    mean = float(errors.mean())
    half = float(stdtrit(len(errors) - 1, 0.975) * errors.std(ddof=1) / np.sqrt(len(errors)))
    identified, interval = share_of(int((guesses == np.arange(len(guesses))).sum()), len(guesses))
    return ReconstructionView(
        noise_multiplier=noise,
        num_summed=num_summed,
        error=mean,
        error_interval=(max(mean - half, 0.0), mean + half),
        identified=identified,
        identified_interval=interval,
        shown=_written(inverted[0]),
    )


def _written(record: NDArray[np.floating]) -> tuple[float, ...]:
    """Return a stand-in's numbers, to four digits behind the point."""
    return tuple(round(float(value), 4) for value in record.ravel())
