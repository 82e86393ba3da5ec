"""A run recorded on a real cluster: its requests, its pods over time, and a description of the set-up."""

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
LEAST_SAMPLES = 4
SUCCESS = 200


class RecordedError(ValueError):
    """The file contains no usable run; the message states the rule and the value."""


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """Requests in the order in which they were sent, and samples of the pods over time.

    about: description of the set-up, by topic.
    intended_s, sent_s, done_s: shape (requests,); done_s is nan for requests without a successful response.
    times_s: times of the samples, shape (samples,).
    ready_pods, starting_pods, terminating_pods: pods in each sample, shape (samples,).
    desired_pods: pods that the autoscaler wanted then, shape (samples,); -1 if unknown.
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
        """First whole second after the last request was sent."""
        return float(np.floor(self.sent_s[-1]) + 1)

    def during(self, from_s: float, to_s: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return a mask of the requests whose intended send is in [from_s, to_s)."""
        return (self.intended_s >= from_s) & (self.intended_s < to_s)


def read_recorded(path: Path) -> RecordedRun:
    """Read a run in the format of ../shared/runs; raise RecordedError if the file contains no usable run."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RecordedError(f"{path} must be a gzipped JSON file of a recorded run: {error}") from error
    try:
        return _run(document)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise RecordedError(f"{path}: {error if isinstance(error, RecordedError) else repr(error)}") from error


def _run(document: Mapping[str, Any]) -> RecordedRun:
    if document.get("requests_columns", list(COLUMNS)) != list(COLUMNS):
        raise RecordedError(f"requests_columns must be {list(COLUMNS)}, got {document['requests_columns']}")
    requests = np.array(document["requests"], dtype=float)
    if requests.ndim != len(COLUMNS[:2]) or requests.shape[1] != len(COLUMNS) or not len(requests):
        raise RecordedError(f"requests must be rows of {len(COLUMNS)} numbers, got an array of shape {requests.shape}")
    requests = requests[np.argsort(requests[:, 1], kind="stable")]
    if not np.isfinite(requests[:, :2]).all() or requests[0, 1] < 0:
        bad = requests[~np.isfinite(requests[:, :2]).all(axis=1) | (requests[:, 1] < 0)][0, :2]
        raise RecordedError(f"intended_s and sent_s must be finite, sent_s at least 0, got {bad[0]:g} and {bad[1]:g}")
    samples = document["pods"]
    times_s = np.array([sample["t_s"] for sample in samples], dtype=float)
    if len(times_s) < LEAST_SAMPLES or not (np.diff(times_s) > 0).all():
        raise RecordedError(
            f"pods must be at least {LEAST_SAMPLES} samples in ascending order of t_s, got {len(times_s)} samples"
        )
    done_s = np.where(requests[:, 3] == SUCCESS, requests[:, 2], np.nan)
    wanted = [sample.get("desired_scale") or [-1] for sample in samples]
    desired = [float(-1 if one[-1] is None else one[-1]) for one in wanted]
    ready, starting, terminating = (np.array([sample[name] for sample in samples], dtype=float) for name in COUNTS)
    about = {str(topic): str(text) for topic, text in dict(document.get("about", {})).items()}
    return RecordedRun(
        about, requests[:, 0], requests[:, 1], done_s, times_s, ready, starting, terminating, np.array(desired)
    )
