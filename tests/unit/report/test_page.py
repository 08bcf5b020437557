"""The block of data that the page's script draws."""

from __future__ import annotations

import json

import msgspec

from daemon.core.events import Action, PriceAdjusted, Side
from daemon.report.page import Shown, as_block, page_data
from daemon.report.summary import EquityPoint
from tests.unit.report.samples import START, Sample, fill


def shown_of(sample: Sample) -> Shown:
    """What the page draws of it."""
    return Shown(bars=sample.bars, decisions=sample.decisions, fills=sample.fills, equity=sample.equity,
                 trades=sample.tally.trades)  # fmt: skip


def test_nothing_in_the_block_ends_its_element() -> None:
    """No tag, entity or line end of JavaScript's own; read again it is what it was."""
    text = "</script><!--&amp;\u2028\u2029"
    found = as_block({"name": text})
    assert not set("<>&\u2028\u2029") & set(found)
    assert json.loads(found) == {"name": text}


def test_every_bar_decision_and_trade_is_there() -> None:
    """Columns of one length; segments and complexity of every decision."""
    sample = Sample(sessions=2)
    found = page_data(sample.summary(), shown_of(sample))
    (symbol,) = found["symbols"]
    assert {len(symbol[name]) for name in "teohlcv"} == {len(sample.bars)}
    assert symbol["c"] == [bar.close for bar in sample.bars]
    assert symbol["decisions"]["segments"] == [one.segments for one in sample.decisions]
    assert symbol["decisions"]["i"] == list(range(len(sample.bars)))
    assert [found["reasons"][number] for number in symbol["decisions"]["halt"][:1]] == ["q halt"]
    assert [row["net"] for row in found["trades"]] == [float(trade.net_pnl) for trade in sample.tally.trades]
    assert found["equity"]["v"][-1] == float(sample.equity[-1].equity)
    assert len(found["hold"]) == len(found["equity"]["v"])


def test_fills_sit_on_the_bar_they_fell_into() -> None:
    """The bar that closes at or after it; one after the last bar stays on the last."""
    sample = Sample(sessions=1, trading=False)
    at = [sample.bars[0].ts_close, sample.bars[0].ts_close + 1, sample.bars[-1].ts_close + 1]
    fills = [fill(ts, "NSE:SBIN-EQ", Side.SELL, 5, "350.25", "1.5") for ts in at]
    found = page_data(sample.summary(), msgspec.structs.replace(shown_of(sample), fills=fills))
    assert found["symbols"][0]["fills"] == [[place, -1, 5, 350.25, 1.5] for place in (0, 1, len(sample.bars) - 1)]


def test_an_index_has_no_volume() -> None:
    """Volume −1 is none."""
    sample = Sample(sessions=1)
    bars = [msgspec.structs.replace(bar, volume=-1) for bar in sample.bars]
    assert page_data(sample.summary(), Shown(bars=bars))["symbols"][0]["v"] == []


def test_a_bar_that_was_built_twice_is_drawn_once() -> None:
    """After a restart: the later one, in order of time."""
    sample = Sample(sessions=1)
    again = msgspec.structs.replace(sample.bars[0], close=1.0)
    drawn = page_data(sample.summary(), Shown(bars=[*sample.bars, again]))["symbols"][0]
    assert len(drawn["t"]) == len(sample.bars)
    assert drawn["c"][0] == 1.0
    assert drawn["t"] == sorted(drawn["t"])


def test_the_busiest_symbols_are_drawn_as_far_as_there_is_room() -> None:
    """Most fills first; those without room are named, a long one loses its oldest bars."""
    symbols = ("A", "B", "C")
    many = Sample(sessions=1, symbols=symbols)
    shown = Shown(bars=many.bars, fills=[fill(START, name, Side.BUY, 1, "1") for name in ("C", "C", "B")])
    each = len(many.bars) // 3
    found = page_data(many.summary(), shown, room=each + 10)
    assert [(one["name"], len(one["t"])) for one in found["symbols"]] == [("C", each), ("B", 10)]
    assert found["notDrawn"] == ["A"]
    assert [one["name"] for one in page_data(many.summary(), shown)["symbols"]] == ["C", "B", "A"]


def test_holding_is_worth_what_the_prices_say() -> None:
    """Equal parts from the first opens; what a split halves was never worth more."""
    sample = Sample(sessions=1, trading=False)
    first = sample.bars[0].open
    end = sample.bars[-1]
    shown = Shown(bars=sample.bars, equity=[EquityPoint(end.ts_close, sample.equity[-1].equity)])
    assert page_data(sample.summary(), shown)["hold"] == [round(1_000_000 * end.close / first, 2)]
    halved = msgspec.structs.replace(
        shown,
        bars=[*sample.bars[:-1], msgspec.structs.replace(end, open=end.open / 2, close=end.close / 2)],
        adjusted=[PriceAdjusted(ts=end.ts_open, symbol=end.symbol, date="2021-04-05", kind="split", numerator=1,
                                denominator=2, shares=True, by_broker=False)],
    )  # fmt: skip
    assert page_data(sample.summary(), halved)["hold"] == [round(1_000_000 * end.close / first, 2)]


def test_what_isnt_done_is_told_without_a_reason() -> None:
    """A hold's reason is left out: thousands of them would say nothing."""
    sample = Sample(sessions=1)
    found = page_data(sample.summary(), shown_of(sample))
    why = {found["reasons"][number] for number in found["symbols"][0]["decisions"]["why"]}
    assert why == {"", "hrm"}
    assert {one.action for one in sample.decisions} > {Action.HOLD}


def test_an_entry_tells_its_stop_and_target() -> None:
    """Beside its reason; where it has one alone, that."""
    sample = Sample(sessions=1)
    shown = shown_of(sample)
    number = next(n for n, one in enumerate(sample.decisions) if one.action is not Action.HOLD)
    shown.decisions = list(sample.decisions)
    shown.decisions[number] = msgspec.structs.replace(sample.decisions[number], stop_price=790.0, target_price=1820.5)
    found = page_data(sample.summary(), shown)
    assert found["reasons"][found["symbols"][0]["decisions"]["why"][number]] == "hrm, stop 790.00, target 1,820.50"
