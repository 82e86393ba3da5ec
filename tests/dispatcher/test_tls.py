"""TLS of the client port: which pairs of files are refused, and how changed ones are used."""

import http.client
import logging
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from dispatcher.tls import CertificateFiles, TlsError, load_pair
from tests.dispatcher.processes import RawPod, exchange
from tests.paths import ROOT
from tests.ports import free_port
from tests.stubs.certificates import Pair, make_dated_pair, make_pair
from tests.stubs.processes import running


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path, "first")


def refusal(pair: Pair) -> str:
    with pytest.raises(TlsError) as caught:
        load_pair(pair.cert, pair.key)
    return str(caught.value)


def test_a_certificate_outside_its_dates_is_refused(tmp_path: Path) -> None:
    expired = make_dated_pair(tmp_path, "old", "20200101000000Z", "20200201000000Z")
    assert refusal(expired) == f"--tls-cert-file must be valid now, got {expired.cert}: certificate has expired"
    early = make_dated_pair(tmp_path, "early", "20900101000000Z", "20900201000000Z")
    assert refusal(early).endswith("certificate is not yet valid")


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, pair: Pair) -> None:
    other = make_pair(tmp_path, "other")
    assert "must be a certificate and its key" in refusal(Pair(pair.cert, other.key))
    assert "MISMATCH" in refusal(Pair(pair.cert, other.key))


def test_a_file_that_is_no_certificate_or_does_not_exist_is_refused(tmp_path: Path, pair: Pair) -> None:
    (tmp_path / "text").write_text("text")
    assert "in PEM format" in refusal(Pair(tmp_path / "text", pair.key))
    assert refusal(Pair(pair.cert, tmp_path / "none")).startswith("--tls-key-file must be a readable file")


def test_a_key_with_a_password_is_refused_and_not_asked_for(tmp_path: Path, pair: Pair) -> None:
    locked = tmp_path / "locked"
    command: list[str | Path] = ["openssl", "ec", "-in", pair.key, "-aes128", "-passout", "pass:secret", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)
    assert "without a password" in refusal(Pair(pair.cert, locked))


def test_nothing_older_than_tls_1_2_is_spoken(pair: Pair) -> None:
    assert load_pair(pair.cert, pair.key).minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_changed_pair_is_used_and_a_broken_one_keeps_the_last_and_is_logged_once(
    tmp_path: Path, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = 0.0
    files = CertificateFiles(pair.cert, pair.key, lambda: now_s)
    first = files.current()
    pair.replace(make_pair(tmp_path, "second"))
    now_s = 0.5
    assert files.current() is first, "the files are looked at once a second"
    now_s = 2.0
    second = files.current()
    assert second is not first
    pair.cert.write_text("broken")
    with caplog.at_level(logging.ERROR):
        now_s = 4.0
        assert files.current() is second
        now_s = 6.0
        assert files.current() is second
        pair.cert.unlink()
        now_s = 8.0
        assert files.current() is second
    assert [record.getMessage().endswith("stays in use") for record in caplog.records] == [True, True]
    pair.replace(make_pair(tmp_path, "third"))
    now_s = 10.0
    assert files.current() not in (first, second)


def served_name(port: int, name: str | None = "localhost") -> str:
    """Return the common name in the certificate that a new connection gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = socket.create_connection(("127.0.0.1", port), timeout=30)
    with context.wrap_socket(plain, server_hostname=name) as connection:
        der = connection.getpeercert(binary_form=True) or b""
    return next(name for name in ("first", "second") if b"\x0c" + bytes([len(name)]) + name.encode() in der)


def wait_for_name(port: int, name: str | None, wanted: str) -> None:
    deadline_s = time.monotonic() + 30
    while served_name(port, name) != wanted:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


@pytest.mark.integration
def test_a_dispatcher_changes_its_certificate_without_closing_connections(tmp_path: Path, pair: Pair) -> None:
    pod, port, log = RawPod(), free_port(), tmp_path / "log"
    first_cert = tmp_path / "trusted"
    first_cert.write_text(pair.cert.read_text())
    with running(command(port, "--ml-service-url", pod.url, *pair.flags()), port, log=log):
        context = ssl.create_default_context(cafile=str(first_cert))
        kept = http.client.HTTPSConnection("localhost", port, timeout=30, context=context)
        assert posted(kept) == 200
        assert b"X-Forwarded-Proto: https" in pod.lines()
        assert served_name(port) == served_name(port, None) == "first"
        pair.replace(make_pair(tmp_path, "second"))
        wait_for_name(port, "localhost", "second")
        wait_for_name(port, None, "second")
        pair.key.write_text("broken")
        time.sleep(1.5)
        assert served_name(port) == "second"
        assert posted(kept) == 200, "the open connection is still used"
        kept.close()
    assert log.read_text().count("the certificate read before stays in use") == 1
    assert "Traceback" not in log.read_text()


def command(port: int, *flags: str) -> list[str]:
    ports = ["--host", "127.0.0.1", "--port", str(port), "--control-port", str(free_port(taken={port}))]
    return [sys.executable, "-m", "dispatcher", *ports, *flags]


def posted(connection: http.client.HTTPSConnection) -> int:
    connection.request("POST", "/predict", b"x")
    response = connection.getresponse()
    response.read()
    return response.status


@pytest.mark.integration
def test_plain_http_gets_no_answer_on_a_tls_port_and_harms_no_other_client(tmp_path: Path, pair: Pair) -> None:
    pod, port, log = RawPod(), free_port(), tmp_path / "log"
    with running(command(port, "--ml-service-url", pod.url, *pair.flags()), port, log=log):
        assert plain_answer(port) == b""
        answer = requests.post(f"https://localhost:{port}/predict", data=b"x", verify=str(pair.cert), timeout=30)
        assert answer.status_code == 200
    assert len(pod.seen) == 1
    assert "Traceback" not in log.read_text()


def plain_answer(port: int) -> bytes:
    try:
        return exchange(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    except ConnectionResetError:
        return b""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda pair: pair.key.write_text("x"), "must be a certificate and its key", id="no key"),
        pytest.param(lambda pair: pair.cert.unlink(), "must be a readable file", id="no file"),
    ],
)
def test_a_pair_that_cannot_be_used_ends_the_start_with_one_sentence(
    pair: Pair, change: Callable[[Pair], object], words: str
) -> None:
    change(pair)
    done = subprocess.run(
        command(free_port(), *pair.flags()), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert words in done.stderr
