"""The age of a model is that of the one that decided, whichever was loaded at the start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.app import App
from daemon.core.clock import ReplayClock
from daemon.core.events import Action
from daemon.core.latency import FixedLatency
from daemon.plan import RunPlan
from tests.integration.own_strategies import Own
from tests.samples import LIVELY, MINUTE, OPEN, SBIN, decide, settings_of, wave, write_tape


class Of(Own):
    """A model that was trained up to a day."""

    def __init__(self, model_hash: str, trained_to: str) -> None:
        super().__init__()
        self.model_hash, self.trained_to = model_hash, trained_to


OLD, YOUNG = Of("old", "2019-01-02"), Of("young", "2026-01-02")


@pytest.fixture
def app(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[App]:
    """One that isn't run, with a model in charge, on the day of the samples."""
    settings = settings_of(*LIVELY, "strategy.name=hrm", "supervisor.triggers.model_age_days=30")
    plan = RunPlan(
        tapes=[write_tape(tmp_path / "t", *wave(2), SBIN)], symbols=[], clock=ReplayClock(OPEN),
        latency=FixedLatency(0), journal=None, durable=False, restarts=True, order_prefix="T",
    )  # fmt: skip
    app = App(settings, plan, {"hrm": request.param, "rules": Of("", "")})
    yield app
    app.close()


def decides(app: App, model: Of, close: int) -> str:
    """A decision of a model, heard by the supervisor; who is in charge after it."""
    ts = OPEN + close * MINUTE
    app.supervisor.handle(decide(Action.HOLD, strategy="hrm", model_hash=model.model_hash, ts=ts, ts_bar=ts))
    return app.supervisor.ladder.active


@pytest.mark.parametrize(("app", "other", "after"), [(YOUNG, OLD, "rules"), (OLD, YOUNG, "hrm")], indirect=["app"],
                         ids=["an old one", "a young one"])  # fmt: skip
def test_a_model_that_is_loaded_later_is_as_old_as_it_is(app: App, other: Of, after: str) -> None:
    """An old one is stepped down from, and a young one in its place is not."""
    app.strategy.succession.follow(other, OPEN)
    assert app.strategy.succession.take_up("hrm", OPEN + MINUTE)
    assert decides(app, other, 1) == after
