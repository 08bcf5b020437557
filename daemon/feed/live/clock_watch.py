"""The machine's clocks and the venue's time → whether our time can be relied on, and what it has to make up for.

Our time runs on the steady clock from what the wall clock said at the start. Here it is compared with the wall clock,
with the stamps of ticks (whole seconds, or finer; a delay only makes them look late) and with the `Date` of the venue's
answers. New risk is held from the start, and from every jump, until the venue confirms our time. Invariant: one
source alone never moves our time; it is moved only while new risk is held, except that small steps of the wall clock
are followed by one part in a thousand; and it never goes back. Where it would have to, by more than can be waited for,
and the machine's clock is nearer, the process ends: the next one begins with that. What is done once a day waits until
the venue has said that it is that day (`undated`), and where it says that our time is of another hour a session ends
by the venue's (`apart_ns`).
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from daemon.core.clock import MAX_SKEW_NS, NS_PER_MS, NS_PER_S, LiveClock, india_day
from daemon.core.errors import StartAgain, Unavailable
from daemon.core.events import TickBatch
from daemon.feed.live.ahead import Ahead
from daemon.market.calendar import ist_date

log = structlog.get_logger("clock")

Ints = NDArray[np.int64]

STAMPS: Final = 3
"""So many different stamps of a symbol make its word; the middle one counts."""
STAMPS_AGE_NS: Final = 60 * NS_PER_S
STAMPS_PAUSE_NS: Final = 100 * NS_PER_MS
"""Of the frames that come faster than this only some are looked at."""
DATES: Final = 5
DATES_LEAST: Final = 2
DATES_AGE_NS: Final = 300 * NS_PER_S
HALF_SECOND: Final = NS_PER_S // 2
"""Of stamps and dates in whole seconds the moment was half a second later, as far as anybody knows."""
FOLLOWED: Final = 1000
"""Small steps of the wall clock are followed by one part in so many."""

WAITED_FOR_NS: Final = 60 * NS_PER_S
"""By so much our time may be ahead and wait, which takes as long; closes and the square-off come early meanwhile."""
LATE_NS: Final = 300 * NS_PER_S
"""Ticks that are stamped further behind our time are no late feed, as far as new risk goes."""

UNCONFIRMED: Final = "the venue has not yet said what time it is"
UNDATED: Final = "the venue has not yet said what day it is"


NEVER: Final = 2**63


class Stamps:
    """Of each symbol, by how much its latest stamps were ahead of the steady clock; loop-free."""

    def __init__(self, symbols: int) -> None:
        self._newest = np.zeros(symbols, dtype=np.int64)
        self._ahead = np.zeros((symbols, STAMPS), dtype=np.int64)
        self._at = np.full((symbols, STAMPS), -STAMPS_AGE_NS, dtype=np.int64)
        self._count = np.zeros(symbols, dtype=np.int64)
        self._noted = -STAMPS_PAUSE_NS
        self._words: list[float] = []
        self._words_until = -1
        """When what was worked out last has to be worked out again, where nothing is noted meanwhile."""

    def note(self, code: NDArray[np.int32], ts_event: Ints, steady: int) -> None:
        """Ticks that are read now. A symbol's first stamp may be as old as its last trade: those that move count."""
        if steady - self._noted < STAMPS_PAUSE_NS:
            return
        self._noted, self._words_until = steady, -1
        newest = np.zeros_like(self._newest)
        np.maximum.at(newest, code, ts_event)
        moved = np.flatnonzero((newest > 0) & (self._newest > 0) & (newest != self._newest))
        self._newest = np.where(newest > 0, newest, self._newest)
        place = self._count[moved] % STAMPS
        stamps = newest[moved]
        self._ahead[moved, place] = stamps + HALF_SECOND * (stamps % NS_PER_S == 0) - steady
        self._at[moved, place] = steady
        self._count[moved] += 1

    def forget(self) -> None:
        """What was noted until now proves nothing any more."""
        self._count[:] = 0
        self._words_until = -1

    def words(self, steady: int) -> list[float]:
        """By how much the venue is ahead of the steady clock, ns, after each symbol that had enough to say lately."""
        if steady < self._words_until:
            return self._words
        oldest = self._at.min(axis=1)
        recent = (self._count >= STAMPS) & (oldest > steady - STAMPS_AGE_NS)
        self._words = np.sort(self._ahead[recent], axis=1)[:, STAMPS // 2].astype(np.float64).tolist()
        self._words_until = int(oldest[recent].min()) + STAMPS_AGE_NS if recent.any() else NEVER
        return self._words


class ClockWatch:
    """Loop-free: give it ticks and dates as they come, and let it `look` a few times a second."""

    def __init__(self, clock: LiveClock, symbols: int, limit_s: float, *, dated_elsewhere: bool = True) -> None:
        """`dated_elsewhere`: whether the venue's answers are dated by another machine's clock than this one's."""
        self.held = UNCONFIRMED
        """Why new risk waits, "" where it needn't."""
        self.undated = UNDATED
        """Why what is done once a day waits, "" from when the venue first said that it is the day that our time says.

        From there our time goes by the steady clock, and is set forward by two sources alone.
        """
        self._dated_elsewhere = dated_elsewhere
        self._by_answers: int | None = None
        self._by_ticks: int | None = None
        """By how much the venue is ahead of the steady clock, as its answers and its ticks last said."""
        self._clock = clock
        self._limit = int(limit_s * NS_PER_S)
        self._behind = min(self._limit, MAX_SKEW_NS - HALF_SECOND)
        """So far our time may be behind: beyond it the filter takes no tick, whatever the limit is."""
        self._stamps = Stamps(symbols)
        self._ahead, self._rejects = Ahead(), False
        self._dates: deque[tuple[int, int]] = deque(maxlen=DATES)  # (when it came, by how much it was ahead)
        self._days: deque[tuple[int, int]] = deque(maxlen=DATES)  # as well, of slow answers, too
        self._told_words: list[float] = []
        self._told_dates: list[int] = []
        self._ticks_say: float | None = None
        self._dates_say: float | None = None
        steady = clock.readings.steady_ns()
        self._wall = clock.readings.wall_ns() - steady
        self._asleep = steady - clock.readings.monotonic_ns()
        self._losing = self._contradicted = False

    def on_ticks(self, batch: TickBatch) -> None:
        """Ticks as they came, just read; `batch.symbols` are the feed's own."""
        steady = self._clock.readings.steady_ns()
        self._stamps.note(batch.code, batch.ts_event, steady)
        self._ahead.note(batch, steady)

    def on_date(self, ts: int, took_ns: int) -> None:
        """The `Date` (UTC ns, whole seconds) of an answer that was read just now, `took_ns` after it was asked for."""
        if not self._dated_elsewhere:  # by the clock that is in question
            return
        steady = self._clock.readings.steady_ns()
        dated = steady, ts + HALF_SECOND - steady
        self._days.append(dated)
        if took_ns <= self._limit // 2:  # a slow answer's date is late by nobody knows how much
            self._dates.append(dated)

    def look(self) -> bool:
        """Compare; True where our time was set forward.

        Raises `StartAgain` where it is far ahead of the venue's, and the machine's is at most half as far from it: a
        new start is nearer.
        """
        readings, limit = self._clock.readings, self._limit
        steady, wall_ns = readings.steady_ns(), readings.wall_ns()
        self._notice(steady, wall_ns - steady)
        self._tell_of_rejected(steady)
        ours = self._clock.now_ns() - steady
        wall = wall_ns - steady - ours
        words, dates_ahead = self._stamps.words(steady), _of_late(self._dates, steady)
        if words is not self._told_words:  # what they agree on stays so until somebody says something else
            self._told_words, self._ticks_say = words, _agreed(words, limit, 1)
        if dates_ahead != self._told_dates:
            self._told_dates, self._dates_say = dates_ahead, _agreed(dates_ahead, limit, DATES_LEAST)
        ticks = None if self._ticks_say is None else self._ticks_say - ours
        dates = None if self._dates_say is None else self._dates_say - ours
        self._note_venue(steady, None if ticks is None else ours + ticks)
        confirmed = any(word is not None and not self._is_off(word) for word in (ticks, dates))
        other = self._other(wall, ticks, dates)
        stepped = False
        if self.undated:
            self._look_at_day(ours + steady, ticks if ticks is not None else dates)
        if confirmed and other is None and self.undated in ("", UNDATED):
            self._agree()
        elif other is not None and not confirmed:
            if other < -WAITED_FOR_NS and abs(wall - other) <= -other / 2:
                raise StartAgain(
                    f"the daemon's time is {-other / NS_PER_S:.0f} s ahead of the venue's, as the machine's clock was "
                    f"when it started, and the machine's is {_apart(wall - other)} it now: a new start takes that one"
                )
            stepped = self._move(other)
        elif confirmed:
            self._hold("the venue's ticks and the venue's answers are of different times")
        elif dates is not None:
            self._hold(f"the venue's answers are dated {_apart(dates)} our time")
        elif ticks is not None and not -LATE_NS <= ticks <= self._behind:
            self._hold(f"the venue's ticks are stamped {_apart(ticks)} our time")
        if not stepped and not self._losing and self._may_be_followed(wall):
            self._follow(wall, wall_ns - steady)
        return stepped

    def check_day(self) -> None:
        """Raise `Unavailable` where the venue's answers so far are of another day in India than our time.

        A start on another day would begin that day's count of the loss, and close what is held as carried over from an
        earlier one.
        """
        steady, ours = self._clock.readings.steady_ns(), self._clock.now_ns()
        ahead = _agreed(_of_late(self._days, steady), WAITED_FOR_NS, DATES_LEAST)
        theirs = ours if ahead is None else steady + int(ahead)
        if _of_another_day(ours, theirs):
            said = _apart_by_days(ours, "the broker's answers are of", theirs)
            raise Unavailable(f"{said}; nothing is done by a wrong day, and the start is tried again")

    def _look_at_day(self, ours: int, ahead: float | None) -> None:
        """The venue may say what day it is: by its ticks, which no cache and no machine of ours has dated, or else."""
        if ahead is None:
            return
        theirs = ours + int(ahead)
        if not _of_another_day(ours, theirs):
            self.undated = ""
            return
        said = f"{_apart_by_days(ours, 'the venue says', theirs)}; until then nothing is done by the day"
        if said != self.undated:
            self.undated = said
            self._hold(said)

    def _note_venue(self, steady: int, by_ticks: float | None) -> None:
        """What the venue last said of its time, by answers that may be slow: here minutes count."""
        by_answers = _agreed(_of_late(self._days, steady), WAITED_FOR_NS, DATES_LEAST)
        if by_answers is not None:
            self._by_answers = int(by_answers)
        if by_ticks is not None:
            self._by_ticks = int(by_ticks)

    @property
    def dated(self) -> bool:
        """Whether the venue's answers have said what time it is, and not its ticks alone, which may be late."""
        return self._by_answers is not None

    @property
    def apart_ns(self) -> int:
        """By how much the venue's time is ahead of ours (below 0: behind), where it says minutes; else 0."""
        line, latest = (self._by_answers, WAITED_FOR_NS) if self.dated else (self._by_ticks, LATE_NS)
        if line is None:
            return 0
        apart = line + self._clock.readings.steady_ns() - self._clock.now_ns()
        return 0 if -latest <= apart <= WAITED_FOR_NS else apart

    @property
    def trouble(self) -> str:
        """What is wrong with our time or the machine's clock, by the venue or most ticks; "" where nothing is."""
        rejected = self._ahead.text(self._clock.readings.steady_ns())
        if rejected:
            return rejected
        if self.undated not in ("", UNDATED):
            return self.undated
        apart = self.apart_ns
        if apart:
            by, ends = ("answers", "by the venue's time") if self.dated else ("ticks", "by whichever time is first")
            told = f"the daemon's time is {_apart(-apart)} the venue's {by}"
            return f"{told}: nothing is opened, and a session ends {ends}"
        wall = self._clock.readings.wall_ns() - self._clock.now_ns()
        return "" if self._may_be_followed(wall) else f"the machine's clock is {_apart(wall)} the daemon's time"

    def _tell_of_rejected(self, steady: int) -> None:
        """Once when it begins, and once when it is over."""
        text = self._ahead.text(steady)
        if text and not self._rejects:
            log.error("most ticks are rejected", reason=text)
        elif self._rejects and not text:
            log.info("ticks are no longer ahead of our time")
        self._rejects = bool(text)

    # -- what is noticed ----------------------------------------------------------------------------------------------

    def _notice(self, steady: int, wall: int) -> None:
        """Hold where the wall clock jumped, or the machine slept: what was known before proves nothing."""
        asleep, before = steady - self._clock.readings.monotonic_ns(), self._asleep
        self._asleep = asleep
        if asleep - before > self._limit:
            self._wall = wall
            self._doubt(f"the machine slept for {(asleep - before) / NS_PER_S:.0f} s")
        elif abs(wall - self._wall) > self._limit:
            jump, self._wall = wall - self._wall, wall
            self._doubt(f"the machine's clock jumped by {jump / NS_PER_S:+.1f} s")

    def _other(self, wall: int, ticks: float | None, dates: float | None) -> int | None:
        """By how much two sources, one of them the venue's, say together that our time is wrong; None: no two do."""
        limit, is_off = self._limit, self._is_off
        for venue in (dates, ticks):
            if venue is not None and is_off(venue) and is_off(wall) and abs(venue - wall) <= limit:
                return wall
        if dates is not None and ticks is not None and is_off(dates) and is_off(ticks) and abs(dates - ticks) <= limit:
            return int(max(dates, ticks))  # what is late was delayed
        return None

    def _is_off(self, ahead: float) -> bool:
        """Whether a time is too far ahead of ours, or behind it, for ours to be right."""
        return not -self._limit <= ahead <= self._behind

    def _may_be_followed(self, wall: int) -> bool:
        """Whether our time, moved by so much to the machine's, would still be within what the venue is held to."""
        return -self._behind <= wall <= self._limit

    # -- what is done about it ----------------------------------------------------------------------------------------

    def _agree(self) -> None:
        if self.held:
            log.info("the venue confirms our time", held=self.held, trouble=self.trouble)
        self.held = ""
        self._losing = self._contradicted = False

    def _move(self, by: int) -> bool:
        """Go forward at once; what is ahead of the venue waits for it at half speed. Whether time was set forward."""
        seconds = f"{abs(by) / NS_PER_S:.1f} s"
        if by > 0:
            self._clock.step(by)
            self._wall = self._clock.readings.wall_ns() - self._clock.readings.steady_ns()
            self._losing = False
            self._doubt(f"the daemon's time was {seconds} behind and has been set forward")
            return True
        if not self._losing:
            self._losing = self._contradicted = True
            self._say(f"the daemon's time is {seconds} ahead of the venue's: it runs at half speed until both agree")
        self._clock.bend(by, 2)
        return False

    def _hold(self, reason: str) -> None:
        """The venue contradicts our time, and nobody bears it out: begin to hold, or say why it goes on."""
        if not self.held:
            self._doubt(reason)
        elif not self._contradicted:
            self._say(f"{reason}: new risk waits until another source says so too, or until both agree")
        self._contradicted = True

    def _doubt(self, reason: str) -> None:
        """Hold until the venue confirms our time with what it says from now on."""
        self._stamps.forget()
        self._dates.clear()
        self._contradicted = False
        if not self._losing:
            self._clock.bend(0, FOLLOWED)  # no more of what was being followed
        self._say(f"{reason}: new risk waits for the venue's time")

    def _say(self, reason: str) -> None:
        self.held = reason
        log.error("time is in doubt", reason=reason)

    def _follow(self, wall: int, line: int) -> None:
        """Small steps of the wall clock, as NTP makes them, without a word."""
        if abs(wall) > NS_PER_MS:
            self._clock.bend(wall, FOLLOWED)
        if abs(wall) <= self._limit // 2:
            self._wall = line


def _agreed(words: Sequence[float], limit: int, least: int) -> float | None:
    """The middle one, where there are enough of them and most lie near it."""
    if len(words) < least:
        return None
    middle = float(statistics.median(words))
    near = sum(abs(word - middle) <= limit for word in words)
    return middle if 2 * near > len(words) else None


def _of_late(dates: Iterable[tuple[int, int]], steady: int) -> list[int]:
    """By how much the venue's answers of late were ahead of the steady clock."""
    return [ahead for at, ahead in dates if at > steady - DATES_AGE_NS]


def _of_another_day(ours: int, theirs: int) -> bool:
    """Whether two times are of two days in India, and not merely of the seconds around midnight."""
    return abs(theirs - ours) > WAITED_FOR_NS and india_day(theirs) != india_day(ours)


def _apart_by_days(ours: int, say: str, theirs: int) -> str:
    return (
        f"the machine's clock says {ist_date(ours)}, and {say} {ist_date(theirs)}: set it right "
        "(timedatectl set-ntp true)"
    )


def _apart(ns: float) -> str:
    return f"{abs(ns) / NS_PER_S:.1f} s {'ahead of' if ns > 0 else 'behind'}"
