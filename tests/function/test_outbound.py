"""The only requests that a pod sends, for a link's image and to the sink, against a server on this machine."""

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
from tests.loadgen.servers import Server, say
from tests.ports import free_port
from tests.stubs.certificates import make_pair

pytestmark = pytest.mark.integration


class Host(BaseHTTPRequestHandler):
    """A server with /photo, /large (11 bytes), /short (of 8 bytes), /moved, /status/NNN, /slow-head and /slow-body that records its requests."""

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
        """Send a byte every 0.05 s, so that no single read times out."""
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
    """Return HOST:PORT and the handler that records requests."""
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


class IPv6Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6


def test_a_link_and_a_sink_may_have_an_ipv6_address() -> None:
    handler = type("Six", (Host,), {"posted": [], "asked": []})
    with IPv6Server(("::1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"[::1]:{server.server_port}"
        assert fetch(f"http://{address}/photo", (address,), 30.0, 10) == b"photo"
        assert refused(f"http://{address}/photo", "[::1]")[0] == 403
        client = client_of(Fake(), sink_url=f"http://{address}/events")
        assert post(client, to_binary_event(event())).status_code == 202
        server.shutdown()
    assert len(handler.posted) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/large", 413, "at most 10 bytes"),
        ("/moved", 400, "must be 200, got 302 to 'http://169.254.169.254/secret'; redirects are not followed"),
        ("/short", 502, "IncompleteRead"),
        ("/status/404", 400, "must be 200, got 404"),
        ("/status/503", 502, "got 503"),
        ("/status/408", 502, "got 408"),
        ("/status/429", 502, "got 429"),
    ],
)
def test_an_invalid_response_to_a_link_is_refused(
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
def test_a_link_to_another_host_or_port_is_refused_without_a_request(host: tuple[str, type[Host]], link: str) -> None:
    address, handler = host
    status, text = refused(link.replace("PORT", address.partition(":")[2]), address)
    assert (status, handler.asked) == (403, [])
    assert f"a link's host must be one of LINK_HOSTS ({address}), got" in text


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
def test_a_malformed_link_is_refused(host: tuple[str, type[Host]], link: str) -> None:
    address, handler = host
    status, text = refused(link.replace("HOST", address), address)
    assert (status, handler.asked) == (400, [])
    assert text.startswith("a link must be")


def test_only_the_default_port_may_be_left_out_of_link_hosts() -> None:
    for link in ("http://127.0.0.1:81/", "https://127.0.0.1:80/"):
        assert refused(link, "127.0.0.1")[0] == 403
    for link in ("http://127.0.0.1:80/", "http://127.0.0.1/", "https://127.0.0.1/", "https://127.0.0.1:443/"):
        assert refused(link, "127.0.0.1", timeout_s=5.0)[0] != 403  # allowed, but nothing listens there
    for link in ("https://127.0.0.1/", "https://127.0.0.1:443/"):
        assert refused(link, "127.0.0.1:443", timeout_s=5.0)[0] != 403
        assert refused(link, "127.0.0.1:80")[0] == 403


@pytest.mark.parametrize("path", ["/slow-head", "/slow-body"])
def test_a_host_that_sends_slowly_is_timed_out(host: tuple[str, type[Host]], path: str) -> None:
    address, _ = host
    status, text = refused(f"http://{address}{path}", address, timeout_s=0.3)
    assert status == 504
    assert "no complete response within 0.3 s" in text


def test_a_refused_connection_asks_the_sender_to_retry() -> None:
    address = f"127.0.0.1:{free_port()}"
    status, text = refused(f"http://{address}/", address)
    assert status == 502
    assert f"request to http://{address} failed: ConnectionRefusedError" in text


def test_an_event_with_an_allowed_link_is_classified(host: tuple[str, type[Host]]) -> None:
    address, _ = host
    fake = Fake()
    client = client_of(fake, link_hosts=(address,))
    response = post(client, to_binary_event(event(None, "image/jpeg", dataref=f"http://{address}/photo")))
    assert (response.status_code, fake.seen) == (200, [b"photo"])
    structured = {"url": f"http://{address}/photo"}
    assert post(client, to_binary_event(event(structured, "application/json"))).status_code == 200


def test_an_event_goes_to_the_sink_and_the_sender_gets_202(host: tuple[str, type[Host]]) -> None:
    address, handler = host
    client = client_of(Fake(), sink_url=f"http://{address}/events", event_extensions=(("tenant", "blue"),))
    response = post(client, to_binary_event(event()))
    assert (response.status_code, response.data) == (202, b"")
    (headers, body) = handler.posted[0]
    sent: Any = from_http_event(HTTPMessage(headers, body))
    assert (sent.get_type(), sent.get_extension("tenant")) == (CLASSIFIED, "blue")
    assert sent.get_data()["label"] == LABELS["label"]


def test_a_failing_sink_asks_the_sender_to_retry(host: tuple[str, type[Host]]) -> None:
    address, _ = host
    response: Any = post(client_of(Fake(), sink_url=f"http://{address}/broken"), to_binary_event(event()))
    assert response.status_code == 502
    assert response.json["error"] == f"the response from the sink http://{address}/broken must be 2xx, got 503"


def test_the_timeout_covers_the_tls_handshake() -> None:
    """The server accepts connections but never answers the handshake."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        status, text = refused(f"https://{address}/", address, timeout_s=0.3)
    assert (status, text) == (504, f"request to https://{address} failed: no complete response within 0.3 s")


def test_an_https_link_is_fetched_only_with_a_trusted_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(tmp_path, "127.0.0.1", "IP:127.0.0.1")
    server = Server(lambda handler: say(handler, 200, b"photo"), pair)
    address = f"127.0.0.1:{server.server_address[1]}"
    status, text = refused(f"https://{address}/", address)
    assert (status, "CERTIFICATE_VERIFY_FAILED" in text) == (502, True)
    monkeypatch.setenv("SSL_CERT_FILE", str(pair.cert))
    assert fetch(f"https://{address}/photo", (address,), 30.0, 10) == b"photo"
    other = f"localhost:{server.server_address[1]}"
    status, text = refused(f"https://{other}/", other)
    assert (status, "Hostname mismatch" in text) == (502, True)
    server.shutdown()
