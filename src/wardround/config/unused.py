"""Settings that were set and are not used, in sentences for whoever set them.

What is left out on purpose: settings at their defaults, which nobody has to explain.
"""

from typing import Any

from wardround.config.meanings import MEANINGS, default_of, shown_setting
from wardround.config.settings import Config

__all__ = ["unused_settings"]


def unused_settings(config: Config, section: str | tuple[str, ...] = "") -> tuple[str, ...]:
    """Return a sentence for each setting that is not its default and is not used beside the others.

    Args:
        config: of a run; its partition as resolved, once the data are known.
        section: or sections, whose settings alone are told; "" is all.
    """

    def look(name: str) -> Any:
        section, _, key = name.partition(".")
        return getattr(getattr(config, section), key.replace("-", "_"))

    return tuple(
        f"{shown_setting(name, look(name))} is not used: it goes with {goes_with}"
        for name, has, goes_with in MEANINGS
        if name.startswith(section) and look(name) is not None and look(name) != default_of(name) and not has(look)
    )
