"""Answers as bytes: JSON in, out, and remembered for a moment.

Invariant: a remembered answer is at most `KEEP_S` old and younger than the last command, so asking often costs the
trading loop as much as asking five times a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from daemon.core.clock import NS_PER_S, Clock
from daemon.core.json_form import encode

KEEP_S = 0.2
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


class Remembered:
    """Rendered answers by what was asked."""

    def __init__(self, clock: Clock, keep_s: float = KEEP_S) -> None:
        self._clock = clock
        self._keep_ns = int(keep_s * NS_PER_S)
        self._answers: dict[str, bytes] = {}
        self._since_ns = 0

    def get(self, asked: str, render: Callable[[], bytes]) -> bytes:
        """The answer to `asked`, rendered where none is young enough."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._since_ns >= self._keep_ns:
            self._answers.clear()
            self._since_ns = now_ns
        if asked not in self._answers:
            self._answers[asked] = render()
        return self._answers[asked]

    def forget(self) -> None:
        """Something was changed: what is remembered is out of date."""
        self._answers.clear()


def encoded(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer whose JSON is `body`."""
    return web.Response(body=body, status=status, content_type="application/json", headers=HEADERS | (headers or {}))


def answer(value: Any, status: int = 200) -> web.Response:
    """`value` as JSON."""
    return encoded(encode(value), status)


def refuse(status: int, error: str, headers: dict[str, str] | None = None) -> web.Response:
    """Why not, as JSON."""
    return encoded(msgspec.json.encode({"error": error}), status, headers)
