"""conformance: what it says of files that agree, disagree, or are none."""

import gzip
import json
from pathlib import Path

import pytest

from autoscaler_tuning.cli import main
from autoscaler_tuning.conformance import lines


def vectors(folder: Path, average: float) -> Path:
    operations = [{"t_s": 0, "record": 2.0}, {"t_s": 1, "record": 4.0}, {"t_s": 1, "average": average}]
    case = {"algorithm": "linear", "window_s": 60, "granularity_s": 1, "operations": operations}
    path = folder / "v.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"windows": [case]}).encode()))
    return path


def test_agreement_is_counted_and_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", str(vectors(tmp_path, 3.0))]) == 0
    assert capsys.readouterr().out == "windows: 1 of 1 agree\n"


def test_a_disagreement_is_shown_and_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", str(vectors(tmp_path, 3.00001))]) == 1
    assert "windows: 0 of 1 agree\n  case 0: at 1 s 3.0" in capsys.readouterr().out


def test_a_file_without_vectors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    (tmp_path / "b").write_bytes(gzip.compress(b'{"other": []}'))
    for name in "ab":
        with pytest.raises(ValueError, match="holds no vectors"):
            list(lines(tmp_path / name))
        assert main(["conformance", str(tmp_path / name)]) == 2
    assert main(["conformance", str(tmp_path / "missing")]) == 2
