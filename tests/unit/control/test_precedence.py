"""Decisions go first, and nobody waits for them longer than a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from daemon.control.precedence import LONGEST_S, Precedence

PATIENCE_S = 20.0


class Trading:
    """A loop that trades: what it owes, and whom it is to tell."""

    def __init__(self, owed: int) -> None:
        self.owed = owed
        self.calls: list[Callable[[], None]] = []

    def precedence(self, longest_s: float = 600.0) -> Precedence:
        """Of its decisions."""
        return Precedence(lambda: self.owed, lambda call: self.calls.append(call), longest_s)

    def idle(self) -> None:
        """It has done what it had to do."""
        self.owed = 0
        calls, self.calls = self.calls, []
        for call in calls:
            call()


async def turns() -> None:
    """Let everybody who can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_where_nothing_is_owed_nobody_waits() -> None:
    """And nobody has to be told; without a trading loop neither."""
    trading = Trading(owed=0)
    await trading.precedence().wait()
    await Precedence().wait()
    assert trading.calls == []


async def test_who_looks_waits_until_the_decisions_and_their_orders_are_out() -> None:
    """All together, in the order in which they came; the trading loop tells once, however many wait."""
    trading, went = Trading(owed=2), list[str]()
    subject = trading.precedence()
    for name in ("a", "b"):
        subject.afterwards(lambda name=name: went.append(name))  # type: ignore[misc]
    trading.owed = 0  # the last decision is made, its order not sent yet
    await turns()
    assert (went, len(trading.calls)) == ([], 1)
    trading.idle()
    await turns()
    assert went == ["a", "b"]
    trading.owed = 1
    subject.afterwards(lambda: went.append("c"))
    trading.idle()
    await turns()
    assert went == ["a", "b", "c"]


async def test_a_decision_that_takes_long_is_not_waited_for() -> None:
    """Nor one that never comes; each time anew, and whoever has gone on isn't called again when it is made."""
    trading, went = Trading(owed=1), list[str]()
    subject = trading.precedence(0.0)
    async with asyncio.timeout(PATIENCE_S):
        await subject.wait()
        await subject.wait()
    subject.afterwards(lambda: went.append("a"))
    await asyncio.sleep(0.01)
    assert went == ["a"]
    trading.idle()
    await turns()
    assert (went, trading.calls) == (["a"], [])
    assert LONGEST_S <= 0.1


async def test_the_last_decision_may_be_made_while_somebody_begins_to_wait() -> None:
    """The trading loop may have been idle before it could hear of it, and stay so: on a quiet market nobody tells."""
    trading = Trading(owed=1)

    def too_late(call: Callable[[], None]) -> None:
        trading.owed = 0

    async with asyncio.timeout(PATIENCE_S):
        await Precedence(lambda: trading.owed, too_late, 600.0).wait()


async def test_the_trading_loop_goes_on_where_nobody_waits_any_more() -> None:
    """The loop that waited has ended."""
    trading = Trading(owed=1)
    other = asyncio.new_event_loop()

    async def wait() -> None:
        trading.precedence().afterwards(lambda: None)

    await asyncio.to_thread(other.run_until_complete, wait())
    other.close()
    trading.idle()
    assert trading.calls == []
