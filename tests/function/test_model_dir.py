"""The folder from which a pod loads its model."""

from pathlib import Path

from function.config import Config, model_dir


def test_model_dir_takes_precedence(tmp_path: Path) -> None:
    assert model_dir({"MODEL_DIR": "/a"}, mounted=tmp_path) == Path("/a")
    assert Config.from_env({"MODEL_DIR": "/a"}).model_dir == Path("/a")


def test_a_model_mounted_by_kserve_takes_precedence_over_the_images_own(tmp_path: Path) -> None:
    assert model_dir({}, mounted=tmp_path) == tmp_path
    assert model_dir({}, mounted=tmp_path / "nothing") == Path("model")
