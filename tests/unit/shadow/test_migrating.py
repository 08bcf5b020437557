"""A candidate's artifact, sessions of the one in charge, and a journal that tells a migration again."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_MS, ReplayClock
from daemon.core.events import (
    Action,
    AdvanceMigration,
    Decider,
    Event,
    Halt,
    MigrationStage,
    SessionMeasured,
    Side,
    StrategySwapped,
    TimeAdvanced,
)
from daemon.journal.reader import JournalReader
from daemon.journal.schema import JOURNALED
from daemon.journal.writer import Journal
from daemon.market.calendar import MarketCalendar
from daemon.portfolio.book import Portfolio
from daemon.settings.canary import CanarySettings
from daemon.shadow.agents import Agent, build_agents
from daemon.shadow.measuring import Measuring
from daemon.shadow.migrating import MigrationKeeper, candidate_of, restore
from daemon.supervision.migration import Migration
from models.agent import HRMAgent
from strategies.hrm import HRMStrategy
from tests.migrations import CASH, SMALL, SNAPSHOT, Witnessed, measured
from tests.samples import CLOSE, DAY, MINUTE, OPEN, decide, fill_of, intend, settings_of

# -- the candidate ----------------------------------------------------------------------------------------------------


def test_a_shipped_model_says_what_it_is() -> None:
    """Its file, its hash, metrics and the end of its training, from the disk."""
    (agent,) = build_agents(
        settings_of("shadow.agents=[{name: net, strategy: hrm, artifact: shipped}]", "performance.runtime=torch"),
        ReplayClock(),
    )
    found = candidate_of(agent)
    assert (found.trouble, found.trained_to, found.taught) == ("", "2019-01-03", True)
    assert "rb_share_depth_1" in found.metrics
    assert found.decider.model_hash == getattr(agent.strategy, "model_hash", "")
    assert Path(found.decider.file).is_absolute()


def test_models_that_will_not_do(tmp_path: Path) -> None:
    """Seeded weights, an untrained file, one that was replaced since it was loaded, one that is gone."""
    settings = settings_of()
    hrm = settings.hierarchical_reasoning_model
    path = tmp_path / "m.safetensors"
    HRMAgent.untrained(hrm, 1).save_model(path)
    seeded = Agent("net", HRMStrategy.load(None, 1, hrm, ReplayClock()), settings_of("model_management.artifact=null"))
    assert candidate_of(seeded).trouble == "has no artifact: seeded weights"
    agent = Agent("net", HRMStrategy.load(path, 1, hrm, ReplayClock()), settings)
    assert candidate_of(agent).trouble == f"{path}: was never trained"
    HRMAgent.untrained(hrm, 2).save_model(path)
    assert candidate_of(agent).trouble.endswith("restart")
    path.unlink()
    assert str(path) in candidate_of(agent).trouble


def test_rules_have_nothing_to_train() -> None:
    """And no file."""
    (agent,) = build_agents(settings_of("shadow.agents=[{name: r, strategy: rules}]"), ReplayClock())
    found = candidate_of(agent)
    assert (found.taught, found.trouble, found.decider) == (False, "", Decider("rules"))


# -- sessions ---------------------------------------------------------------------------------------------------------


class Measured:
    """A day of the one in charge."""

    def __init__(self) -> None:
        self.bus, self.portfolio = Bus(), Portfolio(Decimal(1_000_000))
        self.inbox = self.bus.subscribe("time", (TimeAdvanced,))
        self.said: list[SessionMeasured] = []
        self.in_charge = Decider("rules")
        self.wanted = True
        Measuring(
            self.bus, MarketCalendar.load(None), 5 * MINUTE, self.portfolio, lambda: self.in_charge, lambda: self.wanted
        )
        self.bus.tap((SessionMeasured,), self.said.append)

    def at(self, ts: int, *events: Event) -> None:
        """It is `ts`, and then something happens; all is handled."""
        self.bus.publish(TimeAdvanced(ts=ts))
        for event in events:
            self.bus.publish(event)
        self.inbox.take()
        self.inbox.done()

    def day(self, start: int = OPEN) -> None:
        """Two decisions, one of them failed, and a round trip that earns 100 rupees."""
        self.at(start)
        slow = decide(Action.HOLD, latency_ns=30 * NS_PER_MS, failed=True)
        self.at(start + 60 * MINUTE, decide(Action.BUY_LONG, latency_ns=10 * NS_PER_MS), slow)
        bought, sold = intend("1", reference_price=Decimal(800)), intend("2", Side.SELL, reference_price=Decimal(801))
        for fill in (fill_of(bought), fill_of(sold)):
            self.portfolio.apply(fill)
            self.bus.publish(fill)
        self.at(CLOSE)


def test_a_session_is_measured_from_open_to_close() -> None:
    """Decisions, failures, the slowest decisions, trades and profit in bp of the starting cash."""
    found = Measured()
    found.day()
    (one,) = found.said
    assert (one.strategy, one.whole, one.decisions, one.failed, one.trades) == ("rules", True, 2, 1, 1)
    assert one.latency_p99_ms == 10.0  # of a few the worst is left out
    assert one.net_pnl == found.portfolio.equity - found.portfolio.starting_cash
    assert one.net_bp == pytest.approx(float(one.net_pnl) / 100)
    found.at(OPEN + DAY)
    found.at(CLOSE + DAY)
    assert [(one.decisions, one.net_bp, one.since_ts) for one in found.said[1:]] == [(0, 0.0, OPEN + DAY)]


def test_a_session_in_part_is_said_as_that() -> None:
    """Seen from later on, or with another one in charge for some of it."""
    late = Measured()
    late.day(OPEN + 10 * MINUTE)
    swapped = Measured()
    swapped.at(OPEN)
    swapped.at(OPEN + 10 * MINUTE, StrategySwapped(ts=1, old="rules", new="flat", reason="r"))
    swapped.at(OPEN + 20 * MINUTE, StrategySwapped(ts=1, old="flat", new="rules", reason="r"))
    swapped.at(CLOSE)
    assert [one.whole for one in (*late.said, *swapped.said)] == [False, False]


def test_nothing_is_said_while_nobody_asks() -> None:
    """A journal without a migration stays as it was."""
    found = Measured()
    found.wanted = False
    found.day()
    assert found.said == []


# -- the journal ------------------------------------------------------------------------------------------------------


def migration() -> Migration:
    """One that knows nothing yet."""
    return Migration(SMALL, CanarySettings(), CASH)


def test_it_outlives_a_shortened_journal(tmp_path: Path) -> None:
    """What a snapshot made needless was told again after it; runs on tapes and live ones apart."""
    path = tmp_path / "j.sqlite"
    journal = Journal(path, safe=True)
    journal.describe({"tapes": "[]", "started_ts": "1"})
    bus, now = Bus(), migration()
    bus.tap(JOURNALED, journal.append)
    keeper = MigrationKeeper(bus, ReplayClock(1), now, Witnessed())
    bus.publish(AdvanceMigration(ts=0, who="asha", reason="begin"))
    bus.publish(measured(1))
    bus.publish(msgspec.structs.replace(SNAPSHOT, ts=5))
    bus.publish(measured(2))
    bus.publish(Halt(ts=20, reason="later"))
    journal.shorten(0, 10)
    while first_event(path) != "AccountSnapshot":
        time.sleep(0.001)
    journal.close()
    later = migration()
    restore(later, path, live=True)
    assert keeper.migration.stage is later.stage is MigrationStage.BASELINE
    assert later.standing(0) == now.standing(0)
    assert len(later.baseline) == 2
    on_tapes = migration()
    restore(on_tapes, path, live=False)
    restore(on_tapes, tmp_path / "none.sqlite", live=True)
    assert on_tapes.blank


def first_event(path: Path) -> str:
    """The type of the oldest that is left."""
    reader = JournalReader(path)
    try:
        return next((type(event).__name__ for event in reader.of_runs([1], *JOURNALED)), "")
    finally:
        reader.close()
