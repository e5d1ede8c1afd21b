"""What a release of test scores does not go with.

What is left out on purpose: what the data say, their task and who standardised them (see `server.plan.score_release`).
"""

from typing import Any

from wardround.errors import ConfigError
from wardround.privacy.cells import cell_of

__all__ = ["check_exact_scores", "check_release_use"]


def check_release_use(config: Any) -> None:
    """Refuse a private release where there is no noise for it, or no pooled model that it could be of.

    Args:
        config: all settings.

    Raises:
        ConfigError: naming the setting, and what to set instead.
    """
    if config.evaluation.release != "private":
        return
    instead = '([evaluation] release): set "none", which tells no score, or'
    privacy = config.privacy
    if not cell_of(privacy).is_private or privacy.noise_multiplier == 0:
        raise ConfigError(
            f'release = "private" needs the noise of [privacy], and the run has none {instead} "simulation"'
        )
    if not cell_of(privacy).clips_records:
        raise ConfigError(
            f'release = "private" hides one record of a test set, and unit = "{privacy.unit}" promises to hide a whole '
            f'one, which leaves no score of few hospitals {instead} unit = "record"'
        )
    if config.personal.is_used:
        raise ConfigError(
            f'release = "private" is of one model for all, and method = "{config.personal.method}" gives each hospital '
            f'its own {instead} method = "none"'
        )


def check_exact_scores(config: Any, what: str) -> None:
    """Refuse what looks at exact test scores, which the settings do not let out.

    Args:
        config: all settings.
        what: that needs them, the beginning of a sentence.

    Raises:
        ConfigError: naming the setting.
    """
    if not config.evaluation.is_exact:
        raise ConfigError(
            f'{what} the exact scores of test records, which release = "{config.evaluation.release}" does not tell '
            '([evaluation] release): set "simulation", on data that you may look at'
        )
