"""How per-record gradients are computed, chosen by the model's kind of forward, with the reason in words.

What is left out on purpose: any mode that would depend on what a forward of a user's own does with a batch.
"""

from typing import NamedTuple

from torch import nn

from wardround.clients.closed_form.layers import uncovered_because
from wardround.errors import ConfigError

__all__ = ["Mode", "choose_mode"]


class Mode(NamedTuple):
    """A mode of per-record gradients, and why, as a sentence.

    It is closed-form, per-record, or one of Opacus: hooks, ew, functorch, ghost.
    """

    name: str
    reason: str


def choose_mode(asked: str, model: nn.Module, unknown: str | None) -> Mode:
    """Return the mode that keeps the model's records apart.

    Args:
        asked: [training] grad-sample-mode.
        model: as it will be trained.
        unknown: what `forwards.unknown_because` says of it.

    Raises:
        ConfigError: the mode that was asked for is for known forwards only.
    """
    by_record = "The model is run record by record (grad-sample-mode per-record), since"
    if asked in ("auto", "per-record") and unknown:
        return Mode("per-record", f"{by_record} its forward is not a known one: {unknown}.")
    if asked == "per-record":
        return Mode("per-record", f"{by_record} the settings ask for it.")
    if unknown:
        raise ConfigError(
            f'grad-sample-mode = "{asked}" is for models whose layers are known to keep records apart, and {unknown} '
            '([training] grad-sample-mode): set "auto" or "per-record", which runs every record by itself'
        )
    uncovered = uncovered_because(model)
    if asked == "auto" and uncovered:
        return Mode("per-record", f"{by_record} {uncovered} (Opacus' modes may serve it).")
    if asked == "closed-form" and uncovered:
        raise ConfigError(
            f'grad-sample-mode = "closed-form" can\'t serve this model: {uncovered}: set "auto" ([training] '
            "grad-sample-mode)"
        )
    name = "closed-form" if asked == "auto" else asked
    source = "are computed in closed form" if name == "closed-form" else "come from Opacus"
    return Mode(
        name,
        f"Gradients by record {source} (grad-sample-mode {name}), since every layer of the model is known to keep "
        "records apart.",
    )
