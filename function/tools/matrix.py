"""`python -m function.tools.matrix`: measure every engine and precision on this machine, side by side.

Agreement is measured against torch in float32 on a folder of images. --record writes it into the model's manifest,
where ENGINE=auto and PRECISION=auto read it.
"""

if __name__ == "__main__":  # before the imports, which take seconds, so that an interrupt during them is handled too
    from function.tools import console

    raise SystemExit(console.run("function.tools.matrix"))

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np

from function.cpu import this_cpu
from function.manifest import Agreement, ModelError, read_manifest, write_manifest
from function.tools.agreement import NoPhotographsError, agreement, photographs
from function.tools.trial import ANSWERED
from function.variants import TORCH_FLOAT32, VARIANTS, Variant, lacks, this_host

ROOT = Path(__file__).resolve().parents[2]


class TrialError(Exception):
    """The process of one engine exited without a result; the text contains the last line of its output."""


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """The measurements of one engine and precision on one thread, as in a pod with one CPU.

    first_answer_s: median time from the start of a process to its first classification.
    p50_ms, p99_ms: percentiles of one inference. images_per_s: throughput of decoding and inference in a plain loop.
    agreement: None if torch is not installed.
    """

    engine: str
    precision: str
    first_answer_s: float
    p50_ms: float
    p99_ms: float
    images_per_s: float
    resident_mib: float
    agreement: Agreement | None


@dataclass(frozen=True, slots=True)
class Trial:
    """The model and images that each variant runs, the number of inferences, and the number of processes to start."""

    model_dir: Path
    paths: tuple[Path, ...]
    count: int
    starts: int


def run(trial: Trial, variants: Sequence[Variant]) -> list[MatrixRow]:
    """Measure the variants in turn, so that a change in the machine's speed affects all. Raise TrialError."""
    starts_s: dict[Variant, list[float]] = {variant: [] for variant in variants}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(trial.starts - 1):
            for variant in variants:
                starts_s[variant].append(_try(trial, variant, 0, Path(folder))[0])
        found = {}
        for variant in variants:
            began_s, found[variant] = _try(trial, variant, trial.count, Path(folder))
            starts_s[variant].append(began_s)
    reference = found[TORCH_FLOAT32]["logits"] if TORCH_FLOAT32 in found else None
    return [_row(variant, starts_s[variant], found[variant], reference) for variant in variants]


def alone_s(trial: Trial, variant: Variant) -> float:
    """Return the seconds from the start of a process that runs only this engine to its first classification."""
    with tempfile.TemporaryDirectory() as folder:
        return _try(trial, variant, 0, Path(folder))[0]


def _try(trial: Trial, variant: Variant, count: int, folder: Path) -> tuple[float, dict[str, list[float]]]:
    """Return the seconds to the first classification, and the measurements that function.tools.trial wrote."""
    listed, out = folder / "photographs", folder / "found.json"
    listed.write_text("\n".join(str(path.resolve()) for path in trial.paths))
    arguments = [trial.model_dir.resolve(), variant.engine, variant.precision, listed, count, out]
    command = [sys.executable, "-m", "function.tools.trial", *map(str, arguments)]
    inherited = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env = {**inherited, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    began_s = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        answered_s = time.perf_counter() - began_s
        _, errors = process.communicate()
    if process.returncode or line != ANSWERED:
        last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        raise TrialError(f"the process of {variant} exited with {process.returncode}: {last[0]}")
    return answered_s, json.loads(out.read_text()) if count else {}


def _row(
    variant: Variant, starts_s: list[float], found: dict[str, list[float]], reference: list[float] | None
) -> MatrixRow:
    infer_ms = 1000 * np.array(found["infer_s"])
    logits = np.array(found["logits"], np.float32)
    return MatrixRow(
        engine=variant.engine,
        precision=variant.precision,
        first_answer_s=median(starts_s),
        p50_ms=float(np.percentile(infer_ms, 50)),
        p99_ms=float(np.percentile(infer_ms, 99)),
        images_per_s=float(np.array(found["images_per_s"])),
        resident_mib=float(np.array(found["resident_bytes"])) / 2**20,
        agreement=None
        if reference is None
        else agreement(variant, list(np.array(reference, np.float32)), list(logits)),
    )


HEADER = ("engine", "precision", "start s", "p50 ms", "p99 ms", "images/s", "MiB", "same top", "logits off", "gate")


def table(rows: Sequence[MatrixRow]) -> str:
    """Return the rows as aligned columns; `logits off` is the RMS error in standard deviations of torch's logits."""
    cells = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column < 2 or column == len(HEADER) - 1 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def _cells(row: MatrixRow) -> tuple[str, ...]:
    found = row.agreement
    verdict = (
        "no torch" if found is None else "not judged" if not found.judged else "passed" if found.passed else "REFUSED"
    )
    return (
        row.engine,
        row.precision,
        f"{row.first_answer_s:.3f}",
        f"{row.p50_ms:.1f}",
        f"{row.p99_ms:.1f}",
        f"{row.images_per_s:.1f}",
        f"{row.resident_mib:.0f}",
        f"{100 * found.same_top_ratio:.1f} %" if found else "-",
        f"{found.rms_error_ratio:.2g}" if found else "-",
        verdict,
    )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="function.tools.matrix", description="Measure every engine and precision on this machine."
    )
    parser.add_argument("--model", type=Path, default=Path("model"), metavar="DIR", help="model folder; default: model")
    parser.add_argument(
        "--photographs", type=Path, default=Path("samples"), metavar="DIR", help="folder of images; default: samples"
    )
    parser.add_argument(
        "--count", type=int, default=100, help="number of inferences with each variant; default: %(default)s"
    )
    parser.add_argument(
        "--starts", type=int, default=5, help="number of processes to start for each variant; default: %(default)s"
    )
    parser.add_argument("--record", action="store_true", help="write the measured agreements into the model's manifest")
    parser.add_argument("--json", type=Path, metavar="OUT", help="file to write the rows to as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, print; return 1 with one line on stderr if the model or the images cannot be read."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if min(args.count, args.starts) < 1:
        parser.error(f"--count and --starts must be at least 1, got {args.count} and {args.starts}")
    if args.json and not args.json.parent.is_dir():  # fails before minutes of measuring
        parser.error(f"--json must be a file in an existing folder, got {args.json}")
    try:
        manifest = read_manifest(args.model)
        trial = Trial(args.model, tuple(photographs(args.photographs)), args.count, args.starts)
        host = this_host(args.model, this_cpu())
        absent = {variant: reason for variant in VARIANTS if (reason := lacks(variant, host))}
        rows = run(trial, [variant for variant in VARIANTS if variant not in absent])
        if args.record:
            measured = [row.agreement for row in rows if row.agreement is not None]
            write_manifest(manifest.with_agreements(measured), args.model)
    except (ModelError, NoPhotographsError, TrialError, OSError) as error:
        print(f"function.tools.matrix: {error}", file=sys.stderr)
        return 1
    print(f"{manifest.name} {manifest.version} ({manifest.weights}); {len(trial.paths)} images; one thread")
    print(f"CPU: {' '.join(sorted(host.features)) or 'none of the features that engines use'}")
    print(table(rows))
    for variant, reason in absent.items():
        print(f"{variant}: {reason}")
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0
