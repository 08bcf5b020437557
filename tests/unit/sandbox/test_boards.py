from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.clock import DAY_NS, NS_PER_S
from daemon.market.instruments import InstrumentBook
from daemon.sandbox.boards import Boards, QuoteBoard
from daemon.sandbox.directory import SymbolDirectory
from daemon.sandbox.exchange import Print, Quote
from daemon.sandbox.hsm import DEPTH_FIELDS, INDEX_FIELDS, SYMBOL_FIELDS, UNCHANGED, Topic
from daemon.settings.market import MarketSettings
from tests.unit.feed.ticks import OPEN_NS

OPEN_S = OPEN_NS // NS_PER_S
NAMES = {Topic.SYMBOL: SYMBOL_FIELDS, Topic.INDEX: INDEX_FIELDS, Topic.DEPTH: DEPTH_FIELDS}
SBIN = "NSE:SBIN-EQ"


def quote(last: str, **fields: Any) -> Quote:
    """A quote at a price."""
    prices = {name: Decimal(value) for name, value in fields.items() if name in ("bid", "ask")}
    return Quote(last=Decimal(last), **{**fields, **prices})


def shown(board: QuoteBoard, topic: Topic = Topic.SYMBOL) -> dict[str, int]:
    """What a board shows by the names of its fields, without what it doesn't know."""
    fields = board.fields(topic)
    assert fields is not None
    return {name: value for name, value in zip(NAMES[topic], fields, strict=True) if value != UNCHANGED}


def test_nothing_before_the_first_quote() -> None:
    """A board without a quote shows nothing."""
    assert [QuoteBoard(2).fields(topic) for topic in Topic] == [None] * 3


def test_a_share() -> None:
    """Prices are in paise, sizes the quote's, times whole seconds of the exchange."""
    board = QuoteBoard(2)
    board.on_quote(
        quote("820.55", bid="820.50", ask="820.60", bid_quantity=7, ask_quantity=9, volume=1000, last_quantity=3,
              open_interest=5, stamp_ns=OPEN_NS + 1_999_999_999),
        OPEN_NS + 5 * NS_PER_S,
    )  # fmt: skip
    assert shown(board) == {
        "ltp": 82_055, "vol_traded_today": 1000, "last_traded_time": OPEN_S + 1, "exch_feed_time": OPEN_S + 1,
        "bid_size": 7, "ask_size": 9, "bid_price": 82_050, "ask_price": 82_060, "last_traded_qty": 3,
        "tot_buy_qty": 7, "tot_sell_qty": 9, "OI": 5, "low_price": 82_055, "high_price": 82_055, "open_price": 82_055,
    }  # fmt: skip


def test_a_bare_price() -> None:
    """What nobody knows isn't shown; a side on which nobody is is 0, and its size too."""
    board = QuoteBoard(2)
    board.on_quote(quote("100"), OPEN_NS)
    seen = shown(board)
    assert seen.keys().isdisjoint({"bid_price", "ask_price", "bid_size", "ask_size", "lower_ckt", "upper_ckt"})
    assert seen.keys().isdisjoint({"vol_traded_today", "last_traded_qty", "avg_trade_price", "OI", "prev_close_price"})
    board.on_quote(quote("100", bid="99.95"), OPEN_NS)
    assert "bid_size" not in shown(board)
    locked = quote("110", bid="110", ask="0", bid_quantity=9, upper_band=Decimal(110), lower_band=Decimal(90))
    board.on_quote(locked, OPEN_NS)
    seen = shown(board)
    assert (seen["bid_price"], seen["ask_price"], seen["bid_size"], seen["ask_size"]) == (11_000, 0, 9, 0)
    assert (seen["lower_ckt"], seen["upper_ckt"]) == (9_000, 11_000)


def test_quotes_are_no_trades() -> None:
    """The time of the last trade moves with volume, or with the price where there is none; the feed's time always."""
    for volumes in ((10, 10, 12), (None, None, None)):
        board = QuoteBoard(2)
        for second, (price, volume) in enumerate(zip(("100", "100", "101"), volumes, strict=True)):
            board.on_quote(quote(price, volume=volume), OPEN_NS + second * NS_PER_S)
            seen = shown(board)
            assert seen["exch_feed_time"] == OPEN_S + second
            assert seen["last_traded_time"] == OPEN_S + (2 if second == 2 else 0)


def test_what_was_traded() -> None:
    """Quantity and average come from rises of the volume; a fall is no trade."""
    board = QuoteBoard(2)
    for price, volume in (("100", 50), ("101", 60), ("104", 50), ("103", 80)):
        board.on_quote(quote(price, volume=volume), OPEN_NS)
    seen = shown(board)
    assert (seen["last_traded_qty"], seen["vol_traded_today"]) == (30, 80)
    assert seen["avg_trade_price"] == (10 * 10_100 + 30 * 10_300) // 40


def test_days() -> None:
    """High and low are the day's; a new day begins at its first price and knows where the last one closed."""
    board = QuoteBoard(2)
    for price in ("100", "103", "98", "99"):
        board.on_quote(quote(price, volume=10), OPEN_NS)
    seen = shown(board)
    assert (seen["open_price"], seen["high_price"], seen["low_price"]) == (10_000, 10_300, 9_800)
    board.on_quote(quote("105", volume=4), OPEN_NS + DAY_NS)
    seen = shown(board)
    assert (seen["open_price"], seen["high_price"], seen["low_price"]) == (10_500, 10_500, 10_500)
    assert (seen["prev_close_price"], seen["vol_traded_today"]) == (9_900, 4)


def test_an_index() -> None:
    """An index shows prices and a time alone."""
    board = QuoteBoard(2)
    board.on_quote(quote("24000.05"), OPEN_NS)
    assert shown(board, Topic.INDEX) == {
        "ltp": 2_400_005, "exch_feed_time": OPEN_S, "high_price": 2_400_005, "low_price": 2_400_005,
        "open_price": 2_400_005,
    }  # fmt: skip


def test_depth() -> None:
    """The first level is the quote; the others are empty."""
    board = QuoteBoard(2)
    board.on_quote(quote("100", bid="99.95", ask="100.05", bid_quantity=7), OPEN_NS)
    seen = shown(board, Topic.DEPTH)
    assert {name: value for name, value in seen.items() if value} == {
        "bid_price1": 9_995, "ask_price1": 10_005, "bid_size1": 7, "bid_order1": 1, "ask_order1": 1
    }  # fmt: skip
    assert "ask_size1" not in seen


@given(st.decimals(0, 10_000_000, places=4))
def test_digits(price: Decimal) -> None:
    """A price is shown with the digits that the wire has, and never beyond its 32 bits."""
    for digits in (2, 4):
        board = QuoteBoard(digits)
        board.on_quote(Quote(last=price), OPEN_NS)
        wanted = min(price * 10**digits, Decimal(2**31 - 1))
        assert abs(shown(board)["ltp"] - wanted) <= Decimal("0.5")


def test_volume_beyond_the_wire() -> None:
    """A volume that needs more than 32 bits stops at the largest."""
    board = QuoteBoard(2)
    board.on_quote(quote("1", volume=3_000_000_000), OPEN_NS)
    assert shown(board)["vol_traded_today"] == 2**31 - 1


def test_boards_of_symbols() -> None:
    """Quotes go to the board of their symbol; one that Fyers couldn't name has none."""
    boards = Boards(SymbolDirectory(InstrumentBook(MarketSettings())))
    boards.on_print(Print(SBIN, quote("100"), OPEN_NS))
    boards.on_print(Print("BARE", quote("100"), OPEN_NS))
    fields = boards.fields(SBIN, Topic.SYMBOL)
    assert fields is not None
    assert fields[0] == 10_000
    assert boards.fields("BARE", Topic.SYMBOL) is None


def test_a_misread_board() -> None:
    """A misread price is shown and forgotten; everything else stays."""
    boards = Boards(SymbolDirectory(InstrumentBook(MarketSettings())))
    boards.on_print(Print(SBIN, quote("100"), OPEN_NS))
    right = boards.fields(SBIN, Topic.SYMBOL)
    assert right is not None
    for factor, wrong in ((100.0, 1_000_000), (0.0, 0), (-1.0, -10_000), (1e12, 2**31 - 1)):
        boards.misread(SBIN, factor)
        assert boards.fields(SBIN, Topic.SYMBOL) == (wrong, *right[1:])
    boards.misread(SBIN, None)
    assert boards.fields(SBIN, Topic.SYMBOL) == right
