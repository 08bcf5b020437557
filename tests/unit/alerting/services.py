"""A service on this machine that is told of alerts by HTTP: it takes them, refuses them, or lets them wait."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECRET = "s3cret-of-the-hook"
"""Part of its address."""
PATIENCE_S = 30.0


class Service:
    """What it got, in order, and how it answers."""

    def __init__(self) -> None:
        self.code = 200
        self.hangs = threading.Event()
        self.drips = threading.Event()
        self.released = threading.Event()
        self.came = threading.Condition()
        self.got: list[dict[str, Any]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with service.came:
                    service.got.append(document)
                    service.came.notify_all()
                if service.hangs.is_set():
                    service.released.wait(PATIENCE_S)
                while service.drips.is_set() and not service.released.wait(0.05):
                    self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.send_response(service.code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        """As apprise has it."""
        return f"json://127.0.0.1:{self.server.server_address[1]}/{SECRET}"

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        """What it got, once so many came."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.got) >= count, PATIENCE_S), self.got
            return list(self.got)

    def texts(self) -> list[str]:
        """Title and body of each."""
        return [f"{one['title']} | {one['message']}" for one in self.got]


@contextmanager
def service() -> Iterator[Service]:
    """One that is gone when the block ends."""
    made = Service()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.released.set()
        made.server.shutdown()
        thread.join()
        made.server.server_close()


def urls_file(directory: Path, *urls: str) -> Path:
    """A file of addresses as the settings want it."""
    path = directory / "alerts.urls"
    path.write_text("# who is told\n\n" + "\n".join(urls) + "\n")
    path.chmod(0o600)
    return path
