"""What has to be said of a replay because of what its tapes are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from daemon.feed.tick_filter import Rejection
from daemon.report.summary import TickCounts
from daemon.tape.bar_ticks import OPEN_AFTER_NS

CONSIDERABLE: Final = 0.01
"""A share of late ticks that is no accident of a feed."""


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
