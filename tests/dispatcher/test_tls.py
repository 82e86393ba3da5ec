"""TLS on the clients' port: the newest certificate for new connections, and clear refusals of wrong files."""

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher import tls as module
from dispatcher.config import ConfigError, parse_config
from dispatcher.tls import ServerTls, TlsError
from tests.dispatcher.processes import Dispatcher, RawPod
from tests.stubs.certificates import make_certificate


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path, "first.example")


@pytest.fixture
def pod() -> RawPod:
    return RawPod()


@pytest.fixture
def dispatcher(files: tuple[Path, Path], pod: RawPod) -> Iterator[Dispatcher]:
    cert, key = files
    flags = ("--tls-cert-file", str(cert), "--tls-key-file", str(key), "--ml-service-url", pod.url)
    started = Dispatcher(*flags, scheme="https")
    yield started
    started.process.terminate()
    started.process.wait(30)


def connect(dispatcher: Dispatcher) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", dispatcher.port), timeout=60))


def ask(connection: ssl.SSLSocket) -> bytes:
    connection.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nphoto")
    return connection.recv(65536)


def name_of(connection: ssl.SSLSocket) -> bytes:
    """Return the certificate; its common name stands in it as text."""
    return connection.getpeercert(binary_form=True) or b""


def replaced(dispatcher: Dispatcher, name: bytes) -> bool:
    """Return whether new connections get this certificate within a minute."""
    for _ in range(120):
        with connect(dispatcher) as new:
            if name in name_of(new):
                return True
        time.sleep(0.5)
    return False


@pytest.mark.integration
def test_a_request_goes_through_and_the_pod_learns_that_it_came_over_tls(dispatcher: Dispatcher, pod: RawPod) -> None:
    with connect(dispatcher) as connection:
        assert ask(connection).startswith(b"HTTP/1.1 200 ")
    ((head, body),) = pod.seen
    assert body == b"photo"
    assert b"x-forwarded-proto: https" in head.lower()
    assert b"proto=https" in head


@pytest.mark.integration
def test_new_connections_get_a_new_certificate_and_open_ones_go_on(
    dispatcher: Dispatcher, files: tuple[Path, Path], tmp_path: Path
) -> None:
    with connect(dispatcher) as before:
        assert b"first.example" in name_of(before)
        for old, new in zip(files, make_certificate(tmp_path / "new", "second.example"), strict=True):
            shutil.move(new, old)
        assert replaced(dispatcher, b"second.example")
        assert ask(before).startswith(b"HTTP/1.1 200 ")


@pytest.mark.integration
def test_plain_http_is_refused_and_harms_nobody(dispatcher: Dispatcher) -> None:
    with socket.create_connection(("127.0.0.1", dispatcher.port), timeout=60) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert not plain.recv(65536).startswith(b"HTTP/")
    with connect(dispatcher) as good:
        assert ask(good).startswith(b"HTTP/1.1 200 ")


def test_half_a_new_pair_leaves_the_old_one_until_the_other_half_comes(
    files: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = files
    server = ServerTls(cert, key)
    new_cert, new_key = make_certificate(tmp_path / "new", "second.example")
    shutil.move(new_cert, cert)
    server.reload()
    server.reload()
    assert caplog.text.count("the certificate read before stays in use") == 1
    assert b"first.example" in shown_by(server)
    shutil.move(new_key, key)
    server.reload()
    assert b"second.example" in shown_by(server)


def test_versions_before_1_2_are_refused(files: tuple[Path, Path]) -> None:
    assert ServerTls(*files).context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_files_that_vanish_leave_the_certificate_in_use(files: tuple[Path, Path]) -> None:
    server = ServerTls(*files)
    files[0].unlink()
    server.reload()
    assert b"first.example" in shown_by(server)


def shown_by(server: ServerTls) -> bytes:
    """Return the certificate that the server's settings show, by a handshake in memory."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.context.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server)
    for _ in range(4):
        for side in (theirs, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return theirs.getpeercert(binary_form=True) or b""


@pytest.mark.parametrize("wrong", ["missing", "not PEM", "another key", "encrypted"])
def test_wrong_files_are_named_with_the_rule(files: tuple[Path, Path], tmp_path: Path, wrong: str) -> None:
    cert, key = files
    match wrong:
        case "missing":
            key.unlink()
        case "not PEM":
            cert.write_text("a certificate")
        case "another key":
            shutil.move(make_certificate(tmp_path / "new", "other.example")[1], key)
        case "encrypted":
            locked = tmp_path / "locked"
            command = ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(locked)]
            subprocess.run(command, check=True, capture_output=True)
            shutil.move(locked, key)
    with pytest.raises(TlsError, match="must be a certificate and its key without a password, in PEM, got") as error:
        ServerTls(cert, key)
    assert str(key) in str(error.value)


def test_both_files_must_be_given() -> None:
    with pytest.raises(ConfigError, match="--tls-cert-file and --tls-key-file must be set together, got only cert"):
        parse_config(["--tls-cert-file", "cert"], {})


def test_the_files_are_looked_at_often_enough_for_a_rotation() -> None:
    assert module.RELOAD_EVERY_S <= 10
