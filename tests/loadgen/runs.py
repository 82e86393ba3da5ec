"""Hand-made runs for the tests of reports."""

import numpy as np

from loadgen.analysis.runs import Run, RunSettings
from loadgen.records import Failure, Record

URL = "http://127.0.0.1:8001/predict"
STARTED_UNIX_S = 1_700_000_000.25


def good(intended_s: float, latency_s: float, label: str = "cat", lag_s: float = 0.0) -> Record:
    """Return a successful request whose first byte arrived halfway."""
    done_s = intended_s + latency_s
    sent_s = intended_s + lag_s
    return Record(
        intended_s,
        f"{label}.jpg",
        sent_s,
        (sent_s + done_s) / 2,
        done_s,
        done_s,
        200,
        label=label,
        confidence=0.5,
        pod="pod-1",
        request_id=f"{int(intended_s * 1000):08x}",
        worker=1,
        bytes_in=10,
        bytes_out=100,
    )


def refused(intended_s: float, latency_s: float = 0.001) -> Record:
    """Return a request rejected with 503."""
    done_s = intended_s + latency_s
    record = Record(intended_s, "cat.jpg", intended_s, done_s, done_s, done_s, 503, Failure.STATUS, "status 503: full")
    record.bytes_in, record.bytes_out = 4, 100
    return record


def lost(intended_s: float, after_s: float = 30.0) -> Record:
    """Return a request that timed out."""
    return Record(
        intended_s,
        "cat.jpg",
        intended_s,
        ended_s=intended_s + after_s,
        failure=Failure.TIMEOUT,
        error=f"no response within {after_s:g} s",
        bytes_out=100,
    )


def unsent(intended_s: float) -> Record:
    """Return a request that an interrupted run never sent."""
    return Record(intended_s, "cat.jpg")


def local(intended_s: float) -> Record:
    """Return a request that could not be sent for want of a free descriptor."""
    error = "ClientConnectorError: Too many open files"
    return Record(intended_s, "cat.jpg", ended_s=intended_s + 0.001, failure=Failure.LOCAL, error=error)


def run(*records: Record, name: str = "run.json", slo_s: float = 0.5) -> Run:
    """Return a run as if it were read from a file."""
    duration_s = float(int(max((record.intended_s for record in records), default=0.0)) + 1)
    return Run(name, RunSettings(URL, duration_s, slo_s, 5.0, {"workload": "w.txt"}), records, STARTED_UNIX_S)


# Two fast successful requests, a slow one, a rejected one, a timeout, and one that was never sent.
MIXED = run(
    good(0.0, 0.1, lag_s=0.001),
    good(1.0, 0.2, "dog"),
    good(2.0, 0.8),
    refused(3.0),
    lost(4.0, after_s=2.0),
    unsent(5.0),
)


def queue(seed: int, service_s: float, seconds: int = 120, rate_rps: float = 20.0) -> Run:
    """Simulate a first-come, first-served server with one worker under Poisson arrivals, so that waits are correlated."""
    rng = np.random.default_rng(seed)
    intended_s = np.sort(rng.random(int(seconds * rate_rps)) * seconds)
    free_s, records = 0.0, []
    for at_s, needed_s in zip(intended_s, rng.exponential(service_s, intended_s.size), strict=True):
        free_s = max(free_s, float(at_s)) + float(needed_s)
        records.append(good(float(at_s), free_s - float(at_s)))
    return run(*records)
