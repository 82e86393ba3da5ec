"""`python -m function.tools.export`: the sources of the weights, and the files made from them."""

import json
import shutil
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.effort import effort
from tests.function.loading import loaded_classifier

# one group with the other tests that import torch, which takes seconds
pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("torch")]


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where torch keeps the downloaded weights, in a cache of the test's own."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch/hub/checkpoints"
    folder.mkdir(parents=True)
    return folder / "resnet18-f37072fd.pth"


@pytest.mark.parametrize(
    "error", [URLError("no network"), RuntimeError("invalid hash value"), TimeoutError("timed out")]
)
def test_a_failed_download_exits_with_one_line_and_a_status_of_its_own(
    cached: Path, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch  # noqa: PLC0415

    from function.tools.export import main  # noqa: PLC0415

    def refuse(url: str, file: str, sha256: str, **options: object) -> None:
        assert (file, len(sha256), sha256[:8]) == (str(cached), 64, "f37072fd")
        raise error

    out = cached.parent / "model"
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    assert main(["--out", str(out)]) == 3
    line = (
        f"function.tools.export: cannot download https://download.pytorch.org/models/resnet18-f37072fd.pth: {error}\n"
    )
    assert capsys.readouterr().err == line
    assert not out.exists()


class Unpickled:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._file,)


def test_a_cached_file_that_is_not_torchvisions_is_neither_used_nor_unpickled(
    cached: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch  # noqa: PLC0415

    from function.tools.export import main  # noqa: PLC0415

    out, touched = cached.parent / "model", cached.parent / "touched"
    torch.save({"fc.bias": Unpickled(touched)}, cached)
    assert main(["--out", str(out)]) == 1
    assert f"{cached} must have SHA-256 f37072fd47e8..., got " in capsys.readouterr().err
    assert (out.exists(), touched.exists()) == (False, False)


def test_cached_weights_that_verify_are_used(cached: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from function.manifest import sha256  # noqa: PLC0415
    from function.tools import export  # noqa: PLC0415

    shutil.copy(model_dir / "resnet18.pth", cached)
    monkeypatch.setattr(export, "IMAGENET_SHA256", sha256(cached))
    network, source = export.imagenet()
    assert source.version == "imagenet1k-v1"
    assert network.state_dict()["fc.bias"].equal(export.from_file(cached)[0].state_dict()["fc.bias"])


def test_a_file_without_weights_exits_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from function.tools.export import main  # noqa: PLC0415

    (tmp_path / "w.pth").write_text("no weights")
    assert main(["--weights", str(tmp_path / "w.pth"), "--out", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "w.pth must contain weights of resnet18: " in err
    assert err.count("\n") == 1


def test_weights_from_a_file_are_named_by_their_hash(model_dir: Path, tmp_path: Path) -> None:
    from function.manifest import sha256  # noqa: PLC0415
    from function.tools.export import from_file  # noqa: PLC0415

    weights = model_dir / "resnet18.pth"
    _, source = from_file(weights)
    assert source.version == f"file-{sha256(weights)[:8]}"


def test_random_weights_are_labelled_as_random_and_depend_on_their_seed(model_dir: Path) -> None:
    from function.tools.export import random_weights  # noqa: PLC0415

    manifest = json.loads((model_dir / "manifest.json").read_text())
    assert (manifest["name"], manifest["version"]) == ("resnet18", "random-seed-0")
    assert manifest["weights"].startswith("RANDOM WEIGHTS")
    one, same, other = (random_weights(seed, effort(4, ci=64))[0].state_dict()["fc.weight"] for seed in (3, 3, 4))
    assert one.equal(same)
    assert not one.equal(other)


def test_the_model_folder_has_a_label_for_each_class(model_dir: Path) -> None:
    labels = json.loads((model_dir / "labels.json").read_text())
    assert (len(labels), labels[207]) == (1000, "golden retriever")


def test_int8_requires_images_for_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from function.tools.export import main  # noqa: PLC0415

    for arguments in (["--int8"], ["--calibrate", "photos"]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
    assert main(["--int8", "--calibrate", str(tmp_path), "--out", str(tmp_path / "model")]) == 1
    assert f"function.tools.export: {tmp_path} must be a folder that contains images" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_int8_is_added_to_a_model_and_measured_on_images_not_used_for_calibration(
    model_dir: Path, samples_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from function.manifest import read_manifest  # noqa: PLC0415
    from function.tools.export import main  # noqa: PLC0415

    model = tmp_path / "model"
    shutil.copytree(model_dir, model)
    assert main(["--int8", "--calibrate", str(samples_dir), "--out", str(model)]) == 0
    assert (model / "resnet18.int8.onnx").stat().st_size < 13_000_000
    assert "not judged: torch must predict at least 10 different classes, got" in capsys.readouterr().out
    found = read_manifest(model).agreement("onnxruntime", "int8")
    assert found is not None
    assert found.photographs == 2
    assert 0 < found.rms_error_ratio < 0.3
    assert not list(model.glob("tmp*"))
    classifier = loaded_classifier(model, "int8")
    assert classifier.model.precision == "int8"
    assert len(classifier.classify((samples_dir / "cat.jpg").read_bytes()).top) == 5


def test_a_failed_int8_export_changes_no_file_and_names_the_image(
    model_dir: Path, samples_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from function.tools.export import main  # noqa: PLC0415

    model, photos = tmp_path / "model", tmp_path / "photos"
    shutil.copytree(model_dir, model)
    photos.mkdir()
    shutil.copy(samples_dir / "cat.jpg", photos / "a.jpg")
    (photos / "b.jpg").write_bytes(b"junk")
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    assert main(["--int8", "--calibrate", str(photos), "--out", str(model)]) == 1
    assert f"function.tools.export: {photos / 'b.jpg'}: not an image: 4 bytes" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_a_new_int8_file_drops_the_agreements_of_the_previous_one(
    model_dir: Path, samples_dir: Path, tmp_path: Path
) -> None:
    from function.manifest import Agreement, read_manifest, write_manifest  # noqa: PLC0415
    from function.tools.export import main  # noqa: PLC0415

    model = tmp_path / "model"
    shutil.copytree(model_dir, model)
    old = [Agreement("openvino", precision, 500, 100, 1.0, 0.01) for precision in ("int8", "bfloat16")]
    write_manifest(read_manifest(model).with_agreements(old), model)
    assert main(["--int8", "--calibrate", str(samples_dir), "--out", str(model)]) == 0
    known = {(one.engine, one.precision) for one in read_manifest(model).agreements}
    assert known == {("openvino", "bfloat16"), ("onnxruntime", "int8")}


@pytest.mark.parametrize("seed", ["-1", str(2**63)])
def test_a_seed_out_of_bounds_is_refused(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    from function.tools.export import main  # noqa: PLC0415

    with pytest.raises(SystemExit, match="2"):
        main(["--weights", "random", "--seed", seed])
    assert f"--seed must be from 0 to 2**63 - 1, got {seed}" in capsys.readouterr().err
