"""Settings: flags, environment variables and refused values."""

import pytest

from dispatcher.config import ConfigError, parse_config


def test_the_defaults() -> None:
    config = parse_config([], {})
    assert (config.port, config.host, config.ml_service_url) == (8001, "0.0.0.0", ("http://127.0.0.1:8000",))
    assert (config.backend_concurrency, config.queue_limit, config.slo_s) == ((0,), 1000, 0.5)
    assert (config.order, config.hold, config.attempts, config.accept_backends) == ("deadline", "capacity", 3, False)
    assert (config.request_timeout_s, config.drain_timeout_s, config.max_body_bytes) == (120, 60, 10485760)
    assert config.ml_service_host is None
    assert (config.control_host, config.control_port, config.control_key_file) == ("127.0.0.1", 8011, None)
    assert (config.api_keys_file, config.ml_service_ca, config.refuse_status) == (None, None, 429)
    assert (config.tls_cert_file, config.tls_key_file) == (None, None)
    assert (config.body_timeout_s, config.shutdown_delay_s) == (30, 0)
    assert (config.queue_bytes, config.expired, config.retry_ratio) == (256 * 1024 * 1024, "serve", 0.2)


def test_an_environment_variable_applies_unless_a_flag_is_given() -> None:
    env = {"QUEUE_LIMIT": "7", "PORT": "9000", "ML_SERVICE_URL": "http://a:1/, http://b:2", "ACCEPT_BACKENDS": "true"}
    config = parse_config(["--port", "9001"], env)
    assert (config.queue_limit, config.port, config.accept_backends) == (7, 9001, True)
    assert config.ml_service_url == ("http://a:1", "http://b:2")
    assert config.backend_concurrency == (0, 0)


def test_each_backend_can_have_its_own_concurrency() -> None:
    config = parse_config(["--ml-service-url", "http://a,http://b", "--backend-concurrency", "1,4"], {})
    assert config.backend_concurrency == (1, 4)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--tls-cert-file", "a.crt"], "--tls-cert-file and --tls-key-file must be set together, got only a.crt"),
        (["--port", "70000"], "--port must be from 1 to 65535, got 70000"),
        (["--queue-limit", "0"], "--queue-limit must be at least 1, got 0"),
        (["--queue-limit", "many"], "--queue-limit must be an integer, got 'many'"),
        (["--slo-s", "nan"], "--slo-s must be above 0 and finite, got nan"),
        (["--order", "lifo"], "--order must be deadline or fifo, got 'lifo'"),
        (["--hold", "all"], "--hold must be capacity or none, got 'all'"),
        (["--ml-service-url", "localhost:8000"], "got 'localhost:8000'"),
        (["--ml-service-url", ","], "at least one URL, got none"),
        (["--ml-service-url", "http://a,http://a/"], "must not contain a URL twice, got http://a, http://a"),
        (["--backend-concurrency", "1,2"], "one for each of 1 URLs, all at least 0, got '1,2'"),
        (["--backend-concurrency", "-1"], "got '-1'"),
        (["--control-port", "0"], "--control-port must be from 1 to 65535, got 0"),
        (["--port", "8011"], "--port and --control-port must differ, got 8011 for both"),
        (["--control-host", "::"], "--control-key-file must be set unless --control-host is a loopback address"),
        (["--control-host", "dispatcher.example"], "got --control-host dispatcher.example"),
        (["--refuse-status", "400"], "--refuse-status must be 429 or 503, got 400"),
        (["--shutdown-delay-s", "-1"], "--shutdown-delay-s must be from 0 to 3600, got -1.0"),
        (["--shutdown-delay-s", "nan"], "--shutdown-delay-s must be from 0 to 3600, got nan"),
        (["--body-timeout-s", "0"], "--body-timeout-s must be above 0 and finite, got 0.0"),
        (["--queue-bytes", "0"], "--queue-bytes must be at least 1, got 0"),
        (["--expired", "keep"], "--expired must be serve or drop, got 'keep'"),
        (["--retry-ratio", "2"], "--retry-ratio must be from 0 to 1, got 2.0"),
    ],
)
def test_an_invalid_value_is_refused_with_rule_and_value(argv: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(argv, {})
    assert words in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_control_port_on_loopback_needs_no_key(host: str) -> None:
    assert parse_config(["--control-host", host], {}).control_key_file is None


def test_files_are_paths() -> None:
    config = parse_config(["--control-key-file", "a", "--control-host", "0.0.0.0"], {"API_KEYS_FILE": "b"})
    assert (str(config.control_key_file), str(config.api_keys_file)) == ("a", "b")
