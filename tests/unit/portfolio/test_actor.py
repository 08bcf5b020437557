"""The portfolio stage: one position for each new fill, valued at the bars of the decision interval."""

from __future__ import annotations

from decimal import Decimal

from daemon.core.bus import Bus
from daemon.core.events import Bar, Event, PositionChanged, SymbolHalted, SymbolResumed
from daemon.portfolio.actor import PortfolioActor
from daemon.portfolio.book import Portfolio
from tests.samples import DAY, MINUTE, OPEN, SBIN, fill_of, intend

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


def test_positions_are_valued_at_bars_of_the_decision_interval() -> None:
    """Other intervals value nothing."""
    desk = Desk()
    desk.tell(fill_of(intend(quantity=10), costs=Decimal(0)), bar(OPEN + 5 * MINUTE, 810.0))
    desk.tell(bar(OPEN + 6 * MINUTE, 900.0, interval="1m"))
    assert desk.actor.portfolio.equity == CASH + 100


def test_what_nobody_knows_the_number_of_stays_at_its_value() -> None:
    """From the halt over a night to its end, and then at the newest price; a halt of the venue's is none."""
    desk, morning = Desk(), OPEN + DAY
    desk.tell(fill_of(intend(quantity=10), costs=Decimal(0)), bar(OPEN + 5 * MINUTE, 810.0))
    desk.tell(SymbolHalted(ts=morning, symbol=SBIN, reason="position"), bar(morning + 5 * MINUTE, 811.0))
    assert (desk.actor.portfolio.equity, desk.actor.portfolio.unsettled) == (CASH + 110, [])
    desk.tell(SymbolHalted(ts=morning, symbol=SBIN, reason="in doubt", overnight=True))
    desk.tell(bar(morning + 10 * MINUTE, 160.0))
    assert (desk.actor.portfolio.equity, desk.actor.portfolio.unsettled) == (CASH + 110, [SBIN])
    assert desk.actor.portfolio.closes() == {SBIN: (morning + 10 * MINUTE, 160.0)}
    desk.tell(SymbolResumed(ts=morning, symbol=SBIN, reason="resumed", overnight=True))
    assert (desk.actor.portfolio.equity, desk.actor.portfolio.unsettled) == (CASH - 6400, [])
