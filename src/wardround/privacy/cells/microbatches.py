"""Records in microbatches: groups of m records whose mean gradient is clipped as one, and what a step of that costs.

A hospital's groups are fixed by where its records stand, records 1 to m, m + 1 to 2 m and so on, and a step draws whole
groups, each with the sample rate, and every record so. (Groups of whoever was drawn, as in TensorFlow Privacy, would
fall apart differently with every record that is drawn: a sum without one then has nothing to do with a sum with it, and
sampling would amplify nothing.) Zeroing a record out turns the mean of its group into another vector within the clip:
both are at most C long, so that sums are up to 2 C apart, where TensorFlow Privacy bills C.

What a step costs. With the rest of the batch given, the sum is A, or A + c if the group is drawn, with |c| <= C, and
A + c' in the neighbouring data set. With b drawn with probability q and noise of variance s^2,

    P = A + b c + N(0, s^2)        Q = A + b c' + N(0, s^2).

Take two independent steps of variance s^2 / 2, of which the first adds b c or nothing and the second b c' or nothing:
let one data set be the pair (with, without) and the other (without, with). P and Q are the sums of both outputs, plus
A. So a step is post-processing of two Poisson-subsampled Gaussian steps of sensitivity C, one from either side, and its
Renyi divergence is at most twice theirs. With s = z 2 C each has the noise multiplier sqrt(2) z. On whole batches the
bound is exact: that of a Gaussian of sensitivity 2 C.

What is left out on purpose: loss distributions, as one for both sides at once is not made here, and integer noise.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.privacy.cells.cell import Cell
from wardround.privacy.cells.record_central import RecordCentral
from wardround.privacy.cells.record_local import RecordLocal
from wardround.privacy.cells.words import CellWords
from wardround.privacy.renyi import rdp
from wardround.step_events import StepEvent

__all__ = ["RecordCentralMicrobatches", "RecordLocalMicrobatches"]

_GROUPS = "Which group one is in follows from where it stands in the hospital's data, which is public."


@dataclass(frozen=True)
class Microbatches(Cell):
    """Groups of records that are clipped as one."""

    mechanism = "poisson-subsampled-microbatch-gaussian"
    clips_apart = 2.0
    clips_groups = True
    has_canaries = False
    accountant = "rdp"

    def refusals(self, privacy: Any, training: Any, aggregation: Any) -> Iterator[str]:
        """Yield what other cells of records refuse, and what never has the gradients of a group."""
        yield from super().refusals(privacy, training, aggregation)
        if training.grad_sample_mode == "ghost":
            yield (
                'grad-sample-mode = "ghost" can\'t average the records of a group ([training] grad-sample-mode) with '
                f'microbatch-size = {privacy.microbatch_size}: set "auto", or remove microbatch-size'
            )

    def divergence(self, event: StepEvent, *, cached: bool = True) -> NDArray[np.float64]:
        """Return twice the divergence of a Poisson-subsampled Gaussian step with half the variance."""
        each = (rdp if cached else rdp.__wrapped__)(math.sqrt(2) * event.noise_multiplier, event.sample_rate)
        return 2 * each

    def event_text(self, event: StepEvent) -> str:
        """Return the event in words of ours: dp-accounting has no such step."""
        return (
            f"MicrobatchGaussian(noise_multiplier={event.noise_multiplier!r}, sampling_probability="
            f"{event.sample_rate!r}, count={event.num_steps!r})"
        )

    def words(self, **used: Any) -> CellWords:
        """Return what is said of the cell."""
        return replace(super().words(**used), clipped="the mean gradient of each group")


@dataclass(frozen=True)
class RecordLocalMicrobatches(Microbatches, RecordLocal):
    """DP-SGD at the hospital, by groups."""

    name = "record-local-microbatches"
    plain_words = replace(
        RecordLocal.plain_words,
        noise="Gaussian noise for two clips in every local step, by the hospital, on groups that are clipped as one",
        kind="local, in microbatches",
        formula="2zC / sqrt(n)",
        chart_order=3,
        trust=f"{RecordLocal.plain_words.trust} {_GROUPS}",
    )


@dataclass(frozen=True)
class RecordCentralMicrobatches(Microbatches, RecordCentral):
    """One sum a round of groups' clipped gradients, with noise by the server."""

    name = "record-central-microbatches"
    plain_words = replace(
        RecordCentral.plain_words,
        noise="Gaussian noise for two clips, once, by the server, on groups that are clipped as one",
        kind="central, in microbatches",
        formula="2zC / n",
        chart_order=4,
        trust=f"{RecordCentral.plain_words.trust} {_GROUPS}",
    )
    sent = "the sum of the clipped mean gradients of a Poisson batch's groups, each of several {unit}s"
