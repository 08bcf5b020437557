"""The HRM strategy when it has thought ahead: what it knows is what it decides, while nobody bids it think less."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.core.clock import ReplayClock
from models.runtimes.native import NativeRunner
from strategies.base import Moment
from strategies.hrm import HRMStrategy
from tests.unit.strategies.test_hrm import strategy, walk


@pytest.fixture
def hrm(kernels: Path) -> HRMStrategy:
    """On the native runtime, ahead of two moments of one instant."""
    made = strategy(clock=ReplayClock())
    made.agent.use(NativeRunner(made.agent.network.weights, precision="fp32", cache=kernels))
    left = [walk(0), walk(1)]

    def source(count: int, ts: int) -> list[Moment]:
        given = [moment for moment in left if moment.ts >= ts]
        left.clear()
        return given

    assert made.foresee(source, 8, lambda: 0) == ""
    return made


def test_what_it_knows_is_what_it_decides(hrm: HRMStrategy) -> None:
    """To the last bit; of another moment nothing."""
    assert hrm.is_ahead_due(walk(1))
    assert hrm.look_ahead(walk(1)) == 2
    assert not hrm.is_ahead_due(walk(1))
    decided = hrm.decide(walk(1))
    assert hrm.foreseen(walk(1)) == (decided, 0)  # of two moments of one symbol and instant the newer one counts
    assert hrm.foreseen(walk(2)) is None
    assert hrm.known_ahead == 1


def test_who_is_to_think_less_knows_nothing_ahead(hrm: HRMStrategy) -> None:
    """Until it may think as ever again; one made anew has a memory of its own, and none of this."""
    hrm.look_ahead(walk(1))
    for most, single_cycle in ((2, False), (None, True)):
        hrm.ease(most_segments=most, single_cycle=single_cycle)
        assert hrm.foreseen(walk(1)) is None
        assert not hrm.is_ahead_due(walk(1))
    hrm.ease(most_segments=None, single_cycle=False)
    assert hrm.foreseen(walk(1)) is not None
    assert hrm.renewed().foreseen(walk(1)) is None


def test_a_runtime_whose_rows_depend_on_each_other_says_so() -> None:
    """And the strategy is as it was."""
    torch = strategy()
    assert "last bits" in torch.foresee(lambda count, ts: [walk(0)], 8, lambda: 0)
    assert not torch.is_ahead_due(walk(0))
    assert torch.foreseen(walk(0)) is None
