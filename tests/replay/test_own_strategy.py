"""Eight lines from a folder outside the checkout: replayed, verified, in the shadow; and what becomes of sick ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.core.errors import CheckFailed, Fault, SettingsError
from daemon.core.events import Decision, Fill, OrderIntent, OrderType, StrategySwapped
from daemon.run.verifying import verify_journal
from tests.own_classes import MOMENTUM, NAME, own, sick, write_class
from tests.samples import HRM, LIVELY, journaled, play, settings_of, wave, write_tape


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour of a price that swings."""
    return write_tape(tmp_path_factory.mktemp("tape") / "wave.parquet", *wave(30))


def test_it_trades_and_is_verified_and_a_changed_file_is_said(tape: Path, tmp_path: Path) -> None:
    """Bit for bit from the journal alone; another byte in the file is one line; put back, it verifies again."""
    file, journal = write_class(tmp_path), tmp_path / "j.sqlite"
    play(tape, *own(tmp_path, NAME, "strategy.parameters.bars=2"), journal=journal)
    decisions = journaled(journal, Decision)
    assert {decision.strategy for decision in decisions} == {NAME}
    assert not [decision for decision in decisions if decision.failed]
    assert journaled(journal, Fill)
    assert verify_journal(journal).decisions == len(decisions) > 20
    file.write_text(MOMENTUM + "# another byte\n")
    with pytest.raises(CheckFailed, match=r"my_folder/module\.py, or what it imports .* has changed since it decided"):
        verify_journal(journal)
    file.unlink()
    with pytest.raises(SettingsError, match=r"no my_folder/module\.py in"):
        verify_journal(journal)
    file.write_text(MOMENTUM)
    assert verify_journal(journal).decisions == len(decisions)


def test_it_decides_in_the_shadow_as_it_would_in_charge(tape: Path, tmp_path: Path) -> None:
    """The same trades on paper of its own; the rules in charge know nothing of it."""
    write_class(tmp_path)
    alone, _ = play(tape, *own(tmp_path))
    agents = f"shadow.agents=[{{name: mine, strategy: '{NAME}', parameters: {{bars: 3}}}}]"
    _, summary = play(tape, *LIVELY, "risk.stale_after_s=100000", f"strategy.path={tmp_path}", agents)
    (_, mine) = summary.shadow
    assert (mine.name, mine.strategy, mine.trades) == ("mine", NAME, len(alone.trades))
    assert mine.trades


def test_one_that_always_fails_hands_over_to_the_rung_below(tape: Path, tmp_path: Path) -> None:
    """Three closes without a good decision; the journal has the line, and can be verified."""
    write_class(tmp_path, sick("return 1 / 0"))
    journal = tmp_path / "j.sqlite"
    play(tape, *own(tmp_path), journal=journal)
    decisions = journaled(journal, Decision)
    failed = [decision for decision in decisions if decision.strategy == NAME]
    assert len(failed) == 3
    assert {decision.reason for decision in failed} == {
        "my_folder/module.py, line 4: ZeroDivisionError: division by zero"
    }
    (swap,) = journaled(journal, StrategySwapped)
    assert swap.new == "rules"
    assert verify_journal(journal).decisions == len(decisions)


def test_the_depth_of_the_hrm_below_is_a_share_of_its_own(tape: Path, tmp_path: Path) -> None:
    """Not of 0 segments, of which nothing could be saved."""
    write_class(tmp_path, sick("return 1 / 0"))
    ladder = (*HRM[:1], "supervisor.ladder=[hrm, flat]", "hierarchical_reasoning_model.novelty.enabled=false")
    _, summary = play(tape, *own(tmp_path), *ladder)
    assert summary.deciders["hrm"] > 10
    assert summary.hrm_metrics is not None
    assert summary.hrm_metrics.avg_reasoning_depth <= summary.hrm_metrics.max_segments


def test_one_that_hangs_ends_a_replay_with_its_line(tape: Path, tmp_path: Path) -> None:
    """A replay can't go on without its decision: one line that says where it is."""
    write_class(tmp_path, sick("while True: pass"))
    with pytest.raises(Fault, match=r"no answer within 0\.5 s \(it is at my_folder/module\.py, line 4\)"):
        play(tape, *own(tmp_path, NAME, "supervisor.replay_hang_s=0.5"))


def test_a_class_that_changed_its_parameters_since(tape: Path, tmp_path: Path) -> None:
    """What the journal's settings say doesn't fit any more: a line."""
    file, journal = write_class(tmp_path), tmp_path / "j.sqlite"
    play(tape, *own(tmp_path), journal=journal)
    file.write_text(MOMENTUM.replace("bars: int = 3", "bars: str = 'x'"))
    with pytest.raises(SettingsError, match=r"module\.py takes others by now \(bars: Input should be a valid string\)"):
        verify_journal(journal)


def test_more_bars_are_seen_where_they_are_asked_for(tmp_path: Path) -> None:
    """`strategy.bars` of both intervals, where a class of one's own decides."""
    from daemon.strategy.build import view_settings

    write_class(tmp_path)
    view = view_settings(settings_of(*own(tmp_path, NAME, "strategy.bars=700")))
    assert (view.window, view.coarse_window) == (700, 700)
    assert view_settings(settings_of("strategy.name=rules", "strategy.bars=700")).window < 700


def test_an_entry_that_waits_fills_at_its_price_or_not_at_all(tape: Path, tmp_path: Path) -> None:
    """Through the gate to the venue and back; the journal verifies with it."""
    text = "return hold('has it') if seen.position else buy(10, 'a dip', limit=seen.price - 0.7)"
    write_class(tmp_path, sick(text))
    journal = tmp_path / "j.sqlite"
    play(tape, *own(tmp_path), journal=journal)
    intents = {intent.order_id: intent for intent in journaled(journal, OrderIntent) if not intent.reduces}
    fills = [fill for fill in journaled(journal, Fill) if fill.order_id in intents]
    assert {intent.type for intent in intents.values()} == {OrderType.LIMIT}
    assert fills
    assert all(fill.price == intents[fill.order_id].limit_price for fill in fills)
    assert verify_journal(journal).decisions == len(journaled(journal, Decision))
