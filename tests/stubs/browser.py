"""A headless chromium that tests drive over its DevTools protocol."""

import asyncio
import base64
import itertools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

START_S, CALL_S = 60, 60


def why_not() -> str:
    """Return why no browser can be started; empty if one can."""
    return "" if shutil.which("chromium") else "needs chromium: apt-get install chromium"


class Browser:
    """One tab. Raises TimeoutError if the browser does not answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._loop, self._socket, self._ids = loop, socket, itertools.count(1)
        self.requested: list[str] = []
        self.errors: list[str] = []

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol and return its result; events that come meanwhile are kept."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, parameters), CALL_S))

    async def _call(self, method: str, parameters: dict[str, object]) -> dict[str, Any]:
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
            self._notice(message)

    def _notice(self, message: dict[str, Any]) -> None:
        match message["method"]:
            case "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(str(message["params"]["exceptionDetails"]))
            case "Log.entryAdded":
                self.errors.append(message["params"]["entry"]["text"])

    def show(self, url: str, width: int = 1100, height: int = 900, dark: bool = False) -> None:
        """Open a page of this size, in light or dark colours."""
        for domain in ("Network", "Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")
        mobile = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; None while it fails."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)[
            "result"
        ].get("value")

    def wait_for(self, expression: str, timeout_s: float = 60) -> Any:
        """Return the value of an expression as soon as it is true."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            if found := self.value(expression):
                return found
            time.sleep(0.2)
        raise TimeoutError(f"{expression} is not true after {timeout_s:g} s; errors of the page: {self.errors}")

    def press(self, key: str) -> None:
        """Press a key, such as Tab or ArrowLeft."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def picture(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))


KEYS = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39}


@contextmanager
def browser() -> Iterator[Browser]:
    """Run a browser with one empty tab inside a with block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        argv = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        argv += ["--hide-scrollbars", "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        loop = asyncio.new_event_loop()
        try:
            port = _port(Path(folder) / "DevToolsActivePort")
            session, socket = loop.run_until_complete(_connect(port))
            try:
                yield Browser(loop, socket)
            finally:
                loop.run_until_complete(session.close())
        finally:
            loop.close()
            process.terminate()
            process.wait(30)


def _port(file: Path) -> int:
    end_s = time.monotonic() + START_S
    while not (file.exists() and file.read_text().count("\n")):
        if time.monotonic() > end_s:
            raise TimeoutError(f"chromium has not started within {START_S} s")
        time.sleep(0.1)
    return int(file.read_text().split("\n")[0])


async def _connect(port: int) -> tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse]:
    session = aiohttp.ClientSession()
    async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
        (tab,) = [one for one in await answer.json() if one["type"] == "page"]
    return session, await session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0)
