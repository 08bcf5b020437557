"""A journal and the number of a decision → what spoke for it and against it, told by who decided.

The run's decisions are made again up to that one (`daemon.run.verifying`), and the strategy is asked there, on the same
bars, at the recorded depth. Invariant: nothing is explained that doesn't come out as it was recorded.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from daemon.core.errors import UsageError
from daemon.core.events import Action
from daemon.run.verifying import Made, verify_journal
from models.errors import InvalidObservation
from models.explaining import Part, in_words
from strategies.base import UNTHOUGHT
from strategies.hrm import HRMStrategy
from strategies.ppo import PPOStrategy
from strategies.rules import RulesStrategy


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One decision and why; `parts` are empty where no network decided or nothing was thought."""

    journal: str
    number: int
    ts_bar: int
    symbol: str
    interval: str
    strategy: str
    action: str
    confidence: float
    reason: str
    why: str
    parts: list[Part]


class _Found(Exception):  # noqa: N818 — no error: the end of looking
    """The decision that was asked for."""

    def __init__(self, made: Made) -> None:
        super().__init__()
        self.made = made


def explain_decision(path: Path, number: int | None) -> Explanation:
    """Explain the `number`-th decision of the latest run, from 1; None: the newest that traded, or the newest.

    Raises `UsageError` where there is none, `CheckFailed` where the run's decisions don't come out as recorded.
    """
    kept: list[Made] = []
    traded: list[Made] = []

    def look(made: Made) -> None:
        kept[:] = [made]
        if made.recorded.action is not Action.HOLD:
            traded[:] = [made]
        if made.number == number:
            raise _Found(made)

    try:
        count = verify_journal(path, look).decisions
    except _Found as found:
        return _explained(path, found.made)
    if not kept:
        raise UsageError(f"{path}: its run has no decision")
    if number is not None:
        raise UsageError(f"--decision {number}: {path} has decisions 1 to {count}")
    return _explained(path, (traded or kept)[0])


def _explained(path: Path, made: Made) -> Explanation:
    decision, parts = made.recorded, _parts(made)
    return Explanation(
        journal=str(path), number=made.number, ts_bar=decision.ts_bar, symbol=decision.symbol,
        interval=decision.interval, strategy=decision.strategy, action=decision.action.name,
        confidence=decision.confidence, reason=decision.reason, why=_why(made, parts), parts=list(parts),
    )  # fmt: skip


def _parts(made: Made) -> tuple[Part, ...]:
    strategy, decision = made.strategy, made.recorded
    thought = decision.halt_reason not in UNTHOUGHT and decision.confidence > 0
    if not isinstance(strategy, HRMStrategy | PPOStrategy) or not thought:
        return ()
    try:
        return strategy.explain(made.moment, decision)
    except InvalidObservation:
        return ()


def _why(made: Made, parts: tuple[Part, ...]) -> str:
    """In a line, whoever decided."""
    if parts:
        return in_words(parts) or "no single part of what it saw mattered"
    if isinstance(made.strategy, RulesStrategy):
        return f"a rule, no weighing: {made.recorded.reason}"
    return made.recorded.reason
