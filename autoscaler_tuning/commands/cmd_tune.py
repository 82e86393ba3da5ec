"""`tune`: KPA's own knobs for some traffic and a price of lateness, as annotations and as a kn line."""

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from autoscaler_tuning.commands.flags import Flags, number, numbers, out, spans, whole
from autoscaler_tuning.commands.terminal import progress_line, terminal_width
from autoscaler_tuning.commands.trace_parts import part, traces_of
from autoscaler_tuning.commands.world_flags import add_world, told_service_time, world_of
from autoscaler_tuning.experiments.compare import Comparison
from autoscaler_tuning.experiments.estimates import Estimate
from autoscaler_tuning.experiments.tune import Effort, HeldBack, Tuned, policy_of, tune
from autoscaler_tuning.policies.elastic.elastic import ElasticConfig
from autoscaler_tuning.policies.kpa.knobs import KpaKnobs
from autoscaler_tuning.report.tables import Table, figure, plain
from knative.objects import AUTOSCALING_GROUP

HEADINGS = ("held back", "block", "seed", "late stock", "late tuned", "pod-s stock", "pod-s tuned", "cost ×")


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Its flags."""
    flags, effort = Flags(parser, env), Effort()
    parser.add_argument("--trace", nargs="+", type=Path, required=True, metavar="FILE", help="requests per second")
    flags.add("--part", part, "all", "all, first-two-thirds, last-third or FROM:TO in seconds")
    price = ElasticConfig().late_price
    flags.add("--late-price", number, price, f"pod-seconds that one late answer is worth; elastic takes {price:g}")
    add_world(flags, spans)
    flags.add("--settings", whole, effort.settings, "random settings to begin with")
    flags.add("--seeds", whole, effort.seeds, "seeds of each trial")
    flags.add("--blocks", whole, effort.blocks, "blocks in time; all but the first are held back once")
    flags.add("--scales", numbers, ",".join(f"{scale:g}" for scale in effort.scales), "factors on the rates to try at")
    flags.add("--service", str, "resnet18", "name of the Knative Service, for the kn line")
    flags.add("--json", out, None, "write everything here")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    traces = traces_of(args.trace, args.part)
    traffic = [
        Comparison(trace.counts, world, bounds=(), label=f"{name}, {told_service_time(world)}")
        for name, trace in traces
        for world in (world_of(args, service_time_s) for service_time_s in args.service_time_s)
    ]
    effort = Effort(args.settings, args.seeds, args.blocks, args.scales)
    with progress_line() as progress:
        tuned = tune(traffic, args.late_price, effort, progress)
    print("\n".join(_lines(tuned, args.service)))
    if args.json:
        args.json.write_text(json.dumps(plain(asdict(tuned)), indent=1) + "\n", encoding="utf-8")
    return 0


def _lines(tuned: Tuned, service: str) -> list[str]:
    return [
        f"best: {policy_of(tuned.knobs)}, {tuned.ratio:.3f} of stock KPA's cost where it was found",
        f"held back, {tuned.typical_without_pods:.3f} with min-scale and max-scale left alone, "
        f"{tuned.typical_with_pods:.3f} with them (geometric means)",
        "",
        _held_back(tuned.held_back).text(terminal_width()),
        "",
        f"held back: cost {_told(tuned.held_back_ratio)}, late answers {_told(tuned.late)}, "
        f"pod-seconds {_told(tuned.pod_seconds)} of stock KPA's",
        verdict(tuned),
        "",
        *annotation_lines(tuned.knobs),
        "",
        kn_line(tuned.knobs, service),
    ]


def verdict(tuned: Tuned) -> str:
    """How sure it is, in one line."""
    ratio = tuned.held_back_ratio
    wins = sum(run.tuned_cost < run.stock_cost for run in tuned.held_back)
    runs = f"cheaper in {wins} of {len(tuned.held_back)} runs on parts that it had not seen"
    if ratio.high < 1:
        return f"sure: {runs}, and the 95 % interval stays below 1"
    if ratio.low > 1:
        return f"WORSE than stock KPA: {runs}; keep Knative's defaults"
    return f"NOT SURE: {runs}, and the 95 % interval holds 1; a longer trace would tell"


def annotation_lines(knobs: KpaKnobs) -> list[str]:
    """For the template of the Service, or for the live Revision."""
    return [f'{AUTOSCALING_GROUP}/{name}: "{value}"' for name, value in knobs.annotations().items()] or [
        "# Knative's defaults: no annotation"
    ]


def kn_line(knobs: KpaKnobs, service: str) -> str:
    """A new Revision with these annotations; scale-down-delay counts only from a Revision's beginning."""
    annotations = [f"--annotation-revision {AUTOSCALING_GROUP}/{n}={v}" for n, v in knobs.annotations().items()]
    return " ".join(["kn service update", shlex.quote(service), *annotations])


def _held_back(runs: Sequence[HeldBack]) -> Table:
    return Table(HEADINGS, tuple(map(_cells, runs)))


def _cells(run: HeldBack) -> tuple[str, ...]:
    late = (str(run.stock.late), str(run.tuned.late))
    costs = (figure(run.stock.pod_seconds), figure(run.tuned.pod_seconds))
    return (run.label, str(run.block), str(run.stock.seed), *late, *costs, figure(run.ratio, 3))


def _told(estimate: Estimate) -> str:
    return f"{figure(estimate.value, 3)} ({figure(estimate.low, 3)} to {figure(estimate.high, 3)})"
