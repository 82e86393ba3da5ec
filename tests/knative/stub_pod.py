"""A pod for tests: an HTTP server of the standard library that misbehaves according to MODE.

PORT, POD_NAME: as for every pod. MODE: `good`; `unready`: always 503; `silent`: accepts connections and never responds;
`stubborn`: ignores SIGTERM; `children`: starts a child that does not watch its parent.
GET /slow responds after SLOW_S; after SIGTERM, requests in flight are finished.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = os.environ.get("MODE", "good")


class Handler(BaseHTTPRequestHandler):
    """Handles readiness probes and slow requests."""

    def do_GET(self) -> None:
        """Respond, after SLOW_S if the path is /slow."""
        if self.path == "/slow":
            time.sleep(float(os.environ["SLOW_S"]))
        self._answer(503 if MODE == "unready" else 200)

    def _answer(self, status: int) -> None:
        body = b"hello"
        self.send_response(status)
        self.send_header("X-Pod", os.environ["POD_NAME"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Write no access log."""


class Server(ThreadingHTTPServer):
    """Finishes its requests when it is closed."""

    daemon_threads = False
    block_on_close = True


def main() -> None:
    """Serve until SIGTERM."""
    port = int(os.environ["PORT"])
    if MODE == "silent":
        with socket.create_server(("127.0.0.1", port)):
            signal.pause()
    server = Server(("127.0.0.1", port), Handler)
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    if MODE == "children":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(f"child {child.pid}", flush=True)
    print("listening", flush=True)
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
