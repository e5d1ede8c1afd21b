"""What a data set is to the catalogue: its name, a sentence on it, how it is loaded and how its files are fetched."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wardround.config import FederationConfig
from wardround.datasets.records import Dataset

__all__ = ["Source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One data set.

    Attributes:
        name: as in [federation] dataset; those of one family begin alike, up to a ":".
        place: in the catalogue; those with the same one stand as their file has them.
        sentence: what it is.
        task: "classification" or "regression"; None where the user's file decides.
        num_rows: how many records it has (>= 1); None where the user's file decides.
        load: returns it, given the settings.
        fetch: returns its verified files, given a folder to search first or None; None where no file is needed.
        advice: what to know about its family where a name in it is not known.
    """

    name: str
    place: int
    sentence: str
    task: str | None
    num_rows: int | None
    load: Callable[[FederationConfig], Dataset]
    fetch: Callable[[str | None], list[Path]] | None = None
    advice: str = ""
