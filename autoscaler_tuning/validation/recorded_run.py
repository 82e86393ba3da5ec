"""A run recorded on a real cluster: its requests, its pods over time, and a description of the set-up."""

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoscaler_tuning.policies.registry import split_name
from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.validation.run_file import RunRecord, is_run_file, read_run
from autoscaler_tuning.validation.run_setup import RecordedError, RunSetup

COLUMNS = ("intended_s", "sent_s", "done_s", "status")
COUNTS = ("ready_pods", "starting_pods", "terminating_pods")
LEAST_SAMPLES = 4
SUCCESS = 200

__all__ = ["COLUMNS", "COUNTS", "RecordedError", "RecordedRun", "from_record", "read_document", "read_recorded"]


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """Requests in the order in which they were sent, and samples of the pods over time.

    about: description of the set-up, by topic, in files of the old format.
    intended_s, sent_s, done_s: shape (requests,); done_s is nan for requests without a successful response.
    times_s: times of the samples, shape (samples,).
    ready_pods, starting_pods, terminating_pods: pods in each sample, shape (samples,).
    desired_pods: pods that the autoscaler wanted then, shape (samples,); -1 if unknown.
    setup: the set-up as data; None in files of the old format.
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
    setup: RunSetup | None = None

    @property
    def end_s(self) -> float:
        """First whole second after the last request was sent."""
        return float(np.floor(self.sent_s[-1]) + 1)

    def during(self, from_s: float, to_s: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return a mask of the requests whose intended send is in [from_s, to_s)."""
        return (self.intended_s >= from_s) & (self.intended_s < to_s)


def read_recorded(path: Path) -> RecordedRun:
    """Read a run, in the present format or in that of ../shared/runs; raise RecordedError if it is not usable."""
    if is_run_file(path):
        try:
            return from_record(read_run(path))
        except RecordedError as error:
            raise error if str(path) in str(error) else RecordedError(f"{path}: {error}") from error
    document = read_document(path)
    try:
        return _run(document)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise RecordedError(f"{path}: {error if isinstance(error, RecordedError) else repr(error)}") from error


def read_document(path: Path) -> Any:
    """Return the JSON of a file in the format of ../shared/runs; raise RecordedError if it is not gzipped JSON."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RecordedError(f"{path} must be a recorded run, JSON Lines or gzipped JSON: {error}") from error


def from_record(record: RunRecord) -> RecordedRun:
    """Return the run in a file; a request that was never sent counts as sent when it was planned, and as lost."""
    requests = sorted(record.requests, key=lambda one: one.intended_s if one.sent_s is None else one.sent_s)
    if len(record.pods) < LEAST_SAMPLES:
        raise RecordedError(f"pods must be at least {LEAST_SAMPLES} samples, got {len(record.pods)}")
    intended_s = np.array([one.intended_s for one in requests], dtype=float)
    sent_s = np.array([one.intended_s if one.sent_s is None else one.sent_s for one in requests], dtype=float)
    good = [one.done_s if one.status == SUCCESS and one.done_s is not None else np.nan for one in requests]
    times_s, kept = np.unique([one.t_s for one in record.pods], return_index=True)
    samples = [record.pods[index] for index in kept]
    ready, starting, terminating = (np.array([getattr(one, name) for one in samples], dtype=float) for name in COUNTS)
    decided = [None if _is_shadowed(record.setup) else one.desired_pods for one in samples]
    desired = np.array([-1 if pods is None else pods for pods in decided], dtype=float)
    return RecordedRun(
        {}, intended_s, sent_s, np.array(good), times_s, ready, starting, terminating, desired, record.setup
    )


def _is_shadowed(setup: RunSetup) -> bool:
    """Return whether the recorded decisions set no pod: on Knative, KPA's are of its port in shadow mode."""
    return setup.target == "knative" and "dispatcher" in setup.path and split_name(setup.policy)[0].startswith("kpa")


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
