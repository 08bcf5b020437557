"""Splits, bonus shares and dividends in a whole replay: no trade of their own, and no bar read in two prices.

The market is one wave on both days; what differs is only what a share of it is.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.core.clock import NS_PER_S
from daemon.core.events import (
    Decision,
    Fill,
    OrderIntent,
    PositionChanged,
    PositionRestated,
    PriceAdjusted,
    PriceJumped,
    SymbolHalted,
)
from daemon.report.summary import ReplaySummary
from daemon.run.reporting import report_journal
from daemon.run.verifying import verify_journal
from daemon.tape.format import TapeWriter
from tests.own_classes import own, write_class
from tests.samples import (
    CLOSE,
    DAY,
    HRM,
    LIVELY,
    MINUTE,
    OPEN,
    RELIANCE,
    SBIN,
    journaled,
    play,
    ticks,
    wave,
    write_tape,
)

SECOND_DAY = OPEN + DAY
ROLLING = (*HRM, "hierarchical_reasoning_model.features.history=rolling", "strategy.interval=5m",
           "bars.intervals=[1m, 5m, 30m]", "supervisor.triggers.flaps_per_hour=1000")  # fmt: skip
EITHER = pytest.mark.parametrize("settings", [LIVELY, ROLLING], ids=["rules", "hrm"])


def waves(path: Path, *ratios: float, symbol: str = SBIN, gap_days: int = 1, minutes: int = 120) -> Path:
    """A tape of one day a ratio, each the same wave in prices times that ratio."""
    times, prices = wave(minutes)
    ts = [stamp + day * gap_days * DAY for day in range(len(ratios)) for stamp in times]
    ltp = [price * ratio for ratio in ratios for price in prices]
    return write_tape(path, ts, ltp, symbol)


def action(ratio: str, symbol: str = SBIN, kind: str = "split", date: str = "2026-01-06") -> str:
    """The setting of one corporate action."""
    return f"market.adjustments=[{{date: {date}, symbol: '{symbol}', ratio: {ratio}, kind: {kind}}}]"


def second_day(path: Path, kind: type[Any]) -> list[Any]:
    """The events of a journal from the second morning on."""
    return [event for event in journaled(path, kind) if event.ts >= SECOND_DAY]


def notes_of(summary: ReplaySummary) -> list[str]:
    """Those that speak of a night."""
    return [note for note in summary.notes if "overnight" in note or "×" in note]


@pytest.mark.parametrize("ratio", [0.2, 0.5, 2 / 3, 10.0, 0.05])
def test_rules_begin_anew_after_a_split(tmp_path: Path, ratio: float) -> None:
    """Until their bars are there again they wait, and then decide as on the first day; it is said once."""
    tape, j = waves(tmp_path / "t.parquet", 1.0, ratio), tmp_path / "j.sqlite"
    _, summary = play(tape, *LIVELY, journal=j)
    jumps = journaled(j, PriceJumped)
    assert [(jump.symbol, round(jump.after / jump.before, 1)) for jump in jumps] == [(SBIN, round(ratio, 1))]
    assert notes_of(summary) == [jumps[0].words]
    assert summary.ticks_rejected == {}
    decisions = journaled(j, Decision)
    first, second = decisions[: len(decisions) // 2], decisions[len(decisions) // 2 :]
    assert [it.action for it in second] == [it.action for it in first]
    assert "not enough bars: 1 of 5" in second[0].reason
    assert verify_journal(j).decisions == len(decisions)


@EITHER
def test_an_unsplit_day_runs_through(tmp_path: Path, settings: tuple[str, ...]) -> None:
    """Without an action the windows reach into yesterday: what the other tests compare with differs from them."""
    j = tmp_path / "j.sqlite"
    _, summary = play(waves(tmp_path / "t.parquet", 1.0, 1.0), *settings, journal=j)
    assert notes_of(summary) == []
    assert not any("not enough" in it.reason or "bars" in it.reason for it in second_day(j, Decision))


def test_hrm_begins_anew_after_a_split(tmp_path: Path) -> None:
    """Windows of rolling history hold nothing of the old price: it decides as if there had been no first day."""
    j, alone = tmp_path / "j.sqlite", tmp_path / "alone.sqlite"
    play(waves(tmp_path / "t.parquet", 1.0, 0.2, minutes=375), *ROLLING, journal=j)
    times, prices = wave(375)
    tape = write_tape(tmp_path / "a.parquet", [ts + DAY for ts in times], [0.2 * price for price in prices])
    play(tape, *ROLLING, journal=alone)
    assert second_day(j, Decision) == journaled(alone, Decision)
    assert verify_journal(j).decisions > 0


@EITHER
@pytest.mark.parametrize(
    ("ratio", "words", "kind"),
    [(0.2, "1/5", "split"), (2 / 3, "2/3", "bonus"), (10.0, "10", "split"), (0.97, "0.97", "dividend")],
)
def test_an_adjusted_tape_decides_as_one_without_a_split(
    tmp_path: Path, settings: tuple[str, ...], ratio: float, words: str, kind: str
) -> None:
    """The first day's prices times the ratio, or the ratio said: the same decisions, to rounding."""
    j, plain = tmp_path / "j.sqlite", tmp_path / "plain.sqlite"
    _, summary = play(waves(tmp_path / "t.parquet", 1.0, ratio), *settings, action(words, kind=kind), journal=j)
    play(waves(tmp_path / "p.parquet", ratio, ratio), *settings, journal=plain)
    ours, theirs = second_day(j, Decision), second_day(plain, Decision)
    assert len(ours) == len(theirs) > 20
    for one, other in zip(ours, theirs, strict=True):
        assert (one.ts, one.action, one.quantity, one.segments) == (
            other.ts,
            other.action,
            other.quantity,
            other.segments,
        )
        assert one.confidence == pytest.approx(other.confidence, rel=1e-3, abs=1e-6)
    (said,) = journaled(j, PriceAdjusted)
    assert notes_of(summary) == [said.words]
    assert journaled(j, PriceJumped) == []
    assert verify_journal(j).decisions == len(journaled(j, Decision))
    assert [fill.price for fill in second_day(j, Fill)] == [fill.price for fill in second_day(plain, Fill)]


def test_an_action_of_a_holiday_counts_from_the_next_session(tmp_path: Path) -> None:
    """The split is dated on a Saturday; the sessions are Friday's and Monday's."""
    times, prices = wave(60)
    ts = [stamp + day * DAY for day in (4, 7) for stamp in times]
    tape = write_tape(tmp_path / "t.parquet", ts, prices + [price / 5 for price in prices])
    j = tmp_path / "j.sqlite"
    play(tape, *LIVELY, action("1/5", date="2026-01-10"), journal=j)
    (said,) = journaled(j, PriceAdjusted)
    assert said.ts // DAY == (OPEN + 7 * DAY) // DAY
    assert journaled(j, PriceJumped) == []


def test_a_wrong_ratio_is_found_out(tmp_path: Path) -> None:
    """Half was said and it was a fifth: what lies before is left out all the same."""
    j = tmp_path / "j.sqlite"
    play(waves(tmp_path / "t.parquet", 1.0, 0.2), *LIVELY, action("1/2"), journal=j)
    assert (len(journaled(j, PriceAdjusted)), len(journaled(j, PriceJumped))) == (1, 1)


def test_actions_of_other_symbols_and_days_change_nothing(tmp_path: Path) -> None:
    """An unknown symbol, which is said, a day before the tape and one after it."""
    tape = waves(tmp_path / "t.parquet", 1.0, 1.0)
    _, plain = play(tape, *LIVELY)
    idle = ["market.adjustments: NSE:NOBODY-EQ: not among the symbols, so it holds for nothing"]
    for setting, more in (
        (action("1/5", "NSE:NOBODY-EQ"), idle),
        (action("1/5", date="2026-01-05"), []),
        (action("1/5", date="2026-01-07"), []),
    ):
        _, summary = play(tape, *LIVELY, setting)
        assert (summary.decisions_sha256, set(summary.notes)) == (plain.decisions_sha256, {*plain.notes, *more})


@pytest.mark.parametrize("name", ["SBIN", "SBIN-EQ", "NSE:SBIN-EQ"])
def test_a_bare_name_is_the_share(tmp_path: Path, name: str) -> None:
    """However the settings spell it."""
    j = tmp_path / "j.sqlite"
    play(waves(tmp_path / "t.parquet", 1.0, 0.2), *LIVELY, action("1/5", name), journal=j)
    assert len(journaled(j, PriceAdjusted)) == 1


def test_only_the_symbol_that_is_split_begins_anew(tmp_path: Path) -> None:
    """Of two symbols the other one's windows run through."""
    tapes = [waves(tmp_path / "a.parquet", 1.0, 0.2), waves(tmp_path / "b.parquet", 1.0, 1.0, symbol=RELIANCE)]
    j = tmp_path / "j.sqlite"
    play(tapes, *LIVELY, journal=j)
    assert [jump.symbol for jump in journaled(j, PriceJumped)] == [SBIN]
    short = {it.symbol for it in second_day(j, Decision) if "not enough bars" in it.reason}
    assert short == {SBIN}


@pytest.mark.parametrize("stale", [1, 3])
def test_yesterdays_price_told_once_more_hides_no_split(tmp_path: Path, stale: int) -> None:
    """What a feed sends first may be the last price of the day before."""
    times, prices = wave(60)
    ltp = [*prices, *[prices[-1]] * stale, *(price / 5 for price in prices[stale:])]
    j = tmp_path / "j.sqlite"
    play(write_tape(tmp_path / "t.parquet", times + [stamp + DAY for stamp in times], ltp), *LIVELY, journal=j)
    assert [jump.symbol for jump in journaled(j, PriceJumped)] == [SBIN]
    assert "not enough bars: 1 of 5" in second_day(j, Decision)[0].reason


def test_a_future_on_a_share_is_split_with_it(tmp_path: Path) -> None:
    """The exchange divides its price, and multiplies its lot."""
    j, symbol = tmp_path / "j.sqlite", "NSE:SBIN26JANFUT"
    play(waves(tmp_path / "t.parquet", 1.0, 0.2, symbol=symbol), *LIVELY, journal=j)
    assert [jump.symbol for jump in journaled(j, PriceJumped)] == [symbol]


@pytest.mark.parametrize("symbol", ["NSE:NIFTY50-INDEX", "NSE:NIFTY26JANFUT", "NSE:NIFTY26JAN800CE"])
def test_what_is_no_share_may_jump(tmp_path: Path, symbol: str) -> None:
    """An option opens at ten times its price, and that is no corporate action."""
    j = tmp_path / "j.sqlite"
    play(waves(tmp_path / "t.parquet", 1.0, 10.0, symbol=symbol), *LIVELY, journal=j)
    assert journaled(j, PriceJumped) == []


def test_a_crash_inside_a_session_is_none(tmp_path: Path) -> None:
    """The price falls by a third within minutes, and opens there the next morning."""
    times, prices = wave(60)
    fallen = [price * (1.0 if i < 300 else 2 / 3) for i, price in enumerate(prices)]
    ts = times + [stamp + DAY for stamp in times]
    tape = write_tape(tmp_path / "t.parquet", ts, [*fallen, *(price * 2 / 3 for price in prices)])
    j = tmp_path / "j.sqlite"
    play(tape, *LIVELY, "feed.max_jump_percent=50", journal=j)
    assert journaled(j, PriceJumped) == []


def test_a_day_that_opens_at_its_band_is_none(tmp_path: Path) -> None:
    """A fifth down, to the tick, is what an exchange allows."""
    times, prices = wave(60)
    last = prices[-1]
    ltp = [*prices, round(0.8 * last, 2), *(price * 0.8 for price in prices[1:])]
    j = tmp_path / "j.sqlite"
    play(write_tape(tmp_path / "t.parquet", times + [stamp + DAY for stamp in times], ltp), *LIVELY, journal=j)
    assert journaled(j, PriceJumped) == []


def test_one_false_price_at_the_open_is_none(tmp_path: Path) -> None:
    """The first tick of the day is a fifth of the price, the others aren't."""
    times, prices = wave(60)
    ltp = [*prices, prices[0] / 5, *prices[1:]]
    j = tmp_path / "j.sqlite"
    play(write_tape(tmp_path / "t.parquet", times + [stamp + DAY for stamp in times], ltp), *LIVELY, journal=j)
    assert journaled(j, PriceJumped) == []


# -- what is held over it ---------------------------------------------------------------------------------------------


def held_over(path: Path, ratio: float, before: float = 1.0) -> Path:
    """The price rises and the first day's ticks end half an hour in, with a position that nobody could close."""
    seconds = np.arange(1, 1800, 5)
    rising = np.round(800 + seconds / 100, 1)
    times = [OPEN + int(second) * NS_PER_S for second in seconds]
    ltp = [*(rising * before), *(rising * before)[-1] * ratio * (1 + np.arange(len(seconds)) * 1e-6)]
    return write_tape(path, times + [stamp + DAY for stamp in times], ltp)


def test_on_paper_an_action_changes_what_is_held(tmp_path: Path) -> None:
    """Five times the shares at a fifth of the price; yesterday's position is closed whole, and nothing is lost."""
    j, plain = tmp_path / "j.sqlite", tmp_path / "plain.sqlite"
    replay, summary = play(held_over(tmp_path / "t.parquet", 0.2), *LIVELY, action("1/5"), journal=j)
    _, unsplit = play(held_over(tmp_path / "p.parquet", 1.0), *LIVELY, journal=plain)
    carried = [event for event in journaled(j, PositionChanged) if event.ts < CLOSE][-1]
    (restated, *_) = second_day(j, PositionChanged)
    assert (restated.quantity, restated.average_price) == (5 * carried.quantity, carried.average_price / 5)
    assert restated.cash == carried.cash
    exit_fill = second_day(j, Fill)[0]
    assert exit_fill.quantity == 5 * carried.quantity
    assert journaled(j, SymbolHalted) == []
    assert summary.net_pnl == pytest.approx(unsplit.net_pnl, abs=exit_fill.quantity * Decimal("0.05") + 50)
    assert summary.trades == unsplit.trades > 0
    assert replay.tally.trades[0].quantity == exit_fill.quantity


def test_a_jump_without_a_word_leaves_what_is_held_alone(tmp_path: Path) -> None:
    """No exit, no entry: not at the open, not by the rules, not at square-off; and it is said."""
    j = tmp_path / "j.sqlite"
    _, summary = play(held_over(tmp_path / "t.parquet", 0.2), *LIVELY, journal=j)
    assert second_day(j, Fill) == []
    assert [it.symbol for it in journaled(j, SymbolHalted) if it.overnight] == [SBIN]
    assert any("overnight (×0.2) with" in note for note in summary.notes)
    first_orders = [it for it in second_day(j, OrderIntent) if it.ts < SECOND_DAY + 5 * MINUTE]
    assert first_orders == []


def test_a_false_first_price_holds_nothing_up(tmp_path: Path) -> None:
    """What is held waits only until the price is back; yesterday's position is closed as ever."""
    j = tmp_path / "j.sqlite"
    seconds = np.arange(1, 1800, 5)
    times = [OPEN + int(second) * NS_PER_S for second in seconds]
    rising = np.round(800 + seconds / 100, 1).tolist()
    ltp = [*rising, rising[-1] / 5, *[rising[-1]] * (len(times) - 1)]
    tape = write_tape(tmp_path / "t.parquet", times + [stamp + DAY for stamp in times], ltp)
    play(tape, *LIVELY, journal=j)
    assert second_day(j, Fill)[0].price > 700
    assert journaled(j, PositionRestated) == []


ONE_TRADE = """\
from strategies.own import buy, hold, sell
class Momentum:
    def decide(self, seen):
        return hold("held") if seen.position or len(seen.bars) < 3 else {side}(10, "once")
"""


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("ratio", [0.2, 5.0])
def test_what_nobody_knows_the_number_of_wins_and_loses_nothing(tmp_path: Path, side: str, ratio: float) -> None:
    """Ten at the old price are not ten at the new one: a short over a split is no winner, in the journal neither."""
    write_class(tmp_path, ONE_TRADE.format(side=side))
    j = tmp_path / "j.sqlite"
    replay, summary = play(held_over(tmp_path / "t.parquet", ratio), *own(tmp_path), journal=j)
    assert abs(summary.net_pnl) < 300, summary.net_pnl
    assert [abs(trade.net_pnl) < 300 for trade in replay.trades] == [True]
    assert f"still held at the end, valued as before the night in doubt: {SBIN}" in summary.notes
    told = report_journal(j).summary
    assert (told.net_pnl, told.equity, told.by_symbol) == (summary.net_pnl, summary.equity, summary.by_symbol)


@pytest.mark.parametrize("named", [False, True])
def test_a_put_over_a_split_wins_nothing(tmp_path: Path, *, named: bool) -> None:
    """Its strike of 800 is 160 since: nobody settles it at 640, on the day on which it ends or later."""
    put = "NSE:SBIN26JAN800PE"
    write_class(
        tmp_path, ONE_TRADE.format(side="buy").replace("seen.position", f"seen.symbol != {put!r} or seen.position")
    )
    rows = [(OPEN + minute * MINUTE, 15.0, 1) for minute in range(20)]
    for day, price in ((0, 800.0), (1, 160.0), (22, 160.0)):
        minutes = range(1, 30) if day < 22 else range(300, 375)
        rows += [(OPEN + day * DAY + minute * MINUTE + 1, price, 0) for minute in minutes]
    ts, ltp, code = zip(*sorted(rows), strict=True)
    with TapeWriter(tmp_path / "t.parquet", columns=()) as writer:
        writer.write(ticks(ts, ltp, (SBIN, put), code))
    contract = f"market.instruments=[{{symbol: '{put}', kind: option, lot_size: 10, expiry: 2026-01-27}}]"
    replay, summary = play(
        tmp_path / "t.parquet",
        *own(tmp_path),
        contract,
        *([action("1/5")] if named else []),
        "feed.max_jump_percent=90",
    )
    assert [trade.symbol for trade in replay.trades] == [put]
    assert abs(summary.net_pnl) < 300, summary.net_pnl
    assert any(f"of {SBIN} with 10 held: the exchange makes another contract" in note for note in summary.notes)


@pytest.mark.parametrize(
    ("side", "words"), [("buy", "due, so that it is too poor"), ("sell", "owed, so that the result")]
)
def test_the_money_of_a_dividend_that_is_not_booked_is_said(tmp_path: Path, side: str, words: str) -> None:
    """A demerger, too: who was short of it over the night owes what the share lost."""
    write_class(tmp_path, ONE_TRADE.format(side=side))
    _, summary = play(held_over(tmp_path / "t.parquet", 0.9), *own(tmp_path), action("0.9", kind="dividend"))
    assert any("10 held over the dividend: some ₹81" in note and words in note for note in summary.notes), summary.notes
