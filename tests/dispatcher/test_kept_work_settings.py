"""Settings of asynchronous work: defaults, and what is refused at the start."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from dispatcher.config import ConfigError, parse_config
from dispatcher.kept_work import KeptWork
from dispatcher.relay import BackendAnswer, ClientRequest
from dispatcher.terms import Terms

SINK = ["--journal", "jobs.sqlite3", "--result-sink", "https://example.com/results?a=b"]


async def handle(_: ClientRequest, __: Terms) -> BackendAnswer:
    raise AssertionError("nothing is sent")


def made(*argv: str) -> KeptWork:
    return KeptWork(parse_config(list(argv), {}), handle, CollectorRegistry())


def test_the_defaults() -> None:
    config = parse_config([], {})
    assert (config.journal, config.journal_bytes, config.result_ttl_s, config.job_attempts) == ("none", 1 << 30, 600, 5)
    assert (config.result_sink, config.result_sink_key_file) == (None, None)


@pytest.mark.parametrize("setting", ["none", ""])
def test_without_a_journal_there_are_no_jobs(setting: str) -> None:
    kept = made("--journal", setting)
    assert kept.jobs is None
    assert kept.pending() == 0


def test_a_sink_with_a_key_is_accepted(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    assert made(*SINK, "--result-sink-key-file", str(key)).jobs is not None


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--journal", "http://host"], "--journal must be a file, a redis:// URL or none, got 'http://host'"),
        (["--journal-bytes", "1000"], "--journal-bytes must be at least 1048576, got 1000"),
        (["--journal-bytes", "many"], "--journal-bytes must be an integer, got 'many'"),
        (["--result-ttl-s", "0"], "--result-ttl-s must be from 1 to 2592000, got 0.0"),
        (["--result-ttl-s", "nan"], "--result-ttl-s must be from 1 to 2592000, got nan"),
        (["--job-attempts", "0"], "--job-attempts must be at least 1, got 0"),
        (["--journal", "x", "--result-sink", "ftp://a"], "--result-sink must be an http or https URL, got 'ftp://a'"),
        (SINK, "must be set together, got only https://example.com/results?a=b"),
        (["--result-sink-key-file", "key"], "must be set together, got only key"),
        ([*SINK[2:], "--result-sink-key-file", "key"], "--result-sink must have a --journal, got none"),
        (
            [*SINK, "--result-sink-key-file", "/nowhere"],
            "--result-sink-key-file must be a file with a key, got /nowhere",
        ),
    ],
)
def test_an_invalid_value_is_refused_with_rule_and_value(argv: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(*argv)
    assert words in str(caught.value)


def test_a_key_file_without_a_key_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret\n")
    with pytest.raises(ConfigError, match="must be whsec_ and 24 to 64 bytes in base64, got"):
        made(*SINK, "--result-sink-key-file", str(key))
