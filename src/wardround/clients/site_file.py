"""A real site's own file, `site.toml`: who it is, where its data and code are, and the settings that it agrees to.

Everything that a site is and does comes from this file, and nothing of it from a server. What is left out on purpose:
reading the table (see `clients.site_app`), and whether a server has the same settings (see `identity.agreed_digest`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.code_digests import code_digests
from wardround.config import Config, check_agreement, config_from_dict, read_toml
from wardround.errors import ConfigError
from wardround.identity import AGREED_EVALUATION, agreed_digest, agreed_text
from wardround.names import did_you_mean
from wardround.secagg import Site, read_site

__all__ = ["SiteFile", "read_site_file"]

_NEEDED, _OPTIONAL = ("hospital", "key", "roster", "data"), ("code", "runs")
_MOST_RUNS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFile:
    """What a site's file says, checked.

    Attributes:
        site: its name, key and copy of the roster.
        config: the settings that it agrees to.
        data: its own table.
        code: the one folder that a "module:factory" of the settings is taken from; None where none is named.
        runs: of these settings that it answers, in all (>= 1).
        releases: folder in which it notes all that it releases.
        agreed: the text that the server's settings must be equal to (see `identity.agreed_text`).
        digest: of that text, 32 bytes.
    """

    site: Site
    config: Config
    data: Path
    code: Path | None
    runs: int
    releases: Path
    agreed: str
    digest: bytes

    @property
    def names(self) -> tuple[str, ...]:
        """The roster's names, sorted: cohorts are drawn from them."""
        return tuple(sorted(self.site.roster.verify_keys))


def read_site_file(path: Path) -> SiteFile:
    """Return what a site's file says; paths in it are relative to it.

    Raises:
        ConfigError: the file, its key or its roster is missing or broken, a key of it is unknown or missing, or its
            settings are none that real sites can have.
    """
    tables = read_toml(path, examples="docs/flower.md")
    own = _own_part(tables, path)
    config = config_from_dict(tables)
    check_agreement(config)
    folder = path.absolute().parent
    key = folder / own["key"]
    site = read_site(own["hospital"], key, folder / own["roster"])
    code = folder / own["code"] if "code" in own else None
    if code is not None and not code.is_dir():
        raise ConfigError(f"code = {own['code']!r} must be a folder beside {path} ([site] code): {code} is none")
    for message in _contradictions(config, site, own, code):
        raise ConfigError(f"{message}; correct {path}")
    return SiteFile(
        site=site,
        config=config,
        data=folder / own["data"],
        code=code,
        runs=own.get("runs", 1),
        releases=key.with_name(f"{key.name}-released"),
        agreed=agreed_text(config, code=code),
        digest=agreed_digest(config, code=code),
    )


def _own_part(tables: dict[str, Any], path: Path) -> dict[str, Any]:
    """Take the [site] table from the tables and return it, refusing what does not belong in a site's file."""
    own = tables.pop("site", None)
    if not isinstance(own, Mapping):
        raise ConfigError(f"{path} must have a table [site] with {', '.join(_NEEDED)}: it is the file of one site")
    for key, value in own.items():
        if key not in (*_NEEDED, *_OPTIONAL):
            raise ConfigError(f"unknown key {key} in [site]{did_you_mean(key, (*_NEEDED, *_OPTIONAL))}")
        if key != "runs" and not (isinstance(value, str) and value):
            raise ConfigError(f'{key} = {value!r} must be a text ([site] {key}): write {key} = "..."')
    for key in _NEEDED:
        if key not in own:
            raise ConfigError(f'{key} is missing ([site] {key}): add {key} = "..." to {path}')
    runs = own.get("runs", 1)
    if isinstance(runs, bool) or not isinstance(runs, int) or not 1 <= runs <= _MOST_RUNS:
        raise ConfigError(f"runs = {runs!r} must be a whole number from 1 to {_MOST_RUNS:,} ([site] runs): correct it")
    for section in ("simulation", "audit"):
        if section in tables:
            raise ConfigError(f"[{section}] has no meaning at a real site: remove it from {path}")
    evaluation = tables.get("evaluation")
    for key in evaluation if isinstance(evaluation, Mapping) else ():
        if key not in AGREED_EVALUATION:
            raise ConfigError(f"{key} has no meaning at a real site ([evaluation] {key}): remove it from {path}")
    federation = tables.get("federation")
    for key in ("path", "data-dir"):
        if isinstance(federation, Mapping) and key in federation:
            raise ConfigError(f"{key} has no meaning at a real site ([federation] {key}): name a table in [site] data")
    return dict(own)


def _contradictions(config: Config, site: Site, own: Mapping[str, Any], code: Path | None) -> Iterator[str]:
    aggregation, roster = config.aggregation, site.roster
    for key, value, agreed in (
        ("min-survivors", aggregation.min_survivors, roster.min_survivors),
        ("max-colluding", aggregation.max_colluding, roster.max_colluding),
    ):
        if value != agreed:
            yield f"{key} = {value} must be {agreed}, as the roster {own['roster']} says ([aggregation] {key})"
    module, colon, _ = config.model.name.partition(":")
    if colon and code is not None and not code_digests([module], folder=code):
        yield f'model name = "{config.model.name}": there is no {module} in {code} ([site] code)'
    if colon and code is None:
        yield (
            f'model name = "{config.model.name}" is code, which a site takes from a folder of its own alone: '
            "name that in [site] code"
        )
