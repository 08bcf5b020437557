"""Messages of the SDK: every field in its column, every other thing counted, nothing raises."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.feed.live.frames import HEADER, Row, pack_ticks, read_ticks
from daemon.fyers.gateway.messages import TickReader
from daemon.tape.format import TapeReader
from daemon.tape.importer import import_tape
from tests.unit.fyers.gateway.samples import FED_S, NIFTY, SBIN, SYMBOLS, index, update, without

SHARED = Path(__file__).parents[4] / "../shared/data/fyers_sample_messages.jsonl"
NS = 1_000_000_000


def same(row: Row, *expected: float) -> bool:
    """Equal, null to null; without a price band unless one is expected."""
    wanted = expected + (math.nan,) * (len(row) - len(expected))
    return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(row, wanted, strict=True))


def test_a_share_fills_every_column() -> None:
    """The exchange's feed time, not that of the last trade; open interest isn't told."""
    read = TickReader(SYMBOLS).read(update())
    assert read is not None
    assert same(read[0], 0, FED_S * NS, 812.35, 5, 40_125, 812.3, 812.4, 17, 250, -1)


def test_an_index_has_a_price_and_a_time() -> None:
    """Everything else is null."""
    read = TickReader(SYMBOLS).read(index())
    assert read is not None
    assert same(read[0], 1, FED_S * NS, 26_010.55, -1, -1, math.nan, math.nan, -1, -1, -1)


def test_nobody_quotes_is_0_and_no_word_is_null() -> None:
    """A bid of 0 at a circuit says that nobody buys, which is no mistake; a message without one says nothing."""
    reader = TickReader(SYMBOLS)
    for empty in (update(bid_price=0.0, bid_size=0), update(bid_price=0, bid_size=0)):
        read = reader.read(empty)
        assert read is not None
        assert (read[0].bid, read[0].bid_qty) == (0.0, 0)
    for silent in (without(update(), "bid_price", "bid_size"), update(bid_price=None, bid_size=None)):
        read = reader.read(silent)
        assert read is not None
        assert math.isnan(read[0].bid)
        assert read[0].bid_qty == -1
    assert not reader.unreadable


@pytest.mark.parametrize("odd", [False, True])
def test_the_days_price_band_is_told(odd: bool) -> None:
    """In usual and unusual messages; 0 is none."""
    changes = {"last_traded_time": None} if odd else {}
    read = TickReader(SYMBOLS).read(update(lower_ckt=738.45, upper_ckt=902.5, **changes))
    assert read is not None
    assert (read[0].lower_band, read[0].upper_band) == (738.45, 902.5)
    read = TickReader(SYMBOLS).read(update(lower_ckt=0, upper_ckt=0, **changes))
    assert read is not None
    assert math.isnan(read[0].lower_band)
    assert math.isnan(read[0].upper_band)


def test_open_interest_is_taken_where_it_is_told() -> None:
    """The SDK of today drops it; another may not."""
    read = TickReader(SYMBOLS).read(update(OI=1200))
    assert read is not None
    assert read[0].oi == 1200


def test_a_trade_is_told_from_a_quote() -> None:
    """Price, volume or time of the last trade moved; a new bid alone is a quote, and an index value is a trade."""
    reader = TickReader(SYMBOLS)

    def traded(message: dict[str, Any]) -> bool:
        read = reader.read(message)
        assert read is not None
        return read[1]

    assert traded(update())
    assert not traded(update(bid_price=812.25, exch_feed_time=FED_S + 1))
    assert traded(update(vol_traded_today=40_130))
    assert traded(update(vol_traded_today=40_130, last_traded_time=FED_S))
    assert traded(update(vol_traded_today=40_130, last_traded_time=FED_S, ltp=812.4))
    assert not traded(update(vol_traded_today=40_130, last_traded_time=FED_S, ltp=812.4, ask_size=3))
    assert traded(index())
    assert traded(index(ltp=26_011.0))
    assert not traded(index(ltp=26_011.0, exch_feed_time=FED_S + 1))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (None, "not_a_message"), ([], "not_a_message"), ("sf", "not_a_message"),
        ({}, "unknown_type"), (update(type="dp"), "unknown_type"), (update(type=None), "unknown_type"),
        (update(symbol="NSE:TCS-EQ"), "unknown_symbol"), (update(symbol=None), "unknown_symbol"),
        (update(symbol=[SBIN]), "unknown_symbol"), (without(update(), "symbol"), "unknown_symbol"),
        (update(ltp=0.0), "bad_price"), (update(ltp=-1.0), "bad_price"), (update(ltp=math.nan), "bad_price"),
        (update(ltp=math.inf), "bad_price"), (update(ltp="812.35"), "bad_price"), (update(ltp=True), "bad_price"),
        (without(update(), "ltp"), "bad_price"), (update(ltp=10**400), "bad_price"),
        (update(exch_feed_time=0), "bad_time"), (update(exch_feed_time=FED_S * 1000), "bad_time"),
        (update(exch_feed_time="now"), "bad_time"), (without(index(), "exch_feed_time"), "bad_time"),
        (update(exch_feed_time=FED_S + 0.5), "bad_time"),
    ],
)  # fmt: skip
def test_what_is_no_tick_is_counted(message: Any, reason: str) -> None:
    """Under exactly one reason."""
    reader = TickReader(SYMBOLS)
    assert reader.read(message) is None
    assert reader.refused == {reason: 1}


def test_a_field_that_makes_no_sense_is_null_and_counted() -> None:
    """The tick is kept for what it does say; what it doesn't hold is null uncounted."""
    reader = TickReader(SYMBOLS)
    read = reader.read(update(vol_traded_today=-5, bid_size="many", ask_price=math.inf, last_traded_qty=2**63))
    assert read is not None
    assert same(read[0], 0, FED_S * NS, 812.35, -1, -1, 812.3, math.nan, -1, 250, -1)
    assert reader.unreadable == {"vol_traded_today": 1, "bid_size": 1, "ask_price": 1, "last_traded_qty": 1}
    fewer = reader.read(without(update(), "vol_traded_today", "bid_price", "last_traded_time"))
    assert fewer is not None
    assert fewer[0].volume == -1
    assert sum(reader.unreadable.values()) == 4


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}),
    st.sampled_from([SBIN, NIFTY, "sf", "if", "dp", FED_S, 812.35, -1, 0]),
)  # fmt: skip


@given(
    st.one_of(
        VALUES,
        st.dictionaries(st.sampled_from(sorted(update())), VALUES).map(lambda changes: update(**changes)),
        st.dictionaries(st.sampled_from(sorted(index())), VALUES).map(lambda changes: index(**changes)),
        st.sets(st.sampled_from(sorted(update()))).map(lambda names: without(update(), *names)),
        st.dictionaries(VALUES.filter(lambda key: key.__hash__ is not None), VALUES),
    )
)
def test_nothing_raises_and_everything_is_a_tick_or_counted(message: Any) -> None:
    """And a tick goes through a frame unchanged, whatever its numbers."""
    reader = TickReader(SYMBOLS)
    read = reader.read(message)
    assert (read is None) == (sum(reader.refused.values()) == 1)
    if read is not None:
        row = read[0]
        assert row.ltp > 0
        assert math.isfinite(row.ltp)
        assert row.ts_event % NS == 0
        assert all(value >= -1 for value in (row.last_qty, row.volume, row.bid_qty, row.ask_qty, row.oi))
        batch, _ = read_ticks(pack_ticks([row], 7)[HEADER.size :], SYMBOLS, 9)
        assert same(row, *(getattr(batch, name)[0] for name in Row._fields))


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="no recorded market data beside the checkout")
def test_recorded_messages_read_right(tmp_path: Path) -> None:
    """Each of the real ones: three are no ticks, the others equal what was written and what an import makes."""
    messages = [json.loads(line) for line in SHARED.read_text().splitlines()]
    assert len(messages) == 17
    symbols = tuple(dict.fromkeys(message["symbol"] for message in messages if "symbol" in message))
    reader = TickReader(symbols)
    read = [reader.read(message) for message in messages]
    assert reader.refused == {"unknown_type": 3}
    assert not reader.unreadable
    rows = [entry[0] for entry in read if entry is not None]
    for row, message in zip(rows, [message for message in messages if "symbol" in message], strict=True):
        assert symbols[row.code] == message["symbol"]
        assert row.ts_event == message["exch_feed_time"] * NS
        assert row.ltp == message["ltp"]
        for ours, theirs in (
            ("last_qty", "last_traded_qty"), ("volume", "vol_traded_today"), ("bid_qty", "bid_size"),
            ("ask_qty", "ask_size"), ("oi", "OI"),
        ):  # fmt: skip
            assert getattr(row, ours) == message.get(theirs, -1)
        for ours, theirs in (("bid", "bid_price"), ("ask", "ask_price")):
            quoted = message.get(theirs, math.nan)
            np.testing.assert_equal(getattr(row, ours), quoted)
    assert [entry[1] for entry in read if entry is not None] == [True, *[False] * 8, True, True, True, True, True]
    import_tape(SHARED, tmp_path / "t.parquet", {})
    imported = next(TapeReader([tmp_path / "t.parquet"]).batches(100))
    live, _ = read_ticks(pack_ticks(rows, 1)[HEADER.size :], symbols, 5)
    assert [imported.symbols[code] for code in imported.code] == [symbols[code] for code in live.code]
    for name in ("ts_event", "ltp", "last_qty", "volume", "bid", "ask", "bid_qty", "ask_qty", "oi"):
        np.testing.assert_array_equal(getattr(imported, name), getattr(live, name))
