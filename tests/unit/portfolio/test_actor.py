"""The portfolio stage: one position for each new fill, and the equity each session ended with."""

from __future__ import annotations

from decimal import Decimal

from daemon.core.bus import Bus
from daemon.core.events import Bar, Event, PositionChanged, Side
from daemon.portfolio.actor import PortfolioActor
from daemon.portfolio.book import Portfolio
from tests.samples import CLOSE, DAY, MINUTE, OPEN, RELIANCE, SBIN, fill_of, intend

CASH = Decimal(1_000_000)


def bar(ts_close: int, close: float, symbol: str = SBIN, interval: str = "5m") -> Bar:
    """A bar that closes at `ts_close`."""
    return Bar(symbol=symbol, interval=interval, ts_open=ts_close - 1, ts_close=ts_close, open=close, high=close,
               low=close, close=close, volume=1, ticks=1)  # fmt: skip


class Desk:
    """The actor, driven by the bus's own routing."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.said: list[PositionChanged] = []
        self.bus.tap((PositionChanged,), self.said.append)
        self.actor = PortfolioActor(self.bus, Portfolio(CASH), "5m")

    def tell(self, *events: Event) -> None:
        """Publish, and let the actor handle what reaches it."""
        for event in events:
            self.bus.publish(event)
            while (taken := self.actor.inbox.take()) is not None:
                self.actor.handle(taken)
                self.actor.inbox.done()


def test_each_new_fill_moves_the_position_once() -> None:
    """Quantity, cash and costs after each fill; a repetition says nothing."""
    desk, order = Desk(), intend(quantity=100)
    fills = [fill_of(order, 30, 1), fill_of(order, 70, 2)]
    desk.tell(fills[0], fills[0], fills[1], fills[0])
    assert [event.quantity for event in desk.said] == [30, 100]
    assert desk.said[-1].cash == CASH - 80_000 - Decimal("2.46")
    assert desk.said[-1].costs == Decimal("2.46")


def test_equity_follows_the_bars_of_the_decision_interval() -> None:
    """Other intervals value nothing."""
    desk = Desk()
    desk.tell(fill_of(intend(quantity=10), costs=Decimal(0)), bar(OPEN + 5 * MINUTE, 810.0))
    desk.tell(bar(OPEN + 6 * MINUTE, 900.0, interval="1m"))
    assert desk.actor.equity_by_session() == [(OPEN + 5 * MINUTE, CASH + 100)]


def test_without_bars_there_is_no_session() -> None:
    """Nothing was valued, nothing can be said."""
    desk = Desk()
    desk.tell(fill_of(intend()))
    assert desk.actor.equity_by_session() == []


def test_each_session_keeps_the_equity_it_ended_with() -> None:
    """All symbols' last bars count for their own day; the next day's first bar changes only its own."""
    desk = Desk()
    desk.tell(
        fill_of(intend(quantity=10), costs=Decimal(0)),
        fill_of(intend("R", Side.SELL, 10, symbol=RELIANCE), costs=Decimal(0)),
        bar(CLOSE, 810.0), bar(CLOSE, 790.0, RELIANCE), bar(OPEN + DAY + 5 * MINUTE, 820.0),
        bar(OPEN + DAY + 5 * MINUTE, 790.0, RELIANCE),
    )  # fmt: skip
    assert desk.actor.equity_by_session() == [(CLOSE, CASH + 200), (OPEN + DAY + 5 * MINUTE, CASH + 300)]


def test_a_fill_before_the_first_bar_belongs_to_its_own_day() -> None:
    """What was carried over and closed at the next open is the next day's profit, not the last one's."""
    desk = Desk()
    desk.tell(fill_of(intend(quantity=10), costs=Decimal(0)), bar(CLOSE, 800.0))
    closing = intend("x", Side.SELL, 10, ts=OPEN + DAY, reference_price=Decimal(700))
    desk.tell(fill_of(closing, costs=Decimal(0)))
    assert desk.actor.equity_by_session()[0] == (CLOSE, CASH)
    desk.tell(bar(OPEN + DAY + 5 * MINUTE, 700.0))
    assert desk.actor.equity_by_session() == [(CLOSE, CASH), (OPEN + DAY + 5 * MINUTE, CASH - 1000)]


def test_a_late_bar_of_the_same_day_turns_no_clock_back() -> None:
    """The session's time is that of its newest bar."""
    desk = Desk()
    desk.tell(bar(OPEN + 10 * MINUTE, 800.0), bar(OPEN + 5 * MINUTE, 800.0))
    assert desk.actor.equity_by_session() == [(OPEN + 10 * MINUTE, CASH)]
