"""Hospitals that take turns, noise at the server that takes a part of the last rounds' noise back.

What is billed is one Gaussian release a round, as for independent noise: hospitals take part so many rounds apart that
the columns of the factorisation which their updates meet have no row in common (the proof is in `privacy.banded`).
What is remembered from round to round are noises of unit scale, and the factorisation that they are of. They are used
by the first attempt at the round right after the one they are of; anything else begins a new factorisation, which is
always allowed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wardround.privacy.banded import Factorisation, factorise, prefix_error
from wardround.privacy.cells.hospital_central import HospitalCentral
from wardround.privacy.cells.released_sums import NOTHING, Memory, Sums
from wardround.streams import Draw, Key

__all__ = ["HospitalCorrelated"]

_NOISE = "noise/"
_MOST_ROUNDS = 1000
"""Whose error is computed, which takes the square of their number; it hardly falls beyond."""


@dataclass(frozen=True)
class HospitalCorrelated(HospitalCentral):
    """A clipped update, with noise by the server that cancels itself over the rounds."""

    name = "hospital-correlated"
    mechanism = "banded-gaussian"
    noise_correlation = "banded"
    has_canaries = False
    plain_words = replace(
        HospitalCentral.plain_words,
        noise="Gaussian noise, once a round, by the server, of which later rounds take a part back",
        kind="central correlated",
        chart_order=3,
        formula="about zC / n, of which later rounds take a part back",
        trust=f"{HospitalCentral.plain_words.trust} It keeps the noise of the last rounds while the run goes on.",
    )

    def _other_refusals(self, training: Any, aggregation: Any) -> Iterator[str]:
        yield from super()._other_refusals(training, aggregation)
        setting = f'noise-correlation = "{self.noise_correlation}"'
        if training.cohorts != "round-robin":
            yield (
                f"{setting} is paid for by hospitals that take turns ([privacy] noise-correlation): in random cohorts "
                'one may come again the next round, and its rounds would share noise; set [training] cohorts = "round-'
                'robin", or remove it'
            )
        elif training.fraction_train == 1:
            yield self._no_turns()

    def refusals_of_turns(self, rounds_apart: int) -> Iterator[str]:
        """Yield why there is nothing to gain where every hospital is in every round."""
        if rounds_apart == 1:
            yield self._no_turns()

    def _no_turns(self) -> str:
        return (
            f'noise-correlation = "{self.noise_correlation}" needs hospitals that take part in every second round at '
            "most ([privacy] noise-correlation), and here they are in every round: noise that cancels itself would "
            "cost them what it saves; lower [training] fraction-train to a half or less, or remove it"
        )

    def noise_memory(
        self, memory: Memory, *, round_number: int, attempt: int, rounds_left: int, scales: Sequence[float]
    ) -> Memory:
        """Return the memory for the first attempt at the round after it, else the beginning of a new factorisation."""
        follows = attempt == 1 and memory and int(memory["rounds"][1]) == round_number
        # A column that spans more rounds than the hospitals keep away would be met twice by one of them.
        if follows and memory["columns"].shape[1] <= len(scales):
            return memory
        begun = factorise(rounds_left, len(scales), tuple(scales))
        rounds = np.array([round_number, round_number, rounds_left], np.int64)
        return {"columns": begun.columns, "scales": begun.scales, "rounds": rounds}

    def with_noise(self, summed: Sums, stddev: float, key: Key, memory: Memory) -> tuple[Sums, Memory]:
        """Return the sum with the noise of its row, and what the next round's goes on from: nothing after the last.

        Without a memory the round is a factorisation by itself, of one row: independent noise.
        """
        if not memory:
            return super().with_noise(summed, stddev, key, memory)
        first, now, num_rounds = (int(number) for number in memory["rounds"])
        factorisation = Factorisation(num_rounds=num_rounds, columns=memory["columns"], scales=memory["scales"])
        generator = key.generator(Draw.NOISE)
        fresh = {name: generator.standard_normal(np.shape(array)) for name, array in summed.items()}
        earlier = {
            name: memory.get(f"{_NOISE}{name}", np.zeros((0, *np.shape(array)))) for name, array in fresh.items()
        }
        drawn = factorisation.noise(now - first, fresh, earlier)
        noisy = {name: np.asarray(array + stddev * drawn[name]) for name, array in summed.items()}
        if now - first + 1 == num_rounds:
            return noisy, NOTHING
        most = factorisation.band - 1
        kept = {f"{_NOISE}{name}": np.concatenate([noise[None], earlier[name]])[:most] for name, noise in drawn.items()}
        rounds = np.array([first, now + 1, num_rounds], np.int64)
        return noisy, {"columns": factorisation.columns, "scales": factorisation.scales, "rounds": rounds} | kept

    def relative_noise(self, *, num_rounds: int, scales: Sequence[float]) -> float:
        """Return the error of prefix sums relative to independent noise, of the first 1000 rounds at most."""
        return prefix_error(factorise(min(num_rounds, _MOST_ROUNDS), len(scales), tuple(scales)))
