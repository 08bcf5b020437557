"""What a restart finds: the account folded from the journal, snapshots, damaged files, full disks, old runs."""

from __future__ import annotations

import asyncio
import sqlite3
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from daemon.core.bus import Bus
from daemon.core.errors import JournalError, UsageError
from daemon.core.events import (
    EXTERNAL,
    ITSELF,
    PROTECTION,
    AccountSnapshot,
    Bar,
    CanaryChanged,
    CanaryState,
    CancelOrder,
    DayProfitPeaked,
    Event,
    Flatten,
    Halt,
    ModelLoaded,
    OrderAccepted,
    OrderApproved,
    OrderCancelRequested,
    OrderDenied,
    OrderRejected,
    OrderSent,
    PositionRestated,
    Reduce,
    Resume,
    SettingChanged,
    Side,
    SymbolHalted,
    SymbolResumed,
    TradingState,
    TradingStateChanged,
)
from daemon.journal.reader import JournalReader
from daemon.journal.writer import Journal
from daemon.orders.book import OrderState
from daemon.recovery.account import FOLDED, Account, recover
from daemon.recovery.repair import repair
from daemon.recovery.resuming import UNWRITTEN_RECORD, halt_if_unwritten
from daemon.risk.book import RiskBook
from tests.samples import DAY, OPEN, RELIANCE, SBIN, cancel_of, fill_of, intend, journaled

CASH = Decimal(1_000_000)


def trade(number: int, side: Side = Side.BUY, quantity: int = 100, ts: int = OPEN, symbol: str = SBIN) -> list[Event]:
    """An order's whole life, from intent to fill."""
    intent = intend(f"T{number}", side, quantity, ts=ts, symbol=symbol)
    return [
        intent, OrderApproved(ts=ts, order_id=intent.order_id), OrderSent(ts=ts, order_id=intent.order_id),
        OrderAccepted(ts=ts, order_id=intent.order_id, venue_id=f"V{number}"), fill_of(intent),
    ]  # fmt: skip


def write(path: Path, *events: Event, started_ts: int = 1) -> None:
    """One run."""
    journal = Journal(path, safe=True)
    journal.describe({"started_ts": str(started_ts)})
    for event in events:
        journal.append(event)
    journal.close()


def recovered(path: Path) -> Account:
    """The account of a journal that is there."""
    account = recover(path, CASH)
    assert account is not None
    return account


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal goes."""
    return tmp_path / "j.sqlite"


def test_nothing_is_recovered_from_nothing(path: Path) -> None:
    """No file, an empty file: a first start."""
    assert recover(path, CASH) is None
    path.touch()
    assert recover(path, CASH) is None


def test_all_runs_count(path: Path) -> None:
    """Bought in the first run, half sold in the second, one order still on its way: positions, cash and orders."""
    open_order = intend("T3", ts=OPEN)
    write(path, *trade(1))
    write(path, *trade(2, Side.SELL, 40), open_order, OrderApproved(ts=OPEN, order_id="T3"))
    account = recovered(path)
    assert account.portfolio.quantity(SBIN) == 60
    assert account.portfolio.cash == CASH - 60 * 800 - 2 * Decimal("1.23")
    assert {order_id: order.state for order_id, order in account.orders.working.items()} == {"T3": OrderState.APPROVED}
    assert account.records == 12


def test_a_snapshot_stands_for_what_came_before_it(path: Path) -> None:
    """The same account, from fewer records; a fill from before it is still known, and working orders go on."""
    working = intend("T8", ts=OPEN)
    events = [
        *trade(1), *trade(2, Side.SELL, 40), *trade(3)[:4], working, OrderApproved(ts=OPEN, order_id="T8"),
        OrderAccepted(ts=OPEN, order_id="T8", venue_id="V8"), fill_of(working, 30),
        OrderCancelRequested(ts=OPEN, order_id="T8", reason="enough"),
    ]  # fmt: skip
    write(path, *events)
    before = recovered(path)
    write(path, before.snapshot(OPEN))
    after = recovered(path)
    assert after.records == 1
    assert after.snapshot(OPEN) == before.snapshot(OPEN)
    again = fill_of(intend("T1", ts=OPEN))
    assert after.portfolio.apply(again) is None
    after.fold([again, cancel_of(working, 30), *trade(9)])
    assert after.orders.find("T8").state is OrderState.CANCELLED  # type: ignore[union-attr]
    assert after.portfolio.quantity(SBIN) == 190


def test_a_record_that_no_order_can_follow_is_passed_over(path: Path) -> None:
    """The process that wrote it refused it and crashed; a start that did the same would never come up again."""
    write(path, *trade(1)[:4], OrderApproved(ts=OPEN, order_id="T1"), trade(1)[4])
    account = recovered(path)
    assert (account.records, account.portfolio.quantity(SBIN)) == (6, 100)


def test_a_closing_for_another_model_goes_on_after_a_crash(path: Path) -> None:
    """While it is held; once it is closed it is over, and the next position stays, that of another symbol, too."""
    loaded = ModelLoaded(
        ts=3, key="k", name="new", model_hash="b", before="a", after_bar=1, runtime="", file="", closes=True,
        reason="model new",
    )  # fmt: skip
    write(path, *trade(1), loaded)
    assert recovered(path).closing == {SBIN: "model new"}
    path.unlink()
    write(path, *trade(1), loaded, *trade(2, symbol=RELIANCE), *trade(3, Side.SELL), *trade(4))
    assert (recovered(path).closing, recovered(path).portfolio.quantity(SBIN)) == ({}, 100)
    path.unlink()
    write(path, loaded, *trade(1))
    assert recovered(path).closing == {}
    path.unlink()
    write(path, *trade(1)[:-1], loaded, trade(1)[-1])
    assert recovered(path).closing == {SBIN: "model new"}, "what worked then has become a position"
    path.unlink()
    write(path, *trade(1), *trade(2)[:-1], loaded, *trade(3, Side.SELL))
    assert recovered(path).closing == {SBIN: "model new"}, "what works still may become one"
    path.unlink()
    stop = intend("T2", Side.SELL, strategy=PROTECTION, reduces=True, ts=OPEN)
    write(path, *trade(1), stop, OrderApproved(ts=OPEN, order_id="T2"), loaded, *trade(3, Side.SELL))
    assert recovered(path).closing == {}, "its stop, which works still, opens nothing"


@pytest.mark.parametrize(
    ("commands", "state", "reason", "flatten_reason"),
    [([Halt(ts=2, reason="a")], TradingState.HALTED, "a", ""),
     ([Halt(ts=2, reason="a"), Halt(ts=3, reason="b")], TradingState.HALTED, "a", ""),
     ([Reduce(ts=2, reason="a")], TradingState.REDUCING, "a", ""),
     ([Flatten(ts=2, reason="a")], TradingState.REDUCING, "a", "a"),
     ([Halt(ts=2, reason="a"), Flatten(ts=3, reason="b")], TradingState.HALTED, "a", "b"),
     ([Flatten(ts=2, reason="a"), Resume(ts=3, reason="b")], TradingState.ACTIVE, "b", ""),
     ([Halt(ts=2, reason="SIGTERM", shutdown=True)], TradingState.ACTIVE, "", ""),
     ([Halt(ts=2, reason="SIGTERM", shutdown=True), Halt(ts=3, reason="a")], TradingState.HALTED, "a", "")],
)  # fmt: skip
def test_a_command_that_risk_never_got_to_counts(
    path: Path, commands: list[Event], state: TradingState, reason: str, flatten_reason: str
) -> None:
    """It was answered when it was on disk; the state that it leads to may not be there yet. A shutdown is no halt."""
    write(path, *commands)
    account = recovered(path)
    assert (account.state, account.state_reason, account.flatten_reason) == (state, reason, flatten_reason)


def test_cancellations_that_are_owed_are_known(path: Path) -> None:
    """Of orders that work, through a snapshot too; one that is over is owed nothing."""
    asked = [CancelOrder(ts=OPEN, order_id=order_id, reason="mistaken") for order_id in ("T1", "T2")]
    write(path, *trade(1)[:4], *trade(2)[:4], *asked, trade(2)[4])
    account = recovered(path)
    assert {name: order.unwanted for name, order in account.orders.working.items()} == {"T1": "mistaken"}
    write(path, account.snapshot(OPEN))
    assert recovered(path).orders.working["T1"].unwanted == "mistaken"


def test_limits_on_how_many_survive(path: Path) -> None:
    """What risk let through today counts, what it denied and what came yesterday doesn't; the day's peak is known."""
    denied = intend("T4", ts=OPEN + DAY)
    write(
        path, *trade(1), *trade(2, ts=OPEN + DAY), *trade(3, Side.SELL, ts=OPEN + DAY + 5), denied,
        OrderDenied(ts=OPEN, order_id="T4", symbol=SBIN, check="c", limit="l", value="v"),
        DayProfitPeaked(ts=OPEN + DAY, day=20_458, high=Decimal(750)),
    )  # fmt: skip
    account = recovered(path)
    assert [intent.order_id for intent in account.approved()] == ["T2", "T3"]
    book = RiskBook()
    book.restore([], [], [], account.day, account.day_start_net, account.day_high, account.approved())
    assert (book.approved_on(account.day), book.approved_since(OPEN + DAY, 9), book.day_high) == (2, 1, 750)
    right = RiskBook()  # after a start by a clock that is set back
    right.restore([], [], [], account.day, account.day_start_net, approved=account.approved(), now=OPEN)
    assert (right.approved_on(account.day), right.approved_since(0, 9)) == (2, 0)
    assert right.same_since(intend("T9", Side.SELL, ts=OPEN), 0) is None
    write(path, *trade(5, ts=OPEN + 2 * DAY))
    assert recovered(path).day_high == 0


def test_the_days_loss_survives(path: Path) -> None:
    """Profit counts from the first order of the latest day in India."""
    write(path, *trade(1), *trade(2, Side.SELL, 100), *trade(3, ts=OPEN + DAY))
    account = recovered(path)
    assert account.day == (OPEN + DAY + 19_800 * 10**9) // (86_400 * 10**9)
    assert account.day_start_net == -2 * Decimal("1.23")


def test_what_a_position_won_or_lost_before_today_is_none_of_the_days_profit(path: Path) -> None:
    """Held over the night at a gain: after a restart it is as little today's as before, and loosens no limit."""
    closed = Bar(
        symbol=SBIN, interval="5m", ts_open=OPEN, ts_close=OPEN + 1, open=950.0, high=950.0, low=950.0, close=950.0,
        volume=0, ticks=1, gap=False,
    )  # fmt: skip
    write(path, *trade(1), closed, *trade(2, Side.SELL, 40, ts=OPEN + DAY))
    account = recovered(path)
    assert account.day_start_net == 100 * 150 - Decimal("1.23")


def changed(state: TradingState, reason: str = "r") -> TradingStateChanged:
    """A state of trading."""
    return TradingStateChanged(ts=OPEN, state=state, reason=reason)


@pytest.mark.parametrize(
    ("events", "state", "flatten"),
    [
        ([Halt(ts=1, reason="stop"), changed(TradingState.HALTED)], TradingState.HALTED, ""),
        ([Halt(ts=1, reason="end", shutdown=True), changed(TradingState.HALTED, "end")], TradingState.ACTIVE, ""),
        ([Flatten(ts=1, reason="out"), changed(TradingState.REDUCING)], TradingState.REDUCING, "out"),
        (
            [Flatten(ts=1, reason="out"), changed(TradingState.REDUCING), Resume(ts=2, reason="on"),
             changed(TradingState.ACTIVE)],
            TradingState.ACTIVE, "",
        ),
    ],
)  # fmt: skip
def test_the_kill_switch_survives(path: Path, events: list[Event], state: TradingState, flatten: str) -> None:
    """A halt and an unfinished flattening go on; the halt of an orderly shutdown doesn't."""
    write(path, *events)
    account = recovered(path)
    assert (account.state, account.flatten_reason) == (state, flatten)


def test_flattening_ends_when_all_is_closed(path: Path) -> None:
    """What a person does by hand afterwards isn't closed by the next process; what works or is disputed still is."""
    out = [*trade(1), Flatten(ts=OPEN, reason="out"), changed(TradingState.REDUCING)]
    closed, late = trade(2, Side.SELL), trade(3)
    theirs = intend("X9", Side.BUY, ts=OPEN, strategy=EXTERNAL)
    by_hand = [theirs, OrderAccepted(ts=OPEN, order_id="X9", venue_id="9"), fill_of(theirs)]
    differ = SymbolHalted(ts=OPEN, symbol=SBIN, reason="position: the broker holds 7, the journal 0", held=7)
    agree = SymbolResumed(ts=OPEN, symbol=SBIN, reason="both hold 0")
    for events, reason in (
        ([*out, *closed], ""),
        ([*out[-2:], *by_hand], ""),
        ([*out, *closed, *by_hand], ""),
        ([*out, *closed[:-1]], "out"),
        ([*out, *late[:-1], *closed, late[-1]], "out"),
        ([*out, differ, *closed, *by_hand], "out"),
        ([*out, differ, *closed, agree, *by_hand], ""),
    ):
        path.unlink(missing_ok=True)
        write(path, *events)
        assert recovered(path).flatten_reason == reason, events


def test_what_comes_late_of_an_order_is_closed_by_the_next_process(path: Path) -> None:
    """Everything was closed, and then one that was given up filled: also where a snapshot was taken between."""
    late = intend("H695b3e48f83177L0000009", Side.BUY, ts=OPEN)
    given_up = [late, OrderApproved(ts=OPEN, order_id=late.order_id), OrderSent(ts=OPEN, order_id=late.order_id)]
    never = OrderRejected(ts=OPEN, order_id=late.order_id, code=0, reason="never arrived")
    out = [Flatten(ts=OPEN, reason="out"), changed(TradingState.REDUCING)]
    write(path, *given_up, *out, never)
    snapshot = recovered(path).snapshot(OPEN + 1)
    for events in ([*given_up, *out, never], [snapshot]):
        path.unlink()
        write(path, *events, fill_of(late))
        account = recovered(path)
        assert (account.flatten_reason, account.closing) == ("", {SBIN: "out"})
        path.unlink()
        write(path, *events, Resume(ts=OPEN + 1, reason="on"), fill_of(late))
        assert recovered(path).closing == {}


def test_who_gave_the_word_survives(path: Path) -> None:
    """Also in a snapshot; a journal from before it was kept says nobody."""
    write(path, Halt(ts=1, reason="stop", who="asha"), changed(TradingState.HALTED))
    account = recovered(path)
    assert (account.state_reason, account.state_who) == ("stop", "asha")
    write(path, account.snapshot(OPEN + 1))
    assert recovered(path).state_who == "asha"
    old = msgspec.json.decode(b'{"ts": 1, "reason": "stop"}', type=Reduce)
    assert old == Reduce(ts=1, reason="stop")
    assert old.who == ""


@pytest.mark.parametrize("stop", [Halt, Flatten])
def test_a_persons_stop_stands_over_a_machines(path: Path, stop: type[Halt | Flatten]) -> None:
    """Halted by itself for a token, a daemon may go on by itself: not after somebody halted as well, nor a restart."""
    by_itself = Halt(ts=1, reason="the token", automatic=True, who=ITSELF)
    state = TradingStateChanged(ts=OPEN, state=TradingState.HALTED, reason="the token", who=ITSELF)
    write(path, by_itself, state, stop(ts=2, reason="fire", who="asha"))
    account = recovered(path)
    assert (account.state, account.state_reason, account.state_who) == (TradingState.HALTED, "fire", "asha")
    write(path, by_itself, state)
    assert recovered(path).state_reason == "fire"


def test_a_command_after_an_orderly_end_survives_as_well(path: Path) -> None:
    """The earlier process ended in order; the next one was told to reduce, had no order, and was killed."""
    write(path, Halt(ts=1, reason="SIGTERM", shutdown=True), changed(TradingState.HALTED, "SIGTERM"))
    write(path, Reduce(ts=2, reason="careful"), changed(TradingState.REDUCING, "careful"))
    assert recovered(path).state is TradingState.REDUCING
    write(path, Halt(ts=1, reason="SIGTERM", shutdown=True), changed(TradingState.HALTED, "SIGTERM"))
    account = recovered(path)
    assert account.state is TradingState.REDUCING
    account.follow(changed(TradingState.HALTED, "stop"))
    assert account.state is TradingState.HALTED


def test_an_order_that_was_made_as_the_process_ended_leaves_nobody_halted(path: Path) -> None:
    """Risk answers a decision that it had heard before the end, and only then halts for the end."""
    ending = Halt(ts=OPEN, reason="SIGTERM received", shutdown=True, who="SIGTERM")
    state = TradingStateChanged(ts=OPEN, state=TradingState.HALTED, reason="SIGTERM received", who="SIGTERM")
    intent, *_ = trade(1)
    write(path, ending, intent, state)
    assert recovered(path).state is TradingState.ACTIVE
    write(path, state)  # as an earlier version went on from there
    assert recovered(path).state is TradingState.ACTIVE


def test_a_whole_journal_is_not_touched(path: Path) -> None:
    """Nothing to repair, and nothing where there is no file."""
    assert repair(path).kept is None
    write(path, *trade(1))
    content = path.read_bytes()
    assert repair(path).kept is None
    assert path.read_bytes() == content


def test_a_file_that_was_cut_off_is_recovered_to_its_last_whole_record(path: Path) -> None:
    """What can be read stays, in order and without gaps; the damaged file is kept; the next run goes on."""
    write(path, *(event for number in range(400) for event in trade(number)))
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size * 2 // 3 // 4096 * 4096)
    kept = repair(path).kept
    assert kept is not None
    assert 0 < kept < 2000
    events = journaled(path)
    assert len(events) == kept
    assert path.with_name("j.sqlite.damaged-1").is_file()
    assert recovered(path).portfolio.quantity(SBIN) == sum(type(event).__name__ == "Fill" for event in events) * 100
    write(path, *trade(9001))
    assert len(journaled(path)) == 5


def test_a_record_that_is_no_json_ends_what_is_recovered(path: Path) -> None:
    """Everything before it is kept, nothing after it is believed."""
    write(path, *trade(1), *trade(2))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE events SET body = '{\"ts' WHERE seq = 8")
    db.close()
    assert repair(path).kept == 7
    assert recovered(path).portfolio.quantity(SBIN) == 100


def test_what_is_no_journal_is_not_repaired(path: Path) -> None:
    """A foreign file stays as it is and is named."""
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(UsageError, match=r"j\.sqlite"):
        repair(path)
    assert path.read_bytes().startswith(b"something")


async def test_a_full_disk_loses_nothing(path: Path) -> None:
    """Nothing is durable and it is said; what was appended is kept and written when there is room again."""
    journal = Journal(path, safe=True)
    journal.describe({"started_ts": "1"})
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count={pages}")
    events = [event for number in range(300) for event in trade(number)]
    for event in events:
        journal.append(event)
    with pytest.raises(JournalError, match="full"):  # at once, where the writer has met it already
        async with asyncio.timeout(30):
            await (journal.durable() or asyncio.sleep(0))
    assert "full" in journal.trouble
    with pytest.raises(JournalError, match="full"):
        journal.durable()
    journal.append(Halt(ts=1, reason="meanwhile"))
    journal._db.execute("PRAGMA max_page_count=1000000")
    async with asyncio.timeout(30):
        while journal.trouble:  # noqa: ASYNC110 — the writer tells nobody when it can write again
            await asyncio.sleep(0.01)
        waiting = journal.durable()
        if waiting is not None:
            await waiting
    journal.close()
    assert journaled(path) == [*events, Halt(ts=1, reason="meanwhile")]


async def test_a_record_that_is_not_whole_is_known_to_the_next_process(path: Path) -> None:
    """Until what that is halted for is on disk; where all was written after all, nobody need know."""
    full = _on_a_full_disk(path)
    with pytest.raises(JournalError, match="full"):
        full.close()
    again = Journal(path, safe=True)
    assert again.unwritten
    again.close()
    third = Journal(path, safe=True)
    assert third.unwritten
    third.append(Halt(ts=1, reason="the one before"))
    third.halted()
    third.close()
    fourth = Journal(path, safe=True)
    assert not fourth.unwritten
    fourth.close()
    assert [file.name for file in path.parent.iterdir() if "unwritten" in file.name] == []


@pytest.mark.parametrize(
    ("on_record", "stands"),
    [
        (None, UNWRITTEN_RECORD),
        (Halt(ts=1, reason="the token was refused", automatic=True, who=ITSELF), UNWRITTEN_RECORD),
        (Halt(ts=1, reason="enough for today", who="anna"), "enough for today"),
    ],
)
def test_a_record_that_is_not_whole_halts_whatever_halted_before(
    path: Path, on_record: Halt | None, stands: str
) -> None:
    """A halt that ends by itself doesn't stand for it; a person's does."""
    with pytest.raises(JournalError, match="full"):
        _on_a_full_disk(path).close()
    bus, account, journal = Bus(), Account(CASH), Journal(path, safe=True)
    bus.tap((Halt,), account.follow)
    if on_record is not None:
        account.follow(on_record)
    halt_if_unwritten(bus, journal, account, 2)
    journal.close()
    assert (account.state, account.state_reason) == (TradingState.HALTED, stands)


def _on_a_full_disk(path: Path) -> Journal:
    """A journal that has events and no room for them."""
    journal = Journal(path, safe=True)
    journal.describe({"started_ts": "1"})
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count={pages}")
    for event in [event for number in range(300) for event in trade(number)]:
        journal.append(event)
    return journal


def test_a_disk_that_stays_full_is_said_at_the_end(path: Path) -> None:
    """Closing gives up, and says so."""
    journal = Journal(path, safe=True)
    journal._db.execute(f"PRAGMA max_page_count={journal._db.execute('PRAGMA page_count').fetchone()[0]}")
    for number in range(300):
        for event in trade(number):
            journal.append(event)
    with pytest.raises(JournalError, match="full"):
        journal.close()


def test_old_runs_that_no_restart_needs_are_deleted(path: Path) -> None:
    """Older than asked and before the newest snapshot; the others stay."""
    write(path, *trade(1), started_ts=10)
    write(path, *trade(2), started_ts=20)
    write(path, recovered(path).snapshot(OPEN), *trade(3), started_ts=15)
    before = recovered(path).snapshot(OPEN)
    journal = Journal(path, safe=True)
    assert journal.prune(20) == 1
    journal.describe({"started_ts": "30"})
    journal.close()
    with sqlite3.connect(path) as db:
        assert [row[0] for row in db.execute("SELECT DISTINCT run FROM events ORDER BY run")] == [2, 3]
    db.close()
    assert recovered(path).snapshot(OPEN) == before


def test_a_journal_of_the_first_schema_is_brought_up(path: Path) -> None:
    """It can be read as it is, and is of the present schema once it was opened for writing."""
    write(path, *trade(1))
    with sqlite3.connect(path) as db:
        db.execute("DROP INDEX snapshots")
        db.execute("PRAGMA user_version=1")
    db.close()
    assert recovered(path).portfolio.quantity(SBIN) == 100
    write(path)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == 2
        assert db.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'snapshots'").fetchone()[0] == 1
    db.close()


def test_a_record_of_another_shape_is_named(path: Path) -> None:
    """JSON, but not what its type says: the file, the run and the number."""
    write(path, *trade(1))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE events SET body = '{}' WHERE seq = 2")
    db.close()
    reader = JournalReader(path)
    with pytest.raises(UsageError, match=r"j\.sqlite: run 1, event 2 \(OrderApproved\) can't be read"):
        list(reader.since_snapshot(*FOLDED))
    reader.close()
    assert AccountSnapshot in FOLDED


def test_what_a_night_made_doubtful_survives(path: Path) -> None:
    """A position in doubt stays so over restarts and snapshots until it is settled; a venue's halt is the venue's."""
    halted = SymbolHalted(ts=OPEN, symbol=SBIN, reason="800 → 160 overnight", overnight=True)
    write(path, *trade(1), halted, SymbolHalted(ts=OPEN, symbol=RELIANCE, reason="position"))
    assert recovered(path).unsettled == {SBIN: "800 → 160 overnight"}
    write(path, recovered(path).snapshot(OPEN))
    assert recovered(path).unsettled == {SBIN: "800 → 160 overnight"}
    write(path, SymbolResumed(ts=OPEN, symbol=SBIN, reason="both hold 100"))
    assert recovered(path).unsettled == {SBIN: "800 → 160 overnight"}
    write(path, SymbolResumed(ts=OPEN, symbol=SBIN, reason="resumed", overnight=True))
    assert recovered(path).unsettled == {}


@pytest.mark.parametrize("command", [Resume, Flatten])
def test_the_word_of_a_person_counts_though_risk_never_heard_it(path: Path, command: type[Resume | Flatten]) -> None:
    """Killed right after it: the next process doubts nothing, for yesterday's price either; a machine's doesn't."""
    bar = Bar(symbol=SBIN, interval="5m", ts_open=OPEN, ts_close=OPEN + 1, open=800.0, high=800.0, low=800.0,
              close=800.0, volume=1, ticks=1)  # fmt: skip
    halted = SymbolHalted(ts=OPEN + DAY, symbol=SBIN, reason="in doubt", overnight=True)
    write(path, *trade(1), bar, halted, command(ts=OPEN + DAY, reason="a machine", automatic=True))
    assert (recovered(path).unsettled, list(recovered(path).portfolio.closes())) == ({SBIN: "in doubt"}, [SBIN])
    write(path, command(ts=OPEN + DAY, reason="a person"))
    assert (recovered(path).unsettled, recovered(path).portfolio.closes()) == ({}, {})


def test_what_is_in_doubt_stays_at_its_value_over_a_restart(path: Path) -> None:
    """Of a journal that is read and of a snapshot: at yesterday's price, whatever its bars say since."""
    bars = [
        Bar(symbol=SBIN, interval="5m", ts_open=ts, ts_close=ts + 1, open=price, high=price, low=price, close=price,
            volume=1, ticks=1)
        for ts, price in ((OPEN, 810.0), (OPEN + DAY, 162.0), (OPEN + DAY + 9, 163.0))
    ]  # fmt: skip
    halted = SymbolHalted(ts=OPEN + DAY, symbol=SBIN, reason="in doubt", overnight=True)
    write(path, *trade(1), bars[0], halted, bars[1])
    worth = recovered(path).net
    write(path, recovered(path).snapshot(OPEN + DAY + 2))
    assert recovered(path).net == worth
    write(path, bars[2])
    (position,) = recovered(path).portfolio.positions()
    assert (recovered(path).net, position.mark) == (worth, 810)


def test_an_action_is_counted_once_and_remembered(path: Path) -> None:
    """The position is that of the new shares, before and after a snapshot."""
    split = PositionRestated(ts=OPEN + DAY, symbol=SBIN, date="2026-01-06", kind="split", numerator=1, denominator=5)
    write(path, *trade(1), split)
    for account in (recovered(path), recovered(path)):
        assert (account.portfolio.quantity(SBIN), tuple(account.restated)) == (500, (f"{SBIN} 2026-01-06 split",))
        write(path, account.snapshot(OPEN + DAY))


def test_the_last_price_of_what_is_held_is_known(path: Path) -> None:
    """From its fills, bars and a snapshot; not of what is flat."""
    bar = Bar(symbol=SBIN, interval="5m", ts_open=OPEN, ts_close=OPEN + DAY, open=1.0, high=9.0, low=1.0, close=8.5,
              volume=1, ticks=1)  # fmt: skip
    write(path, *trade(1))
    ((bought_ts, bought),) = recovered(path).portfolio.closes().values()  # no bar has closed since
    assert (bought_ts, bought) == (recovered(path).portfolio.positions()[0].opened_ts, 800.0)
    write(path, recovered(path).snapshot(OPEN + DAY))
    assert recovered(path).portfolio.closes() == {SBIN: (bought_ts, 800.0)}
    write(path, bar)
    assert recovered(path).portfolio.closes() == {SBIN: (OPEN + DAY, 8.5)}
    write(path, recovered(path).snapshot(OPEN + DAY))
    assert recovered(path).portfolio.closes() == {SBIN: (OPEN + DAY, 8.5)}
    write(path, *trade(2, Side.SELL, 100))
    assert recovered(path).portfolio.closes() == {}


ENDED = CanaryChanged(
    ts=OPEN, agent="next", strategy="hrm", model_hash="", state=CanaryState.ROLLED_BACK, symbols=(SBIN,), size=0.5,
    sessions=0, mean_bp=0.0, better=1.0, worse=1.0, who="hrmd", reason="it failed", closes=(SBIN,),
)  # fmt: skip


def test_what_a_canary_left_to_be_closed_is_remembered_until_it_is() -> None:
    """Over a snapshot, too; what was flat, or what is closed by now, isn't closed again."""
    account = Account(CASH)
    account.fold([ENDED])
    assert account.closing == {}
    account.fold([*trade(1), ENDED])
    assert account.closing == {SBIN: "it failed"}
    after = Account(CASH)
    after.fold([account.snapshot(OPEN)])
    assert after.closing == {SBIN: "it failed"}
    account.fold(trade(2, Side.SELL))
    assert account.closing == {}
    after.fold([Resume(ts=OPEN, reason="a token is there again", automatic=True)])
    assert after.closing == {SBIN: "it failed"}
    after.fold([Resume(ts=OPEN, reason="by hand")])
    assert after.closing == {}


def test_what_was_carried_over_a_night_is_closed_though_the_day_has_begun() -> None:
    """A restart in the session goes on with it, until it is flat or a person says otherwise; what is new stays."""
    other = trade(2, symbol=RELIANCE, ts=OPEN + DAY)
    for after, closing in (
        ([], {SBIN: "carried over from an earlier session"}),
        (trade(3, Side.SELL, ts=OPEN + DAY), {}),
        ([Resume(ts=OPEN + DAY, reason="by hand")], {}),
        ([Resume(ts=OPEN + DAY, reason="a token", automatic=True)], {SBIN: "carried over from an earlier session"}),
    ):
        account = Account(CASH)
        account.fold([*trade(1), *other, *after])
        assert account.closing == closing
        again = Account(CASH)
        again.fold([account.snapshot(OPEN + DAY)])
        assert again.closing == closing


def test_a_later_position_is_not_closed_for_a_canary_of_before() -> None:
    """Its entry comes after all was closed."""
    account = Account(CASH)
    resting = trade(1)[:-1]
    account.fold([*resting, ENDED])
    assert account.closing == {SBIN: "it failed"}
    account.fold([cancel_of(resting[0]), *trade(2)])  # type: ignore[arg-type]
    assert account.closing == {}


def setting(key: str, after: str, *, as_in_file: bool = False) -> SettingChanged:
    """A limit that somebody changed."""
    return SettingChanged(ts=OPEN, who="anna", key=key, before="1", after=after, reason="", as_in_file=as_in_file)


def test_a_limit_that_was_changed_outlives_the_process(tmp_path: Path) -> None:
    """The newest of a key; one that is the file's again is forgotten; a snapshot keeps them."""
    path = tmp_path / "j.sqlite"
    write(
        path, setting("risk.max_daily_loss", '"9000"'), setting("risk.max_orders_per_day", "10"),
        setting("risk.max_daily_loss", '"5000"'), setting("risk.max_orders_per_day", "5000", as_in_file=True),
    )  # fmt: skip
    account = recover(path, CASH)
    assert account is not None
    assert account.settings_changed() == {"risk.max_daily_loss": "5000"}
    write(path, account.snapshot(OPEN), started_ts=2)
    again = recover(path, CASH)
    assert again is not None
    assert again.settings_changed() == {"risk.max_daily_loss": "5000"}


def test_a_change_of_settings_is_no_end_of_a_shutdown() -> None:
    """The process that was ending still is: its halt is no kill switch."""
    account = Account(CASH)
    account.follow(Halt(ts=OPEN, reason="SIGTERM", shutdown=True))
    account.follow(setting("risk.max_daily_loss", '"5000"'))
    account.follow(TradingStateChanged(ts=OPEN, state=TradingState.HALTED, reason="SIGTERM"))
    assert account.state is TradingState.ACTIVE


def test_an_order_of_no_time_begins_no_day() -> None:
    """Adopted before a tape's clock began: at the next start its day would pass for another, and all be squared off."""
    account = Account(CASH)
    account.fold(trade(1))
    day, net = account.day, account.day_start_net
    account.fold([intend("X9", Side.BUY, 10, ts=0, strategy=EXTERNAL)])
    assert (account.day, account.day_start_net) == (day, net)
