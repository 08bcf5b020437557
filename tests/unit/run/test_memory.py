"""Memory is given back without touching who decides."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.app import App
from daemon.core.clock import ReplayClock
from daemon.core.events import TimeAdvanced
from daemon.core.latency import FixedLatency
from daemon.plan import RunPlan
from daemon.run.health import memory_limits
from daemon.run.memory import free_memory, set_aside
from daemon.run.process import memory_allowed
from daemon.shadow.desk import TOO_FAR_BEHIND
from daemon.supervision.memory import GB, MemoryLimits, MemoryWatch
from tests.samples import LIVELY, settings_of, wave, write_tape

AGENTS = "shadow.agents=[{name: near, strategy: rules}, {name: far, strategy: rules}]"


class Agent:
    """Holds itself, as a network's parts hold each other."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def collector() -> Iterator[None]:
    """Back to how `tests/conftest.py` left it."""
    yield
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def app_of(tmp_path: Path) -> App:
    """With two agents in the shadow."""
    tape = write_tape(tmp_path / "wave.parquet", *wave(5))
    plan = RunPlan(
        tapes=[tape], symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=None, durable=False,
        restarts=True, order_prefix="T",
    )  # fmt: skip
    return App(settings_of(*LIVELY, AGENTS), plan)


@pytest.mark.usefixtures("collector")
def test_an_agent_that_is_far_behind_is_let_go(tmp_path: Path) -> None:
    """With what waits for it; another one, and what is in use, stay."""
    app = app_of(tmp_path)
    near, far = app.shadows.desks
    for desk, behind in ((near, TOO_FAR_BEHIND - 1), (far, TOO_FAR_BEHIND)):
        for ts in range(behind):
            desk.hear(TimeAdvanced(ts=ts))
    assert free_memory(app) > 0
    assert near.dropped == ""
    assert far.dropped == f"memory was short and it was {TOO_FAR_BEHIND} events behind"
    assert far.is_settled
    app.close()


@pytest.mark.usefixtures("collector")
def test_what_was_set_aside_is_let_go_when_memory_is_short(tmp_path: Path) -> None:
    """The collector passes it over until then, and passes over what is left afterwards, too."""
    app, agent = app_of(tmp_path), Agent()
    seen = weakref.ref(agent)
    set_aside()
    del agent
    gc.collect()
    assert seen() is not None
    free_memory(app)
    assert seen() is None
    assert gc.get_freeze_count() > 1000
    app.close()


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [({"": "max", "system.slice": "max", "system.slice/hrmd.service": "2147483648\n"}, 2_147_483_648),
     ({"system.slice": "4000", "system.slice/hrmd.service": "max"}, 4000), ({"system.slice/hrmd.service": "max"}, None),
     ({}, None), ({"system.slice": "odd"}, None)],
)  # fmt: skip
def test_what_the_system_allows(tmp_path: Path, limits: dict[str, str], allowed: int | None) -> None:
    """The lowest limit of the process' group and those above it; none where nobody says, or not in a way we know."""
    own = tmp_path / "cgroup"
    assert memory_allowed(own, tmp_path / "groups") is None
    own.write_text("0::/system.slice/hrmd.service\n")
    for name, text in limits.items():
        (tmp_path / "groups" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name / "memory.max").write_text(text)
    assert memory_allowed(own, tmp_path / "groups") == allowed


def test_limits_leave_room_below_what_the_system_allows() -> None:
    """Something is done before the process is killed, not after."""
    assert memory_limits(3, 4, None) == memory_limits(3, 4, 8 * GB) == MemoryLimits(3, 4)
    lower = memory_limits(3, 4, 2 * GB)
    assert (lower.fail_gb, round(lower.warn_gb, 6)) == (1.8, 1.35)
    watch = MemoryWatch(4.0, 1.0)
    assert watch.look(2 * GB, 0) is None
    watch.lower_to(lower.fail_gb)
    assert watch.look(2 * GB, 0) is not None
