"""A run that was recorded on a real cluster: its requests, its pods over time, and what it says of itself."""

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoscaler_tuning.results import FloatArray

COLUMNS = ("intended_s", "sent_s", "done_s", "status")
COUNTS = ("ready_pods", "starting_pods", "terminating_pods")
SUCCESS = 200


class RecordedError(ValueError):
    """The file holds no run, or one that cannot be used; the text names the rule and the value."""


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """Requests in the order in which they were sent, and pods whenever somebody looked.

    about: set-up in words, by topic.
    intended_s, sent_s, done_s: shape (requests,); done_s is nan where no good answer came.
    times_s, ready_pods, starting_pods, terminating_pods: shape (looks,).
    desired_pods: what the autoscaler wanted then, shape (looks,); -1 while it did not say.
    """

    about: Mapping[str, str]
    intended_s: FloatArray
    sent_s: FloatArray
    done_s: FloatArray
    times_s: FloatArray
    ready_pods: FloatArray
    starting_pods: FloatArray
    terminating_pods: FloatArray
    desired_pods: FloatArray

    @property
    def end_s(self) -> float:
        """The whole second after the last request was sent."""
        return float(np.floor(self.sent_s[-1]) + 1)

    def during(self, from_s: float, to_s: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which requests were meant to be sent in [from_s, to_s)."""
        return (self.intended_s >= from_s) & (self.intended_s < to_s)


def read_recorded(path: Path) -> RecordedRun:
    """Read a run as ../shared/runs describes them. Raises RecordedError."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RecordedError(f"{path} holds no recorded run: {error}") from error
    try:
        return _run(document)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise RecordedError(f"{path}: {error if isinstance(error, RecordedError) else repr(error)}") from error


def _run(document: Mapping[str, Any]) -> RecordedRun:
    if document.get("requests_columns", list(COLUMNS)) != list(COLUMNS):
        raise RecordedError(f"requests_columns must be {list(COLUMNS)}, was {document['requests_columns']}")
    requests = np.array(document["requests"], dtype=float)
    if requests.ndim != len(COLUMNS[:2]) or requests.shape[1] != len(COLUMNS) or not len(requests):
        raise RecordedError(f"requests must be rows of {len(COLUMNS)} numbers, had the shape {requests.shape}")
    requests = requests[np.argsort(requests[:, 1], kind="stable")]
    if not np.isfinite(requests[:, :2]).all() or requests[0, 1] < 0:
        raise RecordedError("intended_s and sent_s must be finite and not negative, one was not")
    looks = document["pods"]
    times_s = np.array([look["t_s"] for look in looks], dtype=float)
    if len(times_s) < len(COLUMNS) or not (np.diff(times_s) > 0).all():
        raise RecordedError(
            f"pods must be looked at in ascending order of t_s, several times, was {len(times_s)} times"
        )
    done_s = np.where(requests[:, 3] == SUCCESS, requests[:, 2], np.nan)
    wanted = [look.get("desired_scale") or [-1] for look in looks]
    desired = [float(-1 if one[-1] is None else one[-1]) for one in wanted]
    ready, starting, terminating = (np.array([look[name] for look in looks], dtype=float) for name in COUNTS)
    about = {str(topic): str(text) for topic, text in dict(document.get("about", {})).items()}
    return RecordedRun(
        about, requests[:, 0], requests[:, 1], done_s, times_s, ready, starting, terminating, np.array(desired)
    )
