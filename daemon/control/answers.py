"""Answers as bytes: JSON in, out, and remembered for a moment; refusals as RFC 9457 has them (problem+json).

Invariant: a remembered answer is at most `KEEP_S` old and younger than the last command, so asking often costs the
trading loop as much as asking five times a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from daemon.control import words
from daemon.core.clock import NS_PER_S, Clock
from daemon.core.json_form import encode

T = TypeVar("T")

KEEP_S = 0.2
MOST_KEPT = 256
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
PROBLEM_JSON = "application/problem+json"


class Cause(StrEnum):
    """What programs tell refusals of one status by; the rest is plain HTTP."""

    HTTP = "about:blank"
    NOT_ON_DISK = words.NOT_ON_DISK
    NOT_TAKEN = "urn:hrmd:not-taken"
    NO_ANSWER = "urn:hrmd:no-answer-yet"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was refused (RFC 9457)."""

    type: Cause = Cause.HTTP
    """`about:blank`, or what programs tell refusals of one status by."""
    title: str
    """The status in words."""
    status: int
    """The HTTP status again."""
    detail: str
    """What was wrong and what would be right, in one line."""


class Remembered:
    """Rendered answers by what was asked."""

    def __init__(self, clock: Clock, keep_s: float = KEEP_S) -> None:
        self._clock = clock
        self._keep_ns = int(keep_s * NS_PER_S)
        self._answers: dict[str, Any] = {}
        self._since_ns = 0
        self._asking: dict[str, asyncio.Task[Any]] = {}

    async def get(self, asked: str, render: Callable[[], Awaitable[T]]) -> T:
        """The answer to `asked`, rendered where none is young enough; for all who ask meanwhile together."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._since_ns >= self._keep_ns or len(self._answers) >= MOST_KEPT:
            self._answers.clear()
            self._since_ns = now_ns
        if asked in self._answers:
            found: T = self._answers[asked]
            return found
        if asked not in self._asking:
            self._asking[asked] = asyncio.ensure_future(self._render(asked, render, self._answers))
        rendered: T = await asyncio.shield(self._asking[asked])
        return rendered

    async def _render(self, asked: str, render: Callable[[], Awaitable[Any]], answers: dict[str, Any]) -> Any:
        mine = asyncio.current_task()
        try:
            answers[asked] = await render()
            return answers[asked]
        finally:
            if self._asking.get(asked) is mine:
                del self._asking[asked]

    def forget(self) -> None:
        """Something was changed: what is remembered, or being looked at, is out of date."""
        self._answers = {}
        self._asking = {}


def encoded(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer whose JSON is `body`."""
    return web.Response(body=body, status=status, content_type="application/json", headers=HEADERS | (headers or {}))


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """`value` as JSON."""
    return encoded(encode(value), status, headers)


def refuse(status: int, detail: str, headers: dict[str, str] | None = None, cause: Cause = Cause.HTTP) -> web.Response:
    """Why not, as problem+json."""
    problem = Problem(type=cause, title=HTTPStatus(status).phrase, status=status, detail=detail)
    return web.Response(
        body=msgspec.json.encode(problem), status=status, content_type=PROBLEM_JSON, headers=HEADERS | (headers or {})
    )


def refuse_guesses(wait_s: int) -> web.Response:
    """Too many wrong tokens came from this address: the next is heard after so many seconds."""
    return refuse(429, f"too many wrong tokens; try again in {wait_s} s", {"Retry-After": str(wait_s)})
