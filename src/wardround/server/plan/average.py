"""The average of a run's models over its rounds, which is what is evaluated and kept where it is asked for.

It follows from the models alone, each of which is released already, so that it costs no epsilon: post-processing (Dwork
and Roth 2014, proposition 2.1). Training goes on from the models themselves. What is left out on purpose: models of
hospitals' own, of which there is one for each (see `config.personal`).
"""

import math

import numpy as np

from wardround.exact_sums import Arrays

__all__ = ["averaged", "like"]


def averaged(before: Arrays | None, arrays: Arrays, round_number: int, decay: float | None) -> Arrays | None:
    """Return the average once a round's model is known: float64, of the models after rounds 1 to round_number.

    It is sum_i decay^(t - i) w_i / sum_i decay^(t - i), so that the initial model has no part in it, and after round 1
    it is that round's model. A round that changed nothing counts with the model that it left.

    >>> averaged({"w": np.array(1.0)}, {"w": np.array(4.0)}, 2, 0.5)
    {'w': array(3.)}

    Args:
        before: the average after the round before; None of none.
        arrays: parameters after the round.
        round_number: t, from 1; there is no average before.
        decay: in (0, 1); None where no average is made.

    Source: De, Berrada, Hayes, Smith, Balle 2022 (arXiv 2204.13650), section 3.1, for averages of private models;
        Kingma, Ba 2015, section 3, for the correction of the beginning.
    """
    if decay is None or not round_number:
        return None
    if before is None:
        return {name: array.astype(np.float64) for name, array in arrays.items()}
    share = (1 - decay) / -math.expm1(round_number * math.log(decay))
    return {name: np.asarray(before[name] + (array - before[name]) * share) for name, array in arrays.items()}


def like(arrays: Arrays, average: Arrays | None) -> Arrays:
    """Return the average in the dtypes of the parameters; the parameters where there is none."""
    if average is None:
        return arrays
    return {name: average[name].astype(array.dtype) for name, array in arrays.items()}
