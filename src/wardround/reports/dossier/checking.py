"""Hold a dossier to its own ledger entries, with nothing but its folder at hand.

Checked are digests and signature, the rows and the chain between them, every number of dossier.json that follows from
them, every figure of the page by its name, and page and card as a whole where the same version made them. What is left
out on purpose: what was measured, the PDF beyond its digest, and rows that are here by their digests alone.
"""

from pathlib import Path

from wardround.disk import file_text
from wardround.errors import ConfigError, WardroundError
from wardround.reports.dossier.card import CARD, model_card
from wardround.reports.dossier.derived import chain_findings, derived, differences, is_alike
from wardround.reports.dossier.page import Figure, dossier_page, figures_in, figures_of
from wardround.reports.dossier.records import Dossier, read_dossier
from wardround.reports.dossier.seal import seal_findings
from wardround.reports.dossier.writing import DATA, PAGE, made_by
from wardround.reports.numbers import epsilon_text

__all__ = ["check_dossier"]

_MOST_BYTES = 2**30


def check_dossier(folder: Path, *, key: bytes | None = None) -> tuple[list[str], str]:
    """Return a sentence for each finding, and one on what was found to be in order; empty where something is not.

    Args:
        folder: of the dossier.
        key: Ed25519 public key that must have signed it, 32 bytes; None where any may have, or none.

    Raises:
        ConfigError: there is no such folder, or no dossier in it.
    """
    if not (folder / DATA).exists() and not (folder / PAGE).exists():
        raise ConfigError(f"{folder} holds no dossier (no {DATA}): name the folder that wardround dossier made")
    found, signed = seal_findings(folder, (DATA, PAGE, CARD), key)
    texts, unread = _texts(folder)
    found += [text for text in unread if not any(text.split()[0] == each.split()[0] for each in found)]
    if DATA not in texts:
        return found, ""
    try:
        written = read_dossier(texts[DATA], folder / DATA)
        found += chain_findings(written.rows)
        wanted = derived(written)
    except (WardroundError, KeyError, ValueError, TypeError, IndexError) as error:
        return [*found, f"{DATA} can't be computed again: {error}"], ""
    found += differences(written, wanted)
    if PAGE in texts:
        found += _figure_findings(texts[PAGE], figures_of(wanted), figures_of(written))
    found += _text_findings(written, texts)
    return found, "" if found else _sentence(wanted, signed)


def _texts(folder: Path) -> tuple[dict[str, str], list[str]]:
    texts, unread = {}, []
    for name in (DATA, PAGE, CARD):
        try:
            texts[name] = file_text(folder / name, _MOST_BYTES)
        except (OSError, UnicodeDecodeError) as error:
            unread.append(f"{name} can't be read ({error})")
    return texts, unread


def _figure_findings(page: str, wanted: dict[str, Figure], written: dict[str, Figure]) -> list[str]:
    """Return the figures of the page that are not what the entries give.

    A figure that lies on the edge of two roundings may be shown as what is written in dossier.json rounds to.
    """
    there, found = figures_in(page), []
    for name, figure in there:
        if name not in wanted:
            found.append(f'{PAGE} shows "{name}" = {figure.text}, which follows from no ledger entry')
            continue
        texts = {wanted[name].text, written[name].text if name in written else ""}
        if not _is_same_value(figure.value, wanted[name].value) or figure.text not in texts:
            shown = figure.text if figure.text not in texts else figure.value
            found.append(f'{PAGE} shows "{name}" = {shown}, and the ledger entries give {wanted[name].text}')
    missing = sorted(set(wanted) - {name for name, _ in there})
    return found + [f'{PAGE} lacks "{name}", which is {wanted[name].text}' for name in missing]


def _is_same_value(there: str, wanted: str) -> bool:
    try:
        return there == wanted or is_alike(float(there), float(wanted))
    except ValueError:
        return False


def _text_findings(dossier: Dossier, texts: dict[str, str]) -> list[str]:
    """Return which texts are not what this version makes of dossier.json; of another version's nothing is said."""
    if dossier.made_with != made_by():
        return []
    made = {PAGE: dossier_page(dossier), CARD: model_card(dossier)}
    return [
        f"{name} is not the text that {dossier.made_with} makes of {DATA}"
        for name, text in made.items()
        if texts.get(name) != text
    ]


def _sentence(dossier: Dossier, signed: str) -> str:
    charges = sum(row.kind == "planned" for row in dossier.rows)
    opaque = sum(row.entry is None for row in dossier.rows)
    same = dossier.made_with == made_by()
    words = "page and card are made of these" if same else f"words of page and card are {dossier.made_with}'s, unread"
    return (
        f"in order: {charges} charges of {len(dossier.bills)} hospitals, every epsilon, rate and mu computed again "
        f"(total {epsilon_text(dossier.summary.epsilon.total)}), {len(figures_of(dossier))} figures of the page "
        f"compared; {words}; all digests agree. {signed}. Not checked: what was measured (of an audit its counts "
        f"and areas), settings, the PDF beyond its digest, and the contents of {opaque} of {len(dossier.rows)} rows of "
        "the ledger, which are here by digest alone"
    )
