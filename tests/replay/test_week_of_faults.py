"""A week in which something goes wrong with the model every ten minutes: every bar is decided on by somebody."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from daemon.app import App
from daemon.core.clock import ReplayClock
from daemon.core.events import Action, Bar, Decision, Fill, StrategySwapped, SwapStrategy
from daemon.core.latency import FixedLatency
from daemon.plan import RunPlan
from strategies.base import Moment, decision
from strategies.rules import RulesStrategy
from tests.samples import DAY, LIVELY, MINUTE, OPEN, SBIN, journaled, settings_of, wave, write_tape

FAULTS = ("raises", "not finite", "garbage", "raises", "fails")
"""In turn, each for four minutes of every ten."""


class Unwell:
    """Decides in turn long and flat, and has one of `FAULTS` in the last four minutes of every ten."""

    name = "hrm"
    in_thread = True
    description = "unwell"

    def decide(self, moment: Moment) -> Decision:
        """Good or not."""
        minute = int((moment.ts - OPEN) // MINUTE)
        action = Action.BUY_LONG if minute % 4 < 2 else Action.CLOSE_LONG
        good = decision(moment, self.name, action, 10, 0.6, "fine")
        if minute % 10 < 6:
            return good
        match FAULTS[minute // 10 % len(FAULTS)]:
            case "raises":
                raise ArithmeticError("of no use")
            case "not finite":
                return decision(moment, self.name, Action.BUY_LONG, 10, float("nan"), "nan")
            case "garbage":
                return decision(moment, self.name, Action.BUY_LONG, -5, 0.5, "garbage")
        return decision(moment, self.name, Action.HOLD, 1, 0.0, "failed", failed=True)


@pytest.mark.parametrize(("sessions", "minutes"), [(1, 100), pytest.param(5, 370, marks=pytest.mark.nightly)])
def test_every_bar_is_decided_on(sessions: int, minutes: int, tmp_path: Path) -> None:
    """By the model, the rules below it, or nobody in words; the rung changes between bars, and limits hold."""
    times, prices = wave(minutes, every_s=20)
    days = range(sessions)  # from Monday on
    ts = [stamp + day * DAY for day in days for stamp in times]
    tape, path = write_tape(tmp_path / "week.parquet", ts, prices * len(days)), tmp_path / "j.sqlite"
    settings = settings_of(
        *LIVELY, "strategy.name=hrm", "supervisor.max_steps_per_day=1000", "risk.max_order_quantity=50"
    )
    plan = RunPlan(
        tapes=[tape], symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=path, durable=False,
        restarts=True, order_prefix="W",
    )  # fmt: skip
    app = App(settings, plan, {"hrm": Unwell(), "rules": RulesStrategy(settings.strategy.rules)})
    left = itertools.count()

    def back(event: StrategySwapped) -> None:
        """An operator puts the model in charge again, each time at once."""
        if event.new != "hrm":
            next(left)
            app.bus.publish(SwapStrategy(ts=event.ts, name="hrm", reason="once more"))

    app.bus.tap((StrategySwapped,), back)
    asyncio.run(app.run())
    slots = {bar.ts_close for bar in journaled(path, Bar) if bar.interval == "1m"}
    decided = [one.ts_bar for one in journaled(path, Decision)]
    assert len(slots) > 0.97 * minutes * sessions
    assert sorted(decided) == sorted(slots)
    assert next(left) > minutes * sessions // 18
    fills = journaled(path, Fill)
    assert fills
    assert max(fill.quantity for fill in fills) <= 50
    assert {one.strategy for one in journaled(path, Decision)} >= {"hrm"}
    assert app.risk.book.of(SBIN).position == 0
