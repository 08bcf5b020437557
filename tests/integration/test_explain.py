"""A recorded day, and why each of its decisions was made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.app import App
from daemon.core.clock import ReplayClock
from daemon.core.errors import UsageError
from daemon.core.events import Action, Decision, SwapStrategy, TimeAdvanced
from daemon.core.latency import FixedLatency
from daemon.plan import RunPlan
from daemon.run.explaining import Explanation, explain_decision
from daemon.run.verifying import verify_journal
from tests.integration.test_thinking import OURS, run
from tests.samples import MINUTE, OPEN, journaled, settings_of, wave, write_tape


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes of a seeded network, then rules."""
    directory = tmp_path_factory.mktemp("explained")
    tape, path = write_tape(directory / "t.parquet", *wave(14)), directory / "j.sqlite"
    plan = RunPlan(
        tapes=[tape], symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=path, durable=False,
        restarts=True, order_prefix="T",
    )  # fmt: skip
    seed = "model_management.seed=1"  # of a network that wants to trade here
    app = App(settings_of(*OURS, "strategy.interval=1m", "performance.runtime=torch", seed), plan)

    def swap(event: TimeAdvanced) -> None:
        if event.ts == OPEN + 11 * MINUTE + app.settings.bars.grace_ms * 1_000_000:
            app.bus.publish(SwapStrategy(ts=event.ts, name="rules", reason="a test"))

    app.bus.tap((TimeAdvanced,), swap)
    run(app, 15)
    return path


def test_every_decision_can_be_explained(journal: Path) -> None:
    """By number, whoever decided; of a network its parts, of rules their words, of what nobody thought the reason."""
    decisions = journaled(journal, Decision)

    def first(wanted: Callable[[Decision], bool]) -> tuple[Decision, Explanation]:
        number = next(n for n, one in enumerate(decisions, 1) if wanted(one))
        return decisions[number - 1], explain_decision(journal, number)

    thought, unread = first(lambda one: one.segments > 0), first(lambda one: not one.segments)
    ruled = first(lambda one: one.strategy == "rules")
    for was, told in (thought, unread, ruled):
        assert (told.symbol, told.ts_bar, told.action) == (was.symbol, was.ts_bar, was.action.name)
    parts = thought[1].parts
    assert {"time of day", "trend over 8 to 32 bars"} < {part.name for part in parts}
    assert [abs(part.effect) for part in parts] == sorted((abs(part.effect) for part in parts), reverse=True)
    assert thought[1].why.endswith(("+", "−"))
    assert (unread[1].parts, unread[1].why) == ([], unread[0].reason)
    assert (ruled[1].parts, ruled[1].why) == ([], f"a rule, no weighing: {ruled[0].reason}")


def test_what_was_said_at_once_is_what_is_said_later(journal: Path) -> None:
    """A trade's words in the journal name parts of its explanation, with the same signs; and the journal verifies."""
    decisions = journaled(journal, Decision)
    traded = [(n, one) for n, one in enumerate(decisions, 1) if one.why]
    assert traded
    for number, decision in traded[:2]:
        assert decision.action is not Action.HOLD
        parts = {part.name: part.effect for part in explain_decision(journal, number).parts}
        for said in decision.why.split(", "):
            assert (parts[said[:-2]] > 0) is said.endswith("+")
    assert verify_journal(journal).decisions == len(decisions)


def test_without_a_number_it_is_the_newest_trade(journal: Path) -> None:
    """And a number that no decision has is said with those that there are."""
    decisions = journaled(journal, Decision)
    last = max(n for n, one in enumerate(decisions, 1) if one.action is not Action.HOLD)
    assert explain_decision(journal, None).number == last
    with pytest.raises(UsageError, match=rf"--decision 999: .* has decisions 1 to {len(decisions)}"):
        explain_decision(journal, 999)
