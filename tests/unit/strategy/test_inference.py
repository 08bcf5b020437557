"""What a strategy is equipped with, and how a recorded runtime is taken again."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.core.clock import ReplayClock
from daemon.settings.loading import load_settings
from daemon.strategy.build import pin_runtime
from daemon.strategy.inference import equip, runtime_plan
from models.runtimes.choice import Precision, Runtime, default_cache
from strategies.hrm import HRMStrategy
from tests.unit.strategies.test_hrm import settings_of, walk


def hrm() -> HRMStrategy:
    """A small untrained strategy."""
    return HRMStrategy.load(None, 1, settings_of(), ReplayClock())


def test_the_plan_is_the_settings(tmp_path: Path) -> None:
    """Every key under `performance` that says who computes is read."""
    plan = runtime_plan(load_settings())
    assert (plan.runtime, plan.precision, plan.cache) == (Runtime.AUTO, Precision.INT16, default_cache())
    overrides = ["runtime=torch", "precision=bf16", f"cache_dir={tmp_path}"]
    plan = runtime_plan(load_settings(None, [f"performance.{one}" for one in overrides]))
    assert (plan.runtime, plan.precision, plan.cache) == (Runtime.TORCH, Precision.BF16, tmp_path)


def test_torch_by_name_changes_no_decision() -> None:
    """The reference is what an agent thinks with anyway; the cache is as large as asked for."""
    strategy = hrm()
    equip(strategy, load_settings(None, ["performance.runtime=torch", "performance.decision_cache_size=3"]), None)
    assert strategy.runtime == "torch fp32"
    assert strategy.agent.cache.size == 3
    assert strategy.decide(walk(0)) == hrm().decide(walk(0))


def test_what_cannot_be_had_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is no reason not to start."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    settings = load_settings(None, ["performance.runtime=native", f"performance.cache_dir={tmp_path}"])
    strategy = hrm()
    with capture_logs() as logs:
        equip(strategy, settings, None)
    refused = [entry["reason"] for entry in logs if entry["event"] == "runtime not available"]
    assert refused[0] == "native needs a C++ compiler: CXX=no-such-compiler is not there"
    assert strategy.runtime != "native int8"
    assert strategy.decide(walk(0)).segments == 5


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "native"])
def test_an_equipped_strategy_is_made_anew_as_it_is(built: Path, runtime: str) -> None:
    """With the same runtime, on a runner of its own, the decisions are the same to the last bit."""
    overrides = [f"runtime={runtime}", "precision=fp32", f"cache_dir={built}", "decision_cache_size=3"]
    strategy = hrm()
    equip(strategy, load_settings(None, [f"performance.{one}" for one in overrides]), None)
    fresh = strategy.renewed().renewed()
    assert (fresh.runtime, fresh.description) == (strategy.runtime, strategy.description)
    assert fresh.agent.cache.size == 3
    assert type(fresh.agent._runner) is type(strategy.agent._runner)
    assert fresh.agent._runner is not strategy.agent._runner
    assert [fresh.decide(walk(n)) for n in range(3)] == [strategy.decide(walk(n)) for n in range(3)]


def test_a_recorded_runtime_is_taken_again() -> None:
    """Its name goes back into the settings; a journal that names none leaves them alone."""
    settings = load_settings()
    pinned = pin_runtime(settings, "onnxruntime fp32").performance
    assert (pinned.runtime, pinned.precision, pinned.torch_threads) == ("onnxruntime", "fp32", 1)
    assert pin_runtime(settings, "") is settings
