"""Symbols and what is read from them, rounding, dated lots."""

import datetime as dt
from decimal import Decimal

import pytest

from daemon.core.errors import SettingsError
from daemon.core.events import Side
from daemon.market.instruments import Instrument, InstrumentBook, Kind
from daemon.settings.market import InstrumentSettings, MarketSettings


@pytest.fixture
def book() -> InstrumentBook:
    """A book that infers everything, with the newest lots."""
    return InstrumentBook(MarketSettings())


@pytest.mark.parametrize(
    ("symbol", "kind", "exchange", "lot"),
    [
        ("NSE:SBIN-EQ", Kind.EQUITY, "NSE", 1),
        ("NSE:EMBASSY-RR", Kind.EQUITY, "NSE", 1),
        ("NSE:PGINVIT-IV", Kind.EQUITY, "NSE", 1),
        ("NSE:BAJAJ-AUTO-EQ", Kind.EQUITY, "NSE", 1),
        ("RELIANCE", Kind.EQUITY, "NSE", 1),
        ("M&M", Kind.EQUITY, "NSE", 1),
        ("NSE:ABC-SZ", Kind.EQUITY, "NSE", 1),
        ("NSE:ABC-E1", Kind.EQUITY, "NSE", 1),
        *((f"BSE:3MINDIA-{group}", Kind.EQUITY, "BSE", 1) for group in ("E", "IF", "M", "MT", "P", "TS", "Z", "ZP")),
        ("BSE:SENSEXETF-X", Kind.EQUITY, "BSE", 1),
        ("NSE:NIFTY50-INDEX", Kind.INDEX, "NSE", 65),
        ("NSE:NIFTYBANK-INDEX", Kind.INDEX, "NSE", 30),
        ("NIFTY", Kind.INDEX, "NSE", 65),
        ("NIFTY 50", Kind.INDEX, "NSE", 65),
        ("BANKNIFTY", Kind.INDEX, "NSE", 30),
        ("NSE:NIFTY25NOVFUT", Kind.FUTURE, "NSE", 65),
        ("NIFTY25NOVFUT", Kind.FUTURE, "NSE", 65),
        ("NSE:M&M25NOVFUT", Kind.FUTURE, "NSE", 1),
        ("NSE:360ONE26JANFUT", Kind.FUTURE, "NSE", 1),
        ("NSE:360ONE26JAN1100CE", Kind.OPTION, "NSE", 1),
        ("NSE:360ONE-FUT1", Kind.FUTURE, "NSE", 1),
        ("NSE:NIFTY20OCT11000CE", Kind.OPTION, "NSE", 65),
        ("NSE:NIFTY20O0811000CE", Kind.OPTION, "NSE", 65),
        ("NSE:BANKNIFTY2510948500PE", Kind.OPTION, "NSE", 30),
    ],
)
def test_grammar(book: InstrumentBook, symbol: str, kind: Kind, exchange: str, lot: int) -> None:
    """Fyers' symbols and bare names are read; the symbol stays as it was written."""
    found = book.resolve(symbol)
    assert found is not None
    assert (found.symbol, found.kind, found.exchange, found.lot_size) == (symbol, kind, exchange, lot)
    assert found.tradeable
    assert found.missing_lot == (lot == 1 and kind is not Kind.EQUITY)


@pytest.mark.parametrize(
    "symbol",
    ["", "NSE:", "NSE:36026JANFUT", "NSE:360-FUT1", "NSE:NIFTY", "foo bar", "reliance", "NSE:SBIN-??", "A" * 21,
     "NIFTY-I", "BANKNIFTY-II", "RELIANCE-III", "USDINR"],
)  # fmt: skip
def test_unreadable(book: InstrumentBook, symbol: str) -> None:
    """What follows no grammar is no instrument."""
    assert book.resolve(symbol) is None


@pytest.mark.parametrize(
    "symbol",
    ["INDIAVIX", "NSE:INDIAVIX-INDEX", "NSE:NIFTYIT-INDEX", "MCX:CRUDEOIL25JANFUT", "MCX:CRUDEOIL25JAN5900CE",
     "SENSEX", "BANKEX", "NIFTYIT", "NIFTY IT", "CNXIT", "NIFTY500"],
)  # fmt: skip
def test_quoted_but_not_tradeable(book: InstrumentBook, symbol: str) -> None:
    """An index without a known future and an exchange without a cost schedule are known, not tradeable."""
    found = book.resolve(symbol)
    assert found is not None
    assert not found.tradeable


def test_index_is_traded_only_as_its_future() -> None:
    """With `index_as_future` off an index is quoted only."""
    found = InstrumentBook(MarketSettings(index_as_future=False)).resolve("NIFTY")
    assert found is not None
    assert not found.tradeable


def test_reject_leaves_only_the_listed() -> None:
    """`unlisted: reject` knows the listed symbols and their aliases and nothing else."""
    listed = InstrumentSettings(symbol="NSE:SBIN-EQ", aliases=["SBIN"], kind="equity", tick_size=Decimal("0.10"))
    book = InstrumentBook(MarketSettings(instruments=[listed], unlisted="reject"))
    assert book.resolve("RELIANCE") is None
    assert book.resolve("SBIN") == Instrument("SBIN", Kind.EQUITY, "NSE", 1, Decimal("0.10"), True)
    assert book.resolve("NSE:SBIN-EQ") == Instrument("NSE:SBIN-EQ", Kind.EQUITY, "NSE", 1, Decimal("0.10"), True)


def test_listed_goes_before_inferred() -> None:
    """What the user lists wins over what the name looks like; a listed lot makes an index tradeable."""
    listed = [
        InstrumentSettings(symbol="NIFTY", kind="index"),
        InstrumentSettings(symbol="GOLDBEES", kind="equity", lot_size=10),
        InstrumentSettings(symbol="BSE:SENSEX-INDEX", kind="index", lot_size=20),
        InstrumentSettings(symbol="NSE:NIFTYIT-INDEX", kind="index"),
    ]
    book = InstrumentBook(MarketSettings(instruments=listed))
    found = [book.resolve(item.symbol) for item in listed]
    lots = [item and (item.lot_size, item.tradeable) for item in found]
    assert lots == [(65, True), (10, True), (20, True), (1, False)]


def test_a_name_belongs_to_one_instrument() -> None:
    """The same alias on two instruments is refused, with both names."""
    listed = [
        InstrumentSettings(symbol="NSE:SBIN-EQ", aliases=["SBIN"], kind="equity"),
        InstrumentSettings(symbol="BSE:SBIN-A", aliases=["SBIN"], kind="equity"),
    ]
    with pytest.raises(SettingsError, match=r"'SBIN' stands for both 'NSE:SBIN-EQ' and 'BSE:SBIN-A'"):
        InstrumentBook(MarketSettings(instruments=listed))


@pytest.mark.parametrize(
    ("day", "lot", "tick"),
    [
        ("2005-01-03", 50, "0.05"),
        ("2014-10-30", 50, "0.05"),
        ("2021-06-24", 75, "0.05"),
        ("2021-06-25", 50, "0.05"),
        ("2025-04-15", 75, "0.10"),
        ("2026-01-01", 65, "0.10"),
    ],
)
def test_lots_are_dated(day: str, lot: int, tick: str) -> None:
    """A book speaks for its date: the index and its derivatives have the lot and tick of that day."""
    book = InstrumentBook(MarketSettings(), as_of=dt.date.fromisoformat(day))
    for symbol in ("NIFTY", "NSE:NIFTY21JUNFUT"):
        found = book.resolve(symbol)
        assert found is not None
        assert (found.lot_size, found.tick_size) == (lot, Decimal(tick))
    option = book.resolve("NSE:NIFTY21JUN15000CE")
    assert option is not None
    assert (option.lot_size, option.tick_size) == (lot, Decimal("0.05"))


def test_the_same_answer_twice(book: InstrumentBook) -> None:
    """An instrument is read once and remembered, the unknown too."""
    assert book.resolve("SBIN") is book.resolve("SBIN")
    assert book.resolve("?") is None
    assert book.resolve("?") is None


@pytest.mark.parametrize(
    ("price", "side", "expected"),
    [
        ("100.07", None, "100.05"),
        ("100.08", None, "100.10"),
        ("100.01", Side.BUY, "100.05"),
        ("100.09", Side.SELL, "100.05"),
        ("100.05", Side.BUY, "100.05"),
        ("100.05", Side.SELL, "100.05"),
        ("0.01", Side.SELL, "0.05"),
        ("0", None, "0.05"),
    ],
)
def test_round_price(book: InstrumentBook, price: str, side: Side | None, expected: str) -> None:
    """Prices go to the grid, against the side, never below one tick; a float gives the same."""
    found = book.resolve("SBIN")
    assert found is not None
    assert found.round_price(Decimal(price), side) == Decimal(expected)
    assert found.round_price(float(price), side) == Decimal(expected)


def test_on_grid(book: InstrumentBook) -> None:
    """Only positive multiples of the tick are prices."""
    found = book.resolve("SBIN")
    assert found is not None
    assert [found.on_grid(Decimal(text)) for text in ("100.05", "100.07", "0", "-0.05")] == [True, False, False, False]


@pytest.mark.parametrize(("quantity", "expected"), [(64, 0), (65, 65), (129, 65), (130.9, 130), (-65, 0), (0, 0)])
def test_round_quantity(book: InstrumentBook, quantity: float, expected: int) -> None:
    """Quantities go down to whole lots and never below 0."""
    found = book.resolve("NIFTY")
    assert found is not None
    assert found.round_quantity(quantity) == expected


@pytest.mark.parametrize(
    ("symbol", "day", "quantity"),
    [
        ("NSE:NIFTY21APRFUT", "2021-04-01", 5000),
        ("NSE:NIFTY2610611000CE", "2026-01-05", 1800),
        ("NSE:BANKNIFTY25AUGFUT", "2025-08-29", 600),
        ("NSE:BANKNIFTY25SEPFUT", "2025-09-01", 900),
        ("NSE:NIFTYBANK-INDEX", "2025-09-01", 900),
        ("FINNIFTY-FUT1", "2026-03-02", 1200),
        ("NSE:MIDCPNIFTY26JANFUT", "2026-01-05", 2800),
        ("NSE:NIFTYNXT5026JANFUT", "2026-01-05", 600),
        ("BSE:SENSEX26JANFUT", "2026-01-05", 1000),
        ("NSE:RELIANCE26JANFUT", "2026-01-05", None),
        ("NSE:NIFTYBEES-EQ", "2026-01-05", None),
    ],
)
def test_freeze_quantities_are_dated(symbol: str, day: str, quantity: int | None) -> None:
    """By contract, index or alias; what no exchange told is unknown, not guessed."""
    found = InstrumentBook(MarketSettings(), as_of=dt.date.fromisoformat(day)).resolve(symbol)
    assert found is not None
    assert found.freeze_quantity == quantity


def test_own_freeze_quantities() -> None:
    """By symbol, before that of the underlying, before the exchange's; a share may have one, too."""
    own = {"NIFTY": 900, "NSE:NIFTY26FEBFUT": 400, "SBIN": 10_000, "RELIANCE": 20_000, "NSE:TCS-EQ": 7}
    book = InstrumentBook(MarketSettings(freeze_quantities=own))
    symbols = ("NSE:NIFTY26JANFUT", "NSE:NIFTY26FEBFUT", "NSE:RELIANCE26JANFUT", "SBIN", "NSE:TCS-EQ", "NSE:SBIN-EQ")
    limits = [found.freeze_quantity for symbol in symbols if (found := book.resolve(symbol)) is not None]
    assert limits == [900, 400, 20_000, 10_000, 7, None]


def test_a_freeze_quantity_below_a_lot_is_refused() -> None:
    """No order would be taken, and nothing that is held could be closed."""
    symbols = ["NSE:SBIN-EQ", "NSE:NIFTY26JANFUT"]
    InstrumentBook(MarketSettings(freeze_quantities={"NIFTY": 65}), dt.date(2026, 1, 5)).check_freeze_quantities(
        symbols
    )
    book = InstrumentBook(MarketSettings(freeze_quantities={"NIFTY": 64}), dt.date(2026, 1, 5))
    with pytest.raises(SettingsError, match=r"freeze_quantities: NSE:NIFTY26JANFUT: 64 is less than its lot of 65"):
        book.check_freeze_quantities(symbols)


def test_a_freeze_quantity_that_holds_for_nothing_is_told() -> None:
    """One of a bare name is for the contracts on it, not for the share of that name."""
    own = {"NIFTY": 900, "SBIN": 10_000, "RELIANCE": 20_000, "NSE:TCS-EQ": 7}
    book = InstrumentBook(MarketSettings(freeze_quantities=own))
    symbols = ["NSE:NIFTY50-INDEX", "NSE:SBIN-EQ", "NSE:RELIANCE26JANFUT", "NSE:TCS-EQ"]
    assert book.idle([], symbols) == ["market.freeze_quantities: SBIN: not among the symbols, so it holds for nothing"]


def test_the_largest_order_is_in_whole_lots() -> None:
    """1,800 units of NIFTY in lots of 65 are 27 lots; less than a lot can't be ordered at all."""
    book = InstrumentBook(MarketSettings(freeze_quantities={"NSE:NIFTY26FEBFUT": 10}))
    sizes = [book.resolve(symbol) for symbol in ("NSE:NIFTY26JANFUT", "NSE:NIFTY26FEBFUT", "NSE:SBIN-EQ")]
    assert [found.largest_order for found in sizes if found is not None] == [1755, 65, None]


@pytest.mark.parametrize("symbol", ["NSE:SBIN-EQX", "NSE:sbin-EQ", "sbin", "NSE:nifty-FUT", "SBIN-EQ:NSE", ""])
def test_a_limit_for_a_symbol_that_none_has_is_refused(book: InstrumentBook, symbol: str) -> None:
    """It would hold for nothing; a family of contracts, a bare name and one that isn't listed are none of those."""
    book.check_known("risk.limits", ["NSE:SBIN-EQ", "NSE:NIFTY-FUT", "NSE:M&M-OPT", "RELIANCE", "NSE:NIFTY26JANFUT"])
    InstrumentBook(MarketSettings(unlisted="reject")).check_known("risk.limits", ["NSE:SBIN-EQ"])
    with pytest.raises(SettingsError, match=f"risk.limits: {symbol}: no such symbol.*NSE:SBIN-EQ"):
        book.check_known("risk.limits", ["NSE:SBIN-EQ", symbol])


def test_limits_of_what_is_not_traded_are_told(book: InstrumentBook) -> None:
    """A symbol, its family, and what an index is traded as are in use; a name that is none of them is told."""
    limits = ["NSE:SBIN-EQ", "NSE:NIFTY-FUT", "NSE:BANKNIFTY-FUT", "NSE:SBINN-EQ"]
    told = [line.split(": ")[1] for line in book.idle(limits, ["NSE:SBIN-EQ", "NSE:NIFTY50-INDEX"])]
    assert told == ["NSE:BANKNIFTY-FUT", "NSE:SBINN-EQ"]
    assert book.idle(["NSE:NIFTY-FUT"], ["NSE:NIFTY26JANFUT"]) == []


def test_a_configured_symbol_without_a_lot_is_refused() -> None:
    """The line names the symbol and what to add; equities, index contracts and a listed lot pass."""
    book = InstrumentBook(MarketSettings())
    book.check_lots(["NSE:SBIN-EQ", "NSE:NIFTY26JANFUT", "NSE:NIFTY50-INDEX", "MCX:CRUDEOIL25JANFUT"])
    with pytest.raises(
        SettingsError, match=r"feed.symbols: NSE:RELIANCE26JANFUT: its lot is not known; add .*lot_size"
    ):
        book.check_lots(["NSE:SBIN-EQ", "NSE:RELIANCE26JANFUT"])
    item = InstrumentSettings(symbol="NSE:RELIANCE26JANFUT", kind="future", lot_size=500)
    InstrumentBook(MarketSettings(instruments=[item])).check_lots(["NSE:RELIANCE26JANFUT"])
    bare = InstrumentSettings(symbol="NSE:RELIANCE26JANFUT", kind="future")
    with pytest.raises(SettingsError, match="its lot is not known"):
        InstrumentBook(MarketSettings(instruments=[bare])).check_lots(["NSE:RELIANCE26JANFUT"])
