"""The section [imbalance]: what is done where some classes have fewer records than others.

What is left out on purpose: which classes there are, which the data say (see `check_remedy`), and what the remedies do
to a record (see `clients.losses`, `clients.clipped_sums`, `datasets.oversampling`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wardround.config.limits import check_section, setting
from wardround.config.loss_weights import check_class_numbers, check_loss_weights
from wardround.errors import ConfigError

__all__ = ["ImbalanceConfig", "check_imbalance_use", "check_remedy", "releases_shares"]

_MOST_COPIES = 4
_LARGEST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImbalanceConfig:
    """What makes up for classes of few records; "none" leaves them as they are.

    "loss-weights" multiplies a record's loss with a weight of its class, before it is clipped: with those of [training]
    loss-weights or, where none are given, with ones made of class shares that are released with noise before round 1.
    "duplicate" lets a record count several times: as `copies` says for each class or, where it does not, as the
    released shares say, at most `max_copies` (default 4) times.
    """

    remedy: str = setting("none", choices=("none", "loss-weights", "duplicate"), unwritten=True)
    copies: tuple[int, ...] | None = setting(None, least=1, most=_LARGEST, unwritten=True)
    max_copies: int | None = setting(None, least=1, most=_LARGEST, unwritten=True)

    def __post_init__(self) -> None:
        check_section("imbalance", self)
        if self.copies == ():
            raise ConfigError("copies = [] must be one whole number for each class ([imbalance] copies): remove it")

    @property
    def most_copies(self) -> int:
        """How often a record counts in a sum of clipped gradients, at most (>= 1)."""
        if self.remedy != "duplicate":
            return 1
        return max(self.copies) if self.copies else self.max_copies or _MOST_COPIES


def releases_shares(config: Any) -> bool:
    """Return whether the shares of classes are released before round 1, as the remedy has no public numbers.

    Args:
        config: all settings.
    """
    remedy = config.imbalance.remedy
    if remedy == "loss-weights":
        return config.training.loss_weights is None
    return remedy == "duplicate" and config.imbalance.copies is None


def check_imbalance_use(config: Any) -> None:
    """Refuse a remedy that needs a release where there is none.

    Args:
        config: all settings.

    Raises:
        ConfigError: naming the value and the next step.
    """
    if config.federation.schema is None or not releases_shares(config):
        return
    remedy = config.imbalance.remedy
    step = "[training] loss-weights" if remedy == "loss-weights" else "[imbalance] copies"
    raise ConfigError(
        f'remedy = "{remedy}" would be made of class shares that are released before round 1, which real sites do not '
        f"do, and a schema is for them ([imbalance] remedy): give public numbers with {step}"
    )


def check_remedy(config: Any, class_names: Sequence[str]) -> None:
    """Refuse a remedy, or numbers of classes, that don't fit the classes of the data.

    Args:
        config: all settings.
        class_names: in class order; none of a regression.

    Raises:
        ConfigError: naming the classes.
    """
    imbalance = config.imbalance
    check_loss_weights(config.training, class_names)
    if imbalance.remedy != "none" and not class_names:
        raise ConfigError(
            f'remedy = "{imbalance.remedy}" is for classes, and this is a regression ([imbalance] remedy): remove it'
        )
    if imbalance.remedy == "duplicate" and imbalance.copies is not None:
        check_class_numbers(f"copies = {list(imbalance.copies)}", "[imbalance] copies", imbalance.copies, class_names)
