"""How per-record gradients are computed, chosen by the model's kind of forward, with the reason in words.

What is left out on purpose: any mode that would depend on what a forward of a user's own does with a batch.
"""

from typing import NamedTuple

from torch import nn
from torch.nn.modules.conv import _ConvNd

from wardround.errors import ConfigError

__all__ = ["Mode", "choose_mode"]


class Mode(NamedTuple):
    """A mode of per-record gradients: hooks, ew, functorch, ghost (Opacus') or per-record, and why, as a sentence."""

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
    if asked == "auto" and any(isinstance(module, _ConvNd) for module in model.modules()):
        return Mode("per-record", f"{by_record} it has convolutions, which are faster so (any mode serves it).")
    name = "hooks" if asked == "auto" else asked
    return Mode(
        name,
        f"Gradients by record come from Opacus (grad-sample-mode {name}), since every layer of the model is known to "
        "keep records apart.",
    )
