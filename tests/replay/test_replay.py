"""Replays of a simulated tape: the same twice, books that balance, honest latency, and the files asked for."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from daemon.core.clock import NS_PER_MS, NS_PER_S
from daemon.core.errors import TapeError, UsageError
from daemon.core.events import (
    Bar,
    Decision,
    Event,
    Fill,
    Halt,
    OrderAccepted,
    OrderDenied,
    OrderIntent,
    PositionChanged,
)
from daemon.core.latency import FixedLatency
from daemon.journal.reader import JournalReader
from daemon.market.calendar import ist_ns
from daemon.report.performance import exposure
from daemon.run.replaying import Replay, ReplayOutputs
from daemon.run.reporting import report_journal
from daemon.tape.format import TapeReader, TapeWriter
from daemon.tape.importer import import_tape
from tests.samples import (
    DAY,
    HRM,
    LIVELY,
    MINUTE,
    OPEN,
    RELIANCE,
    SBIN,
    hill,
    journaled,
    play,
    settings_of,
    ticks,
    wave,
    write_tape,
)

CASH = Decimal(1_000_000)
MEASURED = ("wall_s", "ticks_per_s", "hrm_metrics")


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    """The events table, byte for byte."""
    db = sqlite3.connect(path)
    rows = db.execute("SELECT run, seq, ts, type, body FROM events ORDER BY run, seq").fetchall()
    db.close()
    return rows


@pytest.fixture(scope="module")
def lively(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of the rules on the simulated tape."""
    path = tmp_path_factory.mktemp("lively") / "j.sqlite"
    play(simulated, *LIVELY, journal=path)
    return path


@pytest.mark.parametrize("settings", [LIVELY, HRM], ids=["rules", "hrm"])
def test_two_replays_are_equal(simulated: Path, tmp_path: Path, settings: tuple[str, ...]) -> None:
    """Journals byte for byte, decisions by their digest, and the whole summary but what was measured."""
    summaries = []
    for name in ("a", "b"):
        _, summary = play(simulated, *settings, journal=tmp_path / name)
        summaries.append(summary)
    first, second = summaries
    assert first.decisions > 30
    assert first.fills > 0
    assert first.decisions_sha256 == second.decisions_sha256
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    for field in first.__struct_fields__:
        if field not in MEASURED:
            assert getattr(first, field) == getattr(second, field), field
    if first.hrm_metrics is not None:
        assert second.hrm_metrics is not None
        assert msgspec.structs.replace(first.hrm_metrics, inference_ms=None) == msgspec.structs.replace(
            second.hrm_metrics, inference_ms=None
        )


def test_the_size_of_the_chunks_changes_nothing(simulated: Path, tmp_path: Path, lively: Path) -> None:
    """How a tape is read is no part of what happened on it."""
    play(simulated, *LIVELY, "feed.chunk_rows=1024", journal=tmp_path / "j")
    assert rows_of(tmp_path / "j") == rows_of(lively)


def test_the_books_balance_at_every_step(lively: Path) -> None:
    """Read from the journal alone: position = Σ fills, and cash and costs to the paisa, after each of them."""
    position: dict[str, int] = {}
    costs: dict[str, Decimal] = {}
    cash = CASH
    expected: list[tuple[str, int, Decimal, Decimal]] = []
    for event in journaled(lively, Fill, PositionChanged):
        if isinstance(event, Fill):
            position[event.symbol] = position.get(event.symbol, 0) + event.side.sign * event.quantity
            costs[event.symbol] = costs.get(event.symbol, Decimal(0)) + event.costs
            cash -= event.side.sign * event.quantity * event.price + event.costs
            assert event.costs == event.costs.quantize(Decimal("0.01"))
            expected.append((event.symbol, position[event.symbol], costs[event.symbol], cash))
        else:
            assert (event.symbol, event.quantity, event.costs, event.cash) == expected.pop(0)
    assert expected == []
    assert len(position) == 2
    assert sum(costs.values()) > 0


def test_every_fill_belongs_to_an_order_and_no_order_overfills(lively: Path) -> None:
    """Side and symbol are the order's, quantities never exceed it, and nothing is left pending."""
    intents = {event.order_id: event for event in journaled(lively, OrderIntent)}
    filled: dict[str, int] = dict.fromkeys(intents, 0)
    for fill in journaled(lively, Fill):
        intent = intents[fill.order_id]
        assert (fill.symbol, fill.side) == (intent.symbol, intent.side)
        filled[fill.order_id] += fill.quantity
        assert filled[fill.order_id] <= intent.quantity
    reader = JournalReader(lively)
    assert reader.pending() == []
    reader.close()


def test_nothing_is_held_over_night(lively: Path) -> None:
    """Square-off works: the last position of each day of each symbol is none."""
    last: dict[tuple[str, int], int] = {}
    for event in journaled(lively, PositionChanged):
        last[event.symbol, event.ts // (86_400 * 10**9)] = event.quantity
    assert len(last) == 4
    assert set(last.values()) == {0}


@pytest.mark.parametrize(("latency", "latency_ms"), [("zero", 0), ("fixed:250", 250), ("fixed:5000", 5000)])
def test_fills_come_after_the_order_reached_the_market(
    simulated: Path, tmp_path: Path, latency: str, latency_ms: int
) -> None:
    """Decided, sent and filled in this order, by at least the latency, on a tick that is on the tape at that time."""
    path = tmp_path / "j"
    _, summary = play(simulated, *LIVELY, latency=latency, journal=path)
    assert summary.latency == ("zero" if not latency_ms else latency)
    received = {int(ts) for batch in TapeReader([simulated]).batches(65536) for ts in batch.ts_recv}
    intents = {event.order_id: event for event in journaled(path, OrderIntent)}
    active = {event.order_id: event.ts for event in journaled(path, OrderAccepted)}
    decided = {(event.symbol, event.ts): event.ts_bar for event in journaled(path, Decision)}
    for fill in journaled(path, Fill):
        intent = intents[fill.order_id]
        assert fill.ts > active[fill.order_id] >= intent.ts
        assert fill.ts in received
        if intent.strategy == "rules":
            assert intent.ts - decided[intent.symbol, intent.ts] >= latency_ms * NS_PER_MS
        assert active[fill.order_id] >= intent.ts


def test_a_latency_longer_than_a_feed_may_be_silent_is_no_silence(simulated: Path, tmp_path: Path) -> None:
    """A minute and a half after the bar: the ticks until then aren't played yet when risk is asked."""
    path = tmp_path / "j.sqlite"
    play(simulated, *LIVELY, latency="fixed:90000", journal=path)
    assert not [denial for denial in journaled(path, OrderDenied) if denial.check == "stale_feed"]
    assert journaled(path, Fill)


def test_latency_makes_fills_later(tmp_path: Path) -> None:
    """The same first order: with 250 ms it misses the tick that came 100 ms after the decision."""
    times, prices = hill()
    decided = OPEN + 301 * 10**9
    for extra in (decided, decided + 100 * NS_PER_MS, decided + 250 * NS_PER_MS, decided + 251 * NS_PER_MS):
        where = int(np.searchsorted(times, extra))
        times.insert(where, extra)
        prices.insert(where, 804.0)
    tape = write_tape(tmp_path / "t.parquet", times, prices)
    first = {}
    for latency in ("zero", "fixed:250"):
        play(tape, *LIVELY, latency=latency, journal=tmp_path / latency)
        first[latency] = journaled(tmp_path / latency, Fill)[0].ts
    assert first == {"zero": decided + 100 * NS_PER_MS, "fixed:250": decided + 251 * NS_PER_MS}


def test_recorded_latency_is_that_of_the_recorded_run(simulated: Path, tmp_path: Path) -> None:
    """Each decision as late as it was then."""
    play(simulated, *LIVELY, latency="fixed:700", journal=tmp_path / "a")
    _, summary = play(simulated, *LIVELY, latency=f"recorded:{tmp_path / 'a'}", journal=tmp_path / "b")
    assert summary.latency.startswith("recorded:")
    assert {event.latency_ns for event in journaled(tmp_path / "b", Decision)} == {700 * NS_PER_MS}
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")


def test_the_files_asked_for(simulated: Path, tmp_path: Path) -> None:
    """Bars, fills, accepted ticks, journal and report agree with each other and with the summary."""
    places = {name: tmp_path / f"{name}.parquet" for name in ("bars", "fills", "ticks")}
    replay, summary = play(simulated, *LIVELY, journal=tmp_path / "j", report=tmp_path / "r", **places)
    assert replay.written == [tmp_path / "j", tmp_path / "r" / "index.html", *places.values()]
    assert all(path.is_file() for path in replay.written)
    bars = pq.read_table(places["bars"]).to_pylist()
    assert len(bars) == summary.bars
    recorded = [bar for bar in journaled(tmp_path / "j", Bar) if bar.interval == "1m"]
    assert [(b.symbol, b.open, b.high, b.low, b.close, b.volume) for b in recorded] == [
        (b["symbol"], b["open"], b["high"], b["low"], b["close"], b["volume"]) for b in bars if b["interval"] == "1m"
    ]
    fills = pq.read_table(places["fills"]).to_pylist()
    kept = journaled(tmp_path / "j", Fill)
    assert [(f["fill_id"], f["side"], f["quantity"], f["price"], f["costs"]) for f in fills] == [
        (f.fill_id, f.side.value, f.quantity, f.price, f.costs) for f in kept
    ]
    reader = TapeReader([places["ticks"]])
    assert reader.rows == summary.ticks_accepted
    assert summary.ticks == summary.ticks_accepted + sum(summary.ticks_rejected.values())
    assert summary.ticks_rejected["bad_time"] > 10
    _, again = play(places["ticks"], *LIVELY)
    assert (again.decisions_sha256, again.net_pnl) == (summary.decisions_sha256, summary.net_pnl)
    assert "<html" in (tmp_path / "r" / "index.html").read_text()


def test_bars_without_volume_are_null(tmp_path: Path) -> None:
    """Not zero: the instrument has none."""
    tape = write_tape(tmp_path / "t.parquet", *hill())
    play(tape, *LIVELY, bars=tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "b.parquet").column("volume").null_count > 18


def test_an_index_is_said_to_be_one(tmp_path: Path) -> None:
    """Traded as its future at spot prices, which no venue offers; or not traded at all."""
    times, prices = wave(30)
    tape = write_tape(tmp_path / "n.parquet", times, [price * 30 for price in prices], "NIFTY")
    room = ("risk.max_order_notional=9000000", "risk.max_gross_notional=9000000")
    _, traded = play(tape, *LIVELY, *room)
    _, watched = play(tape, *LIVELY, *room, "market.index_as_future=false")
    assert "NIFTY is an index: traded as its future at spot prices, which no venue offers" in traded.notes
    assert "NIFTY is an index: it is not traded" in watched.notes
    assert traded.fills > 0
    assert watched.fills == 0
    assert watched.denied["instrument"] == watched.orders > 0


def test_a_lot_that_changes_inside_a_tape_is_said(tmp_path: Path) -> None:
    """All of it is traded in the first day's; a share has none that could, nor has one that the settings say."""
    times = [ist_ns(day, "10:00") for day in (dt.date(2025, 12, 30), dt.date(2025, 12, 31), dt.date(2026, 1, 5))]
    tape = tmp_path / "t.parquet"
    symbols = ("NSE:NIFTY50-INDEX", SBIN)
    with TapeWriter(tape, columns=()) as writer:
        writer.write(ticks([ts for ts in times for _ in symbols], [26_000.0, 800.0] * 3, symbols, [0, 1] * 3))
    _, summary = play(tape, *LIVELY)
    (note,) = (note for note in summary.notes if "its lot became" in note)
    assert note.startswith("NSE:NIFTY50-INDEX: its lot became 65 on 2025-12-31, and was 75: all of it was traded in")
    listed = 'market.instruments=[{symbol: "NSE:NIFTY50-INDEX", kind: index, lot_size: 65}]'
    _, summary = play(tape, *LIVELY, listed)
    assert not [note for note in summary.notes if "its lot became" in note]


def test_an_interrupted_replay_says_so(tmp_path: Path, simulated: Path) -> None:
    """What was done is in the journal and in the summary, with the note."""

    async def run() -> Any:
        replay = Replay(settings_of(*LIVELY), [simulated], [], FixedLatency(0), ReplayOutputs(journal=tmp_path / "j"))
        replay.app.bus.tap((Fill,), lambda _: replay.stop())
        return replay, await replay.run()

    replay, summary = asyncio.run(run())
    assert replay.interrupted
    assert summary.notes[-1] == "interrupted: the tape was not played to its end"
    assert 0 < summary.fills < 10
    assert len(journaled(tmp_path / "j", Fill)) == summary.fills


def test_a_stopped_replay_divides_by_what_was_played(tmp_path: Path) -> None:
    """Held from the fill to where it was stopped, nearly all of what was played; the report says the same."""
    tape = write_tape(tmp_path / "t.parquet", *wave(120))

    async def run() -> Any:
        replay = Replay(settings_of(*LIVELY), [tape], [], FixedLatency(0), ReplayOutputs(journal=tmp_path / "j"))
        fills: list[Fill] = []

        def stop(event: Event) -> None:
            fills.extend([event] if isinstance(event, Fill) else [])
            if isinstance(event, Bar) and fills and event.ts_close > fills[0].ts + 10 * 60 * NS_PER_S:
                replay.stop()

        replay.app.bus.tap((Fill, Bar), stop)
        return replay, await replay.run()

    replay, summary = asyncio.run(run())
    (halt,) = journaled(tmp_path / "j", Halt)
    opened = replay.app.calendar.session_at(halt.ts).open_ns
    assert replay.interrupted
    assert summary.exposure == exposure(replay.trades, [(opened, halt.ts)]) > 0.2
    assert report_journal(tmp_path / "j").summary.exposure == summary.exposure


def test_one_symbol_of_the_tape(simulated: Path) -> None:
    """Only that one is played."""

    async def run() -> Any:
        return await Replay(settings_of(*LIVELY), [simulated], [RELIANCE], FixedLatency(0), ReplayOutputs()).run()

    summary = asyncio.run(run())
    assert summary.symbols == [RELIANCE]
    assert summary.bars > 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["feed.symbols=[NSE:TCS-EQ]"], f"not played NSE:TCS-EQ; played {SBIN}, {RELIANCE}, ?UNKNOWN."),
        ([f"feed.symbols=[{SBIN}]"], f"of a tape; played {SBIN}, {RELIANCE}, ?UNKNOWN."),
        ([f"feed.symbols=[{SBIN}, {RELIANCE}, '?UNKNOWN']"], ""),
        (["feed.source=fyers", f"feed.symbols=[{SBIN}, NSE:TCS-EQ]"], ""),
        (["feed.source=fyers", "feed.symbols=[NSE:TCS-EQ]"], "not played NSE:TCS-EQ"),
    ],
)
def test_symbols_that_choose_nothing_of_a_tape(simulated: Path, settings: list[str], says: str) -> None:
    """They are a live feed's; who set them for a tape, or replays one of quite other symbols, is told."""
    _, summary = play(simulated, *LIVELY, *settings)
    notes = [note for note in summary.notes if note.startswith("feed.symbols")]
    assert len(notes) == bool(says)
    assert says in "".join(notes)


def test_what_holds_for_nothing_on_a_tape_is_said(simulated: Path, tmp_path: Path) -> None:
    """A limit, a freeze quantity or a corporate action under a mistyped name leaves the market as it was."""
    mistyped = (
        '{"NSE:SBNI-EQ": {max_order_quantity: 10}, "NSE:SBIN-EQ": {max_order_quantity: 500}}',
        "{SBNI: 10, NSE:SBIN-EQ: 900}",
        "[{date: 2026-01-06, symbol: SBNI, ratio: 1/5}, {date: 2026-01-06, symbol: SBIN, ratio: 9/10}]",
    )
    keys = ("risk.limits", "market.freeze_quantities", "market.adjustments")
    journal = tmp_path / "j.sqlite"
    changes = [f"{key}={value}" for key, value in zip(keys, mistyped, strict=True)]
    _, summary = play(simulated, *LIVELY, *changes, journal=journal)
    for told in (summary.notes, report_journal(journal).summary.notes):
        idle = [note.partition(": not among")[0] for note in told if note.endswith("so it holds for nothing")]
        assert idle == ["risk.limits: NSE:SBNI-EQ", "market.freeze_quantities: SBNI", "market.adjustments: SBNI"]


def test_late_ticks_are_counted(tmp_path: Path) -> None:
    """Received after their bar was closed: rejected under their own reason, and accepted ticks are those in bars."""
    times, prices = hill()
    batch = ticks(times, prices)
    received = np.array(times)
    received[5] = times[5] + 65 * 10**9  # 11:50 into the second minute, heard of in the fourth
    received = np.maximum.accumulate(received)
    with TapeWriter(tmp_path / "t.parquet", columns=("ts_recv",)) as writer:
        writer.write(msgspec.structs.replace(batch, ts_recv=received))
    _, summary = play(tmp_path / "t.parquet", *LIVELY)
    assert summary.ticks_rejected["late"] > 0
    assert summary.ticks_accepted + summary.ticks_rejected["late"] == summary.ticks == 54


def test_several_tapes_are_one(tmp_path: Path) -> None:
    """The halves of a day, played together, are the day."""
    times, prices = wave(60)
    whole = write_tape(tmp_path / "whole.parquet", times, prices)
    halves = [
        write_tape(tmp_path / "one.parquet", times[:400], prices[:400]),
        write_tape(tmp_path / "two.parquet", times[400:], prices[400:]),
    ]
    assert play(whole, *LIVELY)[1].decisions_sha256 == play(halves, *LIVELY)[1].decisions_sha256


def test_a_tape_that_is_given_twice(simulated: Path, tmp_path: Path) -> None:
    """Its ticks would count twice, whatever the second one is called."""
    (tmp_path / "link.parquet").symlink_to(simulated)
    with pytest.raises(TapeError, match=r"link\.parquet: is given twice; its ticks would count twice"):
        play([simulated, tmp_path / "link.parquet"], *LIVELY)


def test_places_that_would_destroy_something_are_refused(simulated: Path, tmp_path: Path) -> None:
    """A tape that is read, a directory, another output, a directory that isn't there."""
    before = simulated.read_bytes()
    (tmp_path / "a file").write_text("kept")
    (tmp_path / "taken" / "index.html").mkdir(parents=True)
    for outputs, why in (
        ({"ticks": simulated}, "is a tape of this replay; name another place for the ticks"),
        ({"bars": simulated}, "is a tape of this replay"),
        ({"fills": tmp_path}, "is a directory; name a file to write"),
        ({"bars": tmp_path / "x", "fills": tmp_path / "x"}, "is where the bars go"),
        ({"journal": tmp_path / "x", "ticks": tmp_path / "x"}, "is where the journal go"),
        ({"ticks": tmp_path / "no" / "x"}, "its directory does not exist"),
        ({"report": tmp_path / "a file"}, r"report .*a file: can't be written \(is no directory\)"),
        ({"report": tmp_path / "a file" / "x" / "y"}, r"can't be written \(.*a file is no directory\)"),
        ({"report": tmp_path / "taken"}, r"taken: can't be written \(its index.html is a directory\)"),
    ):
        with pytest.raises(UsageError, match=why):
            Replay(settings_of(*LIVELY), [simulated], [SBIN], FixedLatency(0), ReplayOutputs(**outputs))
    assert simulated.read_bytes() == before
    assert (tmp_path / "a file").read_text() == "kept"


def test_a_place_that_can_not_be_written_in_the_end(simulated: Path, tmp_path: Path) -> None:
    """It became a directory meanwhile: one line that names it."""

    async def run() -> None:
        outputs = ReplayOutputs(bars=tmp_path / "b.parquet")
        replay = Replay(settings_of(*LIVELY), [simulated], [SBIN], FixedLatency(0), outputs)
        (tmp_path / "b.parquet").mkdir()
        await replay.run()

    with pytest.raises(UsageError, match=r"b\.parquet: can't be written"):
        asyncio.run(run())


def test_a_tape_in_no_order_says_so(tmp_path: Path) -> None:
    """Half of it is late: a note names the likely cause and the remedy, and the remedy helps."""
    times, prices = wave(minutes=120)
    path = tmp_path / "t.parquet"
    with TapeWriter(path, columns=()) as writer:
        for name in (SBIN, RELIANCE):
            writer.write(ticks(times, prices, (name,)))

    _, summary = play(path, *LIVELY)

    late = summary.ticks_rejected["late"]
    assert late > 1000
    (note,) = [note for note in summary.notes if "too late" in note]
    assert note.startswith(
        f"{late:,} of {2 * len(times):,} ticks came too late to be used (late {late:,}, backward_time 0)"
    )
    assert f"symbols stand one after the other; hrmd tape import {path} --out SORTED.parquet sorts them" in note

    import_tape(path, tmp_path / "sorted.parquet", {})
    _, mended = play(tmp_path / "sorted.parquet", *LIVELY)
    assert mended.ticks_rejected == {}
    assert not [note for note in mended.notes if "too late" in note]


@pytest.mark.parametrize(("grows", "says"), [(None, True), (0, True), (5, False)])
def test_a_volume_that_stands_still_says_so(tmp_path: Path, grows: int | None, *, says: bool) -> None:
    """Zeros, or the same lot in each trade: no total falls, and no bar has any volume."""
    times, prices = wave(minutes=60)
    path = tmp_path / "t.parquet"
    volume = [0 if grows is None else 75 + grows * i for i in range(len(times))]
    with TapeWriter(path, columns=("volume",)) as writer:
        writer.write(ticks(times, prices, volume=volume))

    _, summary = play(path, *LIVELY)

    notes = [note for note in summary.notes if "nothing was traded" in note]
    assert len(notes) == says
    if says:
        assert notes[0].startswith("in 60 of 60 bars the price moved and nothing was traded: the column of volume")


def test_quantities_that_are_no_totals_say_so(tmp_path: Path) -> None:
    """Quantities of single trades under the name of the day's total: bars lack volume, and a note says why."""
    times, prices = wave(minutes=60)
    path = tmp_path / "t.parquet"
    with TapeWriter(path, columns=("volume",)) as writer:
        writer.write(ticks(times, prices, volume=[1 + 7919 * i % 500 for i in range(len(times))]))

    _, summary = play(path, *LIVELY)

    (note,) = [note for note in summary.notes if "no total" in note]
    assert note.startswith(f"in {summary.ticks_repaired:,} of {len(times):,} ticks the volume is no total of the day")
    assert "hrmd tape import FILE --map last_qty=VOLUME" in note


@pytest.mark.parametrize(("weeks", "says"), [(0, False), (3, True)])
def test_sessions_that_are_not_on_the_tape_are_said(tmp_path: Path, weeks: int, *, says: bool) -> None:
    """A ratio of a year from three days of four weeks; of days in a row there is nothing to say."""
    times, prices = wave(20)
    days = (0, 1, 2 + 7 * weeks)
    stamps = [at + day * DAY for day in days for at in times]
    _, summary = play(write_tape(tmp_path / "t.parquet", stamps, prices * 3), *LIVELY, journal=tmp_path / "j")
    notes = [note for note in summary.notes if "not on the tape" in note]
    assert [note[:22] for note in notes] == (["13 of the 16 sessions "] if says else [])
    assert [note for note in report_journal(tmp_path / "j").summary.notes if "not on the tape" in note] == notes


@pytest.mark.parametrize(("silent", "says"), [(1, ""), (25, "25 of 120, 25 of them on 06 Jan 2026")])
def test_bars_without_a_tick_inside_a_day_are_said(tmp_path: Path, silent: int, says: str) -> None:
    """A feed that stood still for half an hour; a bar without a trade is nothing to speak of. In its report, too."""
    times, prices = wave(60, days=2)
    hole = range(OPEN + DAY + 20 * MINUTE, OPEN + DAY + (20 + silent) * MINUTE)
    kept = [number for number, at in enumerate(times) if at not in hole]
    tape = write_tape(tmp_path / "t.parquet", [times[it] for it in kept], [prices[it] for it in kept])
    _, summary = play(tape, *LIVELY, journal=tmp_path / "j")
    notes = [note for note in summary.notes if "without a tick" in note]
    assert [note.partition(". ")[0] for note in notes] == (
        [f"1m bars without a tick inside a day: {SBIN} {says}"] if says else []
    )
    assert [note for note in report_journal(tmp_path / "j").summary.notes if "without a tick" in note] == notes


def test_two_tapes_of_one_day_are_named(tmp_path: Path) -> None:
    """The same ticks under two names count twice, and it is said; in the journal's report, too."""
    tapes = [write_tape(tmp_path / name, *wave(3)) for name in ("one.parquet", "two.parquet")]
    _, summary = play(tapes, *LIVELY, journal=tmp_path / "j")
    notes = [note for note in summary.notes if "two tapes have ticks of the same time" in note]
    assert [note.partition(": two")[0] for note in notes] == [SBIN]
    assert [note for note in report_journal(tmp_path / "j").summary.notes if "two tapes" in note] == notes


def test_times_of_another_zone_say_so(tmp_path: Path) -> None:
    """Most of the day lies outside the session: a note says what that looks like."""
    times, prices = wave(minutes=370)
    path = tmp_path / "t.parquet"
    with TapeWriter(path, columns=()) as writer:
        writer.write(ticks([ts + 19_800 * NS_PER_S for ts in times], prices))

    _, summary = play(path, *LIVELY)

    outside = summary.ticks_rejected["outside_session"]
    (note,) = [note for note in summary.notes if "outside" in note]
    assert note.startswith(f"{outside:,} of {len(times):,} ticks lie outside the market's hours")
    assert "--tz" in note


def test_receipts_long_after_the_exchange_say_so(tmp_path: Path) -> None:
    """Where times of receipt were recorded the grace period is named, too."""
    times, prices = wave(minutes=60)
    path = tmp_path / "t.parquet"
    with TapeWriter(path, columns=("ts_recv",)) as writer:
        writer.write(ticks(times, prices, ts_recv=[ts + 30 * NS_PER_S for ts in times]))

    _, summary = play(path, *LIVELY)

    (note,) = [note for note in summary.notes if "too late" in note]
    assert "more than bars.grace_ms (1000) after their bar was over" in note


@pytest.mark.parametrize("behind_s", [5, 19_800])
def test_a_recorders_clock_that_was_behind_is_said(tmp_path: Path, behind_s: int) -> None:
    """From noon on, or all day: half of the ticks are rejected, or all, and the line names the clock."""
    times, prices = wave(minutes=60)
    half, whole = tmp_path / "half.parquet", tmp_path / "whole.parquet"
    for path, since in ((half, len(times) // 2), (whole, 0)):
        with TapeWriter(path, columns=("ts_recv",)) as writer:
            received = [ts - behind_s * NS_PER_S * (number >= since) for number, ts in enumerate(times)]
            writer.write(ticks(times, prices, ts_recv=received))

    _, summary = play(half, *LIVELY)

    (note,) = [note for note in summary.notes if "bad_time" in note]
    count = summary.ticks_rejected["bad_time"]
    assert note.startswith(f"{count} of {len(times)} ticks are stamped more than 2.5 s ahead of their receipt")
    assert "was the clock of the machine that recorded them behind?" in note
    with pytest.raises(TapeError, match=r"no tick could be used .*ahead of their receipt.* without the column ts_recv"):
        play(whole, *LIVELY)


def test_a_few_late_ticks_are_no_news(simulated: Path) -> None:
    """They are counted, and that is all."""
    _, summary = play(simulated, *LIVELY)
    assert not [note for note in summary.notes if "too late" in note]


@pytest.mark.parametrize(
    ("kinder", "told"),
    [
        ("broker.paper.slippage_bp=0.5", "slippage of 0.5 bp (1 as shipped)"),
        ("broker.paper.spread_bp=0", "a spread of 0 bp where nobody quotes (2 as shipped)"),
        ("broker.paper.limit_fill=touch", "limit orders filled by a price that only touched them"),
        ("broker.paper.slippage_bp=3", ""),
        ("broker.paper.spread_times=2", ""),
    ],
)
def test_kinder_fills_than_as_shipped_are_told(simulated: Path, tmp_path: Path, kinder: str, told: str) -> None:
    """Nobody sees it in the figures."""
    _, summary = play(simulated, *LIVELY, kinder, journal=tmp_path / "j")
    for notes in (summary.notes, report_journal(tmp_path / "j").summary.notes):
        assert [note for note in notes if "kinder" in note] == (
            [f"kinder fills than as shipped: {told}"] if told else []
        )
