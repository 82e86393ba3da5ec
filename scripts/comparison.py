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
from autoscaler_tuning.report.headline import SIMULATED  # noqa: E402
from autoscaler_tuning.report.tables import Table  # noqa: E402
from autoscaler_tuning.validation.recorded_run import RecordedRun, read_recorded  # noqa: E402
from autoscaler_tuning.validation.resimulate import Choices, setup_of_run  # noqa: E402
from autoscaler_tuning.validation.several_runs import JudgedRun, judge  # noqa: E402
from autoscaler_tuning.validation.validate import Tolerances  # noqa: E402

PAGE = ROOT / "docs/comparison.md"
SHARED = ROOT / "../shared/traces"
SAMPLES = ("samples/traces/steps.txt", "samples/traces/bursts.txt")
FAMILIES = ("diurnal:seed=11", "mmpp:seed=11", "on-off:seed=11", "gamma:seed=11,cv=8")
OURS, STOCK = "elastic", "kpa"
MAIN_POLICIES = f"{STOCK},hpa70,peak,{OURS}"
STARTS = {"heavy": "2 to 6 s", "product": "0.6 to 1.2 s"}
# Sets of KPA's knobs that `tune` found, docs/kpa-tuned.md; their names are too long for the tables of the first part.
LONG_POLICIES = {
    "kpa-direct": "kpa[target-utilization-percentage=30,window=6,panic-window-percentage=17,"
    "panic-threshold-percentage=150,scale-down-delay=30,target-burst-capacity=0]",
    "kpa-min-4": "kpa[window=6,panic-window-percentage=17,min-scale=4]",
}
SAME_LATE_RATIO, SAME_COST_RATIO = SIMULATED.late_ratio, SIMULATED.cost_ratio
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;font-size:.85rem}td,th{padding:.3rem .5rem;border-bottom:1px solid #8886}"
    "pre{overflow-x:auto}:root{color-scheme:light dark}"
)


@dataclass(frozen=True, slots=True)
class Score:
    """Late requests as a share of all, and pod-seconds, of one policy."""

    late_ratio: float
    pod_seconds: float


@dataclass(frozen=True, slots=True)
class Match:
    """Stock KPA and elastic on the same traffic."""

    traffic: str
    where: str
    stock: Score
    ours: Score

    @property
    def verdict(self) -> str:
        """Who has fewer late requests and who is cheaper, in words."""
        late, cost = self.ours.late_ratio - self.stock.late_ratio, self.ours.pod_seconds / self.stock.pod_seconds - 1
        fewer = "" if abs(late) <= SAME_LATE_RATIO else OURS if late < 0 else STOCK
        cheaper = "" if abs(cost) <= SAME_COST_RATIO else OURS if cost < 0 else STOCK
        if fewer == cheaper:
            return f"{fewer} in both" if fewer else "no difference"
        words = [f"{fewer} has fewer late" if fewer else "", f"{cheaper} is cheaper" if cheaper else ""]
        return ", ".join(filter(None, words))


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


def scores(rows: Iterable[Mapping[str, object]]) -> dict[str, Score]:
    """Return the mean over the seeds of each policy."""
    by_policy: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        figures = float(str(row["late_ratio"])), float(str(row["pod_seconds"]))
        by_policy.setdefault(str(row["policy"]), []).append(figures)
    return {policy: Score(*np.mean(figures, axis=0).tolist()) for policy, figures in by_policy.items()}


def simulated(commands: Commands, seeds: int) -> tuple[list[Match], str]:
    """Return the matches on every traffic with both starts, and the tables of all policies."""
    matches, pages = [], []
    for traffic in (*traces(), *FAMILIES):
        for start, about in STARTS.items():
            flags = ("--policies", MAIN_POLICIES, "--seeds", str(seeds), "--frontier-seeds", "0", "--bounds", "none")
            page, results = commands.run("compare", "--workload", traffic, "--cold-start-s", start, *flags)
            found = scores(results["rows"])
            name = Path(traffic).name
            matches.append(Match(name, f"simulated, starts of {about}", found[STOCK], found[OURS]))
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
                stock, ours = (_score(by_policy[policy], runs, where) for policy in (STOCK, OURS))
                place = "**live on Knative**" if where == "real" else "the same, simulated"
                matches.append(Match(f"{trace}, {seconds} s", place, stock, ours))
    return matches


def _score(ones: Sequence[JudgedRun], runs: Mapping[str, RecordedRun], where: str) -> Score:
    figures = [(getattr(one.validation.parts[-1], where), len(runs[one.name].intended_s)) for one in ones]
    late = np.mean([figure.late / requests for figure, requests in figures])
    return Score(float(late), float(np.mean([figure.pod_seconds for figure, _ in figures])))


def match_table(matches: Sequence[Match]) -> Table:
    """Return the table at the top of the page."""
    lines = tuple(
        (
            *(match.traffic, match.where),
            *(f"{100 * match.stock.late_ratio:.3f}", f"{100 * match.ours.late_ratio:.3f}"),
            *(f"{match.stock.pod_seconds:.0f}", f"{match.ours.pod_seconds:.0f}"),
            f"{match.ours.pod_seconds / match.stock.pod_seconds:.2f}",
            match.verdict,
        )
        for match in matches
    )
    headings = (
        "traffic",
        "where",
        f"{STOCK} late %",
        f"{OURS} late %",
        f"{STOCK} pod-s",
        f"{OURS} pod-s",
        "ratio",
        "better",
    )
    return Table(headings, lines, text_headings=frozenset({"where", "better"}))


def words(matches: Sequence[Match], live: Sequence[Match]) -> str:
    """Say who wins where."""
    wins = [match for match in matches if match.verdict == f"{OURS} in both"]
    loses = [match for match in matches if match.verdict == f"{STOCK} in both"]
    dearer = [match for match in matches if match.ours.pod_seconds > (1 + SAME_COST_RATIO) * match.stock.pod_seconds]
    later = [match for match in matches if match.ours.late_ratio > match.stock.late_ratio + SAME_LATE_RATIO]
    ratio = np.exp(np.mean([np.log(match.ours.pod_seconds / match.stock.pod_seconds) for match in matches]))
    late = [100 * np.mean([getattr(match, who).late_ratio for match in matches]) for who in ("stock", "ours")]
    return (
        f"{_live_words(live)}Simulated, against stock KPA, `{OURS}` has fewer late requests and fewer pod-seconds in "
        f"{len(wins)} of {len(matches)} rows, and KPA has both in {len(loses)}. On average over the rows, "
        f"{late[1]:.2f} % of the requests are late under `{OURS}` and {late[0]:.2f} % under KPA, at {ratio:.2f} times "
        f"KPA's pod-seconds (geometric mean).\n\n"
        f"`{OURS}` costs more than KPA in {_listed(dearer)}, and has more late requests in {_listed(later)}."
    )


def _live_words(live: Sequence[Match]) -> str:
    """Return a sentence for each match on a real Knative, with what the simulator says of the same arrivals."""
    sentences = []
    for real, model in zip(live[::2], live[1::2], strict=True):
        late, pods = 100 * real.ours.late_ratio, real.ours.pod_seconds / real.stock.pod_seconds
        sentences.append(
            f"On a real Knative ({real.traffic}), `{OURS}` had {late:.2f} % late requests and stock KPA "
            f"{100 * real.stock.late_ratio:.2f} %, at {pods:.2f} times KPA's pod-seconds; the simulator says "
            f"{100 * model.ours.late_ratio:.2f} % and {100 * model.stock.late_ratio:.2f} % at "
            f"{model.ours.pod_seconds / model.stock.pod_seconds:.2f}."
        )
    return " ".join(sentences) + "\n\n" if sentences else ""


def _listed(matches: Sequence[Match]) -> str:
    names = [
        f"{match.traffic} ({match.where.replace('*', '')}: late {100 * match.ours.late_ratio:.2f} % and KPA "
        f"{100 * match.stock.late_ratio:.2f} %, at {match.ours.pod_seconds / match.stock.pod_seconds:.2f} times the "
        "pod-seconds)"
        for match in matches
    ]
    return f"{len(names)}: {'; '.join(names)}" if names else "no row"


def validation_page(judged: Sequence[JudgedRun], fitted_to: Sequence[str]) -> str:
    """Return the section on recorded runs."""
    if not judged:
        return "No recorded runs were given to the script; [Simulator](simulator.md#beside-recorded-runs) has some."
    return (
        f"The simulator is fitted to {', '.join(fitted_to)}; nothing of the other runs is fitted. Columns as in "
        f"[Simulator](simulator.md#beside-recorded-runs).\n\n{judged_table(judged).markdown()}"
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
        words(matches, live),
        match_table([*live, *matches]).markdown(),
        "`kpa-tuned` and `elastic` were tuned on the first two thirds of course.txt and azure_llm_code.txt and on "
        "families with other seeds than these. The traces are not shipped; `samples/traces/` has synthetic ones.",
        "## Live beside simulated",
        validation_page(judged, [run_name(path) for path in args.fit_runs]),
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
