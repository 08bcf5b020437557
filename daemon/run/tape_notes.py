"""What has to be said of a replay because of what its tapes are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from daemon.core.clock import MAX_SKEW_NS, NS_PER_S
from daemon.feed.tick_filter import Rejection
from daemon.market.instruments import InstrumentBook
from daemon.report.summary import TickCounts
from daemon.settings.feed import FeedSettings
from daemon.settings.market import MarketSettings
from daemon.tape.bar_ticks import OPEN_AFTER_NS

CONSIDERABLE: Final = 0.01
"""A share of late ticks, and of false totals of volume, that is no accident of a feed."""
MOST: Final = 0.5
"""A share of ticks outside the sessions that isn't what comes before the open and after the close."""

FEW_ABSENT: Final = 0.05
"""Of the sessions of a tape's time: so many may be missing without a word."""

SHOWN: Final = 5
"""Symbols that are named in a line."""


def none_usable(tapes: Iterable[object], rejected: Mapping[str, int]) -> str:
    """That every tick was turned away, and why."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in rejected.items() if count) or "it has none"
    return f"{', '.join(map(str, tapes))}: no tick could be used ({reasons})"


def out_of_order(ticks: TickCounts, tapes: list[Path], received: bool, grace_ms: int) -> str:
    """Why a considerable share of the ticks came too late to be used, and what to do; "" where none did.

    `received`: the tapes hold times of receipt.
    """
    late, backward = ticks.rejected.get("late", 0), ticks.rejected.get(Rejection.BACKWARD_TIME, 0)
    if late + backward <= ticks.total * CONSIDERABLE:
        return ""
    said = (
        f"{late + backward:,} of {ticks.total:,} ticks came too late to be used "
        f"(late {late:,}, backward_time {backward:,}): "
    )
    sorting = f"hrmd tape import {tapes[0] if len(tapes) == 1 else 'TAPE'} --out SORTED.parquet sorts them"
    if received and not backward:
        return said + (
            f"by the tape's times of receipt they came more than bars.grace_ms ({grace_ms}) after their bar was over; "
            f"a larger one waits longer. Where the rows only stand in another order than they came, {sorting}"
        )
    return said + (
        f"the rows of the tape are in no order of time, as where symbols stand one after the other; {sorting}"
    )


def no_totals(ticks: TickCounts) -> str:
    """That the volume of a considerable share of the ticks is no total of the day; "" where it is."""
    if ticks.repaired <= ticks.accepted * CONSIDERABLE:
        return ""
    return (
        f"in {ticks.repaired:,} of {ticks.accepted:,} ticks the volume is no total of the day, for it falls or can't "
        "be: bars lack volume. Where it is of single trades: hrmd tape import FILE --map last_qty=VOLUME"
    )


def stands_still(unmoved: int, bars: int) -> str:
    """That in most `bars` the price moved and no volume did, `unmoved` of them; "" where it mostly did."""
    if unmoved <= bars * MOST:
        return ""
    return (
        f"in {unmoved:,} of {bars:,} bars the price moved and nothing was traded: the column of volume stands still. "
        "hrmd tape import FILE --map volume=COLUMN names the day's total, --map last_qty=COLUMN single trades"
    )


def outside(ticks: TickCounts) -> str:
    """That most ticks lie outside the sessions, and what may be the reason; "" where they don't."""
    count = ticks.rejected.get(Rejection.OUTSIDE_SESSION, 0)
    if count <= ticks.total * MOST:
        return ""
    return (
        f"{count:,} of {ticks.total:,} ticks lie outside the market's hours: are their times of another zone? "
        "hrmd tape import FILE --tz ZONE says of which"
    )


def absent(played: int, sessions: int) -> str:
    """That of a tape's `sessions`, from its first to its last, not nearly all were `played`; "" where they were.

    A few of each year, such as an evening at Diwali, are on no tape.
    """
    if (sessions - played) <= sessions * FEW_ABSENT:
        return ""
    return (
        f"{sessions - played:,} of the {sessions:,} sessions from the first to the last are not on the tape: ratios "
        "are those of the others as if they had followed each other, and buy and hold went through all"
    )


def ahead_of_receipt(ticks: TickCounts) -> str:
    """That a considerable share of the ticks is stamped ahead of its receipt, and why; "" where none is."""
    count = ticks.rejected.get(Rejection.BAD_TIME, 0)
    if count <= ticks.total * CONSIDERABLE:
        return ""
    return (
        f"{count:,} of {ticks.total:,} ticks are stamped more than {MAX_SKEW_NS / NS_PER_S:g} s ahead of their "
        "receipt, or of a year that can't be (bad_time): was the clock of the machine that recorded them behind? A "
        "file without the column ts_recv is taken by the exchange's stamps"
    )


def not_chosen(feed: FeedSettings, symbols: Sequence[str]) -> str:
    """That `feed.symbols` choose none of what a tape holds; "" where they say what it holds, or are a live feed's.

    `symbols`: those that are played.
    """
    there, absent = set(symbols), [symbol for symbol in feed.symbols if symbol not in symbols]
    if not feed.symbols or there == set(feed.symbols) or (feed.source != "tape" and len(absent) < len(feed.symbols)):
        return ""
    return (
        f"feed.symbols choose nothing of a tape{f': not played {_some(absent)}' if absent else ''}; played "
        f"{_some(symbols)}. hrmd replay --symbol takes some of a tape"
    )


def _some(symbols: Sequence[str]) -> str:
    return ", ".join([*symbols[:SHOWN], *(["…"] if symbols[SHOWN:] else [])])


def made_of_bars(interval: str, dropped: Sequence[str], delay_ns: int) -> str:
    """What a tape of bars can't say, and how its fills are invented; "" for ticks.

    `delay_ns`: from the end of a bar until an order decided on it is on the market.
    """
    if not interval:
        return ""
    at_open = "a market order decided at a bar's close fills at the next bar's open"
    if delay_ns >= OPEN_AFTER_NS:
        at_open = "orders come too late for the next bar's open and pay the worse extreme of that bar"
    left = f"; no {', '.join(dropped)} bars were built" if dropped else ""
    return (
        f"made of {interval} bars: what came first inside a bar is unknown; {at_open}, what trades inside a bar (a "
        "stop) pays the bar's worse extreme, a limit order fills by an extreme only if it was there before the bar's "
        f"open, and after the stops{left}"
    )


def lots_changed(market: MarketSettings, symbols: Iterable[str], days: Sequence[dt.date]) -> list[str]:
    """A line for each symbol whose lot became another on one of `days`: all of them are traded in the first's lots."""
    books = [InstrumentBook(market, day) for day in days]
    said = []
    for symbol in symbols:
        lots = [found.lot_size for book in books if (found := book.resolve(symbol)) is not None and found.tradeable]
        changed = next((place for place, lot in enumerate(lots) if lot != lots[0]), None)
        if changed is not None:
            said.append(
                f"{symbol}: its lot became {lots[changed]} on {days[changed]}, and was {lots[0]}: all of it was traded "
                f"in lots of {lots[0]}, which no exchange took from then on; replay that time from a tape of its own"
            )
    return said
