"""`python -m function.tools.trial`: measure one engine in its own process, for the matrix and the benchmarks.

It prints `answered` after the first classification, then measures and writes the results as JSON.
"""

if __name__ == "__main__":  # before the imports, which take seconds, so that an interrupt during them is handled too
    from function.tools import console

    raise SystemExit(console.run("function.tools.trial"))

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from function.classifier import check_probe, load_planned, probe
from function.engines import Engine
from function.images import preprocess
from function.plan import plan_model

MAX_PIXELS = 50_000_000
ANSWERED = b"answered\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one engine. argv: MODEL_DIR ENGINE PRECISION LIST COUNT OUT.

    LIST is a file with the path of one image per line. With COUNT 0 the process exits after the first classification.
    """
    model_dir, engine_name, precision, listed, count, out = sys.argv[1:] if argv is None else argv
    plan = plan_model(Path(model_dir), engine_name, precision)
    plan.verify()
    engine = load_planned(plan, 1)
    check_probe(engine.infer(probe()), plan.choice.variant, plan.manifest)
    paths = [Path(line) for line in Path(listed).read_text().splitlines()]
    engine.infer(preprocess(paths[0].read_bytes(), MAX_PIXELS))
    os.write(sys.stdout.fileno(), ANSWERED)
    if int(count):
        Path(out).write_text(json.dumps(measured(engine, paths, int(count))))
    return 0


def measured(engine: Engine, paths: Sequence[Path], count: int) -> dict[str, object]:
    """Return the seconds of each inference, images per second with decoding, resident bytes and each image's logits."""
    bodies = [path.read_bytes() for path in paths]
    infer_s: list[float] = []
    began_s = time.perf_counter()
    for index in range(count):
        image = preprocess(bodies[index % len(bodies)], MAX_PIXELS)
        started_s = time.perf_counter()
        engine.infer(image)
        infer_s.append(time.perf_counter() - started_s)
    images_per_s = count / (time.perf_counter() - began_s)
    resident_bytes = resident()
    logits = [engine.infer(preprocess(body, MAX_PIXELS, exact=True)).tolist() for body in bodies]
    return {"infer_s": infer_s, "images_per_s": images_per_s, "resident_bytes": resident_bytes, "logits": logits}


def resident() -> int:
    """Return the resident bytes of this process. Source: proc(5), field resident of /proc/PID/statm, in pages."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
