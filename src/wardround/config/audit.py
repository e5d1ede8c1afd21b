"""The section [audit]: whether a run is audited once it has ended, and what can't be.

What is left out on purpose: the audit (see `audits`).
"""

from dataclasses import dataclass
from typing import Any

from wardround.config.limits import check_section, setting
from wardround.config.releases import check_exact_scores
from wardround.errors import ConfigError
from wardround.privacy.cells import cell_of

__all__ = [
    "DEFAULT_CANARIES",
    "DEFAULT_HOSPITALS",
    "FEWEST_MODELS",
    "AuditConfig",
    "check_audit_use",
    "check_scores_of_shadows",
    "check_unaudited",
    "unaudited_because",
]

DEFAULT_CANARIES = 4000
"""Records that are canaries where an audit is asked for and nothing is said of them."""
DEFAULT_HOSPITALS = 1000
"""The same of hospitals, where these are protected."""
FEWEST_CANARIES, MOST_CANARIES = 20, 10_000
"""With fewer no lower bound says anything; with more a twin's model is larger than any run needs."""
FEWEST_MODELS = 4
"""Shadow models: with fewer a record hardly has models with it and without it beside the one that is attacked."""
MOST_MODELS = 1024
"""Shadow models: each is a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """Whether twins of a run are attacked as it ends.

    `canaries` are those of hospitals that did the same; None is no audit, or the usual number where `shadow_models`
    are asked for. With these so many models are trained on half of the records each, and attacked. It changes nothing
    of the run itself.
    """

    canaries: int | None = setting(None, least=FEWEST_CANARIES, most=MOST_CANARIES, unwritten=True)
    shadow_models: int | None = setting(None, least=FEWEST_MODELS, most=MOST_MODELS, unwritten=True)

    def __post_init__(self) -> None:
        check_section("audit", self)

    @property
    def is_used(self) -> bool:
        """Whether there is an audit."""
        return self.canaries is not None or self.shadow_models is not None


def unaudited_because(privacy: Any) -> str | None:
    """Return why a run can't be audited, and what to do; None where it can.

    Args:
        privacy: all of [privacy].
    """
    cell = cell_of(privacy)
    if not cell.is_private:
        return (
            f'placement = "{cell.placement}" promises nothing that an audit could refute ([privacy] placement): audit '
            "a run with privacy"
        )
    if privacy.adaptive_clipping:
        return (
            "adaptive-clipping = true moves the clip by what every round releases of it, for which there are no "
            "canaries ([privacy] adaptive-clipping): audit a run without it"
        )
    if cell.has_canaries:
        return None
    if cell.clips_groups:
        return (
            f"microbatch-size = {privacy.microbatch_size} clips records in groups, for which there are no canaries "
            "([privacy] microbatch-size): audit a run without it"
        )
    return (
        f'noise-correlation = "{cell.noise_correlation}" takes noise back in later rounds, for which there are no '
        'canaries ([privacy] noise-correlation): audit a run with "none"'
    )


def check_audit_use(config: Any) -> None:
    """Refuse an audit of settings that have none.

    Args:
        config: all settings.

    Raises:
        ConfigError: naming the value and the next step.
    """
    if not config.audit.is_used:
        return
    privacy, asked = config.privacy, _asked(config.audit)
    if reason := unaudited_because(privacy):
        raise ConfigError(f"{asked}: {reason}")
    if config.audit.shadow_models is not None:
        check_scores_of_shadows(config, asked)
    if privacy.budget_epsilon is not None and privacy.on_budget == "replan":
        raise ConfigError(
            f'{asked}: on-budget = "replan" may change the noise from round to round, for which there are no canaries '
            '([privacy] on-budget): set "stop", or audit the run\'s folder once it has ended'
        )


def check_scores_of_shadows(config: Any, asked: str) -> None:
    """Refuse shadow models where test scores are not told as they are: what is told of records would be exact.

    Args:
        config: all settings.
        asked: what asks for them, the beginning of a sentence.

    Raises:
        ConfigError: naming the setting and the next step.
    """
    if config.evaluation.release == "private":
        raise ConfigError(
            f'{asked}: release = "private" sizes the noise for a release of test scores that no shadow model makes '
            "([evaluation] release): remove shadow-models, and canaries remain"
        )
    check_exact_scores(config, f"{asked} looks at")


def check_unaudited(config: Any, what: str) -> None:
    """Refuse an audit where whole runs are only parts of something else.

    Args:
        config: all settings.
        what: they are part of, in words, such as "a study".

    Raises:
        ConfigError: naming the value and the next step.
    """
    if config.audit.is_used:
        raise ConfigError(
            f"{_asked(config.audit)} has no meaning in {what}: remove it, and audit the folder of one of its runs with "
            "wardround audit"
        )


def _asked(audit: AuditConfig) -> str:
    if audit.canaries is not None:
        return f"canaries = {audit.canaries} ([audit] canaries)"
    return f"shadow-models = {audit.shadow_models} ([audit] shadow-models)"
