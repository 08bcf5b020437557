"""`hrmd sandbox` in a process of its own, on a tape and at a speed: the exchange that a daemon of a test lives on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.daemons import MAIN, PATIENCE_S, ROOT


class ExchangeProcess:
    """An exchange that plays `tape`, `speed` times as fast as it was recorded."""

    def __init__(self, tape: Path, speed: float) -> None:
        self.speed = speed
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN, "sandbox", "--tape", str(tape), "--speed", f"{speed:g}", "--port", "0",
             "--json"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.places: dict[str, str] = json.loads(self.process.stdout.readline())

    def changes(self, directory: Path, symbol: str) -> tuple[str, ...]:
        """Settings of a daemon that takes its ticks from here and sends its orders here, at the same speed."""
        token, places = directory / "fyers.token", self.places
        token.write_text(places["authorization"].partition(":")[2])
        token.chmod(0o600)
        return (
            "feed.source=fyers", "feed.rehearse=true", f"feed.speed={self.speed:g}", f"feed.symbols=[{symbol}]",
            f"broker.fyers.socket_url={places['data_socket']}",
            f"broker.fyers.symbol_token_url={places['symbol_tokens']}",
            f"broker.fyers.index_map_url={places['index_names']}", "feed.live.compare_every_s=0",
            "broker.name=fyers", f"broker.fyers.api_url={places['api']}", f"broker.fyers.data_url={places['data']}",
            f"broker.fyers.order_socket_url={places['orders']}", f"broker.fyers.token_file={token}",
            f"broker.fyers.calls_file={directory / 'calls'}", f"feed.record.path={directory / 'tapes'}",
        )  # fmt: skip

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """One of the exchange's own routes."""
        content = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.places['url']}/sandbox/{path}", content, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())

    def held(self, symbol: str) -> int:
        """The net quantity in its ledger."""
        return int(self.admin("GET", "state")["positions"].get(symbol, 0))

    def stand_still(self) -> None:
        """Answer nothing and say nothing, while every connection stays open."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again."""
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def exchange(tape: Path, speed: float) -> Iterator[ExchangeProcess]:
    """An exchange that is gone when the block ends."""
    process = ExchangeProcess(tape, speed)
    try:
        yield process
    finally:
        process.close()
