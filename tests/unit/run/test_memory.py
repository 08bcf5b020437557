"""Memory is given back without touching who decides."""

from __future__ import annotations

from pathlib import Path

from daemon.app import App, RunPlan
from daemon.core.clock import ReplayClock
from daemon.core.events import TimeAdvanced
from daemon.core.latency import FixedLatency
from daemon.run.memory import free_memory
from daemon.shadow.desk import TOO_FAR_BEHIND
from tests.samples import LIVELY, settings_of, wave, write_tape

AGENTS = "shadow.agents=[{name: near, strategy: rules}, {name: far, strategy: rules}]"


def test_an_agent_that_is_far_behind_is_let_go(tmp_path: Path) -> None:
    """With what waits for it; another one, and what is in use, stay."""
    tape = write_tape(tmp_path / "wave.parquet", *wave(5))
    plan = RunPlan(
        tapes=[tape], symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=None, durable=False,
        restarts=True, order_prefix="T",
    )  # fmt: skip
    app = App(settings_of(*LIVELY, AGENTS), plan)
    near, far = app.shadows.desks
    for desk, behind in ((near, TOO_FAR_BEHIND - 1), (far, TOO_FAR_BEHIND)):
        for ts in range(behind):
            desk.hear(TimeAdvanced(ts=ts))
    assert free_memory(app) > 0
    assert near.dropped == ""
    assert far.dropped == f"memory was short and it was {TOO_FAR_BEHIND} events behind"
    assert far.is_settled
    app.close()
