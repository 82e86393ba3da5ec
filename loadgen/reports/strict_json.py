"""JSON that every reader accepts: NaN and infinity, which JSON does not have, become null."""

import json
import math


def strict_json(value: object, indent: int | None = None) -> str:
    """Return a value as JSON; keys of objects that are not text become text."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:  # the copy takes seconds for a long run, so it is made only if it is needed
        return json.dumps(without_nan(value), indent=indent, allow_nan=False)


def without_nan(value: object) -> object:
    """Replace each number that JSON does not have by None."""
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
