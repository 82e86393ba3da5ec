"""`tune`: finds the knobs of KPA for some traffic, and prints them as annotations and as a kn command."""

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isnan

from autoscaler_tuning.commands.flags import Flags, number, number_ranges, numbers, output_file, positive_integer
from autoscaler_tuning.commands.terminal import progress_line, terminal_width
from autoscaler_tuning.commands.trace_parts import add_trace, traces_of
from autoscaler_tuning.commands.world_flags import add_world, service_time_text, world_of
from autoscaler_tuning.experiments.compare import Comparison
from autoscaler_tuning.experiments.estimates import Estimate
from autoscaler_tuning.experiments.tune import Effort, HeldOutRun, Tuned, policy_name, tune
from autoscaler_tuning.policies.elastic.config import ElasticConfig
from autoscaler_tuning.policies.kpa.knobs import KpaKnobs
from autoscaler_tuning.report.tables import Table, figure, interval, plain
from knative.objects import AUTOSCALING_GROUP

HEADINGS = ("held-out traffic", "block", "seed", "late stock", "late tuned", "pod-s stock", "pod-s tuned", "cost ×")


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `tune`."""
    flags, effort = Flags(parser, env), Effort()
    add_trace(parser, flags, "all")
    price = ElasticConfig().late_price
    flags.add("--late-price", number, price, f"price of one late request, in pod-seconds; elastic uses {price:g}")
    add_world(flags, number_ranges)
    flags.add("--settings", positive_integer, effort.settings, "number of random settings at the start of the search")
    flags.add("--seeds", positive_integer, effort.seeds, "number of seeds for the settings that remain")
    flags.add("--blocks", positive_integer, effort.blocks, "blocks in time for cross-validation, at least 2")
    flags.add(
        "--scales",
        numbers,
        ",".join(f"{scale:g}" for scale in effort.scales),
        "factors on the rates, separated by commas",
    )
    flags.add("--service", str, "resnet18", "name of the Knative Service in the kn command")
    flags.add("--json", output_file, None, "file for all results, as JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    traces = traces_of(args.trace, args.part)
    traffic = [
        Comparison(trace.counts, world, bounds=(), label=f"{name}, {service_time_text(world)}")
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
        f"best knobs: {policy_name(tuned.knobs)}, {tuned.ratio:.3f} of stock KPA's cost on the searched traffic",
        f"on held-out traffic {tuned.typical_without_pods:.3f} without min-scale and max-scale in the search, "
        f"{tuned.typical_with_pods:.3f} with them (geometric means)",
        "",
        _held_out_table(tuned.held_back).text(terminal_width()),
        "",
        f"relative to stock KPA on held-out traffic: cost {_with_interval(tuned.held_back_ratio)}, "
        f"late requests {_with_interval(tuned.late)}, pod-seconds {_with_interval(tuned.pod_seconds)}",
        verdict(tuned),
        "",
        *annotation_lines(tuned.knobs),
        "",
        kn_line(tuned.knobs, service),
    ]


def verdict(tuned: Tuned) -> str:
    """Return one line on whether the tuned knobs are better than stock KPA."""
    ratio = tuned.held_back_ratio
    wins = sum(run.tuned_cost < run.stock_cost for run in tuned.held_back)
    runs = f"cheaper in {wins} of {len(tuned.held_back)} runs on held-out traffic"
    if ratio.high < 1:
        return f"BETTER than stock KPA: {runs}, and the 95 % confidence interval is below 1"
    if ratio.low > 1:
        return f"WORSE than stock KPA: {runs}; keep Knative's defaults"
    if isnan(ratio.low):
        return f"INCONCLUSIVE: {runs}, which are too few for a confidence interval; use more --blocks or --seeds"
    return f"INCONCLUSIVE: {runs}, and the 95 % confidence interval does not exclude 1; use a longer trace"


def annotation_lines(knobs: KpaKnobs) -> list[str]:
    """Return the annotations, for the template of the Service or for a live Revision."""
    return [f'{AUTOSCALING_GROUP}/{name}: "{value}"' for name, value in knobs.annotations().items()] or [
        "# Knative's defaults, no annotations"
    ]


def kn_line(knobs: KpaKnobs, service: str) -> str:
    """Return the command that makes a new Revision with these annotations.

    It has to be a new one, because scale-down-delay takes effect only from the start of a Revision.
    """
    annotations = [f"--annotation-revision {AUTOSCALING_GROUP}/{n}={v}" for n, v in knobs.annotations().items()]
    return " ".join(["kn service update", shlex.quote(service), *annotations])


def _held_out_table(runs: Sequence[HeldOutRun]) -> Table:
    return Table(HEADINGS, tuple(map(_cells, runs)))


def _cells(run: HeldOutRun) -> tuple[str, ...]:
    late = (str(run.stock.late), str(run.tuned.late))
    costs = (figure(run.stock.pod_seconds), figure(run.tuned.pod_seconds))
    return (run.label, str(run.block), str(run.stock.seed), *late, *costs, figure(run.ratio, 3))


def _with_interval(estimate: Estimate) -> str:
    return f"{figure(estimate.value, 3)} ({interval(estimate, 3)})"
