"""The summary as text, in the shape that users of vegeta know, and a run as a JSON document."""

from collections.abc import Mapping
from dataclasses import asdict

from loadgen.replay import Replay
from loadgen.results import Record
from loadgen.summary import Spread, Summary

COLUMNS = ("intended_s", "sent_s", "done_s", "status", "error", "label", "image")


def text(summary: Summary, slo_s: float) -> str:
    """A line a figure; then the statistics of classes and the errors."""
    attack_s, wait_s = summary.attack_s, summary.wait_s
    took_s = attack_s + wait_s
    mean_in, mean_out = _per(summary.bytes_in, summary.sent), _per(summary.bytes_out, summary.sent)
    rate, throughput = _per(summary.sent, summary.attack_s), _per(summary.good, took_s)
    share = summary.good / summary.planned if summary.planned else 0.0
    codes = "  ".join(f"{status}:{count}" for status, count in summary.statuses.items())
    late = f"{summary.late} of {summary.planned} ({100 * summary.late / max(1, summary.planned):.2f}%)"
    lines = [
        f"Requests      [total, rate, throughput]         {summary.sent}, {rate:.2f}, {throughput:.2f}",
        f"Duration      [total, attack, wait]             {took_s:.3f}s, {attack_s:.3f}s, {wait_s:.3f}s",
        f"Latencies     [min, mean, 50, 90, 95, 99, max]  {_seconds(summary.latency)}",
        f"  from the actual send                          {_seconds(summary.from_sent)}",
        f"Send lag      [min, mean, 50, 90, 95, 99, max]  {_seconds(summary.lag)}",
        f"Bytes In      [total, mean]                     {summary.bytes_in}, {mean_in:.2f}",
        f"Bytes Out     [total, mean]                     {summary.bytes_out}, {mean_out:.2f}",
        f"Success       [ratio]                           {100 * share:.2f}%",
        f"Late          [over {slo_s:g}s or no good answer]      {late}",
        f"Status Codes  [code:count]                      {codes}",
        f"Classes       [name:count]                      {_top(summary.classes)}",
        "Error Set:",
        *(f"{count}x {error}" for error, count in summary.errors.items()),
        *(f"INVALID: {reason}" for reason in summary.invalid),
        f"Test Results: {summary.good}/{summary.planned} successful requests ({100 * share:.1f}%)",
    ]
    return "\n".join(lines)


def verbose_lines(record: Record) -> list[str]:
    """What --verbose prints of one answered request."""
    if not record.good:
        return [f"Image {record.image}: {record.error or 'no answer'}"]
    percent = f"{100 * record.confidence:.1f}%"
    return [
        f"Worker {record.worker} delivered result to request {record.request_id}",
        f"Image {record.image}: Classified as '{record.label}' with {percent} confidence",
    ]


def document(
    replayed: Replay, summary: Summary, about: Mapping[str, object], plan: Mapping[str, object]
) -> dict[str, object]:
    """Everything, requests as columns of equal length."""
    columns = {name: [getattr(record, name) for record in replayed.records] for name in COLUMNS}
    return {
        "about": dict(about),
        "plan": dict(plan),
        "started_unix_s": replayed.started_unix_s,
        "summary": _without_nan(asdict(summary)),
        "requests": columns,
    }


def _without_nan(value: object) -> object:
    """JSON has no nan: None stands for what could not be measured."""
    if isinstance(value, dict):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124  the test for nan


def _seconds(spread: Spread) -> str:
    values = (spread.least_s, spread.mean_s, spread.p50_s, spread.p90_s, spread.p95_s, spread.p99_s, spread.most_s)
    return ", ".join(f"{1000 * value:.1f}ms" for value in values)


def _per(amount: float, whole: float) -> float:
    return amount / whole if whole else 0.0


def _top(classes: Mapping[str, int]) -> str:
    shown = "  ".join(f"{name}:{count}" for name, count in list(classes.items())[:10])
    return shown + (f"  and {len(classes) - 10} more" if len(classes) > 10 else "")
