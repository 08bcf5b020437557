"""How the daemon stands → what a command asks for that is so already, in words.

A command that changes nothing now is taken all the same, for it may yet mean something: where trading had halted itself
a person's halt keeps it from going on by itself. Invariant: said from memory, so that no command waits for it.
"""

from __future__ import annotations

import msgspec

from daemon.core.events import Event, Halt, LockStrategy, Reduce, Resume, SwapStrategy, TradingState

_WANTED: dict[type[Event], TradingState] = {
    Halt: TradingState.HALTED, Reduce: TradingState.REDUCING, Resume: TradingState.ACTIVE,
}  # fmt: skip


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What commands change, as it is now."""

    trading_state: TradingState
    trading_reason: str
    """Why it isn't ACTIVE, and by whom; "" while it is or where nobody knows."""
    strategy: str
    locked: bool


def already(command: Event, standing: Standing) -> str:
    """What is so before the command, in a line; "" where it changes something, or where that can't be told."""
    match command:
        case Halt() | Reduce() | Resume() if standing.trading_state is _WANTED[type(command)]:
            because = f": {standing.trading_reason}" if standing.trading_reason else ""
            return f"trading was {standing.trading_state.value} already{because}"
        case SwapStrategy() if command.name == standing.strategy:
            return f"{command.name} decided already"
        case LockStrategy() if command.locked is standing.locked:
            return "it was locked already" if command.locked else "it was not locked"
    return ""
