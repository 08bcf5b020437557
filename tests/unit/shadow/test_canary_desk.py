"""How a candidate gets in charge, or doesn't: by the model switch, and back where it was rolled back meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from daemon.app import App
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
from daemon.plan import RunPlan
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


@pytest.mark.parametrize("answer", ["loaded", "refused"])
def test_none_begins_while_a_model_that_was_rolled_back_is_being_loaded(heard: Heard, answer: str) -> None:
    """It would be taken for a model that somebody loaded by hand, and stay in charge."""
    command = asked(heard.give(BEGIN, PROMOTE))
    heard.give(NO_NUMBER)
    why = "the model of a canary that was rolled back is being loaded still; it is taken back first"
    assert state(heard.give(BEGIN)) == (CanaryState.ROLLED_BACK, f"not begun: {why}")
    assert heard.app.canary.why_not_begin("next") == why
    if answer == "loaded":
        assert asked(heard.give(loaded(command.key))).model == "previous"
    else:
        heard.give(ModelRefused(ts=OPEN, key=command.key, model="two", reason="too slow"))
    assert state(heard.give(BEGIN))[0] is CanaryState.RUNNING


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


def test_one_that_is_in_charge_already_can_not_begin(heard: Heard) -> None:
    """There is nothing to compare, and after a restart it would be taken for promoted."""
    heard.app.strategy.strategies["hrm"] = Of(Path("two"))
    assert heard.app.canary.why_not_begin("next") == (
        "shadow agent next decides as the one in charge does: there is nothing to compare"
    )  # fmt: skip
    said = state(heard.give(BEGIN))
    assert said[0] is CanaryState.ROLLED_BACK
    assert said[1].startswith("not begun: shadow agent next decides as the one in charge")


def test_a_restart_after_the_switch_was_promoted(heard: Heard) -> None:
    """The process before ended before it could say so."""
    began = heard.give(BEGIN)
    assert isinstance(began, CanaryChanged)
    heard.app.canary.handle(EndCanary(ts=OPEN, promote=False, who="anna", reason="x"))
    heard.app.strategy.strategies["hrm"] = Of(Path("two"))
    heard.app.canary.resume(began, [])
    assert state(heard.said[-1]) == (CanaryState.PROMOTED, "as before the restart: hrm two is in charge")


def resumed(heard: Heard, **changes: object) -> CanaryChanged:
    """What a process with model two as its hrm says of a canary of the one before, which was as `changes` say."""
    began = heard.give(BEGIN)
    assert isinstance(began, CanaryChanged)
    heard.app.canary.handle(EndCanary(ts=OPEN, promote=False, who="anna", reason="x"))
    heard.app.strategy.strategies["hrm"] = Of(Path("two"))
    heard.app.canary.resume(msgspec.structs.replace(began, **changes), [])
    last = heard.said[-1]
    assert isinstance(last, CanaryChanged)
    return last


@pytest.mark.parametrize("against", ["rules", "ppo aaaa"])
def test_settings_that_put_it_in_charge_promote_it(heard: Heard, against: str) -> None:
    """Said as the operator's doing, and that nothing had to be proved for it."""
    said = resumed(heard, against=against)
    assert (said.state, said.who, said.by_settings) == (CanaryState.PROMOTED, "the operator", True)
    assert said.reason == "the settings of this start put hrm two in charge of everything"


def test_settings_with_another_model_do_not(heard: Heard) -> None:
    """It is compared with nobody any more, and ends as at any restart."""
    said = resumed(heard, against="rules", model_hash="three")
    assert (said.state, said.by_settings) == (CanaryState.ROLLED_BACK, False)


def test_a_candidate_whose_strategy_does_not_decide_is_not_promoted(heard: Heard) -> None:
    """The settings name it, and another rung is in charge."""
    began = heard.give(BEGIN)
    assert isinstance(began, CanaryChanged)
    heard.app.canary.handle(EndCanary(ts=OPEN, promote=False, who="anna", reason="x"))
    heard.app.strategy.strategies["hrm"] = Of(Path("two"))
    heard.app.supervisor.ladder.take("rules")
    heard.app.canary.resume(msgspec.structs.replace(began, against="rules"), [])
    assert state(heard.said[-1])[0] is CanaryState.ROLLED_BACK


def test_the_agent_need_not_be_there_any_more(heard: Heard, tmp_path: Path) -> None:
    """Whoever puts it in charge may take it out of the shadow agents by the same settings."""
    began = heard.give(BEGIN)
    assert isinstance(began, CanaryChanged)
    plan = msgspec.structs.replace(heard.app.plan, journal=None)
    alone = Heard(App(settings_of(*LIVELY, "strategy.name=hrm"), plan, {"hrm": Of(tmp_path / "two")}))
    alone.app.canary.resume(msgspec.structs.replace(began, against="rules"), [])
    alone.app.close()
    assert state(alone.said[-1])[0] is CanaryState.PROMOTED
    assert alone.app.canary.running is None
