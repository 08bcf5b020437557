"""Models that go wrong, each in the HRM's place of a real daemon: `python benchmarks/faulty_models.py KIND --set …`."""

from __future__ import annotations

import sys
import threading
import time
from typing import Final

from daemon.cli.options import run_loop, settings_and_logs
from daemon.core.events import Action, Decision
from daemon.run.service import Service
from strategies.base import Moment, Strategy, decision
from strategies.rules import RulesStrategy

HEALTHY_FOR: Final = 3
"""Decisions before the fault."""


class Faulty:
    """Decides well for a while, then as `misbehave` says; in turn buys and sells, so that it trades."""

    name = "hrm"
    in_thread = True
    description = "faulty"

    def __init__(self) -> None:
        self.asked = 0

    def decide(self, moment: Moment) -> Decision:
        """Good, or faulty."""
        self.asked += 1
        action = Action.BUY_LONG if self.asked % 4 < 2 else Action.CLOSE_LONG
        good = decision(moment, self.name, action, 10, 0.6, "fine")
        return good if self.asked <= HEALTHY_FOR else self.misbehave(moment, good)

    def misbehave(self, moment: Moment, good: Decision) -> Decision:
        """What is wrong with it."""
        return good


class NotFinite(Faulty):
    """Its weights are NaN, and so is all that comes out."""

    def misbehave(self, moment: Moment, good: Decision) -> Decision:
        """A decision without a number in it."""
        nan = float("nan")
        return decision(moment, self.name, Action.BUY_LONG, 10, nan, "nan")


class Raises(Faulty):
    """Raises every time."""

    def misbehave(self, moment: Moment, good: Decision) -> Decision:
        """No decision."""
        raise ArithmeticError("of no use")


class RaisesOften(Faulty):
    """Two of three decisions fail, never three in a row."""

    def misbehave(self, moment: Moment, good: Decision) -> Decision:
        """Now and then a good one."""
        if self.asked % 3:
            raise ArithmeticError("of no use")
        return good


class Slow(Faulty):
    """Half a second for each, ten times what is allowed."""

    def misbehave(self, moment: Moment, good: Decision) -> Decision:
        """Too late."""
        time.sleep(0.5)
        return good


class HangsOnce(Faulty):
    """Gives no answer, once."""

    def misbehave(self, moment: Moment, good: Decision) -> Decision:
        """Wait for what never comes, the first time."""
        if self.asked == HEALTHY_FOR + 1:
            threading.Event().wait()
        return good


class Hangs(Faulty):
    """Gives no answer any more."""

    def misbehave(self, moment: Moment, good: Decision) -> Decision:
        """Wait for what never comes."""
        threading.Event().wait()
        return good


class Leaks(Faulty):
    """Keeps 40 MB of every decision."""

    kept: Final[list[bytes]] = []

    def misbehave(self, moment: Moment, good: Decision) -> Decision:
        """Well decided, and something stays."""
        self.kept.append(b"\1" * 40_000_000)
        return good


class Blocks(Faulty):
    """Decides on the loop itself, and blocks it for two seconds, once, a dozen decisions later: not at the start."""

    in_thread = False

    def misbehave(self, moment: Moment, good: Decision) -> Decision:
        """Nothing else runs meanwhile."""
        if self.asked == HEALTHY_FOR + 12:
            time.sleep(2.0)
        return good


class Flaps(Faulty):
    """Long and short by turns, bar after bar."""

    def misbehave(self, moment: Moment, good: Decision) -> Decision:
        """The other side again."""
        side = Action.BUY_LONG if self.asked % 2 else Action.SELL_SHORT
        return decision(moment, self.name, side, 10, 0.6, "the other way")


KINDS: dict[str, type[Faulty]] = {
    "not finite": NotFinite, "raises": Raises, "raises often": RaisesOften, "slow": Slow, "hangs once": HangsOnce,
    "hangs": Hangs, "leaks": Leaks, "blocks the loop": Blocks, "flaps": Flaps, "well": Faulty,
}  # fmt: skip


def main(kind: str, overrides: list[str]) -> None:
    """Run a daemon by the settings, with one of these in the HRM's place and the rules below it."""
    settings = settings_and_logs(None, overrides)
    strategies: dict[str, Strategy] = {"hrm": KINDS[kind](), "rules": RulesStrategy(settings.strategy.rules)}
    service = Service(settings, strategies)
    service.app.drain_s = 1.0
    run_loop(service.run())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3::2])
