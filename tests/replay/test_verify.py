"""Decisions made again: all equal on an untouched journal, the first difference named on any other."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from daemon.core.errors import CheckFailed, UsageError
from daemon.core.events import (
    Action,
    Bar,
    Complexity,
    Decision,
    Halt,
    PositionChanged,
    StrategySwapped,
    SwapStrategy,
    TimeAdvanced,
)
from daemon.core.latency import FixedLatency
from daemon.market.legs import Legs
from daemon.report.text import ist_second
from daemon.run.replaying import Replay, ReplayOutputs
from daemon.run.verifying import _Past, verify_journal
from models.agent import HRMAgent
from strategies.base import ViewSettings
from tests.samples import HRM, LIVELY, journaled, play, settings_of, wave, write_tape


@pytest.fixture(scope="module", params=["rules", "hrm"])
def journal(request: pytest.FixtureRequest, simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of each strategy."""
    path: Path = tmp_path_factory.mktemp("verify") / "j.sqlite"
    play(simulated, *(HRM if request.param == "hrm" else LIVELY), journal=path)
    return path


def altered(journal: Path, tmp_path: Path, statement: str, *values: object) -> Path:
    """A copy with one statement run on it."""
    path = tmp_path / "altered.sqlite"
    source, copy = sqlite3.connect(journal), sqlite3.connect(path)
    source.backup(copy)
    with copy:
        assert copy.execute(statement, values).rowcount == 1
    source.close()
    copy.close()
    return path


def test_an_untouched_journal_verifies(journal: Path) -> None:
    """As many decisions as it has, and twice the same."""
    result = verify_journal(journal)
    assert result.decisions == len(journaled(journal, Decision)) > 30
    assert result == verify_journal(journal)


def acted(journal: Path) -> tuple[int, Decision]:
    """(seq, decision) of the last decision that was none to hold."""
    db = sqlite3.connect(journal)
    rows = db.execute("SELECT seq, body FROM events WHERE type = 'Decision' ORDER BY seq").fetchall()
    db.close()
    decisions = [(seq, msgspec.json.decode(body, type=Decision)) for seq, body in rows]
    return [(seq, event) for seq, event in decisions if event.action is not Action.HOLD][-1]


@pytest.mark.parametrize(
    ("field", "value"), [("action", Action.HOLD), ("quantity", 99_999), ("confidence", 0.123), ("complexity", 2.0)]
)
def test_a_changed_decision_is_named(journal: Path, tmp_path: Path, field: str, value: object) -> None:
    """Its number, symbol, bar, field, and both values."""
    seq, decision = acted(journal)
    body = msgspec.json.encode(msgspec.structs.replace(decision, **{field: value})).decode()
    path = altered(journal, tmp_path, "UPDATE events SET body = ? WHERE seq = ?", body, seq)
    with pytest.raises(CheckFailed) as failed:
        verify_journal(path)
    number = [event.ts_bar for event in journaled(journal, Decision)].index(decision.ts_bar)
    assert failed.value.exit_code == 1
    said = "HOLD" if value is Action.HOLD else repr(value)
    closed = f"{decision.symbol}, bar that closed {ist_second(decision.ts_bar)}"
    assert f"({closed}): {field} was {said}, is now " in str(failed.value)
    assert int(str(failed.value).split("decision ")[1].split(" ")[0]) > number


def test_another_versions_figures_may_be_off_a_little(journal: Path, tmp_path: Path) -> None:
    """Counted, and by how much; the same version's may not be, nor may they be off by much or be another action."""
    seq, decision = acted(journal)
    off = msgspec.structs.replace(decision, confidence=decision.confidence - 0.002)
    same = altered(
        journal, tmp_path, "UPDATE events SET body = ? WHERE seq = ?", msgspec.json.encode(off).decode(), seq
    )
    with pytest.raises(CheckFailed, match="confidence was"):
        verify_journal(same)
    (tmp_path / "other").mkdir()
    other = altered(same, tmp_path / "other", "UPDATE runs SET value = 'of before' WHERE key = 'code'")
    result = verify_journal(other)
    assert (result.near, round(result.off_by, 6)) == (1, 0.002)
    for number, far in enumerate(({"confidence": 0.123}, {"price": decision.price * 1.001}, {"quantity": 10**6})):
        body = msgspec.json.encode(msgspec.structs.replace(decision, **far)).decode()
        (tmp_path / str(number)).mkdir()
        wrong = altered(other, tmp_path / str(number), "UPDATE events SET body = ? WHERE seq = ?", body, seq)
        with pytest.raises(CheckFailed, match=f"{next(iter(far))} was"):
            verify_journal(wrong)


def test_a_changed_bar_shows_in_a_decision(journal: Path, tmp_path: Path) -> None:
    """What a decision was made from is part of it: another close, another price."""
    seq, _ = acted(journal)
    db = sqlite3.connect(journal)
    bar, body = db.execute(
        "SELECT seq, body FROM events WHERE type = 'Bar' AND seq < ? AND body LIKE ? ORDER BY seq DESC LIMIT 1",
        (seq, f'%"interval":"{"15m" if "15m" in _intervals(db) else "1m"}"%'),
    ).fetchone()
    db.close()
    fields = msgspec.json.decode(body)
    changed = msgspec.json.encode(fields | {"close": fields["close"] + 1}).decode()
    path = altered(journal, tmp_path, "UPDATE events SET body = ? WHERE seq = ?", changed, bar)
    with pytest.raises(CheckFailed, match=r"was .* is now"):
        verify_journal(path)


def _intervals(db: sqlite3.Connection) -> str:
    (body,) = db.execute("SELECT body FROM events WHERE type = 'Decision' LIMIT 1").fetchone()
    return str(msgspec.json.decode(body)["interval"])


def test_a_complexity_of_a_symbol_without_a_bar(journal: Path, tmp_path: Path) -> None:
    """One letter of its symbol was changed."""
    db = sqlite3.connect(journal)
    (seq,) = db.execute("SELECT MIN(seq) FROM events WHERE type = 'Complexity'").fetchone()
    db.close()
    change = "UPDATE events SET body = replace(body, '-EQ', '-ES') WHERE seq = ?"
    path = altered(journal, tmp_path, change, seq)
    with pytest.raises(CheckFailed, match=r"ES at .*: asked about before any bar of it"):
        verify_journal(path)


def test_a_decision_that_no_bar_asked_for(journal: Path, tmp_path: Path) -> None:
    """Its complexity is gone from the journal."""
    db = sqlite3.connect(journal)
    (seq,) = db.execute("SELECT MAX(seq) FROM events WHERE type = 'Complexity'").fetchone()
    db.close()
    assert journaled(journal, Complexity)
    halt = msgspec.json.encode(Halt(ts=1, reason="instead")).decode()
    path = altered(journal, tmp_path, "UPDATE events SET type = 'Halt', body = ? WHERE seq = ?", halt, seq)
    with pytest.raises(CheckFailed, match="a decision that no bar asked for"):
        verify_journal(path)


@pytest.mark.parametrize("which", ["MIN", "MAX"])
def test_a_deleted_decision_is_missed(journal: Path, tmp_path: Path, which: str) -> None:
    """The first, or the last: the numbers have a gap, and that is no journal of ours."""
    db = sqlite3.connect(journal)
    (seq,) = db.execute(f"SELECT {which}(seq) FROM events WHERE type = 'Decision'").fetchone()
    db.close()
    path = altered(journal, tmp_path, "DELETE FROM events WHERE seq = ?", seq)
    with pytest.raises(CheckFailed, match=rf"event {seq} is missing: the journal was altered"):
        verify_journal(path)


def test_a_renamed_decision_is_missed(journal: Path, tmp_path: Path) -> None:
    """It isn't passed over as if there had been none."""
    path = altered(
        journal,
        tmp_path,
        "UPDATE events SET type = 'decision' WHERE seq = (SELECT MIN(seq) FROM events WHERE type = 'Decision')",
    )
    with pytest.raises(CheckFailed, match=r"event \d+ is a decision, which this version of hrmd doesn't know"):
        verify_journal(path)


def test_a_tail_that_was_cut_off_is_missed(journal: Path, tmp_path: Path) -> None:
    """A run that was closed in order says how many events it has."""
    db = sqlite3.connect(journal)
    (seq,) = db.execute("SELECT MAX(seq) FROM events").fetchone()
    db.close()
    path = altered(journal, tmp_path, "DELETE FROM events WHERE seq = ?", seq)
    with pytest.raises(CheckFailed, match=rf"event {seq} is missing"):
        verify_journal(path)


def test_a_model_is_found_by_its_hash(simulated: Path, tmp_path: Path) -> None:
    """Where it was loaded from, or beside the journal; another one in its place isn't taken for it."""
    hrm = settings_of(*HRM).hierarchical_reasoning_model
    model, path = tmp_path / "models" / "m.safetensors", tmp_path / "j.sqlite"
    HRMAgent.untrained(hrm, 1).save_model(model)
    _, summary = play(simulated, *HRM, f"model_management.artifact={model}", "performance.runtime=torch", journal=path)
    assert verify_journal(path).decisions == summary.decisions > 0
    content = model.read_bytes()
    HRMAgent.untrained(hrm, 2).save_model(model)
    with pytest.raises(CheckFailed, match=r"0 decisions made again, all equal; from decision 1 \(.*isn't found"):
        verify_journal(path)
    (tmp_path / "moved.safetensors").write_bytes(content)
    assert verify_journal(path).decisions == summary.decisions


def until(path: Path, question: str) -> None:
    """Wait for the journal's writer thread, at most a minute."""
    with closing(sqlite3.connect(path)) as db:
        for _ in range(6_000):
            if db.execute(question).fetchone()[0]:
                return
            time.sleep(0.01)
    raise AssertionError(question)


def test_a_shortened_journal_verifies(tmp_path: Path) -> None:
    """Its beginning was deleted while the run went on: what is left is made again but for what saw deleted bars."""
    path, tape = tmp_path / "j.sqlite", write_tape(tmp_path / "t.parquet", *wave(370, days=2, every_s=30))

    async def run() -> int:
        replay = Replay(settings_of(*LIVELY), [tape], [], FixedLatency(0), ReplayOutputs(journal=path))
        app, moments = replay.app, []
        assert app.journal is not None

        def shorten(event: TimeAdvanced) -> None:
            moments.append(event)
            if len(moments) == 60:
                app.bus.publish(app.snapshot())
            if len(moments) == 200:  # a replay is over before the writer's next turn: it is waited for
                until(path, "SELECT COUNT(*) FROM events WHERE type = 'AccountSnapshot'")
                app.journal.shorten(0, event.ts)  # type: ignore[union-attr]
                until(path, "SELECT MIN(seq) > 1 FROM events")

        app.bus.tap((TimeAdvanced,), shorten)
        decided: list[Decision] = []
        app.bus.tap((Decision,), decided.append)
        await replay.run()
        return len(decided)

    decided = asyncio.run(run())
    kept = len(journaled(path, Decision))
    assert 0 < kept < decided
    result = verify_journal(path)
    assert result.decisions + result.passed_over == kept
    assert min(result.decisions, result.passed_over) > 0


def test_of_a_shortened_journal_an_index_is_hidden_by_its_future() -> None:
    """By one that was held at the beginning, and by one shown at a basis that the kept bars don't tell."""
    index, future = "NSE:NIFTY50-INDEX", "NSE:NIFTY26JANFUT"
    legs = Legs({future: index})
    settings = ViewSettings(
        interval="5m", window=1, coarse_interval="30m", coarse_window=1, max_position=1, no_entries_minutes=0
    )
    past = _Past(settings, legs, shortened=True)
    closes = [Bar(index, name, 0, 300, 5.0, 5.0, 5.0, 5.0, -1, 1) for name in ("5m", "30m")]
    bought = PositionChanged(
        ts=1, symbol=future, quantity=65, average_price=Decimal(5), realised_pnl=Decimal(0), costs=Decimal(0),
        cash=Decimal(0), opened_ts=1,
    )  # fmt: skip
    sold = msgspec.structs.replace(bought, quantity=0)
    hidden = []
    for event in (*closes, bought, sold, msgspec.structs.replace(closes[0], symbol=future), bought):
        if isinstance(event, Bar):
            legs.on_bar(event)
        past.see(event)
        hidden.append(past.hides(index))
    assert hidden == [True, False, True, False, False, False]


def test_a_row_that_is_broken(journal: Path, tmp_path: Path) -> None:
    """Not a traceback: the number of the event."""
    seq, _ = acted(journal)
    path = altered(journal, tmp_path, "UPDATE events SET body = 'x' WHERE seq = ?", seq)
    with pytest.raises(UsageError, match=rf"event {seq} \(Decision\) can't be read"):
        verify_journal(path)


def test_settings_of_another_version(journal: Path, tmp_path: Path) -> None:
    """Unknown keys, no settings at all, or no JSON: one line that names the version."""
    for number, text in enumerate(('{"feed": {"nonsense": 1}}', "", "[]")):
        directory = tmp_path / str(number)
        directory.mkdir()
        path = altered(journal, directory, "UPDATE runs SET value = ? WHERE key = 'settings'", text)
        with pytest.raises(UsageError, match="settings are not those of this version of hrmd"):
            verify_journal(path)


def test_swaps_are_followed(simulated: Path, tmp_path: Path) -> None:
    """After a swap to flat nothing was decided, and that too can be made again."""
    path = tmp_path / "j.sqlite"

    async def run() -> None:
        replay = Replay(settings_of(*LIVELY), [simulated], [], FixedLatency(0), ReplayOutputs(journal=path))
        decided: list[Decision] = []

        def swap(decision: Decision) -> None:
            decided.append(decision)
            if len(decided) == 100:
                replay.app.bus.publish(SwapStrategy(ts=decision.ts, name="flat", reason="a test"))

        replay.app.bus.tap((Decision,), swap)
        await replay.run()

    asyncio.run(run())
    assert len(journaled(path, StrategySwapped)) == 1
    assert {event.strategy for event in journaled(path, Decision)} == {"rules", "flat"}
    assert verify_journal(path).decisions > 100
