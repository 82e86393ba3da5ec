"""k6's end-of-test summary: the data passed to handleSummary(), and the older format that --summary-export writes.

An iteration is a planned request. By k6's definitions, iteration_duration is measured from the intended send,
http_req_blocked is the send lag and http_req_duration is the rest. Connecting, TLS and sending are not measured
separately; they are 0, and their time is part of http_req_waiting. Byte counts are those of bodies.
Source: "Custom summary" and "Metrics" in k6's documentation, and what k6 1.8 writes.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from loadgen.analysis.columns import Columns, Floats, columns, quantile
from loadgen.analysis.gates import Verdict
from loadgen.analysis.runs import Run
from loadgen.records import Record

TREND_STATS = ("avg", "min", "med", "max", "p(90)", "p(95)", "p(99)")
# The metric that gets the threshold of a gate; gates that are not listed here use iteration_duration.
GATE_METRICS = {
    "errors": "http_req_failed",
    "success": "http_req_failed",
    "late": "checks",
    "rate": "http_reqs",
    "throughput": "http_reqs",
}
Json = dict[str, object]
Metrics = dict[str, dict[str, Json | str]]


def summary_data(run: Run, verdicts: Sequence[Verdict], invalid: Sequence[str] = ()) -> Json:
    """Return the object that k6 passes to handleSummary()."""
    sent = [record for record in run.records if record.sent_s is not None]
    took_s = max(map(_end_s, sent), default=0.0) - min(map(_sent_s, sent), default=0.0)
    metrics = _metrics(run, sent, took_s)
    # A failed threshold, so that tools that read only thresholds do not show an invalid run as a good one.
    judged = [("http_req_blocked", f"INVALID: {reason}", False) for reason in invalid]
    judged += [(GATE_METRICS.get(one.gate.name, "iteration_duration"), one.gate.text, one.held) for one in verdicts]
    for name, threshold, held in judged:
        thresholds = metrics[name].setdefault("thresholds", {})
        if isinstance(thresholds, dict):
            thresholds[threshold] = {"ok": held}
    return {
        "root_group": {
            "name": "",
            "path": "",
            "id": _identity(""),
            "groups": [],
            "checks": [_check(run, columns(sent))],
        },
        "options": {"summaryTrendStats": list(TREND_STATS), "summaryTimeUnit": "", "noColor": True},
        "state": {"isStdOutTTY": False, "isStdErrTTY": False, "testRunDurationMs": 1000 * took_s},
        "metrics": metrics,
        "loadgen": {"url": run.settings.url, "invalid": list(invalid)},
    }


def summary_export(run: Run, verdicts: Sequence[Verdict], invalid: Sequence[str] = ()) -> Json:
    """Return the content of --summary-export: values directly under each metric, and true for a crossed threshold."""
    data = summary_data(run, verdicts, invalid)
    metrics, group = data["metrics"], data["root_group"]
    if not (isinstance(metrics, dict) and isinstance(group, dict)):
        raise TypeError("metrics and root_group must be objects")
    checks = {check["name"]: check for check in group["checks"]}
    return {
        "metrics": {name: _flat(metric) for name, metric in metrics.items()},
        "root_group": {**group, "groups": {}, "checks": checks},
    }


def _flat(metric: dict[str, Json]) -> Json:
    values = dict(metric["values"])
    if "rate" in values and "passes" in values:
        values["value"] = values.pop("rate")
    crossed = {name: not held["ok"] for name, held in metric.get("thresholds", {}).items() if isinstance(held, dict)}
    return {**values, "thresholds": crossed} if crossed else values


def _metrics(run: Run, sent: Sequence[Record], took_s: float) -> Metrics:
    """Return every metric that k6 reports for HTTP, also if it is empty."""
    good = [record for record in sent if record.good]
    unsent = len(run.records) - len(sent)
    nothing = np.zeros(len(sent))
    in_time = int((columns(sent).slo_latency_s <= run.settings.slo_s).sum())
    return {
        "data_received": _counter(sum(record.bytes_in for record in sent), took_s, "data"),
        "data_sent": _counter(sum(record.bytes_out for record in sent), took_s, "data"),
        "dropped_iterations": _counter(unsent, took_s),
        "iterations": _counter(len(sent), took_s),
        "http_reqs": _counter(len(sent), took_s),
        "checks": _rate(in_time, len(sent)),
        "http_req_failed": _rate(len(sent) - len(good), len(sent)),
        "vus": _gauge(0, 0, _most_in_flight(sent)),
        "vus_max": _gauge(*[_most_in_flight(sent)] * 3),
        "iteration_duration": _trend(np.array([_end_s(record) - record.intended_s for record in sent])),
        "http_req_blocked": _trend(np.array([_sent_s(record) - record.intended_s for record in sent])),
        "http_req_connecting": _trend(nothing),
        "http_req_tls_handshaking": _trend(nothing),
        "http_req_sending": _trend(nothing),
        "http_req_waiting": _trend(np.array([_first_byte_s(record) - _sent_s(record) for record in sent])),
        "http_req_receiving": _trend(np.array([_end_s(record) - _first_byte_s(record) for record in sent])),
        "http_req_duration": _trend(np.array([_end_s(record) - _sent_s(record) for record in sent])),
        "http_req_duration{expected_response:true}": _trend(
            np.array([_end_s(record) - _sent_s(record) for record in good])
        ),
    }


def _check(run: Run, sent: Columns) -> Json:
    """Return the only check, which covers every request."""
    passes = int((sent.slo_latency_s <= run.settings.slo_s).sum())
    name = f"answered well within {run.settings.slo_s:g} s"
    path = f"::{name}"
    return {"name": name, "path": path, "id": _identity(path), "passes": passes, "fails": sent.planned - passes}


def _counter(count: int, took_s: float, contains: str = "default") -> dict[str, Json | str]:
    values: Json = {"count": count, "rate": count / took_s if took_s else 0.0}
    return {"type": "counter", "contains": contains, "values": values}


def _gauge(value: int, least: int, most: int) -> dict[str, Json | str]:
    return {"type": "gauge", "contains": "default", "values": {"value": value, "min": least, "max": most}}


def _rate(passes: int, count: int) -> dict[str, Json | str]:
    values: Json = {"rate": passes / count if count else 0.0, "passes": passes, "fails": count - passes}
    return {"type": "rate", "contains": "default", "values": values}


def _trend(values_s: Floats) -> dict[str, Json | str]:
    """Return a trend in milliseconds; all zeros without values, as in k6."""
    values_ms = 1000 * values_s if values_s.size else np.zeros(1)
    least, most, mean = float(values_ms.min()), float(values_ms.max()), float(values_ms.mean())
    shares = {"med": 0.5, "p(90)": 0.9, "p(95)": 0.95, "p(99)": 0.99}
    statistics: dict[str, float] = {name: quantile(values_ms, share) for name, share in shares.items()}
    statistics |= {"avg": mean, "min": least, "max": most}
    return {"type": "trend", "contains": "time", "values": {name: statistics[name] for name in TREND_STATS}}


def _most_in_flight(sent: Sequence[Record]) -> int:
    """Return the largest number of requests in flight; at equal times, an end counts before a start."""
    events = [(_sent_s(record), 1) for record in sent] + [(_end_s(record), -1) for record in sent]
    most = in_flight = 0
    for _, change in sorted(events):
        in_flight += change
        most = max(most, in_flight)
    return most


def _sent_s(record: Record) -> float:
    return record.intended_s if record.sent_s is None else record.sent_s


def _end_s(record: Record) -> float:
    """Return the time of the last byte, or the time at which the failure was known."""
    return next((moment for moment in (record.done_s, record.ended_s) if moment is not None), _sent_s(record))


def _first_byte_s(record: Record) -> float:
    """Return the time of the first byte; without one, the end, so that all of the time counts as waiting."""
    return _end_s(record) if record.first_byte_s is None else record.first_byte_s


def _identity(path: str) -> str:
    """Return the MD5 of a path, by which k6 identifies groups and checks; it protects no secret."""
    return hashlib.md5(path.encode(), usedforsecurity=False).hexdigest()
