"""Requests to this machine and to dispatchers go past the proxies of the environment."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from autoscaler_tuning.commands.cmd_up_down import curl_line
from autoscaler_tuning.live.demo import _send
from autoscaler_tuning.live.direct import direct_session
from autoscaler_tuning.live.dispatchers import Dispatchers
from autoscaler_tuning.live.local_stack import wait_until_answers
from autoscaler_tuning.live.sources import AnnouncedCapacity
from autoscaler_tuning.live.watch import WatchedController
from tests.paths import ROOT

PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY")


class Anything(BaseHTTPRequestHandler):
    """Responds 200 to every request."""

    def _respond(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = _respond  # noqa: N815  the names that http.server calls

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of a server, in an environment with proxies that do not exist."""
    for name in PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "localhost")
    with ThreadingHTTPServer(("127.0.0.1", 0), Anything) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.integration
@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda url: direct_session().get(url).raise_for_status(), id="a session"),
        pytest.param(
            lambda url: Dispatchers([url], lambda: 0.0).announce(AnnouncedCapacity(1, 1), 5.0), id="an announcement"
        ),
        pytest.param(lambda url: WatchedController(url, lambda: 0.0).poll(), id="the watch of another controller"),
        pytest.param(lambda url: _send(url, ROOT / "samples" / "cat.jpg"), id="the photograph of the demo"),
    ],
)
def test_a_request_uses_no_proxy(url: str, ask: Callable[[str], object]) -> None:
    ask(url)


@pytest.mark.integration
def test_the_wait_for_a_process_uses_no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    code = "import http.server as h; s = h.HTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)\n"
    code += f"open({str(tmp_path / 'port')!r}, 'w').write(str(s.server_port)); s.serve_forever()"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / "port").exists() or not (tmp_path / "port").read_text():
            assert process.poll() is None
        log = tmp_path / "server.log"
        log.touch()
        wait_until_answers(f"http://127.0.0.1:{(tmp_path / 'port').read_text()}/", process, log)
    finally:
        process.kill()
        process.wait()


def test_no_module_asks_in_another_way() -> None:
    calls = re.compile(
        r"(?<![\w.])requests\.(get|post|put|head|delete|patch|request|Session)\(|trust_env *= *True|urlopen\("
    )
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("autoscaler_tuning", "dispatcher", "function", "knative", "loadgen")
        for path in (ROOT / package).rglob("*.py")
        if calls.search(path.read_text())
    }
    assert found == {"autoscaler_tuning/live/direct.py"}


def test_the_printed_command_works_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    assert curl_line("http://127.0.0.1:8001", False) == "curl -F file=@samples/cat.jpg 127.0.0.1:8001/add_to_queue"
    monkeypatch.chdir(tmp_path)
    (found,) = re.findall(r"file=@(\S+)", curl_line("http://127.0.0.1:8001", False))
    assert (tmp_path / found).resolve() == ROOT / "samples" / "cat.jpg"


def test_the_printed_command_uses_no_proxy_of_the_environment() -> None:
    assert curl_line("http://127.0.0.1:8001", True).startswith("curl --noproxy '*' -F ")
