"""Writing, reading and updating the manifest of a model folder."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from function.manifest import Agreement, Manifest, ModelError, Prepared, read_manifest, verify, write_manifest

INT8 = Agreement("onnxruntime", "int8", 61, 33, 0.8, 0.1)
MANIFEST = Manifest("resnet18", "v", "w", {"a": "0"}, (1.5, -2.0), Prepared(("avx2",), "1.32.0"), (INT8,))


def test_a_written_manifest_is_read_back(tmp_path: Path) -> None:
    write_manifest(MANIFEST, tmp_path)
    assert read_manifest(tmp_path) == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_manifest_from_before_precisions_is_read(tmp_path: Path) -> None:
    old = {"name": "resnet18", "version": "v", "weights": "w", "sha256": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(old))
    assert read_manifest(tmp_path) == Manifest("resnet18", "v", "w", {})


@pytest.mark.parametrize("field", ["prepared", "agreements", "probe_logits", "sha256"])
def test_a_field_of_the_wrong_type_is_refused(tmp_path: Path, field: str) -> None:
    document = {"name": "resnet18", "version": "v", "weights": "w", "sha256": {}, field: [1]}
    if field == "probe_logits":
        document[field] = ["one"]
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"manifest\.json was not written by function\.tools\.export"):
        read_manifest(tmp_path)


def test_a_new_measurement_replaces_only_the_earlier_one_of_its_variant() -> None:
    other = replace(INT8, engine="openvino")
    now = replace(INT8, same_top_ratio=1.0)
    known = replace(MANIFEST, agreements=(INT8, other)).with_agreements([now])
    assert known.agreement("onnxruntime", "int8") == now
    assert known.agreement("openvino", "int8") == other
    assert known.agreement("torch", "float32") is None
    assert len(known.agreements) == 2


def test_the_hash_of_a_file_is_checked(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("weights")
    manifest = MANIFEST.with_files(tmp_path, "a")
    verify(tmp_path / "a", manifest)
    (tmp_path / "a").write_text("Weights")
    with pytest.raises(ModelError, match="a must have SHA-256"):
        verify(tmp_path / "a", manifest)


def test_a_file_that_the_manifest_does_not_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    with pytest.raises(ModelError, match=r"b is not listed in manifest\.json"):
        verify(tmp_path / "b", MANIFEST)


def test_an_empty_file_has_a_hash(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert MANIFEST.with_files(tmp_path, "a").sha256["a"] == hashlib.sha256().hexdigest()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(ModelError, match=r"cannot read .*manifest\.json: Is a directory"):
        read_manifest(tmp_path)
    with pytest.raises(ModelError, match=r"cannot read .*manifest\.json: Is a directory"):
        verify(tmp_path / "manifest.json", MANIFEST)
