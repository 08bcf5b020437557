"""A request of the sandbox's own routes → what it asks for, and an answer → JSON.

Invariant: a body that can't be read is one line that says where and why, never a traceback.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from aiohttp import web

from daemon.core.errors import UsageError
from daemon.sandbox.messages import Message

T = TypeVar("T")


async def read(request: web.Request, kind: type[T]) -> T:
    """The body as a `kind`, an empty one as one without fields; raises `UsageError`."""
    try:
        return msgspec.json.decode(await request.read() or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{request.path}: {error}") from None


def say(document: Message, status: int = 200) -> web.Response:
    """JSON with decimals as strings: the truth keeps its digits."""
    return web.Response(status=status, body=msgspec.json.encode(document), content_type="application/json")
