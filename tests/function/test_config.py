"""Settings of a pod."""

from pathlib import Path

import pytest

from function import variants
from function.config import ENGINES, PRECISIONS, Config, ConfigError


def test_the_defaults() -> None:
    config = Config.from_env({"POD_NAME": "a"})
    assert config == Config(Path("model"), "auto", "float32", 0, 0.0, 10 * 1024 * 1024, 50_000_000, "a")
    assert Config.from_env({}).pod_name


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"ENGINE": "tensorflow"}, "ENGINE must be one of auto, onnxruntime, openvino, torch, was 'tensorflow'"),
        ({"PRECISION": "float16"}, "PRECISION must be one of float32, bfloat16, int8, auto, was 'float16'"),
        ({"ENGINE_THREADS": "-1"}, "ENGINE_THREADS must be at least 0, was -1"),
        ({"PAD_SERVICE_S": "nan"}, "PAD_SERVICE_S must be from 0 to 60, was nan"),
        ({"PAD_SERVICE_S": "-1"}, "was -1.0"),
        ({"MAX_PIXELS": "0"}, "must be at least 1, were 10485760, 0"),
        ({"ENGINE_THREADS": "two"}, "'two'"),
    ],
)
def test_what_makes_no_sense_is_refused(env: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_env(env)
    assert words in str(caught.value)


def test_every_engine_and_precision_can_be_asked_for() -> None:
    assert set(ENGINES) == {*variants.ENGINES, "auto"}
    assert set(PRECISIONS) == {*variants.PRECISIONS, "auto"}
