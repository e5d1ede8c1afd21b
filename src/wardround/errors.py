"""The errors Wardround raises on purpose: one base and a child per kind of trouble.

Every message names the value, the allowed range and the next step. Anything else that escapes is a defect in
Wardround. Each class carries the exit code the command line ends with.
"""

__all__ = [
    "BudgetError",
    "CohortError",
    "ConfigError",
    "DataError",
    "ProtocolError",
    "Refusal",
    "UpdateError",
    "WardroundError",
]


class WardroundError(Exception):
    """A failure that Wardround foresaw; the message says what to do next."""

    exit_code = 1


class ConfigError(WardroundError):
    """A setting is unknown, out of range, or contradicts another."""

    exit_code = 2


class DataError(WardroundError):
    """A data set is missing, damaged, or not what the settings say it is."""


class BudgetError(WardroundError):
    """The next release would spend more epsilon than the budget allows."""

    exit_code = 3


class CohortError(WardroundError):
    """Too few hospitals can take part, or one that is named does not exist."""


class UpdateError(WardroundError):
    """What a hospital sent back cannot be used: wrong shape, not finite, or out of range."""


class ProtocolError(WardroundError):
    """A message, a ledger or a run folder is not what the other side agreed to."""


class Refusal(ProtocolError):
    """A site refuses what it is asked; the text may leave the site.

    Raised only from what the server sent, the site's settings, its roster and its public number of records: never from
    the data, which the text of any other error at a site may quote.
    """
