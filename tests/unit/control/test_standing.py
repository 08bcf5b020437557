"""What a command asks for that is so already."""

from __future__ import annotations

import pytest

from daemon.control.standing import Standing, already
from daemon.core.events import Event, Flatten, Halt, LockStrategy, Reduce, Resume, SwapStrategy, TradingState

ACTIVE = Standing(trading_state=TradingState.ACTIVE, trading_reason="", strategy="hrm", locked=False)
HALTED = Standing(trading_state=TradingState.HALTED, trading_reason="lunch (asha)", strategy="flat", locked=True)


@pytest.mark.parametrize(
    ("command", "standing", "said"),
    [
        (Halt(ts=1, reason=""), HALTED, "trading was HALTED already: lunch (asha)"),
        (Halt(ts=1, reason=""), ACTIVE, ""),
        (Reduce(ts=1, reason=""), HALTED, ""),
        (Resume(ts=1, reason=""), ACTIVE, "trading was ACTIVE already"),
        (Resume(ts=1, reason=""), HALTED, ""),
        (Flatten(ts=1, reason=""), HALTED, ""),
        (SwapStrategy(ts=1, name="hrm", reason=""), ACTIVE, "hrm decided already"),
        (SwapStrategy(ts=1, name="rules", reason=""), ACTIVE, ""),
        (LockStrategy(ts=1, locked=True, reason=""), HALTED, "it was locked already"),
        (LockStrategy(ts=1, locked=False, reason=""), HALTED, ""),
        (LockStrategy(ts=1, locked=False, reason=""), ACTIVE, "it was not locked"),
    ],
)
def test_what_is_so_already_is_said(command: Event, standing: Standing, said: str) -> None:
    """With why and by whom where trading is stopped; nothing where the command changes something."""
    assert already(command, standing) == said
