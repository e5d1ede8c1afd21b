"""A stage of a round in a malicious server's hands, and a round as an honest one has it.

Every stage takes a round and returns the next one, with what the hospitals answered and who refused; an attack is what
happens between them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from flwr.app import Message, RecordDict
from numpy.typing import NDArray

from wardround.attacks.findings import Learnt, Refused
from wardround.attacks.targets import Nodes, Round, Target
from wardround.errors import ProtocolError

__all__ = ["asked", "compared", "honest_round"]


def asked(
    round_: Round, stage: str, contents: Mapping[int, RecordDict], read: Callable[[Message], Any]
) -> tuple[Round, dict[int, Any]]:
    """Return the round with the refusals of a stage, and by node what was read of the other replies."""
    answers, refused = {}, list(round_.refused)
    for node_id, content in contents.items():
        reply = round_.nodes.ask(node_id, content)
        if isinstance(reply, str):
            refused.append(Refused(node_id=node_id, stage=stage, reason=reply))
        else:
            answers[node_id] = read(reply)
    return replace(round_, refused=tuple(refused)), answers


def honest_round(nodes: Nodes, cohort: Sequence[int], terms: Any) -> Round:
    """Return a round as an honest server has it, with all that it may know in the end."""
    protocol = nodes.target.protocol
    round_ = Round(nodes=nodes, cohort=tuple(cohort), terms=terms)
    round_ = protocol.collect(protocol.share_keys(protocol.set_up(round_)))
    active = frozenset(round_.vectors)
    return protocol.unmask(round_, lambda node_id: (active, frozenset(cohort) - active))


def compared(target: Target, has: NDArray[np.float64] | None) -> Learnt | None:
    """Return how far what the server has, shape (dimension,), is from the victim's update; None where it has nothing.

    Raises:
        ProtocolError: one of both is 0 or not finite.
    """
    if has is None:
        return None
    true = target.true_update([target.victim])
    length = float(np.linalg.norm(true))
    if not (length > 0 and np.isfinite(has).all()):
        raise ProtocolError("there is nothing to compare with: the app's update is 0, or what was found is not finite")
    error = float(np.linalg.norm(has - true)) / length
    return Learnt(what=f"the update of node {target.victim} by itself", error=error, num_numbers=len(true))
