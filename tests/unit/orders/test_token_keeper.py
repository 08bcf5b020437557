"""The token's file and end: halted when it holds no more, going on by itself only when nothing else had stopped it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.calls.secret import Secret
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.events import Event, Halt, Reduce, Resume, TradingState, TradingStateChanged
from daemon.fyers.credentials import read_token, write_token
from daemon.orders.token_keeper import Access, TokenKeeper
from daemon.sandbox.market_rest import make_token
from tests.threads import Hung
from tests.unit.orders.live import until

END_S = 1_767_650_400


class Bench:
    """A keeper over a file, a wall clock to be turned, and risk's part played by the test."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "token"
        self.bus = Bus()
        self.wall = ReplayClock((END_S - 7200) * NS_PER_S)
        self.asked: list[Event] = []
        self.taken: list[Secret] = []
        self.refusal = ""
        self.bus.tap((Halt, Resume, Reduce), self.asked.append)
        self.put(END_S)
        renew = "hrmd login gets another one"
        self.access = Access("Fyers token", self.path, lambda: read_token(self.path), renew)
        self.keeper = TokenKeeper(self.bus, self.access, ReplayClock(5), self.wall, 3600, 5.0, lambda: self.refusal)
        self.keeper.listeners.append(self.taken.append)

    def put(self, end_s: int) -> Secret:
        """A login."""
        token = Secret(make_token(end_s))
        write_token(self.path, token)
        return token

    def at(self, before_s: int) -> None:
        """Let it be so long before the first token's end, and look."""
        self.wall.advance((END_S - before_s) * NS_PER_S)
        self.keeper.look()

    def be(self, state: TradingState, reason: str = "") -> None:
        """What risk says."""
        self.bus.publish(TradingStateChanged(ts=5, state=state, reason=reason))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A token that holds for two hours more."""
    return Bench(tmp_path)


def test_a_warning_ahead_then_halted(bench: Bench) -> None:
    """Said once each; the halt names the token, its end and what to do, and is asked for until it holds."""
    with capture_logs() as logs:
        bench.at(7200)
        bench.at(3600)
        bench.at(10)
        assert bench.asked == []
        bench.at(0)
        bench.at(-5)
    assert [(line["log_level"], line["state"]) for line in logs] == [
        ("info", "valid"), ("warning", "expiring"), ("error", "expired"),
    ]  # fmt: skip
    reason = "the Fyers token expired on 06 Jan 2026 03:30 IST; hrmd login gets another one"
    assert bench.asked == [Halt(ts=5, reason=reason, automatic=True, who="hrmd")] * 2
    bench.be(TradingState.HALTED, reason)
    bench.at(-10)
    assert len(bench.asked) == 2


def test_a_fresh_token_goes_on(bench: Bench) -> None:
    """It is handed on once, and what the token had stopped is resumed."""
    bench.at(0)
    bench.be(TradingState.HALTED, bench.asked[-1].reason)  # type: ignore[attr-defined]
    token = bench.put(END_S + 86_400)
    bench.at(-5)
    assert isinstance(bench.asked[-1], Resume)
    bench.be(TradingState.ACTIVE)
    bench.at(-10)
    assert bench.taken == [token]
    assert len(bench.asked) == 2


def test_a_file_that_holds_no_token_is_said_once_and_the_present_one_holds(bench: Bench) -> None:
    """Somebody pasted more than the token; what is put right afterwards is taken."""
    with capture_logs() as logs:
        bench.at(7200)
        bench.access.path.write_text("export FYERS_TOKEN=abc def")
        bench.at(7100)
        bench.at(7000)
    assert [line["error"] for line in logs if "error" in line] == [
        f"broker.fyers.token_file: {bench.access.path} holds no token (expected printable characters without spaces): "
        "hrmd login makes it"
    ]
    assert bench.taken == bench.asked == []
    token = bench.put(END_S + 86_400)
    bench.at(6900)
    assert bench.taken == [token]


def test_what_was_reducing_goes_on_reducing(bench: Bench) -> None:
    """A flattening that the token's end interrupted isn't forgotten."""
    bench.be(TradingState.REDUCING, "out")
    bench.at(0)
    bench.be(TradingState.HALTED, bench.asked[-1].reason)  # type: ignore[attr-defined]
    bench.put(END_S + 86_400)
    bench.at(-5)
    assert isinstance(bench.asked[-1], Reduce)


def test_what_was_reducing_goes_on_reducing_after_a_restart(bench: Bench) -> None:
    """The halt says it in its reason, which is all that the next process knows."""
    bench.be(TradingState.REDUCING, "out")
    bench.at(0)
    halt = bench.asked.pop()
    assert isinstance(halt, Halt)
    bench.wall.advance((END_S + 60) * NS_PER_S)
    bench.put(END_S + 86_400)
    again = TokenKeeper(bench.bus, bench.access, ReplayClock(5), bench.wall, 3600, 5.0, lambda: "")
    bench.be(TradingState.HALTED, halt.reason)
    again.look()
    assert [type(event) for event in bench.asked] == [Reduce]


def test_a_halt_of_the_user_stays(bench: Bench) -> None:
    """The kill switch is not ours to release."""
    bench.be(TradingState.HALTED, "lunch")
    bench.at(0)
    bench.put(END_S + 86_400)
    bench.at(-5)
    assert bench.asked == []


def test_a_restart_with_a_fresh_token(bench: Bench) -> None:
    """The state that recovery restores names the token: it is resumed."""
    bench.be(TradingState.HALTED, "the Fyers token expired on 05 Jan 2026 03:30 IST; hrmd login gets another one")
    bench.at(7200)
    assert isinstance(bench.asked[-1], Resume)


def test_a_refusal_halts_before_the_end(bench: Bench) -> None:
    """The venue has the last word, until another token is there."""
    bench.refusal = "Could not authenticate the user"
    bench.at(7000)
    assert isinstance(bench.asked[-1], Halt)
    assert bench.keeper.left_s == 0
    bench.be(TradingState.HALTED, bench.asked[-1].reason)
    bench.refusal = ""
    bench.put(END_S + 1)
    bench.at(6900)
    assert isinstance(bench.asked[-1], Resume)


def test_a_refusal_is_known_before_anybody_looks(bench: Bench) -> None:
    """As while a start waits for the broker: health asks, and nobody looks yet."""
    assert bench.keeper.state.holds
    bench.refusal = "Could not authenticate the user"
    assert not bench.keeper.state.holds


def test_a_refusal_that_was_taken_back(bench: Bench) -> None:
    """The venue takes the same token again: what its refusal had stopped goes on."""
    bench.refusal = "Could not authenticate the user"
    bench.at(7000)
    bench.be(TradingState.HALTED, bench.asked[-1].reason)  # type: ignore[attr-defined]
    assert bench.asked[-1].reason.startswith("the Fyers token was refused by the venue")  # type: ignore[attr-defined]
    bench.refusal = ""
    bench.at(6990)
    assert isinstance(bench.asked[-1], Resume)


def test_a_file_that_goes_away_or_is_empty_changes_nothing(bench: Bench) -> None:
    """The token in use stays in use; an empty file is no token."""
    bench.path.unlink()
    bench.at(7000)
    bench.path.write_text("")
    bench.at(6900)
    assert bench.taken == []
    assert bench.keeper.left_s == 6900


async def test_it_looks_by_itself(bench: Bench) -> None:
    """The service is the same look, again and again."""
    keeper = TokenKeeper(bench.bus, bench.access, ReplayClock(5), bench.wall, 3600, 0.005, lambda: "")
    fresh = asyncio.Event()
    keeper.listeners.append(lambda _: fresh.set())
    task = asyncio.create_task(keeper.run())
    try:
        bench.put(END_S + 1)
        async with asyncio.timeout(10):
            await fresh.wait()
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def test_a_file_on_a_disk_that_hangs_holds_up_nobody(bench: Bench) -> None:
    """The present token ends when it ends; once the disk goes on, what was put there is taken."""
    hung = Hung()
    keeper = TokenKeeper(
        bench.bus, bench.access, ReplayClock(5), bench.wall, 3600, 0.005, lambda: "", hung.thread, read_s=0.01
    )
    keeper.listeners.append(bench.taken.append)
    fresh = bench.put(END_S + 1)
    bench.wall.advance(END_S * NS_PER_S)
    task = asyncio.create_task(keeper.run())
    try:
        await until(lambda: bench.asked)
        assert isinstance(bench.asked[0], Halt)
        assert (bench.taken, hung.begun) == ([], 1)
        hung.goes_on.set()
        await until(lambda: bench.taken)
        assert bench.taken == [fresh]
    finally:
        task.cancel()
        await asyncio.wait((task,))
