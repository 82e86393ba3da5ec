"""Settings of a pod."""

from pathlib import Path

import pytest

from function.config import Config, ConfigError


def test_the_defaults() -> None:
    config = Config.from_env({"POD_NAME": "a"})
    assert config == Config(Path("model"), "auto", 1, 0.0, 10 * 1024 * 1024, 50_000_000, "a")
    assert Config.from_env({}).pod_name


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"ENGINE": "tensorflow"}, "ENGINE must be one of auto, onnxruntime, openvino, torch, was 'tensorflow'"),
        ({"PAD_SERVICE_S": "nan"}, "PAD_SERVICE_S must be from 0 to 60, was nan"),
        ({"PAD_SERVICE_S": "-1"}, "was -1.0"),
        ({"MAX_PIXELS": "0"}, "must be at least 1, were 1, 10485760, 0"),
        ({"ENGINE_THREADS": "two"}, "'two'"),
    ],
)
def test_what_makes_no_sense_is_refused(env: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_env(env)
    assert words in str(caught.value)
