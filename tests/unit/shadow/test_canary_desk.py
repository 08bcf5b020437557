"""How a candidate gets in charge, or doesn't: by the model switch, and back where it was rolled back meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.app import App, RunPlan
from daemon.core.clock import ReplayClock
from daemon.core.events import (
    Action,
    BeginCanary,
    CanaryChanged,
    CanaryState,
    EndCanary,
    Event,
    LoadModel,
    ModelLoaded,
    ModelRefused,
)
from daemon.core.latency import FixedLatency
from daemon.shadow.agents import Agent
from strategies.base import NOT_FINITE
from tests.integration.own_strategies import Own
from tests.samples import LIVELY, OPEN, SBIN, decide, settings_of, wave, write_tape

BEGIN = BeginCanary(ts=OPEN, agent="next", who="anna", reason="a test")
PROMOTE = EndCanary(ts=OPEN, promote=True, who="anna", reason="it is better")
NO_NUMBER = decide(Action.HOLD, strategy="canary:next", halt_reason=NOT_FINITE, failed=True, reason="no number")


class Of(Own):
    """A model of a file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.artifact = file
        self.model_hash = file.name


class Heard:
    """An app that isn't run: what is published to its canary desk, and what that says."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.said: list[Event] = []
        app.bus.tap((CanaryChanged, LoadModel), self.said.append)

    def give(self, *events: Event) -> Event:
        """Publish; the newest that was said."""
        inbox = self.app.canary.inbox
        for event in events:
            self.app.bus.publish(event)
            while (one := inbox.take()) is not None:
                self.app.canary.handle(one)
                inbox.done()
        return self.said[-1]


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    """An hrm in charge, and one that would like to be."""
    settings = settings_of(*LIVELY, "strategy.name=hrm")
    plan = RunPlan(
        tapes=[write_tape(tmp_path / "t", *wave(2), SBIN)], symbols=[], clock=ReplayClock(), latency=FixedLatency(0),
        journal=None, durable=False, restarts=True, order_prefix="T",
    )  # fmt: skip
    agents = [Agent("next", Of(tmp_path / "two"), settings)]
    app = App(settings, plan, {"hrm": Of(tmp_path / "one")}, agents)
    yield Heard(app)
    app.close()


def loaded(key: str) -> ModelLoaded:
    """The switch has done it."""
    return ModelLoaded(
        ts=OPEN, key=key, name="two", model_hash="two", before="one", after_bar=OPEN, runtime="", file="", closes=False,
        reason="canary next: it is better",
    )  # fmt: skip


def asked(event: Event) -> LoadModel:
    """A command to the switch."""
    assert isinstance(event, LoadModel)
    return event


def state(event: Event) -> tuple[CanaryState, str]:
    """What is said of the canary."""
    assert isinstance(event, CanaryChanged)
    return event.state, event.reason


def test_it_is_promoted_once_the_switch_has_done_it(heard: Heard, tmp_path: Path) -> None:
    """Asked for with its file, who and why; until then it runs."""
    command = asked(heard.give(BEGIN, PROMOTE))
    assert (command.model, command.who, command.reason) == (
        str(tmp_path / "two"), "anna", "canary next: it is better",
    )  # fmt: skip
    assert heard.app.canary.running is not None
    assert heard.app.canary.why_not_end(promote=True) == "next is being put in charge already"
    assert state(heard.give(loaded(command.key))) == (CanaryState.PROMOTED, "canary next: it is better")


def test_a_refusal_of_the_switch_leaves_it_running(heard: Heard) -> None:
    """And it can be asked for again."""
    command = asked(heard.give(BEGIN, PROMOTE))
    refused = ModelRefused(ts=OPEN, key=command.key, model="two", reason="too slow")
    assert state(heard.give(refused)) == (CanaryState.RUNNING, "can't be promoted: too slow")
    assert asked(heard.give(PROMOTE)).key != command.key


def test_a_model_that_comes_after_the_rollback_is_taken_back(heard: Heard) -> None:
    """The one before decides again."""
    command = asked(heard.give(BEGIN, PROMOTE))
    assert state(heard.give(NO_NUMBER))[0] is CanaryState.ROLLED_BACK
    back = asked(heard.give(loaded(command.key)))
    assert (back.model, back.who, back.reason) == ("previous", "hrmd", "the canary was rolled back meanwhile")
    said = len(heard.said)
    heard.give(loaded(back.key))
    assert len(heard.said) == said


def test_another_model_by_hand_ends_it(heard: Heard) -> None:
    """It was compared with the one before."""
    said = state(heard.give(BEGIN, loaded("somebody's")))
    assert said == (CanaryState.ROLLED_BACK, "another model was put in charge: canary next: it is better")


def test_an_agent_that_is_dropped_can_neither_begin_nor_go_on(heard: Heard) -> None:
    """It can't be compared any more."""
    heard.app.shadows.desks[0].drop("3 failed")
    assert heard.app.canary.why_not_begin("next") == (
        "shadow agent next is dropped: 3 failed; a restart has it back"
    )  # fmt: skip


def test_a_restart_after_the_switch_was_promoted(heard: Heard) -> None:
    """The process before ended before it could say so."""
    began = heard.give(BEGIN)
    assert isinstance(began, CanaryChanged)
    heard.app.canary.handle(EndCanary(ts=OPEN, promote=False, who="anna", reason="x"))
    heard.app.strategy.strategies["hrm"] = Of(Path("two"))
    heard.app.canary.resume(began, [])
    assert state(heard.said[-1]) == (CanaryState.PROMOTED, "as before the restart: hrm two is in charge")
