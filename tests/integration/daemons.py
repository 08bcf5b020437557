"""A real `hrmd run` in a process of its own: where it listens, what it said, and what systemd would have heard."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
MAIN = "import sys; from daemon.cli import main; sys.exit(main())"
RUN = ("-c", MAIN, "run")


def hrmd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run another command to its end."""
    command = [sys.executable, "-c", MAIN, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


class Daemon:
    """One `hrmd run` on a tape, its log on disk, its notifications in a socket."""

    def __init__(self, directory: Path, tape: Path, *changes: str, program: tuple[str, ...] = RUN) -> None:
        self.journal = directory / "j.sqlite"
        self.token_file = directory / "control.token"
        self._log_path = directory / "log.jsonl"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(directory / "notify"))
        self._notify.setblocking(False)
        self.notices: list[str] = []
        changes = (
            f"feed.tape=[{tape}]", f"journal.path={self.journal}", f"control.token_file={self.token_file}",
            "control.port=0", "log.format=json", *changes,
        )  # fmt: skip
        environment = os.environ | {"NOTIFY_SOCKET": str(directory / "notify"), "WATCHDOG_USEC": "600000"}
        environment.pop("WATCHDOG_PID", None)
        arguments = [argument for change in changes for argument in ("--set", change)]
        with self._log_path.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, *arguments], cwd=ROOT, env=environment, stderr=log,
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip

    @property
    def log(self) -> list[dict[str, Any]]:
        """Every whole line so far."""
        return [json.loads(line) for line in self._log_path.read_text().splitlines() if line.endswith("}")]

    def until(self, what: str, look: Callable[[], Any]) -> Any:
        """Look again and again until there is something, for as long as a slow machine may need."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = look()
            if found:
                return found
            assert self.process.poll() is None, f"ended before {what}: {self._log_path.read_text()}"
            time.sleep(0.05)
        raise AssertionError(f"never came: {what}\n{self._log_path.read_text()}")

    def url(self) -> str:
        """Where it listens."""
        return str(self.until("control listens", self._url))

    def _url(self) -> str | None:
        return next((line["url"] for line in self.log if line["event"] == "control listens"), None)

    def get(self, path: str, *, token: bool = True) -> tuple[int, Any]:
        """(status, document) of a GET."""
        url = self.url()
        headers = {"Authorization": f"Bearer {self.token_file.read_text().strip()}"} if token else {}
        request = urllib.request.Request(url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, json.loads(answer.read())
        except HTTPError as error:
            return error.code, json.loads(error.read())

    def status(self) -> dict[str, Any]:
        """What `/status` says."""
        document: dict[str, Any] = self.get("/status")[1]
        return document

    def ctl(self, *arguments: str) -> str:
        """A command of `hrmd ctl`, which must succeed; what it printed."""
        done = hrmd("ctl", *arguments, "--url", self.url(), "--token-file", str(self.token_file))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def heard(self) -> list[str]:
        """Every notification so far."""
        while True:
            try:
                self.notices.append(self._notify.recv(4096).decode())
            except BlockingIOError:
                return self.notices

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        """End it, if it hasn't."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._notify.close()


@contextmanager
def running(directory: Path, tape: Path, *changes: str, program: tuple[str, ...] = RUN) -> Iterator[Daemon]:
    """A daemon that is gone when the block ends; `program` is `hrmd run`, or one that takes the same options."""
    daemon = Daemon(directory, tape, *changes, program=program)
    try:
        yield daemon
    finally:
        daemon.close()
