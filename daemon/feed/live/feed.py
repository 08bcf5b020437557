"""A link to the venue → the bus: ticks as they come, the moments at which something is due, and how fresh it all is.

Stands where `TapeFeed` stands. Ticks are stamped with our time when they are read, and every moment that is due by then
is published first; so what was recorded, replayed, is cut at the same places and gives the same bars. A link that ends,
goes silent or grows is replaced, and the time without one is told as STALE before and CONNECTED after.
Invariant: when `TimeAdvanced(ts)` is published every accepted tick received by `ts` was published and none received
later; and no tick follows a time without a link before STALE was published, if the market was open meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Final, Protocol

import numpy as np
import structlog

from daemon.calls.outcome import Done, Outcome
from daemon.core.aside import Aside
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, LiveClock, PacedClock
from daemon.core.errors import UsageError
from daemon.core.events import FeedState, FeedStatus, TickBatch, TimeAdvanced
from daemon.core.threads import Worker
from daemon.feed.live.clock_watch import ClockWatch
from daemon.feed.live.frames import (
    Authenticated,
    Counts,
    Frame,
    FrameError,
    Link,
    Refused,
    Subscribed,
    Trouble,
    read_ticks,
)
from daemon.feed.live.freshness import Freshness
from daemon.feed.live.link import Backoff, LinkState, LinkWatch
from daemon.feed.live.quotes import QuoteComparison
from daemon.feed.live.time import Moments
from daemon.feed.replay import Schedule
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar
from daemon.market.records import Quote
from daemon.settings.feed import LiveSettings

log = structlog.get_logger("feed")

TOKEN_S: Final = 2.0
"""How long the disk of the token's file may take."""
NAP_S: Final = 0.25
"""Time advances, and the link is looked at, at least this often."""
HELD_ASK_S: Final = 2.0
"""While the clock is in doubt the venue is asked as often as this, for every answer is dated."""
BACKLOG: Final = 20_000
"""So many unhandled events, and no further ticks are read: they wait, and conflate, in the gateway."""
NO_LINK_YET: Final = "no link yet"
REHEARSAL_LEAD_NS: Final = NS_PER_S // 2
"""In a rehearsal our time is so far ahead of the first tick's stamp, which is of whole seconds."""

Connect = Callable[[str], AbstractAsyncContextManager[Link]]
Record = Callable[[TickBatch], None]


class Quotes(Protocol):
    """Who can say what the venue's last prices are."""

    disk: Aside
    """Of the file with the token that it shows."""

    async def quotes(self, symbols: list[str]) -> Outcome[list[Quote]]:
        """Last prices of 1 to 50 symbols."""

    async def close(self) -> None:
        """Close all connections."""


class LiveFeed:
    """Publishes ticks until it is cancelled. `tokens` gives the day's token, or raises `UsageError`."""

    def __init__(
        self,
        bus: Bus,
        symbols: tuple[str, ...],
        tick_filter: TickFilter,
        calendar: MarketCalendar,
        schedule: Schedule,
        clock: LiveClock | PacedClock,
        settings: LiveSettings,
        connect: Connect,
        tokens: Callable[[], str],
        quotes: Quotes | None = None,
        record: Record | None = None,
        rng: random.Random | None = None,
        clock_watch: ClockWatch | None = None,
        advice: str = "log in again (hrmd login)",
    ) -> None:
        """`record` is given every batch as it came, before the filter; a `PacedClock` follows the ticks.

        `clock_watch` says whether the clock can be relied on; while it can't the feed is told to be STALE.
        `advice`: what to do where only another token will help.
        """
        self.tick_filter = tick_filter
        self.first_ts: int | None = None
        self.last_ts: int | None = None
        self.counts: Counts | None = None
        """What the present gateway last said of itself."""
        self.links = 0
        """Links that were begun."""
        self.transit_ns = 0
        """How long the oldest tick of the newest frame took from the SDK to here."""
        self.freshness = Freshness(symbols, settings.stale_after_s)
        self.comparison = QuoteComparison(symbols, settings.compare_symbols, settings.compare_max_percent)
        self.distrusted: dict[str, str] = {}
        """Symbols whose quotes by REST differ from the feed's, and how."""
        self.clock_watch = clock_watch
        self._advice = advice
        self._bus = bus
        self._symbols = symbols
        self._calendar = calendar
        self._moments = Moments(calendar, schedule)
        self._clock = clock
        self._settings = settings
        self._connect = connect
        self._tokens = tokens
        self._disk = Aside("feed token")
        """Of the token's file: it may hang, and time is told all the same."""
        self._quotes = quotes
        self._record = record
        self._watch = LinkWatch(settings)
        self._past: Counter[str] = Counter()
        self._backoff = Backoff(settings, rng if rng is not None else random.Random())
        self._token = ""
        self._link: Link | None = None
        self._state: LinkState | None = None
        self._end_reason = ""
        self._heard = np.zeros(len(symbols), dtype=np.bool_)
        self._status: FeedState | None = None
        self._reason = ""
        self._told: tuple[FeedState, str] | None = None
        self._held = ""
        self._lost_ns = 0
        self._open_since: int | None = None
        # `_lost_ns`, `_open_since` and a link's times count what passed, so that no jump of the time makes a silence

    def read_by(self, thread: Callable[[str], Worker]) -> None:
        """Read the token's file by threads of this kind."""
        self._disk = Aside("feed token", thread)
        if self._quotes is not None:
            self._quotes.disk = Aside("quotes token", thread)

    async def run(self) -> None:
        """Feed until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_time(), name="feed time")
            group.create_task(self._keep_linked(), name="feed link")
            if self._quotes is not None and self._settings.compare_every_s:
                group.create_task(self._compare(self._quotes), name="feed comparison")

    def totals(self) -> dict[str, int]:
        """What all links so far counted: messages, ticks, conflated quotes, what was lost and why; and the links."""
        present = self.counts.by_kind() if self.counts is not None else {}
        return {"links": self.links, **(self._past + Counter(present))}

    async def close(self) -> None:
        """Close the connections of the comparison; the link ends with `run`."""
        if self._quotes is not None:
            await self._quotes.close()

    # -- time ---------------------------------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        while True:
            self.tell_time()
            now = self._clock.now_ns()
            await asyncio.sleep(self._moments.wait_s(now, NAP_S) if now else NAP_S)

    def tell_time(self) -> None:
        """Publish what is due by now, and what is to be said of the feed; nothing before the clock has a time."""
        self._look_at_clock()
        now = self._clock.now_ns()
        if now:
            self._publish_due(now)
            passed = self._moments.take_now(now)
            if passed is not None:
                self._bus.publish(TimeAdvanced(ts=passed))
            self._look(now)

    def _look_at_clock(self) -> None:
        """Let the clock be compared with the venue's; while they disagree nothing new is dared on the ticks."""
        watch = self.clock_watch
        if watch is None:
            return
        if watch.look():
            self.freshness.start(self._clock.now_ns())
        if watch.held != self._held:
            self._held = watch.held
            self._tell_feed(self._clock.now_ns())

    def _publish_due(self, now: int) -> None:
        """Publish every moment of the schedule up to `now`."""
        while (moment := self._moments.take_due(now)) is not None:
            self._doubt(moment)
            self._bus.publish(TimeAdvanced(ts=moment))

    def _doubt(self, moment: int) -> None:
        """A bar is about to close after a silence that may be a lost link: say so while the bar can still be marked."""
        link = self._state
        if self._open_since is None or link is None or self._status is not FeedState.CONNECTED:
            return
        passed = self._passed_at(moment)
        if self._watch.doubtful(link, passed, self._open_since):
            silent_s = link.silent_s(passed, self._open_since)
            # a moment earlier, so that who sorts by time marks the bar, too
            self._set_status(FeedState.STALE, f"no ticks for {silent_s:.1f} s as a bar closes", moment - 1)

    def _passed_at(self, ts: int) -> int:
        """How much time has passed at `ts` (UTC ns), by the clock as it goes now."""
        return self._clock.passed_ns() + ts - self._clock.now_ns()

    # -- how fresh it is ----------------------------------------------------------------------------------------------

    def _look(self, now: int) -> None:
        """Is the market open, does the link live, which symbols are stale."""
        if self._calendar.session_at(now) is None:
            self._open_since = None
        elif self._open_since is None:
            self._open_since = self._clock.passed_ns()
            self.freshness.start(now)
        self._look_at_link()
        if self._open_since is None:
            return
        if self._status is None:
            self._set_status(FeedState.STALE, self._end_reason or NO_LINK_YET, now)
        elif self._status is FeedState.CONNECTED:
            for change in self.freshness.check(now):
                state = FeedState.CONNECTED if change.fresh else FeedState.STALE
                self._tell(now, state, change.symbol, change.reason)

    def _look_at_link(self) -> None:
        link, session = self._state, self._moments.session
        if link is not None:
            next_open = 0 if session is None else self._passed_at(session.open_ns)
            fault = self._watch.fault(link, self._clock.passed_ns(), self._open_since, next_open)
            if fault:
                self._end_link(fault)

    def _set_status(self, state: FeedState, reason: str, now: int) -> None:
        """Publish a change; of a feed that stays STALE a new reason, too."""
        if state is not self._status or (state is FeedState.STALE and reason != self._reason):
            if state is FeedState.STALE and self._status is not state:
                self._lost_ns = self._clock.passed_ns()
            self._status, self._reason = state, reason
            self._tell_feed(now)

    def _tell_feed(self, now: int) -> None:
        """The link's own state, but never CONNECTED while the clock is in doubt."""
        state, reason = self._status, self._reason
        if self._held and state is not FeedState.STALE:
            state, reason = FeedState.STALE, self._held
        if state is not None and (state, reason) != self._told:
            self._told = state, reason
            self._tell(now, state, None, reason)

    def _tell(self, now: int, state: FeedState, symbol: str | None, reason: str) -> None:
        if state is FeedState.CONNECTED and symbol in self.distrusted:
            return  # it has ticks again, but of a price that the venue doesn't confirm
        self._moments.tell(now)
        self._bus.publish(FeedStatus(ts=now, state=state, symbol=symbol, reason=reason))

    # -- the link -----------------------------------------------------------------------------------------------------

    async def _keep_linked(self) -> None:
        while True:
            refused = await self._live_one_link()
            state, self._state, self._link = self._state, None, None
            now = self._clock.now_ns()
            worked = state is not None and state.last_ticks > state.subscribed > 0
            if now and self._calendar.session_at(now) is not None:
                self._set_status(FeedState.STALE, self._end_reason, now)
            elif self._status is FeedState.CONNECTED:
                self._status = None  # the market is closed: nobody misses a tick
            pause_s = self._backoff.pause_s(worked=worked, hopeless=refused)
            log.warning("the link ended", reason=self._end_reason, next_in_s=round(pause_s, 1), links=self.links)
            await self._pause(pause_s, for_a_token=refused)

    async def _live_one_link(self) -> bool:
        """One link from its start to its end, `_end_reason` says which; True where only a new token will help."""
        self._end_reason = ""
        try:
            self._token = await self._disk.ask(self._tokens, TOKEN_S)
        except TimeoutError as error:
            self._end_reason = f"the token's file can't be read ({error.strerror})"
            return False
        except UsageError as error:
            self._end_reason = str(error)
            return True
        self.links += 1
        if self.counts is not None:
            self._past.update(self.counts.by_kind())
            self.counts = None
        try:
            async with self._connect(self._token) as link:
                self._link, self._state = link, LinkState(self._clock.passed_ns())
                self._heard[:] = False
                refusal = await self._listen(link, self._state)
        except OSError as error:
            refusal = Refused(f"the gateway can't be started ({error.strerror or error})", token=False)
        except FrameError as error:
            refusal = Refused(str(error), token=False)
        self._end_reason = self._end_reason or self._advised(refusal)
        return refusal.token

    def _advised(self, refusal: Refused) -> str:
        """Why a link ended, and what to do where it won't come back by itself."""
        return f"{refusal.reason}: {self._advice}" if refusal.token else refusal.reason

    async def _listen(self, link: Link, state: LinkState) -> Refused:
        """Everything that a link tells, up to why it ended."""
        async with aclosing(link.frames()) as frames:
            async for frame in frames:
                if isinstance(frame, Refused):
                    return frame
                self._take(frame, state)
                # frames that wait already would be read without a turn of the loop for anybody else
                await (self._bus.idle() if self._bus.pending > BACKLOG else asyncio.sleep(0))
        return Refused("the gateway process ended", token=False)

    def _end_link(self, reason: str) -> None:
        """The present link is no good: its frames end now, and the next one follows."""
        if self._link is not None and not self._end_reason:
            self._end_reason = reason
            self._link.kill()

    async def _pause(self, seconds: float, *, for_a_token: bool) -> None:
        """Wait before the next attempt; where the token was refused, a new one ends the wait."""
        deadline = self._clock.monotonic_ns() + int(seconds * NS_PER_S)
        while (left := (deadline - self._clock.monotonic_ns()) / NS_PER_S) > 0:
            await asyncio.sleep(min(left, 1.0))
            if for_a_token and await self._has_new_token():
                return

    async def _has_new_token(self) -> bool:
        try:
            return await self._disk.ask(self._tokens, TOKEN_S) != self._token
        except (UsageError, TimeoutError):
            return False

    # -- what comes over it -------------------------------------------------------------------------------------------

    def _take(self, frame: Frame, link: LinkState) -> None:
        if isinstance(frame, bytes):
            self._take_ticks(frame, link)
        elif isinstance(frame, Subscribed):
            self._on_subscribed(frame, link)
        elif isinstance(frame, Counts):
            self._on_counts(frame, link)
        elif isinstance(frame, Authenticated):
            log.info("the venue took the token")
        elif isinstance(frame, Trouble):
            log.warning("the venue complains", code=frame.code, text=frame.text)

    def _on_counts(self, counts: Counts, link: LinkState) -> None:
        self.counts = counts
        link.peak_mb = counts.peak_kb / 1024
        link.damage = counts.damage
        unheard = (self._symbols[code] for code in np.flatnonzero(~self._heard))
        link.silent = frozenset(unheard) | self.freshness.stale.keys()

    def _on_subscribed(self, news: Subscribed, link: LinkState) -> None:
        now = self._clock.now_ns()
        link.subscribed = self._clock.passed_ns()
        self.freshness.start(now)
        log.info("subscribed", symbols=news.symbols)
        if now and self._open_since is None:
            self._set_status(FeedState.CONNECTED, "subscribed, the market is closed", now)

    def _take_ticks(self, body: bytes, link: LinkState) -> None:
        """Publish a frame's ticks, everything that was due before them first."""
        if isinstance(self._clock, PacedClock):
            self._follow(self._clock, body)
        now = self._clock.now_ns()
        self._publish_due(now)
        if self._status is not FeedState.CONNECTED:
            self._look(now)
            lost_ns = self._clock.passed_ns() - self._lost_ns
            without = f" after {lost_ns / NS_PER_S:.1f} s without" if self._lost_ns else ""
            self._set_status(FeedState.CONNECTED, f"ticks{without}", now)
        received = self._moments.stamp(now)
        raw, heard_ns = read_ticks(body, self._symbols, received)
        self.transit_ns = self._clock.monotonic_ns() - heard_ns
        link.last_ticks = self._clock.passed_ns()
        self._heard[raw.code] = True
        if self._record is not None:
            self._record(raw)
        if self.clock_watch is not None:
            self.clock_watch.on_ticks(raw)
        accepted, _ = self.tick_filter.apply(raw)
        if not len(accepted):
            return
        if self.first_ts is None:
            self.first_ts = int(accepted.ts_event[0])
        self.last_ts = int(accepted.ts_event[-1])
        self.freshness.on_ticks(accepted)
        self.comparison.on_ticks(accepted)
        self._bus.publish(accepted)

    def _follow(self, clock: PacedClock, body: bytes) -> None:
        """Rehearsal: the first tick says what time it is, and no later one is from the future."""
        now, newest = clock.now_ns(), int(read_ticks(body, self._symbols, 0)[0].ts_event.max())
        if not now:
            clock.start(newest + REHEARSAL_LEAD_NS)
        elif newest > now:
            clock.start(newest)

    # -- the second opinion -------------------------------------------------------------------------------------------

    async def _compare(self, venue: Quotes) -> None:
        """Every `compare_every_s`, while the market is open and the feed flows; sooner while the clock is in doubt."""
        every_s, next_s = self._settings.compare_every_s, self._settings.compare_every_s
        while True:
            await asyncio.sleep(next_s)
            next_s = min(every_s, HELD_ASK_S) if self._held else every_s
            flows = self._open_since is not None and self._status is FeedState.CONNECTED
            asked = self.comparison.begin(list(self.distrusted)) if flows else []
            if not asked and not self._held:
                continue
            answer = await venue.quotes(asked or list(self._symbols[:1]))  # any answer says what time it is
            if isinstance(answer, Done) and asked:
                self._judge(answer.value)
            else:
                log.warning("no quotes to compare with", outcome=type(answer).__name__)

    def _judge(self, quotes: list[Quote]) -> None:
        now = self._clock.now_ns()
        for verdict in self.comparison.end(quotes):
            symbol, known = verdict.symbol, self.distrusted.get(verdict.symbol)
            if verdict.reason and known is None:
                self.distrusted[symbol] = verdict.reason
                self._tell(now, FeedState.STALE, symbol, verdict.reason)
            elif not verdict.reason and known is not None:
                del self.distrusted[symbol]
                stale = self.freshness.stale.get(symbol)
                state = FeedState.CONNECTED if stale is None else FeedState.STALE
                self._tell(now, state, symbol, stale or "feed and quote agree again")
