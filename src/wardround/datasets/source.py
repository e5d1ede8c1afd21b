"""What a data set is to the catalogue: its name, a sentence on it, which files it needs and how it is loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wardround.config import FederationConfig
from wardround.datasets.download import RemoteFile
from wardround.datasets.records import Dataset

__all__ = ["Source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One data set.

    Attributes:
        name: as in [federation] dataset; those of one family begin alike, up to a ":".
        place: in the catalogue; those with the same one stand as their file has them.
        sentence: what it is.
        task: "classification" or "regression"; "either" where the user's file decides.
        num_rows: how many records it has (>= 1); None where the user's file decides.
        load: returns it, given the settings and the verified files, in their order.
        files: that it is read from.
        advice: what to know about its family where a name in it is not known.
    """

    name: str
    place: int
    sentence: str
    task: str
    num_rows: int | None
    load: Callable[[FederationConfig, list[Path]], Dataset]
    files: tuple[RemoteFile, ...] = ()
    advice: str = ""

    @property
    def needs_download(self) -> bool:
        """Whether there are files to be had first."""
        return bool(self.files)
