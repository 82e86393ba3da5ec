"""The model as ONNX Runtime optimises it for this CPU: same results, mapped weights, and loaded only on such CPUs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from function.classifier import load_planned, probe
from function.engines import load_engine
from function.manifest import ModelError, read_manifest, write_manifest
from function.plan import plan_model
from function.tools.prepare import main, prepare
from function.variants import ORT_FLOAT32, PREPARED
from tests.function.loading import loaded_classifier
from tests.paths import ROOT

pytestmark = pytest.mark.integration


@pytest.fixture
def model(model_dir: Path, tmp_path: Path) -> Path:
    """Return a copy of the model that a test may change."""
    needed = ("manifest.json", "labels.json", *ORT_FLOAT32.files, *PREPARED)
    for file in needed:
        shutil.copy(model_dir / file, tmp_path)
    return tmp_path


def changed(model: Path, **fields: object) -> None:
    """Change what the manifest records about the prepared file."""
    document = json.loads((model / "manifest.json").read_text())
    document["prepared"].update(fields)
    (model / "manifest.json").write_text(json.dumps(document))


def test_an_export_is_prepared_for_the_cpu_it_ran_on(model: Path) -> None:
    plan = plan_model(model, "auto", "float32")
    assert (plan.prepared, plan.files) == (True, PREPARED)


def test_the_prepared_file_gives_the_logits_of_the_portable_one(model: Path) -> None:
    portable, prepared = (load_engine("onnxruntime", model / file, 1) for file in (ORT_FLOAT32.files[0], PREPARED[0]))
    assert prepared.infer(probe()) == pytest.approx(portable.infer(probe()), abs=1e-4)


@pytest.mark.parametrize("elsewhere", [{"cpu": ["avx2"]}, {"engine_version": "1.0.0"}], ids=["CPU", "version"])
def test_on_another_cpu_or_version_the_portable_file_is_loaded(model: Path, elsewhere: dict[str, object]) -> None:
    changed(model, **elsewhere)
    plan = plan_model(model, "auto", "float32")
    assert (plan.prepared, plan.files) == (False, ORT_FLOAT32.files)
    plan.verify()
    assert load_planned(plan, 1).infer(probe()).shape == (1000,)


def test_without_the_prepared_file_the_portable_one_is_loaded(model: Path) -> None:
    (model / PREPARED[1]).unlink()
    assert not plan_model(model, "auto", "float32").prepared


def test_a_prepared_file_that_was_changed_is_refused(model: Path) -> None:
    with (model / PREPARED[1]).open("r+b") as file:
        file.write(b"changed")
    with pytest.raises(ModelError, match=r"resnet18\.prepared\.onnx\.data must have SHA-256"):
        plan_model(model, "auto", "float32").verify()


def test_a_prepared_file_with_wrong_logits_is_refused_despite_a_correct_hash(model: Path) -> None:
    weights = np.fromfile(model / PREPARED[1], np.float32)
    (weights * np.float32(1.1)).tofile(model / PREPARED[1])
    write_manifest(read_manifest(model).with_files(model, *PREPARED), model)
    with pytest.raises(ModelError, match="onnxruntime float32 fails the warm-up check"):
        loaded_classifier(model)


def test_prepared_weights_are_mapped_and_not_copied(model: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from function.engines import load_engine\n"
        "engine = load_engine('onnxruntime', Path(sys.argv[1]), 1)\n"
        "print(Path('/proc/self/maps').read_text())"
    )
    command = [sys.executable, "-c", code, str(model / PREPARED[0])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    ranges = [line.split()[0].split("-") for line in done.stdout.splitlines() if line.endswith(PREPARED[1])]
    assert sum(int(last, 16) - int(first, 16) for first, last in ranges) > 40_000_000


def test_a_model_can_be_prepared_again(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_manifest(model)
    changed(model, cpu=["another"])
    assert main([str(model)]) == 0
    assert "prepared for onnxruntime" in capsys.readouterr().out
    assert read_manifest(model).prepared == before.prepared
    assert (model / PREPARED[1]).stat().st_size < 48_000_000  # rewritten, not appended to


def test_nothing_is_prepared_from_a_file_that_was_changed(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (model / ORT_FLOAT32.files[1]).open("r+b") as file:
        file.write(b"changed")
    with pytest.raises(ModelError, match="must have SHA-256"):
        prepare(model, read_manifest(model))
    assert main([str(model)]) == 1
    assert main([str(tmp_path / "nowhere")]) == 1
    assert "no model in" in capsys.readouterr().err
