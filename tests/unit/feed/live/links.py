"""A gateway that a test drives: it says what it is told to say, and remembers that it was killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from daemon.feed.live.frames import HEADER, AnyNews, Frame, Refused, Row, Subscribed, pack_ticks


class FakeLink:
    """Implements `Link`."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.killed = False
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue()

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """What `say` and `tick` put in, to the end."""
        while (frame := await self._frames.get()) is not None:
            yield frame

    def kill(self) -> None:
        """The end."""
        self.killed = True
        self._frames.put_nowait(None)

    def say(self, *news: AnyNews) -> None:
        """Tell something."""
        for item in news:
            self._frames.put_nowait(item)

    def tick(self, *rows: Row) -> None:
        """Ticks in one frame."""
        self._frames.put_nowait(pack_ticks(rows, 0)[HEADER.size :])


class FakeVenue:
    """Gives a link to whoever asks; `links` are all of them, oldest first."""

    def __init__(self) -> None:
        self.links: list[FakeLink] = []
        self.refusing = False
        self.next_link: FakeLink | None = None
        """Is given instead of the next one, and says nothing by itself."""
        self.made = asyncio.Event()

    @asynccontextmanager
    async def connect(self, token: str) -> AsyncIterator[FakeLink]:
        """A link that is subscribed at once, or refused for its token."""
        link, self.next_link = self.next_link, None
        if link is None:
            link = FakeLink(token)
            link.say(Refused("the token has expired", token=True) if self.refusing else Subscribed(2))
        self.links.append(link)
        self.made.set()
        yield link
        link.killed = True
