"""JSON as every reader takes it: it has no infinity and no undefined number, and epsilon can be either."""

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["json_text", "plain_values"]


def json_text(value: Any) -> str:
    """Return indented JSON, with infinite numbers as "inf" or "-inf" and undefined ones as null.

    >>> print(json_text({"epsilon": math.inf, "auc": math.nan}))
    {
      "epsilon": "inf",
      "auc": null
    }
    """
    return json.dumps(plain_values(value), indent=2, allow_nan=False)


def plain_values(value: Any) -> Any:
    """Return the value with infinite numbers as "inf" or "-inf", undefined ones as None, and lists for tuples."""
    if isinstance(value, Mapping):
        return {key: plain_values(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(part) for part in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value
