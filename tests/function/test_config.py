"""Settings of a pod."""

from pathlib import Path

import pytest

from function import variants
from function.config import ENGINES, PRECISIONS, Config, ConfigError, HttpConfig


def test_the_defaults() -> None:
    assert Config.from_env({}) == Config(Path("model"), "auto", "float32", 0, 0.0, 50_000_000)
    assert HttpConfig.from_env({"POD_NAME": "a"}) == HttpConfig(10 * 1024 * 1024, 16, (), 5.0, "", (), "a")
    assert HttpConfig.from_env({}).pod_name


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"ENGINE": "tensorflow"}, "ENGINE must be one of auto, onnxruntime, openvino, torch, got 'tensorflow'"),
        ({"PRECISION": "float16"}, "PRECISION must be one of float32, bfloat16, int8, auto, got 'float16'"),
        ({"ENGINE_THREADS": "-1"}, "ENGINE_THREADS must be at least 0, got -1"),
        ({"PAD_SERVICE_S": "nan"}, "PAD_SERVICE_S must be from 0 to 60 seconds, got nan"),
        ({"PAD_SERVICE_S": "-1"}, "got -1.0"),
        ({"MAX_PIXELS": "0"}, "MAX_PIXELS must be at least 1, got 0"),
        ({"ENGINE_THREADS": "two"}, "ENGINE_THREADS must be an integer, got 'two'"),
        ({"PAD_SERVICE_S": "five"}, "PAD_SERVICE_S must be a number, got 'five'"),
    ],
)
def test_invalid_settings_are_refused(env: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_env(env)
    assert words in str(caught.value)


def test_every_engine_and_precision_is_a_valid_setting() -> None:
    assert set(ENGINES) == {*variants.ENGINES, "auto"}
    assert set(PRECISIONS) == {*variants.PRECISIONS, "auto"}


def test_settings_of_events_are_read() -> None:
    env = {
        "LINK_HOSTS": "Images.example, minio.default.svc:9000,::1,[2001:DB8::7]:9000,",
        "LINK_TIMEOUT_S": "2.5",
        "K_SINK": "http://broker-ingress.knative-eventing.svc.cluster.local/default/default",
        "K_CE_OVERRIDES": '{"extensions": {"tenant": "blue", "a": "1", "knativekafkapartition": "0"}}',
    }
    http = HttpConfig.from_env(env)
    assert http.link_hosts == ("images.example", "minio.default.svc:9000", "[::1]", "[2001:db8::7]:9000")
    assert (http.link_timeout_s, http.sink_url) == (2.5, env["K_SINK"])
    assert http.event_extensions == (("a", "1"), ("knativekafkapartition", "0"), ("tenant", "blue"))
    assert HttpConfig.from_env({"K_CE_OVERRIDES": "", "K_SINK": ""}) == HttpConfig.from_env({})


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"MAX_BODY_BYTES": "0"}, "MAX_BODY_BYTES and MAX_IMAGES must be at least 1, got 0 and 16"),
        ({"MAX_IMAGES": "0"}, "got 10485760 and 0"),
        ({"MAX_IMAGES": "many"}, "MAX_IMAGES must be an integer, got 'many'"),
        ({"LINK_TIMEOUT_S": "nan"}, "LINK_TIMEOUT_S must be above 0 and at most 60 seconds, got nan"),
        ({"LINK_TIMEOUT_S": "0"}, "got 0.0"),
        (
            {"LINK_HOSTS": "http://a.example"},
            "LINK_HOSTS must be a comma-separated list of HOST or HOST:PORT, got 'http:",
        ),
        ({"LINK_HOSTS": "*"}, "got '*'"),
        ({"LINK_HOSTS": "a:65536"}, "got 'a:65536'"),
        ({"LINK_HOSTS": "[::1"}, "got '[::1'"),
        ({"LINK_HOSTS": "[::1]9000"}, "got '[::1]9000'"),
        ({"K_SINK": "broker"}, "K_SINK must be a URL http(s)://HOST/..., got 'broker'"),
        ({"K_SINK": "http://a:b/"}, "got 'http://a:b/'"),
        ({"K_SINK": "http://a:99999/"}, "got 'http://a:99999/'"),
        ({"K_SINK": "http://a/\u00e9"}, "got 'http://a/\u00e9'"),
        ({"K_SINK": "http://a b/"}, "got 'http://a b/'"),
        ({"K_SINK": "http://user@a/"}, "got 'http://user@a/'"),
        ({"K_CE_OVERRIDES": "{"}, "K_CE_OVERRIDES must be"),
        ({"K_CE_OVERRIDES": "[]"}, "got '[]'"),
        ({"K_CE_OVERRIDES": '{"extensions": {"Tenant": "blue"}}'}, "names of lower-case letters and digits"),
        ({"K_CE_OVERRIDES": '{"extensions": {"id": "1"}}'}, "none of data, datacontenttype"),
        ({"K_CE_OVERRIDES": '{"extensions": {"a": 1}}'}, "K_CE_OVERRIDES must be"),
        ({"K_CE_OVERRIDES": '{"extensions": {"a": "\\ud800"}}'}, "K_CE_OVERRIDES must be"),
        ({"K_CE_OVERRIDES": '{"extensions": {"a": null}}'}, "K_CE_OVERRIDES must be"),
        ({"K_CE_OVERRIDES": '{"extensions": {"a": ""}}'}, "K_CE_OVERRIDES must be"),
    ],
)
def test_invalid_http_settings_are_refused(env: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HttpConfig.from_env(env)
    assert words in str(caught.value)


@pytest.mark.parametrize("sink", ["http://[::1]:80/", "https://a.example?x=1", "http://a_b:8080"])
def test_a_sink_may_be_any_http_url(sink: str) -> None:
    assert HttpConfig.from_env({"K_SINK": sink}).sink_url == sink
