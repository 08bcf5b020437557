"""Replays with agents beside the one in charge: an equal one is equal to the paisa, and none of them is noticed."""

from __future__ import annotations

import asyncio
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from daemon.core.events import Event, ShadowResult
from daemon.run.latency import parse_latency
from daemon.run.replaying import Replay, ReplayOutputs
from tests.samples import HRM, LIVELY, journaled, play, settings_of

TWINS = "shadow.agents=[{name: twin, strategy: rules}, {name: other, strategy: rules}]"
MIXED = "shadow.agents=[{name: slow, strategy: rules, rules: {fast: 3, slow: 9}}, {name: net, strategy: hrm}]"


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    """The events table, byte for byte."""
    db = sqlite3.connect(path)
    rows = db.execute("SELECT run, seq, ts, type, body FROM events ORDER BY run, seq").fetchall()
    db.close()
    return rows


@pytest.mark.parametrize(
    ("limit", "latency"),
    [
        ("execution.order_type=MARKET", "fixed:700"),
        pytest.param("execution.order_type=LIMIT", "zero", marks=pytest.mark.nightly),
        pytest.param("execution.order_type=MARKET", "zero", marks=pytest.mark.nightly),
        pytest.param("execution.order_type=LIMIT", "fixed:700", marks=pytest.mark.nightly),
    ],
)
def test_an_equal_agent_is_equal_to_the_paisa(simulated: Path, tmp_path: Path, latency: str, limit: str) -> None:
    """Two of them: the same actions, orders, fills, trades, costs and profit, in every session."""
    _, summary = play(simulated, *LIVELY, TWINS, limit, latency=latency, journal=tmp_path / "j")
    real, *twins = summary.shadow
    assert (real.name, real.in_charge) == ("in charge", True)
    assert real.net_pnl == summary.net_pnl != 0
    assert (real.trades, real.fills, real.orders) == (summary.trades, summary.fills, summary.orders)
    assert real.trades > 10
    assert [row.name for row in twins] == ["twin", "other"]
    for row in twins:
        assert row.agreement == 1.0
        assert row.compared == row.decisions == summary.decisions
        assert (row.net_pnl, row.costs, row.difference) == (real.net_pnl, real.costs, Decimal(0))
        assert (row.orders, row.fills, row.trades) == (real.orders, real.fills, real.trades)
        assert [one.net_pnl for one in row.sessions] == [one.net_pnl for one in real.sessions]
        assert [(one.session, one.whole) for one in row.sessions] == [("2026-01-05", True), ("2026-01-06", True)]
        assert sum((one.net_pnl for one in row.sessions), Decimal(0)) == row.net_pnl
    told = journaled(tmp_path / "j", ShadowResult)
    assert [one.agent for one in told] == ["twin", "other", "twin", "other"]
    assert all(one.net_pnl == one.real_net_pnl != 0 and one.agreed == one.compared for one in told)


@pytest.mark.parametrize("settings", [pytest.param(LIVELY, marks=pytest.mark.nightly), HRM], ids=["rules", "hrm"])
def test_nobody_notices_them(simulated: Path, tmp_path: Path, settings: tuple[str, ...]) -> None:
    """Decisions and journal are those of a run without them, but for what the agents came to."""
    cheap = ("broker.paper.slippage_bp=0", "risk.max_order_notional=5000000")  # so that the network trades here
    settings = (
        *settings,
        "hierarchical_reasoning_model.novelty.enabled=false",
        *cheap,
    )  # so that the network trades here
    _, alone = play(simulated, *settings, journal=tmp_path / "alone")
    _, beside = play(simulated, *settings, MIXED, journal=tmp_path / "beside")
    assert alone.shadow == []
    assert beside.decisions_sha256 == alone.decisions_sha256
    assert (beside.net_pnl, beside.fills) == (alone.net_pnl, alone.fills)
    kinds = [row[3] for row in rows_of(tmp_path / "beside")]
    assert kinds.count("ShadowResult") == 4
    own = ("ShadowResult", "RunCounted")  # the second holds what each agent came to
    without = [row[2:] for row in rows_of(tmp_path / "beside") if row[3] not in own]
    assert without == [row[2:] for row in rows_of(tmp_path / "alone") if row[3] not in own]
    _, slow, net = beside.shadow
    assert slow.decisions == net.decisions == alone.decisions
    assert slow.decisions == sum(one.decisions for one in slow.sessions)
    assert net.depth is not None
    assert net.trades > 0
    assert all(one.whole for one in net.sessions)


def test_an_hrm_beside_itself(simulated: Path) -> None:
    """The network too: every decision as the one in charge, and its profit."""
    _, summary = play(simulated, *HRM, "shadow.agents=[{name: twin, strategy: hrm}]")
    real, twin = summary.shadow
    assert (twin.agreement, twin.depth, twin.net_pnl) == (1.0, real.depth, real.net_pnl)
    assert twin.trades == real.trades > 0


@pytest.mark.nightly
def test_two_replays_with_shadows_are_equal(simulated: Path, tmp_path: Path) -> None:
    """Journals byte for byte, results included, whatever order the threads came in."""
    for name in ("a", "b"):
        play(simulated, *LIVELY, MIXED, journal=tmp_path / name)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")


@pytest.mark.nightly
def test_the_bus_hears_results_and_nothing_else(simulated: Path) -> None:
    """What is published with shadows and not without them."""

    def heard(*more: str) -> dict[str, int]:
        async def run() -> dict[str, int]:
            replay = Replay(settings_of(*LIVELY, *more), [simulated], [], parse_latency("zero"), ReplayOutputs())
            counts: dict[str, int] = {}

            def count(event: Event) -> None:
                counts[type(event).__name__] = counts.get(type(event).__name__, 0) + 1

            replay.app.bus.tap(tuple(Event.__subclasses__()), count)
            await replay.run()
            return counts

        return asyncio.run(run())

    beside = heard(MIXED)
    assert beside.pop("ShadowResult") == 4
    assert beside == heard()
