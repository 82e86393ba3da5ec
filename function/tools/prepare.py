"""`python -m function.tools.prepare MODEL_DIR`: save the model as ONNX Runtime optimises it on this CPU.

A session starts from the saved model in a tenth of the time, because its weights are mapped instead of copied and
reordered. A pod loads it only if its CPU features and ONNX Runtime version match the manifest; other pods load the
portable file.
"""

if __name__ == "__main__":  # before the imports, which take seconds, so that an interrupt during them is handled too
    from function.tools import console

    raise SystemExit(console.run("function.tools.prepare"))

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnxruntime as ort

from function.cpu import this_cpu
from function.engines.onnxruntime_engine import session_options
from function.manifest import Manifest, ModelError, Prepared, read_manifest, verify, write_manifest
from function.variants import ORT_FLOAT32, PREPARED

# Smaller weights stay in the graph's file, where they do not need a memory page each.
MIN_EXTERNAL_BYTES = 1024


def prepare(model_dir: Path, manifest: Manifest) -> Manifest:
    """Write the two prepared files and return a manifest with them. Raise ModelError if a portable file is damaged."""
    for file in ORT_FLOAT32.files:
        verify(model_dir / file, manifest)
    graph, weights = PREPARED
    options = session_options(threads=1)
    options.optimized_model_filepath = str(model_dir / graph)
    prefix = "session.optimized_model_external_initializers"
    options.add_session_config_entry(f"{prefix}_file_name", weights)
    options.add_session_config_entry(f"{prefix}_min_size_in_bytes", str(MIN_EXTERNAL_BYTES))
    for file in PREPARED:  # the engine appends to an existing weights file
        (model_dir / file).unlink(missing_ok=True)
    ort.InferenceSession(str(model_dir / ORT_FLOAT32.files[0]), options, providers=["CPUExecutionProvider"])
    prepared = Prepared(tuple(sorted(this_cpu())), ort.__version__)
    return replace(manifest.with_files(model_dir, *PREPARED), prepared=prepared)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, prepare, print; return 1 with one line on stderr if the model cannot be read or written."""
    parser = argparse.ArgumentParser(
        prog="function.tools.prepare", description="Prepare an exported model for this CPU."
    )
    parser.add_argument(
        "model_dir",
        type=Path,
        nargs="?",
        default=Path("model"),
        metavar="MODEL_DIR",
        help="model folder; default: model",
    )
    model_dir: Path = parser.parse_args(argv).model_dir
    try:
        manifest = prepare(model_dir, read_manifest(model_dir))
        write_manifest(manifest, model_dir)
    except (ModelError, OSError) as error:
        sys.stderr.write(f"function.tools.prepare: {error}\n")
        return 1
    assert manifest.prepared is not None
    sys.stdout.write(f"{model_dir}: prepared for onnxruntime {ort.__version__} on {' '.join(manifest.prepared.cpu)}\n")
    return 0
