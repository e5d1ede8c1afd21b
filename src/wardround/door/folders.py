"""What can be asked of the folder of a run or a study."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wardround.door.given import folder_of
from wardround.reports.report import write_report
from wardround.reports.study import write_study_report
from wardround.server.record.run_folder import open_run_folder
from wardround.server.record.verify import verify_run

if TYPE_CHECKING:
    from wardround.door.runs import Run
    from wardround.door.studies import Study

__all__ = ["Verification", "report", "verify"]


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a run's files are as they were written; true where they are.

    Attributes:
        findings: a sentence for each thing that is not as it should be.
        sentence: what was held against what.
    """

    findings: tuple[str, ...]
    sentence: str

    def __bool__(self) -> bool:
        """Return whether nothing was found."""
        return not self.findings


def verify(path: "Path | str | Run") -> Verification:
    """Return whether tables, summary, settings, model and checkpoints agree with the ledger, and it with itself.

    >>> bool(Verification((), "in order"))
    True

    Args:
        path: the folder of a run, or the run.

    Raises:
        ConfigError: there is no run in the folder.
    """
    findings, sentence = verify_run(folder_of(path))
    return Verification(tuple(findings), sentence)


def report(path: "Path | str | Run | Study") -> Path:
    """Build report.html again from the files of a run's folder, or of a study's, and return its path.

    Raises:
        ConfigError: there is no run in the folder.
        ProtocolError: a file in it is damaged.
    """
    folder = folder_of(path)
    is_study = (folder / "study.json").is_file()
    return write_study_report(folder) if is_study else write_report(open_run_folder(folder).path)
