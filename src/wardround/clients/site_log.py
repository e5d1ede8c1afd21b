r"""What a site writes into its own log of a server's words: nothing in it can pass for a line of the log.

What is left out on purpose: what may leave the site, which is far less (see `errors.Refusal`).
"""

import logging
import traceback

__all__ = ["log_failure", "seen"]

_MARGIN = "    | "


def seen(text: str) -> str:
    r"""Return a text of one line, with what can't be seen escaped.

    >>> seen("round 1\nsite north: all is well\x1b[2J")
    'round 1\\nsite north: all is well\\x1b[2J'
    """
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def log_failure(log: logging.Logger, sentence: str) -> None:
    """Log a sentence and the exception that is being handled, each line of which stands behind a margin."""
    lines = [_MARGIN + seen(line) for line in traceback.format_exc().splitlines()]
    log.error("%s", "\n".join([sentence, *lines]))
