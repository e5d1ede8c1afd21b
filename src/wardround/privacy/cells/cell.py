"""What every cell can be asked, with the answers that most of them share.

A cell is one way to protect: one unit, one place where the noise is added, one mechanism. It is an object without
state that holds all that the cell is; whoever needs to know asks it for a behaviour, and never which cell it is. The
proofs are in docs/privacy.md. What is left out on purpose: torch (see `clients.cells`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from wardround import exact_sums
from wardround.exact_sums import Arrays
from wardround.privacy.cells.bills import Bills
from wardround.privacy.cells.promises import Promises
from wardround.privacy.cells.released_sums import NOTHING, Memory, ReleasedSum
from wardround.privacy.cells.turns import Turns
from wardround.privacy.cells.weights import Weights
from wardround.privacy.cells.words import CellWords, words_of
from wardround.rounds import Assignment
from wardround.streams import Source

__all__ = ["Cell"]


@dataclass(frozen=True)
class Cell(Promises, Bills, Weights, Turns):
    """One cell: its traits, what it promises, what it bills, how hospitals weigh and take turns, and what comes out.

    The defaults are those of DP-SGD at the hospital; each cell's file says where it differs.
    """

    __slots__ = ()

    def release(
        self,
        arrays: Arrays,
        total: exact_sums.FixedSum,
        answered: Sequence[Assignment],
        assignments: Sequence[Assignment],
        *,
        learning_rate: float,
        source: Source,
        rounding: float = 0.0,
        memory: Memory = NOTHING,
    ) -> ReleasedSum:
        """Return what the strategy may see of a round: the mean of what was sent, whose noise is in it already.

        Args:
            arrays: the current model.
            total: exact sum over those who answered: of parameters, clipped gradient sums or clipped updates times
                their weights, or of residues, as `payload` says.
            answered: of those in the sum, at least one, in name order.
            assignments: of the whole cohort; denominators of gradients and of the count are theirs, whoever answered.
            learning_rate: of the server's step on a gradient sum.
            source: of the server's noise; drawn from only where the server adds any, once a coordinate.
            rounding: see `rounding_distance`.
            memory: what the server's noise goes on from (see `noise_memory`).
        """
        return ReleasedSum(arrays=exact_sums.mean(total, sum(a.weight for a in answered), arrays))

    def words(self, *, record_is: str = "row", protocol: str = "plain", patient_overlap: int = 1) -> CellWords:
        """Return what is said of the cell.

        Args:
            record_is: what a record is, "row" or "patient".
            protocol: how contributions travel: under "secagg+" the server sees their sum alone.
            patient_overlap: hospitals that may hold the same patient, >= 1.
        """
        return words_of(
            self.plain_words,
            unit=self.unit,
            relation=self.relation,
            record_is=record_is,
            summed=protocol == "secagg+",
            overlap=patient_overlap,
        )
