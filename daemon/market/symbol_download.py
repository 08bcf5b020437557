"""Fyers' public symbol files over HTTP → their bytes. Invariant: a file comes whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import aiohttp

from daemon.core.errors import Unavailable, UsageError
from daemon.market.symbol_master import FILES

TOTAL_S: Final = 60.0
CONNECT_S: Final = 5.0
MOST_BYTES: Final = 100_000_000

Progress = Callable[[str, int], None]
"""Told of each file how many bytes have come."""


async def download(url: str, progress: Progress | None = None) -> dict[str, bytes]:
    """All files below `url`, by name. Raises `UsageError`, `Unavailable` for what may be over in a minute."""
    timeout = aiohttp.ClientTimeout(total=TOTAL_S, sock_connect=CONNECT_S, sock_read=CONNECT_S * 2)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        return {name: await _fetch(session, f"{url}/{name}.csv", name, progress) for name in FILES}


async def _fetch(session: aiohttp.ClientSession, url: str, name: str, progress: Progress | None) -> bytes:
    parts = bytearray()
    try:
        async with session.get(url) as answer:
            if answer.status != 200:
                # a CDN refuses for minutes what it serves otherwise: no status says that it never will
                doubt = " (is it the address that you mean?)" if 400 <= answer.status < 429 else ""
                raise Unavailable(f"market.symbol_master.url: {url} answered HTTP {answer.status}{doubt}; try again")
            async for chunk in answer.content.iter_chunked(1 << 16):
                parts += chunk
                if len(parts) > MOST_BYTES:
                    raise Unavailable(f"market.symbol_master.url: {url} is longer than {MOST_BYTES:,} bytes")
                if progress is not None:
                    progress(name, len(parts))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
        wrong = UsageError if isinstance(error, ValueError) else Unavailable  # an address that is none stays one
        raise wrong(f"market.symbol_master.url: {url} can't be read ({reason}); try again") from None
    return bytes(parts)
