"""Keys of a summary on how classes are told apart, of a made-up confusion matrix."""

from typing import Any

from wardround.json_records import json_values
from wardround.json_text import plain_values
from wardround.scores import NUM_BINS, ClassCounts
from wardround.server.record.class_reports import class_report

__all__ = ["report_of"]


def report_of(confusion: list[list[int]], names: list[str]) -> dict[str, Any]:
    """Return the keys that such a matrix gives, and a calibration that is a little too sure."""
    shares = [min(1.0, 0.06 + 0.09 * index) for index in range(NUM_BINS)]
    counts = ClassCounts(
        confusion=tuple(map(tuple, confusion)),
        bins=(200,) * NUM_BINS,
        probabilities=tuple(200 * (index + 0.5) / NUM_BINS for index in range(NUM_BINS)),
        hits=tuple(round(200 * share) for share in shares),
    )
    values: dict[str, Any] = plain_values(json_values(class_report(counts, names)))
    return values
