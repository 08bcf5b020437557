"""A request that is repeated under its `Idempotency-Key` → the answer that it had, and nothing is done twice.

In memory: an order by hand is kept by its key in the journal, over restarts, too. Invariant: a key stands for one
body; what was refused for a fault of ours (5xx) or for who asks is not remembered, so asking again is right.
"""

from __future__ import annotations

import hashlib
import re

import msgspec
from aiohttp import web

from daemon.control.answers import HEADERS, refuse

HEADER = "Idempotency-Key"
KEPT = 1000
_KEY = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class Kept(msgspec.Struct):
    """A request, and its answer once there is one."""

    body: bytes
    """SHA-256."""
    status: int = 0
    answer: bytes = b""
    content_type: str = ""


class Repeats:
    """The newest answers by who asked for what under which key."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], Kept] = {}

    def begin(self, place: tuple[str, str, str], body: bytes) -> web.Response | None:
        """None where a request is new and to be carried out; else what is to be said."""
        if not _KEY.fullmatch(place[2]):
            return refuse(400, f"{HEADER}: expected 1 to 64 of A-Z, a-z, 0-9, dot, dash, underscore")
        digest = hashlib.sha256(body).digest()
        kept = self._kept.get(place)
        if kept is None:
            self._kept[place] = Kept(digest)
            if len(self._kept) > KEPT:
                done = (key for key, one in self._kept.items() if one.status)
                self._kept.pop(next(done, next(iter(self._kept))))
            return None
        if kept.body != digest:
            return refuse(422, f"{HEADER}: was used for another request; give a new request a new key")
        if not kept.status:
            return refuse(409, f"{HEADER}: the request is being carried out; ask again for its answer")
        return web.Response(
            body=kept.answer, status=kept.status, content_type=kept.content_type,
            headers=HEADERS | {"Idempotency-Replayed": "true"},
        )  # fmt: skip

    def end(self, place: tuple[str, str, str], response: web.StreamResponse | None) -> None:
        """It was answered, or (None) wasn't."""
        kept = self._kept.get(place)
        if kept is None:
            return
        body = response.body if isinstance(response, web.Response) else None
        if not isinstance(body, bytes) or response is None or response.status >= 500 or response.status == 429:
            del self._kept[place]
            return
        kept.status, kept.answer, kept.content_type = response.status, body, response.content_type
