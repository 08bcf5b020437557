from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.calls.budget import Grant, Limit, Purpose, RateBudget, RateLimits
from daemon.calls.call_record import CallRecord
from daemon.calls.pen import Pen
from daemon.core.clock import DAY_NS, IST_OFFSET_NS, NS_PER_MS, NS_PER_S, ReplayClock
from daemon.core.errors import SettingsError

EXIT, ORDINARY = Purpose.EXIT, Purpose.ORDINARY
MIDNIGHT = 20_000 * DAY_NS - IST_OFFSET_NS
SMALL = RateLimits(Limit(4, 2), Limit(10, 3), Limit(30, 5), slack_ms=0)


def granted(budget: RateBudget, purpose: Purpose, tries: int) -> int:
    """Count how many of so many calls at once are granted."""
    return sum(budget.take(purpose) == 0 for _ in range(tries))


def test_a_second_has_its_limit_and_keeps_some_for_exits() -> None:
    """Ordinary calls stop at limit − kept, exits at the limit."""
    budget = RateBudget(ReplayClock(MIDNIGHT), SMALL)
    assert granted(budget, ORDINARY, 9) == 2
    assert granted(budget, EXIT, 9) == 2


def test_the_wait_is_exact() -> None:
    """Asking again after the wait is granted, a nanosecond earlier it isn't."""
    clock = ReplayClock(MIDNIGHT)
    budget = RateBudget(clock, SMALL)
    granted(budget, EXIT, 4)
    clock.advance(MIDNIGHT + 300 * NS_PER_MS)
    wait = budget.take(EXIT)
    assert wait == 700 * NS_PER_MS
    clock.advance(MIDNIGHT + 300 * NS_PER_MS + wait - 1)
    assert budget.take(EXIT) == 1
    clock.advance(MIDNIGHT + 300 * NS_PER_MS + wait)
    assert budget.take(EXIT) == 0


def test_slack_lengthens_the_windows() -> None:
    """With slack a second lasts longer than a second, for calls don't travel equally fast."""
    clock = ReplayClock(MIDNIGHT)
    budget = RateBudget(clock, RateLimits(Limit(1, 0), Limit(9, 0), Limit(9, 0), slack_ms=100))
    budget.take(EXIT)
    clock.advance(MIDNIGHT + NS_PER_S)
    assert budget.take(EXIT) == 100 * NS_PER_MS


def test_the_day_ends_at_midnight_in_india() -> None:
    """A used-up day grants nothing until midnight in India, to ordinary calls first; then it begins anew."""
    clock = ReplayClock(MIDNIGHT)
    budget = RateBudget(clock, SMALL)
    budget._calls.day, budget._calls.used = (MIDNIGHT + IST_OFFSET_NS) // DAY_NS, 25
    assert budget.take(ORDINARY) == DAY_NS
    assert budget.take(EXIT) == 0
    assert budget.used_today == 26
    clock.advance(MIDNIGHT + DAY_NS)
    assert budget.used_today == 0
    assert budget.take(ORDINARY) == 0
    assert budget.used_today == 1


def recorded(path: Path, now: int, limits: RateLimits = SMALL) -> RateBudget:
    """The budget of a process that starts at `now` with the account's record."""
    return RateBudget(ReplayClock(now), limits, CallRecord(path, limits.minute.calls))


def test_what_an_earlier_process_used_counts(tmp_path: Path) -> None:
    """Killed without a word and started again: second, minute and day go on where they were."""
    first = recorded(tmp_path / "calls", MIDNIGHT)
    used = granted(first, EXIT, 50)
    assert used == SMALL.second.calls
    second = recorded(tmp_path / "calls", MIDNIGHT + NS_PER_S // 2)
    assert second.take(EXIT) == NS_PER_S // 2
    assert second.used_today == used
    third = recorded(tmp_path / "calls", MIDNIGHT + DAY_NS)
    assert (third.take(EXIT), third.used_today) == (0, 1)


def test_a_restart_loop_never_breaches_a_limit(tmp_path: Path) -> None:
    """A process that lives for two seconds and calls whenever it may, started over and over for five minutes."""
    limits, times, now = RateLimits(Limit(4, 1), Limit(20, 4), Limit(70, 5), 0), [], MIDNIGHT
    while now < MIDNIGHT + 300 * NS_PER_S:
        budget = recorded(tmp_path / "calls", now, limits)
        times += [now] * granted(budget, EXIT, 10)
        budget.close()
        now += 2 * NS_PER_S
    for limit, span in ((limits.second, NS_PER_S), (limits.minute, 60 * NS_PER_S), (limits.day, DAY_NS)):
        assert all(sum(end - span < ts <= end for ts in times) <= limit.calls for end in times)
    assert len(times) == 70


def test_a_hold_survives_a_restart(tmp_path: Path) -> None:
    """After a 429 the next process keeps still as well."""
    recorded(tmp_path / "calls", MIDNIGHT).hold(30.0)
    assert recorded(tmp_path / "calls", MIDNIGHT + 10 * NS_PER_S).take(EXIT) == 20 * NS_PER_S


def test_after_a_reboot_the_record_is_distrusted(tmp_path: Path) -> None:
    """The machine's monotonic clock began anew: calls count as just now, a hold for a minute at most."""
    before = recorded(tmp_path / "calls", MIDNIGHT)
    granted(before, EXIT, 5)
    before.hold(5000.0)
    after = recorded(tmp_path / "calls", MIDNIGHT - 3600 * NS_PER_S)
    assert after.take(EXIT) == 60 * NS_PER_S


def test_after_a_reboot_it_is_distrusted_once_and_not_whenever_it_is_read(tmp_path: Path) -> None:
    """Waiting helps: what counted as just now is over as soon as anything of now would be; so is a hold."""
    before = recorded(tmp_path / "calls", MIDNIGHT)
    granted(before, EXIT, SMALL.second.calls)
    before.hold(5000.0)
    clock = ReplayClock(MIDNIGHT - 3600 * NS_PER_S)
    after = RateBudget(clock, SMALL, CallRecord(tmp_path / "calls", SMALL.minute.calls))
    clock.advance(clock.now_ns() + after.take(EXIT))
    assert after.take(EXIT) == 0


def test_a_record_that_is_none_is_made_anew(tmp_path: Path) -> None:
    """A file of something else holds no calls; a place that can't be written is one line that names the key."""
    path = tmp_path / "calls"
    path.write_bytes(b"something else" * 500)
    assert recorded(path, MIDNIGHT).take(EXIT) == 0
    assert recorded(path, MIDNIGHT).used_today == 1
    with pytest.raises(SettingsError, match=r"broker\.fyers\.calls_file: .* can't be written"):
        CallRecord(path / "below", 10)


def test_a_disk_that_fails_later_stops_no_call(tmp_path: Path) -> None:
    """An exit must leave, with or without the record."""
    record = CallRecord(tmp_path / "calls", SMALL.minute.calls)
    os.close(record._file)
    budget = RateBudget(ReplayClock(MIDNIGHT), SMALL, record)
    assert granted(budget, EXIT, 9) == SMALL.second.calls


def test_a_disk_that_stands_still_holds_no_call_up(tmp_path: Path) -> None:
    """A frozen file system: calls are counted in memory, and in the file once it goes on."""
    goes_on = threading.Event()

    def write(file: int, content: bytes, at: int) -> None:
        goes_on.wait()
        os.pwrite(file, content, at)

    path, clock = tmp_path / "calls", ReplayClock(MIDNIGHT)
    budget = RateBudget(clock, SMALL, CallRecord(path, SMALL.minute.calls, lambda file: Pen(file, write)))
    assert granted(budget, EXIT, 9) == SMALL.second.calls
    clock.advance(MIDNIGHT + NS_PER_S)
    assert granted(budget, EXIT, 9) == SMALL.second.calls
    budget.hold(60.0)
    assert recorded(path, MIDNIGHT).used_today == 0
    goes_on.set()
    clock.advance(MIDNIGHT + 10 * NS_PER_S)
    while (
        recorded(path, MIDNIGHT + 10 * NS_PER_S).used_today < 2 * SMALL.second.calls
    ):  # its thread has its turn by and by
        assert budget.take(EXIT) > 0
    assert recorded(path, MIDNIGHT + 10 * NS_PER_S).take(EXIT) == 51 * NS_PER_S
    budget.close()


def test_a_disk_that_fails_for_a_while_has_every_call_afterwards(tmp_path: Path) -> None:
    """One error is no end of the record: it is said while it lasts, and what was counted in memory is caught up."""
    broken = False

    def write(file: int, content: bytes, at: int) -> None:
        if broken:
            raise OSError(errno.EIO, "Input/output error")
        os.pwrite(file, content, at)

    clock, path = ReplayClock(MIDNIGHT), tmp_path / "calls"
    budget = RateBudget(clock, SMALL, CallRecord(path, SMALL.minute.calls, lambda file: Pen(file, write)))
    assert granted(budget, EXIT, 1) == 1
    broken = True
    assert granted(budget, EXIT, 2) == 2
    assert budget.trouble == f"past calls can't be recorded in {path} (Input/output error)"
    assert recorded(path, MIDNIGHT).used_today == 1
    broken = False
    clock.advance(MIDNIGHT + NS_PER_S)
    assert granted(budget, EXIT, 1) == 1
    assert (budget.trouble, budget.used_today, recorded(path, MIDNIGHT + NS_PER_S).used_today) == ("", 4, 4)
    budget.close()


def test_what_fails_after_it_stood_still_stops_no_call(tmp_path: Path) -> None:
    """The disk is gone for good: that is said, and calls go on."""
    goes_on, gone = threading.Event(), threading.Event()

    def write(file: int, content: bytes, at: int) -> None:
        goes_on.wait()
        gone.set()
        raise OSError(errno.EIO, "the disk is gone")

    clock = ReplayClock(MIDNIGHT)
    budget = RateBudget(clock, SMALL, CallRecord(tmp_path / "calls", SMALL.minute.calls, lambda file: Pen(file, write)))
    assert granted(budget, EXIT, 9) == SMALL.second.calls
    goes_on.set()
    gone.wait()
    for second in range(1, 3):
        clock.advance(MIDNIGHT + second * NS_PER_S)
        assert granted(budget, EXIT, 1) == 1
    assert "can't be recorded" in budget.trouble
    budget.close()


def test_processes_share_one_budget(tmp_path: Path) -> None:
    """What one is granted while both run, and a 429 that it is told, the other counts at once; each has its limits."""
    clock = ReplayClock(MIDNIGHT)
    part = RateLimits(Limit(2, 0), Limit(6, 0), Limit(30, 0), slack_ms=0)
    daemon, download = (RateBudget(clock, limits, CallRecord(tmp_path / "calls", 10)) for limits in (SMALL, part))
    assert granted(download, ORDINARY, 9) == 2
    assert granted(daemon, EXIT, 9) == 2
    assert granted(download, ORDINARY, 1) == 0
    clock.advance(MIDNIGHT + NS_PER_S)
    assert granted(daemon, EXIT, 1) == granted(download, ORDINARY, 9) == 1
    assert download.used_today == 6
    download.hold(9.0)
    assert daemon.take(EXIT) == 9 * NS_PER_S


def test_a_call_counts_until_a_window_after_it_left() -> None:
    """From its grant, however long a connection takes to be made; and again when it left."""
    clock = ReplayClock(MIDNIGHT)
    budget = RateBudget(clock, SMALL)
    grants = [budget.reserve(EXIT) for _ in range(4)]
    assert all(isinstance(grant, Grant) for grant in grants)
    clock.advance(MIDNIGHT + 3 * NS_PER_S)
    assert budget.take(EXIT) == NS_PER_S
    for grant in grants[:3]:
        grant.sent()
    clock.advance(MIDNIGHT + 3 * NS_PER_S + NS_PER_S // 2)
    grants[0].sent()
    assert budget.take(EXIT) == NS_PER_S // 2
    clock.advance(MIDNIGHT + 4 * NS_PER_S)
    assert granted(budget, EXIT, 9) == 3


def test_what_was_on_its_way_when_a_process_was_killed(tmp_path: Path) -> None:
    """Nobody knows whether it left: it counts as long as it can have."""
    killed = recorded(tmp_path / "calls", MIDNIGHT)
    for _ in range(4):
        killed.reserve(EXIT)
    for later_s, free in ((2, 0), (5, 0), (6, 4)):
        after = recorded(tmp_path / "calls", MIDNIGHT + later_s * NS_PER_S)
        assert granted(after, EXIT, 9) == free


def test_a_record_of_the_format_before_is_taken_over(tmp_path: Path) -> None:
    """And one that remembers fewer calls than are asked for now remembers more from now on, forgetting none."""
    times = [MIDNIGHT - number for number in range(3)]
    header = struct.pack("<8sqqqqq", b"HRMDCAL1", 3, (MIDNIGHT + IST_OFFSET_NS) // DAY_NS, 3, 0, 0)
    (tmp_path / "calls").write_bytes(header + struct.pack("<5q", *times, 0, 0))
    budget = recorded(tmp_path / "calls", MIDNIGHT)
    assert (granted(budget, EXIT, 9), budget.used_today) == (1, 4)
    wide = RateLimits(Limit(50, 0), Limit(50, 0), Limit(50, 0), slack_ms=0)
    assert granted(recorded(tmp_path / "calls", MIDNIGHT, wide), EXIT, 99) == 46
    assert granted(recorded(tmp_path / "calls", MIDNIGHT), EXIT, 9) == 0


def test_a_stopped_process_holds_nobody_up(tmp_path: Path) -> None:
    """Whoever has the lock and stands still is not waited for."""
    budget = recorded(tmp_path / "calls", MIDNIGHT)
    with (tmp_path / "calls").open() as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        assert budget.take(EXIT) == 0


def test_hold_stops_exits_too() -> None:
    """After a 429 nobody calls; a shorter hold doesn't shorten a longer one."""
    clock = ReplayClock(MIDNIGHT)
    budget = RateBudget(clock, SMALL)
    budget.hold(2.0)
    budget.hold(1.0)
    assert budget.take(EXIT) == 2 * NS_PER_S
    clock.advance(MIDNIGHT + 2 * NS_PER_S)
    assert budget.take(EXIT) == 0


def test_everything_kept_for_exits() -> None:
    """A window whose every call is kept for exits grants ordinary calls none."""
    budget = RateBudget(ReplayClock(MIDNIGHT), RateLimits(Limit(2, 5), Limit(9, 0), Limit(9, 0)))
    assert budget.take(ORDINARY) > 0
    assert budget.take(EXIT) == 0


@given(
    st.lists(st.tuples(st.integers(0, 3 * NS_PER_S), st.sampled_from(list(Purpose))), min_size=1, max_size=200),
    st.integers(0, 1000),
)
def test_no_window_ever_holds_more(calls: list[tuple[int, Purpose]], slack_ms: int) -> None:
    """Whatever is asked when: no second and no minute holds more calls than its limit, no day either."""
    clock = ReplayClock(MIDNIGHT)
    budget = RateBudget(clock, RateLimits(SMALL.second, SMALL.minute, SMALL.day, slack_ms))
    times: list[tuple[int, Purpose]] = []
    for pause, purpose in calls:
        clock.advance(clock.now_ns() + pause)
        if budget.take(purpose) == 0:
            times.append((clock.now_ns(), purpose))
    for limit, span in ((SMALL.second, NS_PER_S), (SMALL.minute, 60 * NS_PER_S), (SMALL.day, DAY_NS)):
        for now, purpose in times:
            inside = sum(now - span < ts <= now for ts, _ in times)
            assert inside <= limit.calls
            if purpose is ORDINARY:
                before = sum(now - span < ts < now for ts, _ in times)
                assert before < limit.calls - limit.kept_for_exits


@pytest.mark.parametrize("purpose", list(Purpose))
def test_the_default_is_fyers(purpose: Purpose) -> None:
    """By default ten a second pass, three of them exits only."""
    budget = RateBudget(ReplayClock(MIDNIGHT))
    assert granted(budget, purpose, 20) == (10 if purpose is EXIT else 7)
