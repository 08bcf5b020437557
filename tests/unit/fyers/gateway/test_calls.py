"""Calls of the SDK as calls of the account's budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.calls.budget import RateBudget, RateLimits
from daemon.calls.call_record import CallRecord
from daemon.core.clock import NS_PER_S, LiveClock
from daemon.core.errors import SettingsError
from daemon.fyers.gateway.assignment import Assignment
from daemon.fyers.gateway.calls import CountedCalls


def assigned(file: Path, calls: tuple[int, int, int]) -> Assignment:
    """A gateway's, with this record."""
    return Assignment(
        token="t", symbols=("NSE:SBIN-EQ",), socket_url="", symbol_token_url="", index_map_url="", conflate_above=1,
        calls_file=str(file), calls=calls,
    )  # fmt: skip


def test_a_call_waits_for_its_grant_and_is_on_record(tmp_path: Path) -> None:
    """One a second: the second one is made a second after the first had left; another process knows of both."""
    counted, clock, made = CountedCalls(assigned(tmp_path / "calls", (1, 10, 100))), LiveClock(), []
    for _ in range(2):
        with counted.one():
            made.append(clock.monotonic_ns())
    assert made[1] - made[0] >= NS_PER_S
    assert RateBudget(clock, RateLimits(), CallRecord(tmp_path / "calls", 10)).used_today == 2


def test_a_call_that_fails_has_been_made(tmp_path: Path) -> None:
    """The venue may have counted it."""
    counted = CountedCalls(assigned(tmp_path / "calls", (5, 10, 100)))
    with pytest.raises(ConnectionError), counted.one():
        raise ConnectionError
    assert RateBudget(LiveClock(), RateLimits(), CallRecord(tmp_path / "calls", 10)).used_today == 1


def test_a_record_that_can_not_be_opened(tmp_path: Path) -> None:
    """Is an error that names the setting."""
    with pytest.raises(SettingsError, match=r"broker\.fyers\.calls_file"):
        CountedCalls(assigned(tmp_path, (5, 10, 100)))
