"""The shipped model on a tape of another simulator: what is unlike its market is refused, journaled and made again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from daemon.core.errors import CheckFailed
from daemon.core.events import Action, Decision
from daemon.run.verifying import verify_journal
from tests.samples import journaled, play

NOVELTY = "hierarchical_reasoning_model.novelty"
SHIPPED = (
    "strategy.name=hrm", "performance.runtime=torch", "broker.paper.slippage_bp=0", "risk.max_order_notional=5000000",
)  # fmt: skip
"""As shipped, where trading costs so little that it wants to."""
ENTRIES = (Action.BUY_LONG, Action.SELL_SHORT)


@pytest.fixture(scope="module")
def journal(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A limit that half of the windows are over."""
    path: Path = tmp_path_factory.mktemp("novelty") / "j.sqlite"
    play(simulated, *SHIPPED, f"{NOVELTY}.scale=0.6", journal=path)
    return path


def test_no_entry_where_the_market_is_unlike(journal: Path) -> None:
    """Decisions on both sides of the limit; over it none opens, and those that would have say why."""
    decisions = journaled(journal, Decision)
    over = [decision for decision in decisions if decision.novelty > 1]
    assert 0 < len(over) < len(decisions)
    assert not [decision for decision in over if decision.action in ENTRIES]
    refused = [decision for decision in decisions if decision.reason.startswith("market unlike those the model knows")]
    assert refused
    assert {decision.action for decision in refused} == {Action.HOLD}
    assert all(decision.novelty > 1 for decision in refused)


def test_it_is_made_again(journal: Path, simulated: Path, tmp_path: Path) -> None:
    """By verify, and by another replay, bit for bit."""
    decisions = journaled(journal, Decision)
    assert verify_journal(journal).decisions == len(decisions)
    play(simulated, *SHIPPED, f"{NOVELTY}.scale=0.6", journal=tmp_path / "again.sqlite")
    assert journaled(tmp_path / "again.sqlite", Decision) == decisions


def test_another_novelty_is_named(journal: Path, tmp_path: Path) -> None:
    """A journal that says another distance than the model measures fails."""
    copy = tmp_path / "copy.sqlite"
    with sqlite3.connect(journal) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    with sqlite3.connect(copy) as target:
        target.execute(
            "UPDATE events SET body = json_set(body, '$.novelty', 7.0) WHERE seq = "
            "(SELECT MAX(seq) FROM events WHERE type = 'Decision')"
        )
    with pytest.raises(CheckFailed, match="novelty"):
        verify_journal(copy)


@pytest.mark.nightly
def test_within_the_limit_nothing_changes(simulated: Path, tmp_path: Path) -> None:
    """With a limit that nothing is over, decisions are those of a model that doesn't measure, but for the figure."""
    play(simulated, *SHIPPED, f"{NOVELTY}.scale=1000", journal=tmp_path / "on.sqlite")
    play(simulated, *SHIPPED, f"{NOVELTY}.enabled=false", journal=tmp_path / "off.sqlite")
    on, off = (journaled(tmp_path / name, Decision) for name in ("on.sqlite", "off.sqlite"))
    fields = [name for name in Decision.__struct_fields__ if name != "novelty"]
    assert [[getattr(one, name) for name in fields] for one in on] == [
        [getattr(one, name) for name in fields] for one in off
    ]
    assert {decision.novelty for decision in off} == {0.0}
    assert max(decision.novelty for decision in on) > 0
