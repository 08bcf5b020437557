"""A daemon whose shadow agent `own` breaks when it decides: `python -m tests.integration.own_candidate run --set …`."""

from __future__ import annotations

import sys

from daemon.cli.options import run_loop, settings_and_logs
from daemon.core.events import Action, Decision
from daemon.run.service import Service
from strategies.base import Moment, decision


class Sick:
    """Closes what is held, buys, and raises once it holds what it bought."""

    name = "rules"
    in_thread = True

    def __init__(self) -> None:
        self.bought = False

    def decide(self, moment: Moment) -> Decision:
        """Close, buy, or raise."""
        if moment.position and self.bought:
            raise ArithmeticError("of no use")
        if moment.position:
            action = Action.CLOSE_LONG if moment.position > 0 else Action.CLOSE_SHORT
            return decision(moment, self.name, action, 1, 0.5, "out")
        self.bought = True
        return decision(moment, self.name, Action.BUY_LONG, 10, 0.5, "in")


class OnPaper(Sick):
    """What decides on paper is well, so that what ends the canary is what it does for real."""

    def renewed(self) -> Sick:
        """Who decides for real."""
        return Sick()

    def decide(self, moment: Moment) -> Decision:
        """Hold."""
        return decision(moment, self.name, Action.HOLD, 1, 0.5, "content")


def main(overrides: list[str]) -> None:
    """Run it by the settings, which name an agent `own`."""
    service = Service(settings_and_logs(None, overrides))
    desk = service.app.shadows.agent("own")
    assert desk is not None
    desk.decide_by(OnPaper())
    run_loop(service.run())


if __name__ == "__main__":
    main(sys.argv[3::2])
