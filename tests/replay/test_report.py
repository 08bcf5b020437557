"""What a journal says of a run: of a replay all that the replay said, of a daemon's day all its runs together."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.app import App
from daemon.cli import main
from daemon.core.clock import ReplayClock
from daemon.core.errors import UsageError
from daemon.core.events import AccountSnapshot, Bar, Fill, RunCounted
from daemon.core.json_form import plain
from daemon.core.latency import FixedLatency
from daemon.journal.reader import JournalReader
from daemon.plan import RunPlan
from daemon.report.summary import ReplaySummary
from daemon.run.latency import parse_latency
from daemon.run.replaying import Replay, ReplayOutputs
from daemon.run.reporting import JournalReport, report_journal
from tests.samples import HRM, LIVELY, MINUTE, OPEN, journaled, play, settings_of, wave, write_tape

AGENTS = "shadow.agents=[{name: slow, strategy: rules, rules: {fast: 3, slow: 9}}]"
NOVEL = "hierarchical_reasoning_model.novelty.enabled=false"


def figures(summary: ReplaySummary) -> dict[str, Any]:
    """All of them but what was measured of the machine."""
    found: dict[str, Any] = plain(summary)
    found.update(wall_s=0.0, ticks_per_s=0.0)
    if found["hrm_metrics"] is not None:
        found["hrm_metrics"]["inference_ms"] = None
    for row in found["shadow"]:
        row["thinking_ms"] = None
    return found


def drawn(page: Path) -> Any:
    """The data of a page."""
    text = page.read_text(encoding="utf-8")
    return json.loads(text.partition('id="run">')[2].partition("</script>")[0])


@pytest.mark.parametrize(
    ("settings", "latency"),
    [((*LIVELY, AGENTS), "zero"), ((*LIVELY, "bars.intervals=[1m, 5m, 30m]"), "fixed:700"), ((*HRM, NOVEL), "zero")],
    ids=["rules", "late", "hrm"],
)
def test_a_journal_says_what_its_replay_said(
    simulated: Path, tmp_path: Path, settings: tuple[str, ...], latency: str
) -> None:
    """Every figure of the summary, every note, and all that the page draws."""
    replay, summary = play(
        simulated, *settings, latency=latency, journal=tmp_path / "j.sqlite", report=tmp_path / "replayed"
    )
    before = (tmp_path / "j.sqlite").read_bytes()
    found = report_journal(tmp_path / "j.sqlite", keep=True)
    assert figures(found.summary) == figures(summary)
    assert summary.fills > 10
    assert sum(summary.costs_by_kind.values()) == summary.costs
    assert "other" not in summary.costs_by_kind
    assert sum((row.net_pnl for row in summary.by_symbol.values()), Decimal()) == summary.net_pnl
    assert main(["report", str(tmp_path / "j.sqlite"), "-o", str(tmp_path / "told")]) == 0
    assert drawn(tmp_path / "told" / "index.html") == drawn(tmp_path / "replayed" / "index.html")
    assert found.shown.trades == replay.trades
    assert (tmp_path / "j.sqlite").read_bytes() == before


def test_an_interrupted_replay_of_bars_says_the_same(tmp_path: Path) -> None:
    """What the tape was made of, what is still held, and that it ended early."""
    tape = write_tape(tmp_path / "t.parquet", *wave(40), notes={"bars": "1m"})

    async def interrupted() -> tuple[ReplaySummary, int]:
        replay = Replay(
            settings_of(*LIVELY), [tape], [], parse_latency("zero"), ReplayOutputs(journal=tmp_path / "j.sqlite")
        )
        seen: list[int] = []

        def stop(bar: Bar) -> None:
            seen.append(bar.ts_close)
            if len(seen) == 40:
                replay.stop()

        replay.app.bus.tap((Bar,), stop)
        return await replay.run(), len(seen)

    summary, _ = asyncio.run(interrupted())
    found = report_journal(tmp_path / "j.sqlite").summary
    assert figures(found) == figures(summary)
    assert "interrupted: the tape was not played to its end" in found.notes


def test_each_replay_of_a_journal_is_its_own(simulated: Path, tmp_path: Path) -> None:
    """Two replays in one file are not joined, though they are of the same days; `--run` chooses."""
    path = tmp_path / "j.sqlite"
    _, first = play(simulated, *LIVELY, journal=path)
    _, second = play(simulated, *LIVELY, "strategy.rules.slow=9", journal=path)
    assert figures(first) != figures(second)
    newest, chosen = report_journal(path), report_journal(path, 1)
    assert (newest.runs, figures(newest.summary)) == ([2], figures(second))
    assert (chosen.runs, figures(chosen.summary)) == ([1], figures(first))


def daemon(journal: Path, begins: int, minutes: int, tape: Path, *settings: str) -> App:
    """One process of a daemon's day, on the wave from one minute after the open until it is stopped at another."""
    times, prices = wave(begins + minutes + 2)
    since = next(i for i, ts in enumerate(times) if ts >= OPEN + begins * MINUTE)
    write_tape(tape, times[since:], prices[since:])
    plan = RunPlan(
        tapes=[tape], symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=journal, durable=True,
        restarts=True, order_prefix=f"H{begins:03}L", recover=True,
    )  # fmt: skip
    app = App(settings_of(*LIVELY, *settings), plan)

    def stop(bar: Bar) -> None:
        if bar.ts_close >= OPEN + (begins + minutes) * MINUTE:
            app.stop("stopped")

    app.bus.tap((Bar,), stop)
    asyncio.run(app.run())
    return app


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[App]]:
    """A daemon that was started three times on one day, and what each process came to."""
    directory = tmp_path_factory.mktemp("day")
    path = directory / "j.sqlite"
    return path, [daemon(path, 50 * n, 50, directory / f"{n}.parquet") for n in range(3)]


def copy_of(day: tuple[Path, list[App]], directory: Path) -> sqlite3.Connection:
    """Of the day's journal, at `directory`/j.sqlite, open to be changed."""
    (directory / "j.sqlite").write_bytes(day[0].read_bytes())
    return sqlite3.connect(directory / "j.sqlite")


def told(report: JournalReport, text: str) -> list[str]:
    """The notes that hold `text`."""
    return [note for note in report.summary.notes if text in note]


def test_the_runs_of_a_day_are_joined(day: tuple[Path, list[App]]) -> None:
    """One account from the first start to the last end: cash, fills, ticks and decisions of all three."""
    path, apps = day
    found = report_journal(path)
    summary = found.summary
    assert found.runs == [1, 2, 3]
    assert told(found, "joined of the runs 1, 2, 3")
    assert summary.starting_equity == Decimal(1_000_000)
    assert summary.net_pnl == apps[-1].portfolio.portfolio.equity - 1_000_000
    assert summary.ticks_accepted == sum(app.feed.tick_filter.accepted for app in apps)
    assert (summary.sessions, summary.bars) == (1, sum(app.bars.builder.built for app in apps))
    alone = [report_journal(path, number).summary for number in (1, 2, 3)]
    assert summary.fills == sum(one.fills for one in alone)
    assert summary.net_pnl == sum((one.net_pnl for one in alone), Decimal())
    assert summary.costs == sum((one.costs for one in alone), Decimal())


def test_what_was_held_before_is_carried_in(day: tuple[Path, list[App]]) -> None:
    """A run alone begins with the positions and the equity that the one before ended with."""
    path, _ = day
    found = report_journal(path, 2)
    assert found.summary.starting_equity + found.summary.net_pnl == report_journal(path, 3).summary.starting_equity
    assert report_journal(path, 1).summary.open_trades, "the sample has to hold something at a restart"
    assert len(told(found, "carried in: ")) == 1
    assert sum((row.net_pnl for row in found.summary.by_symbol.values()), Decimal()) == found.summary.net_pnl


def test_another_day_is_not_joined(tmp_path: Path) -> None:
    """The newest day alone; what it began with is carried in."""
    path = tmp_path / "j.sqlite"
    daemon(path, 0, 50, tmp_path / "first.parquet")
    times, prices = wave(40)
    tomorrow = write_tape(tmp_path / "second.parquet", [ts + 1440 * MINUTE for ts in times], prices)
    plan = RunPlan(
        tapes=[tomorrow], symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=path, durable=True,
        restarts=True, order_prefix="HtwoL", recover=True,
    )  # fmt: skip
    asyncio.run(App(settings_of(*LIVELY), plan).run())
    found = report_journal(path)
    assert found.runs == [2]
    assert [row.month for row in found.summary.by_month] == ["2026-01"]
    assert found.summary.sessions == 1


@pytest.mark.parametrize("run", [1, 3])
def test_a_run_that_broke_off_is_told_without_its_ticks(day: tuple[Path, list[App]], tmp_path: Path, run: int) -> None:
    """Money, bars and decisions are the same, the ticks of the others are counted, and it is said."""
    db = copy_of(day, tmp_path)
    db.execute("DELETE FROM events WHERE run = ? AND type = 'RunCounted'", (run,))
    db.execute("DELETE FROM runs WHERE run = ? AND key = 'ends_at'", (run,))
    db.commit()
    ((bars,),) = db.execute("SELECT count(*) FROM events WHERE type = 'Bar'").fetchall()
    db.close()
    found, whole = report_journal(tmp_path / "j.sqlite"), report_journal(day[0])
    assert told(found, f"run {run} still goes on or did not end in order: its ticks are not counted")
    assert bars <= found.summary.bars <= whole.summary.bars
    assert (found.summary.net_pnl, found.summary.decisions_sha256) == (
        whole.summary.net_pnl, whole.summary.decisions_sha256,
    )  # fmt: skip
    assert 0 < found.summary.ticks_accepted < whole.summary.ticks_accepted


def test_a_shortened_journal_says_from_where(tmp_path: Path) -> None:
    """From the snapshot with which it begins now: the rest of the day adds up with what was before."""
    path = tmp_path / "j.sqlite"
    app = daemon(path, 0, 60, tmp_path / "t.parquet", "journal.snapshot_every=100")
    whole = report_journal(path).summary
    reader = JournalReader(path)
    snapshots = list(reader.events(AccountSnapshot))
    reader.close()
    db = sqlite3.connect(path)
    rows = db.execute("SELECT seq FROM events WHERE type = 'AccountSnapshot' ORDER BY seq").fetchall()
    cut = rows[len(rows) // 2][0]
    kept = snapshots[len(rows) // 2]
    assert isinstance(kept, AccountSnapshot)
    db.execute("DELETE FROM events WHERE seq < ?", (cut,))
    db.execute("INSERT INTO runs VALUES (1, 'begins_at', ?)", (str(cut),))
    db.commit()
    db.close()
    found = report_journal(path)
    (note,) = told(found, "the journal was shortened: this begins at ")
    assert re.search(r"05 Jan 2026 \d\d:\d\d", note)
    assert found.summary.starting_equity + found.summary.net_pnl == app.portfolio.portfolio.equity
    assert 0 < found.summary.fills < whole.fills
    assert sum((row.net_pnl for row in found.summary.by_symbol.values()), Decimal()) == found.summary.net_pnl


def test_runs_that_were_deleted_are_said(day: tuple[Path, list[App]], tmp_path: Path) -> None:
    """What is held then is carried in at its cost, as the run itself said at its start."""
    db = copy_of(day, tmp_path)
    for table in ("events", "runs"):
        db.execute(f"DELETE FROM {table} WHERE run = 1")
    db.commit()
    db.close()
    found = report_journal(tmp_path / "j.sqlite", 2)
    assert told(found, "the runs before were deleted")
    kept = report_journal(day[0], 2).summary
    assert found.summary.starting_equity + found.summary.net_pnl == kept.starting_equity + kept.net_pnl


def test_a_run_says_what_it_counted(day: tuple[Path, list[App]]) -> None:
    """The last thing in the journal."""
    (counted,) = journaled(day[0], RunCounted)
    assert counted.accepted == day[1][-1].feed.tick_filter.accepted
    assert journaled(day[0])[-1] == counted


def test_a_journal_of_an_earlier_version(day: tuple[Path, list[App]], tmp_path: Path) -> None:
    """Without what is described now: kinds are read from the names, and costs are split all the same."""
    db = copy_of(day, tmp_path)
    keys = ("instruments", "simulated", "made_of", "received", "order_delay_ns", "recovers")
    db.executemany("DELETE FROM runs WHERE key = ?", [(key,) for key in keys])
    db.execute("UPDATE runs SET value = 'measured' WHERE key = 'latency'")
    db.commit()
    db.close()
    found, whole = report_journal(tmp_path / "j.sqlite"), report_journal(day[0])
    unknown = told(found, "whether its ticks were simulated isn't recorded")
    notes = [*whole.summary.notes[:-1], *unknown, whole.summary.notes[-1]]
    expected = msgspec.structs.replace(whole.summary, latency="measured", notes=notes)
    assert unknown
    assert figures(found.summary) == figures(expected)


def test_a_day_of_a_run_that_went_over_several(tmp_path: Path) -> None:
    """Each day begins with what the one before ended with; together they are the whole, but for the ticks."""
    path = tmp_path / "j.sqlite"
    _, whole = play(write_tape(tmp_path / "t.parquet", *wave(47, days=3)), *LIVELY, journal=path)
    days = [report_journal(path, day=dt.date(2026, 1, day)).summary for day in (5, 6, 7)]
    assert [one.sessions for one in days] == [1, 1, 1]
    assert [one.starting_equity for one in days] == [
        whole.starting_equity, *(point.equity for point in whole.equity[:-1])
    ]  # fmt: skip
    assert [point for one in days for point in one.equity] == whole.equity
    for name in ("fills", "decisions", "orders", "trades", "net_pnl", "costs"):
        assert sum(getattr(one, name) for one in days) == getattr(whole, name), name
    assert whole.fills > 5
    assert all("run 1 went over several days: its ticks are not counted by day" in one.notes for one in days)
    assert [one.ticks for one in days] == [0, 0, 0]


def test_a_day_of_the_daemon(day: tuple[Path, list[App]]) -> None:
    """Where all its runs were within it, it is the same as without being asked for."""
    found, same = report_journal(day[0], day=dt.date(2026, 1, 5)), report_journal(day[0])
    assert (found.runs, figures(found.summary)) == (same.runs, figures(same.summary))
    assert report_journal(day[0], 2, dt.date(2026, 1, 5)).runs == [2]


def test_a_start_before_the_first_bar_is_passed_over(day: tuple[Path, list[App]], tmp_path: Path) -> None:
    """A process without a bar is no day; between two of a day it belongs to it."""
    db = copy_of(day, tmp_path)
    db.execute("DELETE FROM events WHERE run = 3 AND seq > 3")
    db.execute("DELETE FROM runs WHERE run = 3 AND key = 'ends_at'")
    db.commit()
    assert report_journal(tmp_path / "j.sqlite").runs == [1, 2]
    db.execute("UPDATE events SET run = 4 WHERE run = 2")
    db.execute("UPDATE runs SET run = 4 WHERE run = 2")
    db.commit()
    db.close()
    assert report_journal(tmp_path / "j.sqlite").runs == [1, 3, 4]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ("", ["--day", "2026-01-09"], "no run of {path} has a bar of it; its bars are of 2026-01-05 to 2026-01-05"),
        ("", ["--day", "yesterday"], "--day yesterday: expected a date such as 2026-01-05"),
        ("", ["--run", "9"], "--run 9: {path} has 1, 2, 3"),
        ("DELETE FROM events", [], "{path}: no event is kept, there is nothing to report"),
        ("UPDATE runs SET value = '[]' WHERE key = 'settings'", [], "{path}: its settings are not those"),
        ("UPDATE runs SET value = '7' WHERE key = 'symbols'", [], "{path}: its symbols can't be read"),
        (
            "UPDATE runs SET value = '{{\"A\": [\"x\", true]}}' WHERE key = 'instruments'",
            [],
            "{path}: its instruments can't be",
        ),
        ("UPDATE events SET body = '{{}}' WHERE type = 'Fill'", [], "{path}: event"),
        (
            "UPDATE events SET body = json_set(body, '$.price', 'NaN') WHERE type = 'Fill'",
            [],
            "(Fill) can't be read (price is NaN, no amount)",
        ),
        ("UPDATE runs SET value = '2m' WHERE key = 'made_of'", [], "{path}: its made_of can't be read (expected one"),
    ],
)
def test_what_can_not_be_reported_is_one_line(
    day: tuple[Path, list[App]], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, options: list[str],
    message: str,
) -> None:  # fmt: skip
    """Exit 2, nothing on stdout."""
    db = copy_of(day, tmp_path)
    if change:
        db.execute(change.format())
        db.commit()
    db.close()
    assert main(["report", str(tmp_path / "j.sqlite"), *options, "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert message.format(path=tmp_path / "j.sqlite") in line


def test_no_journal_at_all(tmp_path: Path) -> None:
    """A file that isn't there, and one that is none."""
    with pytest.raises(UsageError, match="no such journal"):
        report_journal(tmp_path / "nowhere")
    (tmp_path / "text").write_text("not a database, but long enough to be read as one")
    with pytest.raises(UsageError, match="not an hrmd journal"):
        report_journal(tmp_path / "text")


def test_the_terminal_shows_it(day: tuple[Path, list[App]], capsys: pytest.CaptureFixture[str]) -> None:
    """As a replay's, under its own name; how fast it was nobody measured."""
    assert main(["report", str(day[0])]) == 0
    printed = capsys.readouterr().out
    assert "hrmd report" in printed
    assert "ticks/s" not in printed
    assert len(journaled(day[0], Fill)) > 0
