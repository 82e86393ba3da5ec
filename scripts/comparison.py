"""Write docs/comparison.md, and the same page as HTML: who wins where, live beside simulated, then the details.

    scripts/comparison.py                                          simulations alone
    scripts/comparison.py --live RUNS/*.jsonl.gz --fit-runs RUNS/kpa-0.jsonl.gz RUNS/elastic-0.jsonl.gz

The traces are those of ../shared/traces or, where that folder is absent, those of samples/traces. Smaller --seeds and
--detail-seeds shorten a trial run. --live are runs of KPA and elastic on a real Knative (docs/recorded-runs.md); the
simulator is fitted to --fit-runs and judged on the others.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from autoscaler_tuning.cli import main as command  # noqa: E402  the path is set above
from autoscaler_tuning.commands.cmd_validate import judged_table, run_name  # noqa: E402
from autoscaler_tuning.policies.registry import ALIASES  # noqa: E402
from autoscaler_tuning.report.headline import LIVE, SIMULATED, Noise, Standing, signs  # noqa: E402
from autoscaler_tuning.report.tables import NONE, Table  # noqa: E402
from autoscaler_tuning.validation.recorded_run import RecordedRun, read_recorded  # noqa: E402
from autoscaler_tuning.validation.resimulate import Choices, setup_of_run  # noqa: E402
from autoscaler_tuning.validation.several_runs import JudgedRun, judge  # noqa: E402
from autoscaler_tuning.validation.validate import Tolerances  # noqa: E402

PAGE = ROOT / "docs/comparison.md"
SHARED = ROOT / "../shared/traces"
SAMPLES = ("samples/traces/steps.txt", "samples/traces/bursts.txt")
FAMILIES = ("diurnal:seed=11", "mmpp:seed=11", "on-off:seed=11", "gamma:seed=11,cv=8")
OURS, STOCK, ORDERED = "elastic", "kpa", "kpa@deadline"
MAIN_POLICIES = f"{STOCK},{ORDERED},hpa70,peak,{OURS}"
STARTS = {"heavy": "2 to 6 s", "product": "0.6 to 1.2 s"}
# Sets of KPA's knobs that `tune` found, docs/kpa-tuned.md; their names are too long for the tables of the first part.
LONG_POLICIES = {
    "kpa-direct": "kpa[target-utilization-percentage=30,window=6,panic-window-percentage=17,"
    "panic-threshold-percentage=150,scale-down-delay=30,target-burst-capacity=0]",
    "kpa-min-4": "kpa[window=6,panic-window-percentage=17,min-scale=4]",
}
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;font-size:.85rem}td,th{padding:.3rem .5rem;border-bottom:1px solid #8886}"
    "pre{overflow-x:auto}:root{color-scheme:light dark}"
)


@dataclass(frozen=True, slots=True)
class Match:
    """Stock KPA and elastic on the same traffic; ordered: KPA with elastic's queue, where it ran."""

    traffic: str
    where: str
    stock: Standing
    ours: Standing
    ordered: Standing | None = None
    noise: Noise = SIMULATED

    @property
    def signs(self) -> tuple[int, int]:
        """Late requests and pod-seconds: -1 where elastic has fewer, 1 where KPA has, 0 where it is noise."""
        return signs(self.ours, self.stock, self.noise)

    @property
    def verdict(self) -> str:
        """Who has fewer late requests and who is cheaper, in words."""
        fewer, cheaper = ({-1: OURS, 0: "", 1: STOCK}[sign] for sign in self.signs)
        if fewer == cheaper:
            return f"{fewer} in both" if fewer else "no difference"
        words = [f"{fewer} has fewer late" if fewer else "", f"{cheaper} is cheaper" if cheaper else ""]
        return ", ".join(filter(None, words))

    @property
    def ratio(self) -> float:
        """Pod-seconds of elastic relative to those of KPA."""
        return self.ours.pod_seconds / self.stock.pod_seconds


class Commands:
    """Runs commands of autoscaler_tuning and keeps their tables as Markdown."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, *arguments: str) -> tuple[str, dict[str, list[dict[str, object]]]]:
        """Return the command with its tables, and its results. Raises SystemExit if it fails."""
        tables, results = self._folder / "tables", self._folder / "results"
        words = [*arguments, "--markdown", str(tables), "--json", str(results)]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
            status = command(words)
        if status > 1:  # 1: a goal was missed, which the table shows
            raise SystemExit(f"{' '.join(arguments)}: {errors.getvalue()}")
        print(" ".join(arguments), file=sys.stderr, flush=True)
        shown = " ".join(arguments).replace(f"{SHARED}/", "../shared/traces/")
        text = tables.read_text(encoding="utf-8").strip()
        return f"    .venv/bin/python -m autoscaler_tuning {shown}\n\n{text}", json.loads(results.read_text())


def traces() -> list[str]:
    """Return the traces of this machine."""
    return [str(path) for path in sorted(SHARED.glob("*.txt"))] or list(SAMPLES)


def standings(rows: Iterable[Mapping[str, object]]) -> dict[str, Standing]:
    """Return the means over the seeds of each policy; rows are ordered by seed."""
    by_policy: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        figures = float(str(row["late_ratio"])), float(str(row["pod_seconds"]))
        by_policy.setdefault(str(row["policy"]), []).append(figures)
    return {policy: standing(policy, figures) for policy, figures in by_policy.items()}


def standing(policy: str, runs: Sequence[tuple[float, float]]) -> Standing:
    """Return the means of (late_ratio, pod_seconds) over the runs of a policy."""
    late_ratio, pod_seconds = np.mean(runs, axis=0).tolist()
    return Standing(policy, late_ratio, 0, pod_seconds, tuple(runs))


def simulated(commands: Commands, seeds: int) -> tuple[list[Match], str]:
    """Return the matches on every traffic with both starts, and the tables of all policies."""
    matches, pages = [], []
    for traffic in (*traces(), *FAMILIES):
        for start, about in STARTS.items():
            flags = ("--policies", MAIN_POLICIES, "--seeds", str(seeds), "--frontier-seeds", "0", "--bounds", "none")
            page, results = commands.run("compare", "--workload", traffic, "--cold-start-s", start, *flags)
            found = standings(results["rows"])
            name = Path(traffic).name
            matches.append(Match(name, f"simulated, starts of {about}", found[STOCK], found[OURS], found[ORDERED]))
            pages.append(f"### {name}, starts of {about}\n\n{page}")
    return matches, "\n\n".join(pages)


def live_matches(judged: Sequence[JudgedRun], runs: Mapping[str, RecordedRun]) -> list[Match]:
    """Return the matches of runs on the same traffic, live and simulated: means over repeated runs."""
    found: dict[tuple[str, int], dict[str, list[JudgedRun]]] = {}
    for one in judged:
        setup = setup_of_run(runs[one.name])
        if setup.policy in (STOCK, OURS):
            found.setdefault((setup.trace, setup.seconds), {}).setdefault(setup.policy, []).append(one)
    matches = []
    for (trace, seconds), by_policy in found.items():
        if len(by_policy) == 2:
            for where in ("real", "simulated"):
                stock, ours = (_live_standing(policy, by_policy[policy], runs, where) for policy in (STOCK, OURS))
                place = "**live on Knative**" if where == "real" else "the same, simulated"
                matches.append(Match(f"{trace}, {seconds} s", place, stock, ours, noise=LIVE))
    return matches


def _live_standing(policy: str, ones: Sequence[JudgedRun], runs: Mapping[str, RecordedRun], where: str) -> Standing:
    figures = [(getattr(one.validation.parts[-1], where), len(runs[one.name].intended_s)) for one in ones]
    return standing(policy, [(figure.late / requests, figure.pod_seconds) for figure, requests in figures])


def match_table(matches: Sequence[Match]) -> Table:
    """Return the table at the top of the page."""
    lines = tuple(
        (
            *(match.traffic, match.where),
            f"{100 * match.stock.late_ratio:.3f}",
            f"{100 * match.ordered.late_ratio:.3f}" if match.ordered else NONE,
            f"{100 * match.ours.late_ratio:.3f}",
            *(f"{match.stock.pod_seconds:.0f}", f"{match.ours.pod_seconds:.0f}", f"{match.ratio:.2f}"),
            match.verdict,
        )
        for match in matches
    )
    headings = (
        "traffic",
        "where",
        *(f"{policy} late %" for policy in (STOCK, ORDERED, OURS)),
        f"{STOCK} pod-s",
        f"{OURS} pod-s",
        "ratio",
        "better",
    )
    return Table(headings, lines, text_headings=frozenset({"where", "better"}))


def words(matches: Sequence[Match], live: Sequence[Match], judged: Sequence[JudgedRun]) -> str:
    """Say who wins where."""
    wins, loses = (sum(match.signs == (sign, sign) for match in matches) for sign in (-1, 1))
    later, dearer = ([match for match in matches if match.signs[at] > 0] for at in (0, 1))
    ratio = np.exp(np.mean([np.log(match.ratio) for match in matches]))
    late = [100 * np.mean([getattr(match, who).late_ratio for match in matches]) for who in ("stock", "ours")]
    return (
        f"{_live_words(live, judged)}Simulated, against stock KPA, `{OURS}` has fewer late requests and fewer "
        f"pod-seconds in {wins} of {len(matches)} rows, and KPA has both in {loses}. On average over the rows, "
        f"{late[1]:.2f} % of the requests are late under `{OURS}` and {late[0]:.2f} % under KPA, at {ratio:.2f} times "
        f"KPA's pod-seconds (geometric mean). Late requests of the first start from zero count here, under both.\n\n"
        f"`{OURS}` costs more than KPA in {_listed(dearer)}, and has more late requests in {_listed(later)}.\n\n"
        f"{SIMULATED.words} where simulated, {100 * LIVE.late_ratio:g} % and {100 * LIVE.cost_ratio:g} % live; and so "
        f"do those in which the runs disagree. `{ORDERED}` is KPA with the queue of `{OURS}`, ordered by deadline: it "
        f"shows what the order alone is worth."
    )


def _live_words(live: Sequence[Match], judged: Sequence[JudgedRun]) -> str:
    """Return a sentence for each match on a real Knative, with what the simulator says of the same arrivals."""
    sentences = []
    for real, model in zip(live[::2], live[1::2], strict=True):
        sentences.append(
            f"On a real Knative ({real.traffic}; {len(real.stock.runs)} and {len(real.ours.runs)} runs), `{OURS}` had "
            f"{100 * real.ours.late_ratio:.2f} % late requests and stock KPA {100 * real.stock.late_ratio:.2f} %, at "
            f"{real.ratio:.2f} times KPA's pod-seconds; the simulator says {100 * model.ours.late_ratio:.2f} % and "
            f"{100 * model.stock.late_ratio:.2f} % at {model.ratio:.2f}."
        )
    if not sentences:
        return ""
    within = sum(not one.misses for one in judged)
    sentences.append(f"In all figures, {within} of {len(judged)} runs are [as predicted](#live-beside-simulated).")
    return " ".join(sentences) + "\n\n"


def _listed(matches: Sequence[Match]) -> str:
    names = [
        f"{match.traffic} ({match.where.replace('*', '')}: late {100 * match.ours.late_ratio:.2f} % and KPA "
        f"{100 * match.stock.late_ratio:.2f} %, at {match.ratio:.2f} times the "
        "pod-seconds)"
        for match in matches
    ]
    return f"{len(names)}: {'; '.join(names)}" if names else "no row"


def validation_page(judged: Sequence[JudgedRun], runs: Mapping[str, RecordedRun], fitted_to: Sequence[str]) -> str:
    """Return the section on recorded runs."""
    if not judged:
        return "No recorded runs were given to the script; [Simulator](simulator.md#beside-recorded-runs) has some."
    lags = [f"{1000 * np.percentile(run.sent_s - run.intended_s, 99):.1f} ms in {name}" for name, run in runs.items()]
    outside = "\n".join(f"- {one.name}: {'; '.join(one.misses)}" for one in judged if one.misses)
    return (
        f"The simulator is fitted to {', '.join(fitted_to)}; nothing of the other runs is fitted. Columns as in "
        f"[Simulator](simulator.md#beside-recorded-runs).\n\n{judged_table(judged).markdown()}\n\n"
        f"Send lag of the load generator, p99: {', '.join(lags)}.\n\n{outside}"
    )


def appendix(commands: Commands, seeds: int) -> str:
    """Return the tables of the ablations, of tuned KPA, of the frontiers and of the goals."""
    steps, bursts = (
        next((path for path in traces() if name in path), sample)
        for name, sample in zip(("course", "azure"), SAMPLES, strict=True)
    )
    quick = ("--seeds", str(seeds), "--frontier-seeds", "0", "--bounds", "none")
    pages = ["## Appendix", "### Ablations: elastic without one of its parts"]
    for trace in (steps, bursts, "mmpp:seed=7,high=60"):
        pages.append(
            commands.run(
                "compare", "--workload", trace, "--policies", ",".join([OURS, *ALIASES, f"{OURS}@fifo"]), *quick
            )[0]
        )
    pages.append("### Beside tuned KPA, with the clairvoyant bound")
    pages.append("\n".join(f"- `{name}` is `{policy}`" for name, policy in LONG_POLICIES.items()))
    tuned = f"{STOCK},kpa-tuned,{OURS}"
    for trace in (steps, bursts):
        flags = ("--policies", tuned, "--seeds", str(seeds), "--frontier-seeds", "1", "--bounds", "milp")
        pages.append(commands.run("compare", "--workload", trace, *flags)[0])
        long = commands.run(
            "compare", "--workload", trace, "--policies", ",".join([*LONG_POLICIES.values(), OURS]), *quick
        )[0]
        for name, policy in LONG_POLICIES.items():
            long = "\n".join(
                line if line.startswith("    ") else line.replace(policy, name) for line in long.splitlines()
            )
        pages.append(long)
    pages.append("### Goals, on the last third of two traces and on families with other seeds")
    goals = [steps, bursts, "step:seed=11", "flash:seed=11", "mmpp:seed=11", "on-off:seed=11"]
    pages.append(commands.run("goals", "--trace", *goals, "--seeds", str(seeds), "--service-time-s", "0.1")[0])
    return "\n\n".join(pages)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Write docs/comparison.md.")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each row of the first table (default: 3)")
    parser.add_argument("--detail-seeds", type=int, default=3, help="seeds of the tables in the appendix (default: 3)")
    parser.add_argument(
        "--live", nargs="+", type=Path, default=[], metavar="FILE", help="recorded runs on a real Knative"
    )
    parser.add_argument("--fit-runs", nargs="+", type=Path, default=[], metavar="FILE", help="runs to fit to")
    parser.add_argument("--html", type=Path, metavar="FILE", help="file for the page as HTML")
    return parser


def main() -> int:
    """Run all commands and write the page."""
    args = build_parser().parse_args()
    if bool(args.live) != bool(args.fit_runs):
        raise SystemExit("--live and --fit-runs must be given together")
    runs = {run_name(path): read_recorded(path) for path in args.live}
    judged = judge([read_recorded(path) for path in args.fit_runs], runs, Choices(), Tolerances()) if runs else []
    with tempfile.TemporaryDirectory() as folder:
        commands = Commands(Path(folder))
        matches, details = simulated(commands, args.seeds)
        more = appendix(commands, args.detail_seeds)
    live = live_matches(judged, runs)
    parts = [
        "# Comparison",
        "Written by `make comparison`. Simulated unless a row says otherwise, from zero pods, 0.1 s a request, an SLO "
        f"of 0.5 s, means of {args.seeds} seeds; the same bytes each time. The columns are explained in "
        "[Comparing](comparing.md#how-to-read-the-tables).",
        "## Who wins where",
        words(matches, live, judged),
        match_table([*live, *matches]).markdown(),
        "These traces are not unseen: [Comparing](comparing.md#goals) says on which ones `elastic` was tuned, and "
        "[kpa-tuned](kpa-tuned.md) says it of that policy. They are not shipped; `samples/traces/` has synthetic ones.",
        "## Live beside simulated",
        validation_page(judged, runs, [run_name(path) for path in args.fit_runs]),
        "## Details: each traffic",
        details,
        more,
    ]
    page = "\n\n".join(parts) + "\n"
    PAGE.write_text(page, encoding="utf-8")
    if args.html:
        body = MarkdownIt().enable("table").render(page)
        head = f"<meta charset='utf-8'><title>Comparison</title><style>{STYLE}</style>"
        args.html.write_text(f"<!doctype html><html lang='en'>{head}{body}</html>\n", encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
