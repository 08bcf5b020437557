"""The portfolio's books balance, to the paisa and beyond, after every fill of any history."""

from decimal import Decimal

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.events import Fill, PositionRestated, Side
from daemon.portfolio.book import Portfolio
from tests.depth import examples

CASH = Decimal(1_000_000)
SYMBOLS = ("SBIN", "NIFTY")
ZERO = Decimal(0)


@st.composite
def histories(draw: st.DrawFn) -> list[Fill]:
    """Up to 30 fills of two symbols at prices on the grid, costs to the paisa."""
    return [
        Fill(
            ts=number, fill_id=f"f{number}", order_id="o", symbol=draw(st.sampled_from(SYMBOLS)),
            side=draw(st.sampled_from(list(Side))), quantity=draw(st.integers(1, 700)),
            price=draw(st.integers(1, 1_000_000)) * Decimal("0.05"),
            costs=draw(st.integers(0, 100_000)) * Decimal("0.01"),
        )
        for number in range(1, draw(st.integers(1, 30)) + 1)
    ]  # fmt: skip


def flow(fill: Fill) -> Decimal:
    """What a fill takes out of the cash, costs aside."""
    return fill.side.sign * fill.quantity * fill.price


@settings(max_examples=examples(300))
@given(history=histories(), marks=st.lists(st.integers(1, 1_000_000), min_size=30, max_size=30))
def test_the_books_balance_at_every_step(history: list[Fill], marks: list[int]) -> None:
    """Position = Σ fills; cash = start − Σ flows − Σ costs; realised + unrealised − costs = equity − start. Exactly."""
    portfolio = Portfolio(CASH)
    for number, fill in enumerate(history):
        changed = portfolio.apply(fill)
        done = history[: number + 1]
        own = [item for item in done if item.symbol == fill.symbol]
        assert changed is not None
        assert changed.quantity == sum(item.side.sign * item.quantity for item in own)
        assert changed.cash == CASH - sum(map(flow, done), ZERO) - sum((item.costs for item in done), ZERO)
        assert changed.costs == sum((item.costs for item in own), ZERO)
        portfolio.mark(fill.symbol, marks[number] * Decimal("0.05"))
        unrealised = sum((portfolio.unrealised(symbol) for symbol in SYMBOLS), ZERO)
        assert portfolio.realised_pnl + unrealised - portfolio.costs == portfolio.equity - CASH
        assert (changed.quantity == 0) == (changed.opened_ts == 0 and changed.average_price == 0)


@settings(max_examples=examples(300))
@given(history=histories())
def test_flat_books_have_grown_by_what_was_realised(history: list[Fill]) -> None:
    """Once all is closed, equity and cash have grown by the realised profit less the costs."""
    portfolio = Portfolio(CASH)
    for fill in history:
        portfolio.apply(fill)
    for symbol in SYMBOLS:
        open_quantity = portfolio.quantity(symbol)
        if open_quantity:
            side = Side.SELL if open_quantity > 0 else Side.BUY
            portfolio.apply(
                Fill(ts=99, fill_id=symbol, order_id="o", symbol=symbol, side=side, quantity=abs(open_quantity),
                     price=Decimal("123.45"), costs=Decimal("0.07"))
            )  # fmt: skip
    assert portfolio.realised_pnl - portfolio.costs == portfolio.equity - CASH == portfolio.cash - CASH
    assert all(position.quantity == 0 and position.opened_ts == 0 for position in portfolio.positions())


@settings(max_examples=examples(200))
@given(history=histories(), order=st.randoms(use_true_random=False))
def test_the_order_of_fills_leaves_the_cash(history: list[Fill], order: object) -> None:
    """Shuffled fills end with the same cash, positions and costs; repeated ones change nothing."""
    shuffled = history * 2
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = Portfolio(CASH), Portfolio(CASH)
    for fill in history:
        one.apply(fill)
    answers = [other.apply(fill) for fill in shuffled]
    assert answers.count(None) == len(history)
    assert (one.cash, one.costs) == (other.cash, other.costs)
    assert [one.quantity(symbol) for symbol in SYMBOLS] == [other.quantity(symbol) for symbol in SYMBOLS]


@settings(max_examples=examples(300))
@given(history=histories(), ratio=st.tuples(st.integers(1, 20), st.integers(1, 20)), mark=st.integers(1, 1_000_000))
def test_a_corporate_action_changes_no_cash_and_keeps_the_books(
    history: list[Fill], ratio: tuple[int, int], mark: int
) -> None:
    """Shares and price change inversely; less than a share is lost, whatever else is worth what it was."""
    portfolio = Portfolio(CASH)
    for fill in history:
        portfolio.apply(fill)
    portfolio.mark("SBIN", mark * Decimal("0.05"))
    before, cash, held, average = portfolio.equity, portfolio.cash, portfolio.quantity("SBIN"), ZERO
    average = next((item.average_price for item in portfolio.positions() if item.symbol == "SBIN"), ZERO)
    event = PositionRestated(
        ts=99, symbol="SBIN", date="2026-01-06", kind="split", numerator=ratio[0], denominator=ratio[1]
    )
    restated = portfolio.restate(event)
    assert (restated is None) == (held == 0)
    unrealised = sum((portfolio.unrealised(symbol) for symbol in SYMBOLS), ZERO)
    assert portfolio.cash == cash
    assert abs(portfolio.realised_pnl + unrealised - portfolio.costs - (portfolio.equity - CASH)) < Decimal("1e-9")
    if restated is None:
        return
    changed, rest = restated
    assert (abs(changed.quantity) + rest) * ratio[0] == abs(held) * ratio[1]
    worth = mark * Decimal("0.05") * ratio[0] / ratio[1]
    assert abs(abs(portfolio.equity - before) - worth * rest.numerator / rest.denominator) < Decimal("0.01")
    if changed.quantity:
        assert abs(changed.average_price - average * ratio[0] / ratio[1]) <= Decimal("0.01")


@settings(max_examples=examples(300))
@given(yesterday=histories(), today=histories(), into=st.integers(2, 10), late=st.booleans())
def test_a_split_that_is_known_late_leaves_what_one_known_in_time_does(
    yesterday: list[Fill], today: list[Fill], into: int, late: bool
) -> None:
    """Same shares, cash, worth and profit as if it had been counted before the day's first trade; over a snapshot too.

    `late`: yesterday's last trades are told after today's first.
    """
    day, name = 86_400_000_000_000, msgspec.structs.replace
    today = [name(fill, ts=day + fill.ts, fill_id=f"t{fill.fill_id}") for fill in today]
    held = sum(fill.side.sign * fill.quantity for fill in yesterday if fill.symbol == "SBIN")
    split = PositionRestated(
        ts=2 * day, symbol="SBIN", date="1970-01-02", kind="split", numerator=1, denominator=into, carried=held
    )
    in_time, then = Portfolio(CASH), Portfolio(CASH)
    for fill in yesterday:
        in_time.apply(fill)
    in_time.restate(split)
    for fill in today:
        in_time.apply(fill)
    middle = len(yesterday) // 2 if late else len(yesterday)
    told = [name(fill, ts=day + 1, traded_ts=fill.ts) for fill in yesterday[middle:]]
    for fill in (*yesterday[:middle], *today[:1], *told, *today[1:]):
        then.apply(fill)
    again = Portfolio(CASH)
    again.restore(then.cash, then.holdings(), ())
    for portfolio in (in_time, then, again):
        assert portfolio is in_time or portfolio.held_at("SBIN", 1) == held
        assert portfolio is in_time or (portfolio.restate(split) is None) == (held == 0)
        for symbol in SYMBOLS:
            portfolio.mark(symbol, Decimal("123.45"))
        assert portfolio.quantity("SBIN") == in_time.quantity("SBIN")
        assert (portfolio.cash, portfolio.equity) == (in_time.cash, in_time.equity)
        unrealised = sum((portfolio.unrealised(symbol) for symbol in SYMBOLS), ZERO)
        worth = portfolio.realised_pnl + unrealised - portfolio.costs
        assert abs(worth - (portfolio.equity - CASH)) < Decimal("1e-9")
