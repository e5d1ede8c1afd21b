"""A program of one record, run for the records of several hospitals at once, each with parameters of its own.

It is run under `vmap` over records and over hospitals, so that neither sees another by construction, and one operation
does for all what it does for one. That pays where operations are small. What is left out on purpose: programs that draw
at random, as no hospital's draws may depend on who else is there, and those with convolutions, which take longer so.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import vmap
from torch.fx import GraphModule, Node

from wardround.clients.closed_form.by_record import Formed
from wardround.clients.programs import RecordProgram

__all__ = ["gradients_of_many", "live_floats", "unstacked_because"]


def unstacked_because(program: RecordProgram) -> str | None:
    """Return why a program is not run for several hospitals at once, as a clause; None where it is."""
    for node in program.gradient.graph.nodes:
        operation = node.target
        if isinstance(operation, torch._ops.OpOverload):
            if torch.Tag.nondeterministic_seeded in operation.tags:
                return "the model draws at random"
            if "convolution" in operation._schema.name:
                return "the model has convolutions, which are no faster for several hospitals at once"
    return None


def gradients_of_many(
    program: RecordProgram, parameters: Sequence[Tensor], features: Tensor, labels: Tensor
) -> tuple[Tensor, Formed]:
    """Return losses (hospitals, records) and the records' gradients.

    Args:
        program: of a model.
        parameters: of every hospital, in the program's order, (hospitals, ...).
        features: (hospitals, records, ...), at least one of each.
        labels: (hospitals, records).
    """
    of_records = vmap(program.gradient, in_dims=(None, None, 0, 0), randomness="error")
    of_hospitals = vmap(of_records, in_dims=(0, None, 0, 0), randomness="error")
    gradients, losses = of_hospitals(
        list(parameters), list(program.constants), features.unsqueeze(2), labels.unsqueeze(2)
    )
    return losses.squeeze(2), Formed(range(len(gradients)), [rows.flatten(2) for rows in gradients])


def live_floats(program: GraphModule) -> int:
    """Return how many numbers a recorded program holds at once at most, of shapes alone."""
    nodes = list(program.graph.nodes)
    last_use = {given: place for place, node in enumerate(nodes) for given in node.all_input_nodes}
    held = most = 0
    for place, node in enumerate(nodes):
        held += _floats(node)
        most = max(most, held)
        held -= sum(_floats(given) for given in node.all_input_nodes if last_use[given] == place)
    return most


def _floats(node: Node) -> int:
    made = node.meta.get("val") if node.op == "call_function" else None
    return made.numel() if isinstance(made, Tensor) else 0
