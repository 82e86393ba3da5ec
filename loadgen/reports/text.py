"""The summary as text in vegeta's layout, and a run as a JSON document."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from loadgen.analysis.columns import columns
from loadgen.analysis.gates import Verdict
from loadgen.analysis.runs import Run, columns_of
from loadgen.analysis.summary import Spread, Summary
from loadgen.records import Record
from loadgen.reports.strict_json import without_nan
from loadgen.reports.vegeta import rates

# How vegeta rounds durations: from this many seconds on, to a multiple of this many seconds.
ROUNDING = ((60.0, 1.0), (1.0, 1e-3), (1e-3, 1e-6), (1e-6, 1e-9))


def text(run: Run, summary: Summary, verdicts: Sequence[Verdict] = ()) -> str:
    """Return vegeta's lines with ours among them, then a line for each SLO and each reason why the run is invalid."""
    attack_s, wait_s, slo_s = summary.attack_s, summary.wait_s, run.settings.slo_s
    tried = sum(summary.statuses.values())
    mean_in, mean_out = _per(summary.bytes_in, tried), _per(summary.bytes_out, tried)
    rate, throughput = rates(run)
    planned_rps = _per(summary.planned, run.settings.duration_s)
    achieved_rps = columns(run.records).achieved_rps(run.settings.duration_s)
    share = _per(summary.good, summary.planned)
    codes = "  ".join(f"{status}:{count}" for status, count in summary.statuses.items())
    late = f"{summary.late} of {summary.planned} ({100 * summary.late / max(1, summary.planned):.2f}%)"
    lines = [
        f"Requests      [total, rate, throughput]         {tried}, {rate:.2f}, {throughput:.2f}",
        f"Rate          [asked, achieved]                 {planned_rps:.2f}, {achieved_rps:.2f}",
        f"Duration      [total, attack, wait]             {_durations(attack_s + wait_s, attack_s, wait_s)}",
        f"Latencies     [min, mean, 50, 90, 95, 99, max]  {_spread(summary.latency)}",
        f"  from the actual send                          {_spread(summary.from_sent)}",
        f"Send lag      [min, mean, 50, 90, 95, 99, max]  {_spread(summary.lag)}",
        f"Bytes In      [total, mean]                     {summary.bytes_in}, {mean_in:.2f}",
        f"Bytes Out     [total, mean]                     {summary.bytes_out}, {mean_out:.2f}",
        f"Success       [ratio]                           {100 * share:.2f}%",
        f"Late          [over {slo_s:g}s or no good answer]".ljust(48) + late,
        f"Status Codes  [code:count]                      {codes}",
        f"Classes       [name:count]                      {_top(summary.classes)}",
        "Error Set:",
        *(f"{count}x {error}" for error, count in summary.errors.items()),
        *(verdict.line for verdict in verdicts),
        *(f"INVALID: {reason}" for reason in summary.invalid),
        f"Test Results: {summary.good}/{summary.planned} successful requests ({100 * share:.1f}%)",
    ]
    return "\n".join(lines)


def verbose_lines(record: Record) -> list[str]:
    """Return the lines that --verbose prints for a finished request."""
    if not record.good:
        return [f"Image {record.image}: {record.error or 'no response'}"]
    if not record.label or math.isnan(record.confidence):
        known = f"'{record.label}' without a confidence" if record.label else "nothing: the response has no label"
    else:
        known = f"'{record.label}' with {100 * record.confidence:.1f}% confidence"
    return [
        f"Worker {record.worker} delivered result to request {record.request_id}",
        f"Image {record.image}: Classified as {known}",
    ]


def document(run: Run, summary: Summary) -> dict[str, object]:
    """Return the whole run, with the requests as columns of equal length; read_run() parses it."""
    settings = run.settings
    return {
        "about": {"url": settings.url, "slo_s": settings.slo_s, "max_lag_ms": settings.max_lag_ms, **settings.about},
        "plan": {"requests": summary.planned, "duration_s": settings.duration_s, **settings.plan},
        "started_unix_s": run.started_unix_s,
        "summary": without_nan(asdict(summary)),
        "requests": columns_of(run.records),
    }


def duration(seconds: float) -> str:
    """Format a duration as Go does, rounded as vegeta does: 1m30s, 1.234s, 12.345ms, 890.123µs; nan becomes a dash."""
    if math.isnan(seconds):
        return "-"
    if seconds < 0:
        return f"-{duration(-seconds)}"
    for least_s, unit_s in ROUNDING:
        if seconds >= least_s:
            seconds = round(seconds / unit_s) * unit_s
            break
    if seconds >= 60:
        hours, rest = divmod(seconds, 3600)
        return (f"{hours:.0f}h" if hours else "") + f"{rest // 60:.0f}m{rest % 60:.9g}s"
    unit, factor = next(
        ((unit, factor) for unit, factor in (("s", 1), ("ms", 1e3)) if seconds * factor >= 1), ("µs", 1e6)
    )
    return f"{seconds * factor:.9g}{unit}" if seconds else "0s"


def _spread(spread: Spread) -> str:
    return _durations(
        spread.least_s, spread.mean_s, spread.p50_s, spread.p90_s, spread.p95_s, spread.p99_s, spread.most_s
    )


def _durations(*seconds: float) -> str:
    return ", ".join(map(duration, seconds))


def _per(amount: float, total: float) -> float:
    return amount / total if total else 0.0


def _top(classes: Mapping[str, int]) -> str:
    most_frequent = "  ".join(f"{name}:{count}" for name, count in list(classes.items())[:10])
    return most_frequent + (f"  and {len(classes) - 10} more" if len(classes) > 10 else "")
