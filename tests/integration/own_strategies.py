"""Strategies that misbehave, and a daemon on one of them: `python -m tests.integration.own_strategies KIND --set …`."""

from __future__ import annotations

import sys
import threading
from typing import ClassVar

from daemon.cli.options import run_loop, settings_and_logs
from daemon.core.events import Action, Decision
from daemon.run.service import Service
from strategies.base import Moment, Strategy, decision
from strategies.rules import RulesStrategy


class Own:
    """A strategy on the thread, in the HRM's place, that keeps the symbols it was asked about."""

    name = "hrm"
    in_thread = True
    description = "our own"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def decide(self, moment: Moment) -> Decision:
        """Hold, and be content."""
        self.asked.append(moment.symbol)
        return decision(moment, self.name, Action.HOLD, 1, 0.5, "content")


class Hanging(Own):
    """Never comes back, on the symbols that end in `suffix`."""

    def __init__(self, suffix: str = "") -> None:
        super().__init__()
        self.suffix = suffix
        self.for_ever = threading.Event()

    def decide(self, moment: Moment) -> Decision:
        """Wait for what never comes."""
        held = super().decide(moment)
        if moment.symbol.endswith(self.suffix):
            self.for_ever.wait()
        return held


class Raising(Own):
    """Raises at the closes before `until`."""

    def __init__(self, until: int = 2**62) -> None:
        super().__init__()
        self.until = until

    def decide(self, moment: Moment) -> Decision:
        """Raise or hold."""
        held = super().decide(moment)
        if moment.ts < self.until:
            raise ArithmeticError("of no use")
        return held


class TwoOfThree(Own):
    """Raises at two closes of three, never at three in a row."""

    def decide(self, moment: Moment) -> Decision:
        """Raise or hold."""
        held = super().decide(moment)
        if len(self.asked) % 3:
            raise ArithmeticError("of no use")
        return held


class Slow(Own):
    """Answers after ten times the deadline."""

    def decide(self, moment: Moment) -> Decision:
        """Wait and hold."""
        threading.Event().wait(0.5)
        return super().decide(moment)


class NoNumber(Own):
    """Buys, with a confidence that is no number."""

    def decide(self, moment: Moment) -> Decision:
        """What must never be acted on."""
        super().decide(moment)
        return decision(moment, self.name, Action.BUY_LONG, 100, float("nan"), "sure")


class Leaking(Own):
    """Keeps 40 MB of every decision where neither forgetting nor making it anew reaches them."""

    kept: ClassVar[list[bytearray]] = []
    depth = 1

    def decide(self, moment: Moment) -> Decision:
        """Hold, and keep."""
        self.kept.append(bytearray(b"\1" * 40_000_000))
        return super().decide(moment)

    def ease(self, *, most_segments: int | None, single_cycle: bool) -> None:
        """It doesn't think deeply."""

    def forget(self) -> None:
        """All that it could forget is kept elsewhere."""

    def renewed(self) -> Leaking:
        """As bad as this one."""
        return Leaking()


class Odd(Own):
    """Can't say what it thinks with, twice, after its second decision: whoever looks at it crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 2

    @property
    def model_hash(self) -> str:
        """None, or a bug."""
        if len(self.asked) >= 2 and self.left:
            self.left -= 1
            raise ZeroDivisionError("a bug of ours")
        return ""


KINDS: dict[str, type[Own]] = {
    "content": Own,
    "hanging": Hanging, "raising": Raising, "two_of_three": TwoOfThree, "slow": Slow, "no_number": NoNumber,
    "leaking": Leaking, "odd": Odd,
}  # fmt: skip


def main(kind: str, overrides: list[str]) -> None:
    """Run a daemon by the settings, with one of ours in the HRM's place and the rules below it."""
    settings = settings_and_logs(None, overrides)
    strategies: dict[str, Strategy] = {"hrm": KINDS[kind](), "rules": RulesStrategy(settings.strategy.rules)}
    service = Service(settings, strategies)
    service.app.drain_s = 1.0  # what hangs is never handled: no need to wait for it as long as for an exchange
    run_loop(service.run())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3::2])
