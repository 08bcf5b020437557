"""The market's ticks on their way to a daemon: what the gateway process would say, as frames of its own kind.

The bytes are those of `daemon.feed.live.frames`; the SDK between venue and gateway is not simulated.
Invariant: without faults every tick of a subscribed symbol comes once and in order.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from daemon.feed.live.frames import HEADER, Authenticated, Counts, Frame, Refused, Row, Subscribed, pack_ticks
from tests.simulation.loop import SimLoop


class SimLink:
    """Implements `Link`."""

    def __init__(self, ticks: TickLinks, symbols: Sequence[str]) -> None:
        self._ticks = ticks
        self._symbols = tuple(symbols)
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._context = contextvars.copy_context()
        self._last_s = 0.0
        self.open = True

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Until its end."""
        while (frame := await self._frames.get()) is not None:
            yield frame

    def kill(self) -> None:
        """It ends."""
        if self.open:
            self.open = False
            self._ticks.links.remove(self)
            self._frames.put_nowait(None)

    def offer(self, rows: Sequence[tuple[str, Row]]) -> None:
        """Ticks of the market, by symbol; those that were asked for are heard a little later."""
        wanted = [row._replace(code=self._symbols.index(symbol)) for symbol, row in rows if symbol in self._symbols]
        if wanted:
            heard = self._ticks.monotonic_ns()
            self._say_later(pack_ticks(wanted, heard)[HEADER.size :])

    def refuse(self) -> None:
        """The venue doesn't take the token."""
        self._say_later(Refused("the token expired", token=True))

    def begin(self) -> None:
        """It starts, logs in, subscribes."""
        self._last_s = self._ticks.loop.time() + self._ticks.rng.uniform(0.2, 1.5)
        if not self._ticks.token_holds():
            self.refuse()
            return
        self._say_later(Authenticated())
        self._say_later(Subscribed(symbols=len(self._symbols)))
        self._say_later(Counts(0, 0, 0, 0, 1000, {}, {}, {}))

    def _say_later(self, frame: Frame) -> None:
        ticks = self._ticks
        self._last_s = max(self._last_s + 1e-6, ticks.loop.time() + ticks.latency_s())
        ticks.loop.call_at(self._last_s, self._say, frame, context=self._context)

    def _say(self, frame: Frame) -> None:
        if self.open:
            self._frames.put_nowait(frame)


class TickLinks:
    """All links of a computer to the market, and what is wrong with them."""

    def __init__(self, loop: SimLoop, seed: int, monotonic_ns: Any) -> None:
        self.loop = loop
        self.rng = random.Random(f"links:{seed}")
        self.monotonic_ns = monotonic_ns
        self.links: list[SimLink] = []
        self.mute_until = 0.0
        self.late_until = 0.0
        self.repeat_until = 0.0
        self.wrong_until = 0.0
        self.frozen: dict[str, float] = {}
        self.token_holds: Callable[[], bool] = lambda: True

    def connect(self, symbols: Sequence[str]) -> SimLink:
        """A new one."""
        link = SimLink(self, symbols)
        self.links.append(link)
        link.begin()
        return link

    def cut(self) -> None:
        """The gateway's process dies."""
        for link in list(self.links):
            self.loop.call_soon(link.kill, context=link._context)

    def refuse(self) -> None:
        """The venue ends every link, for the token holds no more."""
        for link in list(self.links):
            self.loop.call_soon(link.refuse, context=link._context)

    def forget(self) -> None:
        """The daemon that had them is dead."""
        self.links.clear()

    def heal(self) -> None:
        """All is well."""
        self.mute_until = self.late_until = self.repeat_until = self.wrong_until = 0.0
        self.frozen.clear()

    def latency_s(self) -> float:
        """How long a frame travels."""
        if self.loop.time() < self.late_until:
            return self.rng.uniform(0.5, 8.0)
        return self.rng.uniform(0.001, 0.05)

    def tell(self, symbol: str, row: Row) -> None:
        """A tick."""
        now = self.loop.time()
        if now < self.mute_until or now < self.frozen.get(symbol, 0.0):
            return
        if now < self.wrong_until:
            row = row._replace(ltp=row.ltp * 1.07)
        rows = [(symbol, row)] * (2 if now < self.repeat_until else 1)
        for link in list(self.links):
            link.offer(rows)
