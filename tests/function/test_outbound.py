"""The only requests that a pod makes: a link's image, and an event to the sink. Against a server on this machine."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event

from function.outbound import fetch
from function.protocols import RefusedError
from function.protocols.cloudevents import CLASSIFIED
from tests.function.fakes import LABELS, Fake, client_of
from tests.function.protocols.test_cloudevents import event, post
from tests.loadgen.servers import Server, say, self_signed
from tests.ports import free_port

pytestmark = pytest.mark.integration


class Host(BaseHTTPRequestHandler):
    """/photo, /large (11 bytes), /short of 8, /moved, /status/NNN, /slow-head, /slow-body; remembers what was posted and asked."""

    posted: list[tuple[dict[str, str], bytes]]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        name, _, status = self.path[1:].partition("/")
        if name.startswith("slow"):
            self._drip(name)
        elif name == "moved":
            self._say(302, b"", Location="http://169.254.169.254/secret")
        elif name == "short":
            self._say(200, b"photo", **{"Content-Length": "8"})
            self.close_connection = True
        else:
            self._say(int(status or 200), b"11 bytes..." if name == "large" else b"photo")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.posted.append((dict(self.headers), body))
        self._say(503 if self.path == "/broken" else 202, b"")

    def _say(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _drip(self, where: str) -> None:
        """A byte each 0.05 s, so that no single wait is ever long."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"" if where == "slow-head" else b"Content-Length: 9999\r\n\r\n"))
        try:
            for _ in range(400):
                self.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def host() -> Iterator[tuple[str, type[Host]]]:
    """HOST:PORT, and the handler that remembers."""
    handler = type("One", (Host,), {"posted": [], "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", handler
        server.shutdown()


def refused(link: str, *hosts: str, timeout_s: float = 30.0) -> tuple[int, str]:
    with pytest.raises(RefusedError) as caught:
        fetch(link, hosts, timeout_s, 10)
    return caught.value.status, str(caught.value)


def test_a_link_to_an_allowed_host_is_fetched(host: tuple[str, type[Host]]) -> None:
    address, handler = host
    assert fetch(f"http://{address}/photo?size=1", (address,), 30.0, 10) == b"photo"
    assert handler.asked == ["/photo?size=1"]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/large", 413, "at most 10 bytes"),
        ("/moved", 400, "with 302 to 'http://169.254.169.254/secret', and links must not redirect"),
        ("/short", 502, "IncompleteRead"),
        ("/status/404", 400, "must be answered with 200, was with 404"),
        ("/status/503", 502, "was with 503"),
        ("/status/408", 502, "was with 408"),
        ("/status/429", 502, "was with 429"),
    ],
)
def test_what_is_no_image_behind_a_link_is_refused(
    host: tuple[str, type[Host]], path: str, status: int, words: str
) -> None:
    address, _ = host
    found, text = refused(f"http://{address}{path}", address)
    assert found == status
    assert words in text


@pytest.mark.parametrize(
    "link",
    [
        "http://OTHER/",
        "http://127.0.0.1/",
        "http://127.0.0.1:1/",
        "http://localhost:PORT/",
        "http://2130706433:PORT/",
        "http://127.0.0.1.:PORT/",
        "http://[::ffff:127.0.0.1]:PORT/",
        "https://169.254.169.254/latest/meta-data",
    ],
)
def test_a_link_to_any_other_host_or_port_is_refused_before_it_is_asked(
    host: tuple[str, type[Host]], link: str
) -> None:
    address, handler = host
    status, text = refused(link.replace("PORT", address.partition(":")[2]), address)
    assert (status, handler.asked) == (403, [])
    assert f"links may lead to {address} (LINK_HOSTS)" in text


@pytest.mark.parametrize(
    "link",
    [
        "file:///etc/passwd",
        "ftp://HOST/",
        "HOST/photo",
        "http://user@HOST/",
        "http://HOST@evil.example/",
        "http:///photo",
        "http://HOST:99999999/",
        "http://[/",
        "//HOST/photo",
        "http://HOST/a b",
        "http://HOST/a\r\nX: y",
        "http://HOST/\u00e9",
    ],
)
def test_what_is_no_plain_link_is_refused(host: tuple[str, type[Host]], link: str) -> None:
    address, handler = host
    status, text = refused(link.replace("HOST", address), address)
    assert (status, handler.asked) == (400, [])
    assert text.startswith("a link must be")


def test_the_port_of_the_scheme_needs_no_naming_any_other_does() -> None:
    for link in ("http://127.0.0.1:81/", "https://127.0.0.1:80/"):
        assert refused(link, "127.0.0.1")[0] == 403
    for link in ("http://127.0.0.1:80/", "http://127.0.0.1/", "https://127.0.0.1/", "https://127.0.0.1:443/"):
        assert refused(link, "127.0.0.1", timeout_s=5.0)[0] != 403  # allowed, and then nobody is there
    for link in ("https://127.0.0.1/", "https://127.0.0.1:443/"):
        assert refused(link, "127.0.0.1:443", timeout_s=5.0)[0] != 403
        assert refused(link, "127.0.0.1:80")[0] == 403


@pytest.mark.parametrize("path", ["/slow-head", "/slow-body"])
def test_a_host_that_drips_is_given_up_in_time(host: tuple[str, type[Host]], path: str) -> None:
    address, _ = host
    status, text = refused(f"http://{address}{path}", address, timeout_s=0.3)
    assert status == 504
    assert "nothing within 0.3 s" in text


def test_nobody_there_is_worth_another_try() -> None:
    address = f"127.0.0.1:{free_port()}"
    status, text = refused(f"http://{address}/", address)
    assert status == 502
    assert f"http://{address} cannot be asked: ConnectionRefusedError" in text


def test_an_event_with_an_allowed_link_is_classified(host: tuple[str, type[Host]]) -> None:
    address, _ = host
    fake = Fake()
    client = client_of(fake, link_hosts=(address,))
    answer = post(client, to_binary_event(event(None, "image/jpeg", dataref=f"http://{address}/photo")))
    assert (answer.status_code, fake.seen) == (200, [b"photo"])
    structured = {"url": f"http://{address}/photo"}
    assert post(client, to_binary_event(event(structured, "application/json"))).status_code == 200


def test_with_a_sink_the_event_goes_there_and_the_sender_gets_202(host: tuple[str, type[Host]]) -> None:
    address, handler = host
    client = client_of(Fake(), sink_url=f"http://{address}/events", event_extensions=(("tenant", "blue"),))
    answer = post(client, to_binary_event(event()))
    assert (answer.status_code, answer.data) == (202, b"")
    (headers, body) = handler.posted[0]
    sent: Any = from_http_event(HTTPMessage(headers, body))
    assert (sent.get_type(), sent.get_extension("tenant")) == (CLASSIFIED, "blue")
    assert sent.get_data()["label"] == LABELS["label"]


def test_a_sink_that_takes_nothing_makes_the_sender_try_again(host: tuple[str, type[Host]]) -> None:
    address, _ = host
    answer: Any = post(client_of(Fake(), sink_url=f"http://{address}/broken"), to_binary_event(event()))
    assert answer.status_code == 502
    assert answer.json["error"] == f"the sink http://{address}/broken must answer with 2xx, did with 503"


def test_a_handshake_takes_of_the_same_time() -> None:
    """Of a server that takes connections and says nothing of TLS."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        status, text = refused(f"https://{address}/", address, timeout_s=0.3)
    assert (status, text) == (504, f"https://{address} cannot be asked: nothing within 0.3 s")


def test_a_link_of_https_is_fetched_from_whom_the_system_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(lambda handler: say(handler, 200, b"photo"), self_signed(tmp_path))
    address = f"127.0.0.1:{server.server_address[1]}"
    status, text = refused(f"https://{address}/", address)
    assert (status, "CERTIFICATE_VERIFY_FAILED" in text) == (502, True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "only.pem"))
    assert fetch(f"https://{address}/photo", (address,), 30.0, 10) == b"photo"
    other = f"localhost:{server.server_address[1]}"
    status, text = refused(f"https://{other}/", other)
    assert (status, "Hostname mismatch" in text) == (502, True)
    server.shutdown()
