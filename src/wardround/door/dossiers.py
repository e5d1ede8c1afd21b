"""Make and check the dossier of a run, for data-protection officers."""

from pathlib import Path
from typing import TYPE_CHECKING

from wardround.door.folders import Verification
from wardround.door.given import folder_of
from wardround.reports.dossier.checking import check_dossier
from wardround.reports.dossier.seal import public_key_of
from wardround.reports.dossier.writing import WrittenDossier, write_dossier
from wardround.secagg.sites import read_signing_key

if TYPE_CHECKING:
    from wardround.door.runs import Run

__all__ = ["dossier", "verify_dossier"]


def dossier(path: "Path | str | Run", *, sign: Path | str | None = None) -> WrittenDossier:
    """Write a run's dossier anew, in its folder, and the model card beside its model; return where they are.

    Args:
        path: the folder of a run that has come to an end, or the run.
        sign: a file with an Ed25519 key (see `secagg.new_site_key`), to sign the digests of all files; None does not.

    Raises:
        ConfigError: there is no run in the folder, it has not come to an end, or there is no such key.
        ProtocolError: a file in the folder is not what the run's ledger says.
    """
    key = None if sign is None else read_signing_key(Path(sign))
    return write_dossier(folder_of(path), signing_key=key)


def verify_dossier(path: Path | str, *, key: Path | str | None = None) -> Verification:
    """Return whether a dossier's files are as they were written, and every number follows from its ledger entries.

    Args:
        path: the dossier's folder; nothing else is looked at.
        key: public key that must have signed it, as a PEM file or 64 hexadecimal digits; None where any may have.

    Raises:
        ConfigError: there is no dossier in the folder, or no such key.
    """
    findings, sentence = check_dossier(Path(path), key=None if key is None else public_key_of(str(key)))
    return Verification(tuple(findings), sentence)
