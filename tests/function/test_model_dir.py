"""Which folder a pod takes its model from."""

from pathlib import Path

from function.config import Config, model_dir


def test_model_dir_goes_before_everything(tmp_path: Path) -> None:
    assert model_dir({"MODEL_DIR": "/a"}, mounted=tmp_path) == Path("/a")
    assert Config.from_env({"MODEL_DIR": "/a"}).model_dir == Path("/a")


def test_what_kserve_mounted_goes_before_the_images_own(tmp_path: Path) -> None:
    assert model_dir({}, mounted=tmp_path) == tmp_path
    assert model_dir({}, mounted=tmp_path / "nothing") == Path("model")
