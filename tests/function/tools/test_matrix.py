"""`python -m function.tools.matrix`: its table, and one small run."""

import json
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from function.manifest import Agreement, read_manifest
from function.tools.agreement import photographs
from function.tools.matrix import MatrixRow, Trial, TrialError, main, run, table
from function.variants import ORT_FLOAT32
from tests.effort import effort

# A CPU without bfloat16 takes more than a second for each image with torch's.
IMAGES, COUNT = effort(2, ci=4), effort(2, ci=3)


def row(precision: str, found: Agreement | None) -> MatrixRow:
    return MatrixRow("onnxruntime", precision, 0.2134, 16.04, 21.5, 55.55, 131.4, found)


def agreement(same_top_ratio: float, classes: int) -> Agreement:
    return Agreement("onnxruntime", "int8", 61, classes, same_top_ratio, 0.0981)


def test_the_table_has_units_and_the_result_of_the_gate() -> None:
    rows = [
        row("float32", agreement(1.0, 33)),
        row("int8", agreement(0.823, 33)),
        row("int8", agreement(1.0, 9)),
        row("int8", None),
    ]
    assert table(rows).splitlines() == [
        "engine       precision  start s  p50 ms  p99 ms  images/s  MiB  same top  logits off  gate",
        "onnxruntime  float32      0.213    16.0    21.5      55.5  131   100.0 %       0.098  passed",
        "onnxruntime  int8         0.213    16.0    21.5      55.5  131    82.3 %       0.098  REFUSED",
        "onnxruntime  int8         0.213    16.0    21.5      55.5  131   100.0 %       0.098  not judged",
        "onnxruntime  int8         0.213    16.0    21.5      55.5  131         -           -  no torch",
    ]


@dataclass(frozen=True)
class Recorded:
    """What one run of the command printed and wrote: each of its processes imports torch, so the tests share it."""

    code: int
    out: str
    rows: list[dict[str, Any]]
    model: Path


@pytest.fixture(scope="module")
def recorded(model_dir: Path, samples_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder, out = tmp_path_factory.mktemp("matrix"), StringIO()
    model = folder / "model"
    shutil.copytree(model_dir, model)
    (model / "resnet18.xml").unlink()  # openvino is measured elsewhere
    images = folder / "images"
    images.mkdir()
    for path in photographs(samples_dir)[:IMAGES]:
        shutil.copy(path, images)
    arguments = ["--model", str(model), "--photographs", str(images), "--count", str(COUNT), "--starts", "1"]
    with redirect_stdout(out):
        code = main([*arguments, "--record", "--json", str(folder / "rows.json")])
    return Recorded(code, out.getvalue(), json.loads((folder / "rows.json").read_text()), model)


@pytest.mark.integration
@pytest.mark.xdist_group("matrix")
def test_a_run_measures_and_compares(recorded: Recorded) -> None:
    rows = [MatrixRow(**{**row, "agreement": Agreement(**row["agreement"])}) for row in recorded.rows]
    fast, reference = rows[:2]
    assert (fast.engine, reference.engine, reference.precision) == ("onnxruntime", "torch", "float32")
    assert 0 < fast.first_answer_s < reference.first_answer_s
    assert 0 < fast.p50_ms <= fast.p99_ms
    assert 0 < fast.images_per_s <= 1000 / fast.p50_ms * 2
    assert 50 < fast.resident_mib < reference.resident_mib
    assert fast.agreement is not None
    assert reference.agreement is not None
    assert (fast.agreement.same_top_ratio, fast.agreement.photographs) == (1.0, IMAGES)
    assert fast.agreement.rms_error_ratio < 1e-4
    assert reference.agreement.rms_error_ratio == 0


@pytest.mark.integration
def test_the_last_line_of_a_failed_process_is_reported(tmp_path: Path, samples_dir: Path) -> None:
    with pytest.raises(TrialError, match=r"the process of onnxruntime float32 exited with 1: .*no model in"):
        run(Trial(tmp_path, (samples_dir / "cat.jpg",), 1, 1), [ORT_FLOAT32])


@pytest.mark.integration
@pytest.mark.xdist_group("matrix")
def test_the_command_records_the_agreements_that_auto_reads(recorded: Recorded) -> None:
    assert recorded.code == 0
    assert "openvino float32: resnet18.xml is missing" in recorded.out
    missing = "onnxruntime int8: resnet18.int8.onnx is missing; create it with: python -m function.tools.export"
    assert missing in recorded.out
    assert [row["engine"] for row in recorded.rows] == ["onnxruntime", "torch", "torch"]
    found = read_manifest(recorded.model).agreement("onnxruntime", "float32")
    assert found is not None
    assert (found.photographs, found.judged) == (IMAGES, False)


def test_invalid_arguments_and_missing_files_exit_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"function.tools.matrix: no model in {tmp_path}")
    (tmp_path / "manifest.json").write_text('{"name": "a", "version": "b", "weights": "c", "sha256": {}}')
    assert main(["--model", str(tmp_path), "--photographs", str(tmp_path)]) == 1
    assert "must be a folder that contains images" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--count", "0"])
    with pytest.raises(SystemExit):
        main(["--json", str(tmp_path / "no" / "x.json")])
    assert "--json must be a file in an existing folder" in capsys.readouterr().err
