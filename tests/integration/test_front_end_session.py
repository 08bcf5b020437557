"""A front end that was written for the trading API of before, at a running daemon: its session, step by step.

`front_end_session.json` is the session: what is asked and said, in order, and what has to come back (fields and their
kinds as the requirements name them; further fields are no harm).
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.core.events import Action
from tests.integration.daemons import PATIENCE_S, Daemon, running
from tests.samples import LIVELY, wave, write_tape

STEPS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "front_end_session.json").read_text())
KINDS = {"str": str, "int": int, "float": (int, float), "number": (int, float), "list": list, "dict": dict}
CALM = (*LIVELY, "risk.stale_after_s=100000", "feed.speed=60")


def check(step: dict[str, Any], found: Any, known: dict[str, str]) -> None:
    """Raises AssertionError where an answer or a frame isn't what the front end reads."""
    rows = found if step.get("rows") else [found]
    assert isinstance(rows, list)
    for row in rows:
        for name, kind in step.get("has", {}).items():
            assert name in row, (step, row)
            value = row[name]
            if kind == "action":
                assert value in Action.__members__, (step, row)
            elif not (kind.endswith("?") and value is None):
                assert isinstance(value, KINDS[kind.rstrip("?")]), (name, step, row)
        for name, value in step.get("is", {}).items():
            assert row[name] == known.get(value, value), (step, row)


class FrontEnd:
    """One browser: a cookie jar, an origin, and sockets that are listened to."""

    def __init__(self, http: aiohttp.ClientSession, url: str, known: dict[str, str]) -> None:
        self._http = http
        self._headers = {"Origin": url}
        self._known = known
        self._sockets: list[aiohttp.ClientWebSocketResponse] = []
        self._frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._listening: set[asyncio.Task[None]] = set()

    async def step(self, step: dict[str, Any]) -> None:
        """Do it, and look at what comes back."""
        if "listen" in step:
            socket = await self._http.ws_connect(step["listen"], headers=self._headers)
            self._listening.add(asyncio.create_task(self._listen(socket)))
        elif "hear" in step:
            check(step, await self._hear(step), self._known)
        else:
            found = await self._ask(step)
            check(step, found, self._known)
            self._known |= {f"${name}": found[field] for name, field in step.get("keep", {}).items()}

    async def end(self) -> None:
        """Leave."""
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)

    async def _ask(self, step: dict[str, Any]) -> Any:
        method, path = self._filled(step["ask"]).split(" ")
        body = None if "body" not in step else json.loads(self._filled(json.dumps(step["body"])))
        deadline = time.monotonic() + PATIENCE_S
        while True:
            async with self._http.request(method, path, json=body, headers=self._headers) as answer:
                found = json.loads(await answer.read())
                assert answer.status == step["status"], (step, found)
            if all(found[name] == value for name, value in step.get("until", {}).items()):
                return found
            assert time.monotonic() < deadline, (step, found)
            await asyncio.sleep(0.2)

    async def _hear(self, step: dict[str, Any]) -> dict[str, Any]:
        """The next frame of the kind, about the same thing."""
        wanted = {name: self._known.get(value, value) for name, value in step.get("is", {}).items()}
        while True:
            frame = await self._frames.get()
            if frame["type"] == step["hear"] and all(frame.get(name) == value for name, value in wanted.items()):
                return frame

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            self._frames.put_nowait(json.loads(message.data))

    def _filled(self, text: str) -> str:
        for name, value in self._known.items():
            text = text.replace(name, value)
        return text


async def play(daemon: Daemon, tape: Path) -> None:
    """The whole session."""
    known = {"$token": daemon.token_file.read_text().strip(), "$tape": str(tape)}
    url = daemon.url()
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an address, too
    async with aiohttp.ClientSession(url, cookie_jar=jar) as http:
        front = FrontEnd(http, url, known)
        try:
            for step in STEPS:
                async with asyncio.timeout(PATIENCE_S):
                    await front.step(step)
        finally:
            await front.end()


def test_the_session_of_an_old_front_end(tmp_path: Path) -> None:
    """Login, cookie, positions, decisions, an order by hand, frames, a setting, a backtest: all as it was."""
    tape = write_tape(tmp_path / "wave.parquet", *wave(375, every_s=1))
    with running(tmp_path, tape, *CALM) as daemon:
        daemon.until("a position", lambda: daemon.status()["open_positions"])
        daemon.until("decisions", lambda: daemon.get("/decisions")[1])
        asyncio.run(play(daemon, tape))


@pytest.mark.parametrize(
    ("row", "step"),
    [
        ({}, {"has": {"action": "action"}}),
        ({"action": "BUY"}, {"has": {"action": "action"}}),
        ({"quantity": "3"}, {"has": {"quantity": "int"}}),
        ({"side": "SELL"}, {"is": {"side": "BUY"}}),
    ],
)
def test_what_is_missing_or_another_kind_is_noticed(row: dict[str, Any], step: dict[str, Any]) -> None:
    """The check itself can fail."""
    with pytest.raises(AssertionError):
        check(step, row, {})
