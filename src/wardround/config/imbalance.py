"""The section [imbalance]: what is done where some classes have fewer records than others.

What is left out on purpose: which classes there are, which the data say (see `check_remedy`), and what the remedies do
to a record (see `clients.losses`, `clients.clipped_sums`, `datasets.oversampling`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wardround.config.limits import check_section, setting
from wardround.config.loss_weights import check_class_numbers, check_loss_weights
from wardround.errors import ConfigError
from wardround.privacy.cells import cell_of

__all__ = ["ImbalanceConfig", "check_imbalance_use", "check_remedy", "releases_shares", "shares_are_released"]

_REMEDIES = ("loss-weights", "duplicate", "smote")
_MOST_COPIES = 4
_LARGEST = 1000
_PUBLIC = {"loss-weights": ("training", "loss-weights"), "duplicate": ("imbalance", "copies")}
"""By remedy, section and key of the public numbers that it is made of where they are given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImbalanceConfig:
    """What makes up for classes of few records; "none" leaves them as they are.

    "loss-weights" multiplies a record's loss with a weight of its class, before it is clipped: with those of [training]
    loss-weights or, where none are given, with ones made of class shares that are released with noise before round 1.
    "duplicate" lets a record count several times: as `copies` says for each class or, where it does not, as the
    released shares say, at most `max_copies` (default 4) times. With "smote" each hospital trains on synthetic records
    of its rare classes beside its own, each between a record and one of its nearest `neighbours` of the class.
    """

    remedy: str = setting("none", choices=("none", *_REMEDIES), unwritten=True)
    copies: tuple[int, ...] | None = setting(None, least=1, most=_LARGEST, unwritten=True)
    max_copies: int | None = setting(None, least=2, most=_LARGEST, unwritten=True)
    neighbours: int = setting(5, least=1, most=_LARGEST, unwritten=True)

    def __post_init__(self) -> None:
        check_section("imbalance", self)
        if self.copies == ():
            raise ConfigError("copies = [] must be one whole number for each class ([imbalance] copies): remove it")
        if self.copies is not None and set(self.copies) == {1}:
            raise ConfigError(
                f"copies = {list(self.copies)} counts every record once, as it is without a remedy ([imbalance] "
                'copies): give a class two or more, or set remedy = "none"'
            )

    @property
    def is_used(self) -> bool:
        """Whether anything is done."""
        return self.remedy in _REMEDIES

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
    return shares_are_released(lambda section, key: getattr(getattr(config, section), key.replace("-", "_")))


def shares_are_released(look: Callable[[str, str], Any]) -> bool:
    """Return what `releases_shares` does of settings in another form.

    Args:
        look: returns the value of a section and a key, None of a key that is not set.
    """
    remedy = look("imbalance", "remedy")
    return remedy in _PUBLIC and look(*_PUBLIC[remedy]) is None


def check_imbalance_use(config: Any) -> None:
    """Refuse a remedy that needs a release where there is none.

    Args:
        config: all settings.

    Raises:
        ConfigError: naming the value and the next step.
    """
    if config.imbalance.remedy == "duplicate" and config.privacy.microbatch_size > 1:
        raise ConfigError(
            f"microbatch-size = {config.privacy.microbatch_size} clips records of several classes as one, which can't "
            'count by their class ([privacy] microbatch-size): remove it, or set remedy = "loss-weights" ([imbalance])'
        )
    if config.federation.schema is None or not releases_shares(config):
        return
    section, key = _PUBLIC[config.imbalance.remedy]
    raise ConfigError(
        f'remedy = "{config.imbalance.remedy}" would be made of class shares that are released before round 1, which '
        "real sites do not do, and a schema is for them ([imbalance] remedy): give public numbers with "
        f"[{section}] {key}"
    )


def check_remedy(config: Any, class_names: Sequence[str], *, most_records: int | None = None) -> None:
    """Refuse a remedy, or numbers of classes, that don't fit the classes of the data.

    Args:
        config: all settings.
        class_names: in class order; none of a regression.
        most_records: training records that any hospital has at most; None where nobody said.

    Raises:
        ConfigError: naming the classes.
    """
    imbalance = config.imbalance
    check_loss_weights(config.training, class_names)
    if imbalance.is_used and not class_names:
        raise ConfigError(
            f'remedy = "{imbalance.remedy}" is for classes, and none are told apart here ([imbalance] remedy): '
            "remove it"
        )
    if imbalance.remedy == "duplicate" and imbalance.copies is not None:
        check_class_numbers(f"copies = {list(imbalance.copies)}", "[imbalance] copies", imbalance.copies, class_names)
    if imbalance.remedy == "smote" and cell_of(config.privacy).is_private and cell_of(config.privacy).clips_records:
        raise ConfigError(_group_of_synthetic(len(class_names), most_records))


def _group_of_synthetic(num_classes: int, most_records: int | None) -> str:
    """Return why synthetic records can't be where a record is protected, and of how large a group they would make one.

    A record decides with others which are neighbours, how many synthetic ones there are of each class, and what is
    drawn for them. With n records in k classes the largest class has n - k + 1 at most, all others as many once they
    are filled up, so that (k - 1) (n - k) are synthetic at most; without the record all of these may be others. So up
    to twice as many records differ, and the record itself.
    """
    size = max(0, (num_classes - 1) * ((most_records or 0) - num_classes))
    known = (
        f"one of {most_records} can shape up to {size} of them, without it they may be {size} others, and its epsilon "
        f"would be that of a group of {2 * size + 1}"
    )
    return (
        'remedy = "smote" can\'t be where a record is protected ([imbalance] remedy): a synthetic record is made of '
        f"two others, so that {known if most_records else 'one record shapes many'}; set "
        '"loss-weights" or "duplicate", unit = "hospital", or placement = "none"'
    )
