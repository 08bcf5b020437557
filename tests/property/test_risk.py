"""No history of decisions, fills and cancellations breaks a limit, and what closes is never more than what is open."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon.core.events import Action, OrderIntent, Side
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.risk.book import RiskBook, worst_position
from daemon.risk.gate import RiskGate
from daemon.risk.intents import IntentBuilder
from daemon.settings.market import InstrumentSettings, MarketSettings
from daemon.settings.orders import ExecutionSettings
from daemon.settings.risk import RiskSettings
from tests.depth import examples
from tests.samples import MINUTE, OPEN, RELIANCE, SBIN, decide, fill_of, intend, tick

FUTURE = "NSE:NIFTY26JANFUT"
NOON = OPEN + 60 * MINUTE
PRICES = {SBIN: 800.0, RELIANCE: 1450.0, FUTURE: 101.3}
LIMITS = RiskSettings(
    max_order_quantity=700, max_position_quantity=1000, max_order_notional=Decimal(300_000),
    max_gross_notional=Decimal(700_000),
)  # fmt: skip
CALENDAR = MarketCalendar()
INSTRUMENTS = InstrumentBook(
    MarketSettings(instruments=[InstrumentSettings(symbol=FUTURE, kind="future", lot_size=75)])
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("decide"), st.sampled_from(list(PRICES)), st.sampled_from(list(Action)), st.integers(1, 100_000)
        ),
        st.tuples(st.just("ask"), st.sampled_from(list(PRICES)), st.sampled_from(list(Side)), st.integers(-10, 2_000)),
        st.tuples(st.just("fill"), st.integers(0, 50), st.integers(1, 1000), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 50), st.none(), st.none()),
        st.tuples(st.just("close"), st.sampled_from(list(PRICES)), st.none(), st.none()),
    ),
    max_size=40,
)

LARGE_EXIT: list[tuple[str, Any, Any, Any]] = [
    ("decide", SBIN, Action.SELL_SHORT, 1), ("fill", 0, 1, None), ("decide", SBIN, Action.SELL_SHORT, 375),
    ("fill", 0, 375, None), ("decide", SBIN, Action.CLOSE_SHORT, 1),
]  # fmt: skip
"""What took two orders to open is closed by one, larger than an order that opens may be: an exit is never denied."""


class Desk:
    """Builder, gate and book, and the orders they approved that are still open."""

    def __init__(self, order_type: str) -> None:
        self.book = RiskBook()
        execution = ExecutionSettings(order_type=order_type)  # type: ignore[arg-type]
        self.builder = IntentBuilder(LIMITS, execution, INSTRUMENTS, "P")
        self.gate = RiskGate(LIMITS, INSTRUMENTS, CALENDAR, 30)
        self.open: dict[str, tuple[OrderIntent, int]] = {}
        self.count = 0
        for symbol, price in PRICES.items():
            self.book.on_ticks(tick(NOON, price, symbol))

    def submit(self, intent: OrderIntent | None) -> bool:
        """Ask the gate; an approved order is open."""
        if intent is None or self.gate.check(intent, self.book, intent.ts) is not None:
            return False
        if intent.reduces:
            entry = self.book.of(intent.symbol)
            working = entry.working_buys if intent.side is Side.BUY else entry.working_sells
            assert intent.quantity + working <= -intent.side.sign * entry.position
        self.book.order_opened(intent)
        self.open[intent.order_id] = (intent, intent.quantity)
        return True

    def fill(self, pick: int, quantity: int) -> None:
        """Fill a part, or all, of an open order."""
        if not self.open:
            return
        order_id = list(self.open)[pick % len(self.open)]
        intent, left = self.open.pop(order_id)
        done = min(quantity, left)
        self.count += 1
        self.book.on_fill(fill_of(intent, done, self.count))
        if left > done:
            self.open[order_id] = (intent, left - done)

    def cancel(self, pick: int) -> None:
        """Take an open order off the market."""
        if self.open:
            order_id = list(self.open)[pick % len(self.open)]
            del self.open[order_id]
            self.book.order_gone(order_id)


@settings(max_examples=examples(400))
@given(steps=STEPS, order_type=st.sampled_from(["MARKET", "LIMIT"]))
@example(steps=LARGE_EXIT, order_type="MARKET")
def test_no_limit_is_ever_broken(steps: list[tuple[str, Any, Any, Any]], order_type: str) -> None:
    """After every step: positions, gross and what the working orders can still make of them are within the limits."""
    desk = Desk(order_type)
    for kind, first, second, third in steps:
        if kind == "decide":
            decision = decide(second, third, symbol=first, price=PRICES[first])
            intent = desk.builder.build(decision, desk.book)
            if intent is not None and not intent.reduces:
                assert intent.quantity <= decision.quantity
            if intent is not None and desk.submit(intent) and not intent.reduces:
                assert intent.quantity * intent.reference_price <= LIMITS.max_order_notional
        elif kind == "ask":
            desk.count += 1
            price, reduces = Decimal(str(PRICES[first])), desk.count % 2 == 0
            order_id = f"A{desk.count}"
            desk.submit(intend(order_id, second, third, symbol=first, reduces=reduces, reference_price=price))
        elif kind == "fill":
            desk.fill(first, second)
        elif kind == "cancel":
            desk.cancel(first)
        else:
            desk.submit(desk.builder.closing(first, desk.book, NOON, "flatten"))
        check(desk)


def check(desk: Desk) -> None:
    """The book agrees with the open orders, and nothing they can lead to breaks a limit."""
    gross = Decimal(0)
    for symbol, price in PRICES.items():
        entry = desk.book.of(symbol)
        own = [(intent, left) for intent, left in desk.open.values() if intent.symbol == symbol]
        assert entry.working_buys == sum(left for intent, left in own if intent.side.sign > 0)
        assert entry.working_sells == sum(left for intent, left in own if intent.side.sign < 0)
        assert worst_position(entry) <= LIMITS.max_position_quantity
        gross += worst_position(entry) * Decimal(str(price))
    assert gross <= LIMITS.max_gross_notional + Decimal("0.01")


@settings(max_examples=examples(200))
@given(
    position=st.integers(-5000, 5000).filter(bool),
    loss=st.integers(0, 10**6),
    late=st.integers(0, 10**15),
)
def test_an_exit_is_never_denied_for_new_risk(position: int, loss: int, late: int) -> None:
    """Whatever is held, lost, or late: the order that closes it goes through."""
    desk = Desk("MARKET")
    opener = intend("o", Side.BUY if position > 0 else Side.SELL, abs(position))
    desk.book.on_fill(fill_of(opener))
    desk.book.of(SBIN).net_realised = Decimal(-loss)
    closing = desk.builder.closing(SBIN, desk.book, NOON + late, "flatten")
    assert closing is not None
    assert closing.quantity == abs(position)
    assert desk.gate.check(closing, desk.book, closing.ts) is None


HUGE = RiskSettings(
    max_order_quantity=10**6, max_position_quantity=10**6, max_order_notional=Decimal(10**10),
    max_gross_notional=Decimal(10**10),
)  # fmt: skip
OUTCOMES = st.lists(st.sampled_from(["fill", "part", "cancel", "reject", "too large"]), max_size=60)


@settings(max_examples=examples(300))
@given(
    lots=st.integers(-400, 400).filter(bool), freeze=st.integers(1, 5000), lot=st.sampled_from([15, 65, 75]),
    outcomes=OUTCOMES, pick=st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_parts_of_an_exit_add_up_whatever_becomes_of_them(
    lots: int, freeze: int, lot: int, outcomes: list[str], pick: Any
) -> None:
    """Each part is in whole lots and within the limit, all that work never exceed what is held, and it ends flat."""
    item = InstrumentSettings(symbol=FUTURE, kind="future", lot_size=lot)
    instruments = InstrumentBook(MarketSettings(instruments=[item], freeze_quantities={FUTURE: freeze}))
    builder = IntentBuilder(HUGE, ExecutionSettings(), instruments, "P")
    gate, book = RiskGate(HUGE, instruments, CALENDAR, 30), RiskBook()
    book.on_ticks(tick(NOON, 100.0, FUTURE))
    book.on_fill(fill_of(intend("held", Side.BUY if lots > 0 else Side.SELL, abs(lots) * lot, symbol=FUTURE)))
    largest, working = max(lot, freeze // lot * lot), {}
    for number, outcome in enumerate([*outcomes, *["fill"] * 1000]):
        closing = builder.closing(FUTURE, book, NOON, "flatten")
        for part in builder.parts(closing, book) if closing is not None else []:
            assert 0 < part.quantity <= largest
            assert part.quantity % lot == 0
            assert gate.check(part, book, NOON) is None
            book.order_opened(part)
            working[part.order_id] = part.quantity
        held = book.of(FUTURE).position
        assert sum(working.values()) == abs(held)
        if not held:
            break
        order_id = pick.choice(sorted(working))
        intent, left = book.open_intent(order_id), working.pop(order_id)
        assert intent is not None
        if outcome == "part" and left > lot:
            book.on_fill(fill_of(intent, lot, number))
            working[order_id] = left - lot
        elif outcome in ("fill", "part"):
            book.on_fill(fill_of(intent, left, number))
        else:
            if outcome == "too large":
                book.largest[FUTURE] = builder.halved(intent)
            book.order_gone(order_id)
    assert book.of(FUTURE).position == 0
    assert not working
