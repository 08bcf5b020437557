"""A strategy whose entries carry stop and target, from the tape to the journal and again from it."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.core.events import PROTECTION, Decision, Fill, OrderIntent, OrderType, PositionChanged
from daemon.run.verifying import verify_journal
from tests.own_classes import NAME, own, sick, write_class
from tests.samples import journaled, play, wave, write_tape

BOTH_WAYS = (
    "return hold('has it') if seen.position or not seen.may_enter else "
    "buy(10, 'up', stop=seen.price - 1.53, target=seen.price + 2.02) if seen.minute_of_session % 2 else "
    "sell(10, 'down', stop=seen.price + 1.53, target=seen.price - 2.02)"
)

STEADY = "supervisor.triggers.flaps_per_hour=1000"


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty minutes of a price that swings by 16 rupees."""
    return write_tape(tmp_path_factory.mktemp("tape") / "wave.parquet", *wave(40))


def test_stop_and_target_close_what_they_were_placed_for(tape: Path, tmp_path: Path) -> None:
    """Placed the moment the entry fills, inside a bar; one cancels the other; verified, and the same in the shadow."""
    write_class(tmp_path, sick(BOTH_WAYS).replace("buy, hold", "buy, hold, sell"))
    journal = tmp_path / "j.sqlite"
    replay, _ = play(tape, *own(tmp_path, NAME, STEADY), journal=journal)
    intents = {intent.order_id: intent for intent in journaled(journal, OrderIntent)}
    fills = journaled(journal, Fill)
    legs = [intent for intent in intents.values() if intent.strategy == PROTECTION]
    entries = [fill for fill in fills if not intents[fill.order_id].reduces]
    exits = [fill for fill in fills if intents[fill.order_id].strategy == PROTECTION]
    assert {fill.ts for fill in entries} == {leg.ts for leg in legs}
    assert {leg.decision for leg in legs} == {intents[fill.order_id].decision for fill in entries}
    kinds = Counter(intents[fill.order_id].reason for fill in exits)
    assert min(kinds["stop"], kinds["target"]) >= 2
    assert len(entries) == len(exits)
    for fill in exits:
        leg = intents[fill.order_id]
        if leg.reason == "target":
            assert fill.price == leg.limit_price
        else:
            assert leg.stop_price is not None
            assert leg.type is OrderType.SL_MARKET
            assert (fill.price - leg.stop_price) * leg.side.sign >= Decimal(-1)
    held = [position.quantity for position in journaled(journal, PositionChanged)]
    assert set(held) == {0, 10, -10}
    assert held[-1] == 0
    assert verify_journal(journal).decisions == len(journaled(journal, Decision))
    agents = f"shadow.agents=[{{name: mine, strategy: '{NAME}'}}]"
    _, beside = play(tape, *own(tmp_path, "rules", STEADY), f"strategy.path={tmp_path}", agents)
    (_, mine) = beside.shadow
    assert (mine.fills, mine.net_pnl) == (len(fills), replay.app.account.portfolio.equity - 1_000_000)


def test_an_exit_of_the_strategy_comes_before_them(tape: Path, tmp_path: Path) -> None:
    """At the close of the bar, at market, in its own name; stop and target are gone by then."""
    text = "return buy(10, 'up', stop=seen.price - 50, target=seen.price + 50) if not seen.position else close('out')"
    write_class(tmp_path, sick(text).replace("buy, hold", "buy, close"))
    journal = tmp_path / "j.sqlite"
    play(tape, *own(tmp_path, NAME, STEADY), journal=journal)
    intents = {intent.order_id: intent for intent in journaled(journal, OrderIntent)}
    fills = [intents[fill.order_id] for fill in journaled(journal, Fill)]
    assert {intent.strategy for intent in fills if intent.reduces} == {NAME}
    assert len(fills) > 20
    assert all(intent.decision for intent in fills)


def test_a_stop_on_the_wrong_side_is_a_failed_decision(tape: Path, tmp_path: Path) -> None:
    """With the line, and what would be right."""
    write_class(tmp_path, sick("return buy(10, 'up', stop=seen.price + 1)"))
    journal = tmp_path / "j.sqlite"
    play(tape, *own(tmp_path), journal=journal)
    failed = [decision for decision in journaled(journal, Decision) if decision.failed]
    assert failed
    said = "my_folder/module.py, line 3: stop: expected one below the price of 802.3 at which to buy, got 803.3"
    assert said in failed[0].reason
