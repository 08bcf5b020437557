"""Settings → what the HRM strategy thinks with: its runtime, warmed up, and its cache of decisions.

Invariant: what could not be had is a line in the log, never a reason not to start; the runtime that was taken is named
by `HRMStrategy.runtime` and goes into the journal, so that decisions can be made again with the same arithmetic.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog

from daemon.core.clock import stopwatch_ns
from daemon.settings.tree import Settings
from models.act import Runner
from models.agent import HRMAgent
from models.runtimes.choice import Choice, Precision, Runners, Runtime, RuntimePlan, choose, default_cache, warm_up
from strategies.hrm import HRMStrategy

log = structlog.get_logger("inference")


def equip(strategy: HRMStrategy, settings: Settings, artifact: Path | None) -> Choice:
    """Give a strategy, loaded from `artifact`, the runtime that the settings come to on this machine, and run it in."""
    agent, performance = strategy.agent, settings.performance
    plan = runtime_plan(settings)
    choice = choose_runtime(agent, artifact, plan)
    for reason in choice.refused:
        log.warning("runtime not available", reason=reason)
    measured = {name: round(ms, 3) for name, ms in choice.measured_ms.items()}  # nothing where the settings name one
    log.info("runtime", name=choice.name, **({"segment_ms": measured} if measured else {}))
    agent.use(choice.runner)
    agent.keep_decisions(performance.decision_cache_size)
    strategy.runtime = choice.name
    warm_up(choice.runner, agent.config, performance.warm_up_segments)
    runners = _runners(agent, artifact, plan)

    def make_runner() -> Runner[Any, Any]:
        runner = runners.build(choice.candidate)
        warm_up(runner, agent.config, performance.warm_up_segments)
        return runner

    strategy.make_runner = make_runner
    return choice


def choose_runtime(agent: HRMAgent, artifact: Path | None, plan: RuntimePlan) -> Choice:
    """The runner of an agent's model under a plan."""
    return choose(plan, _runners(agent, artifact, plan), agent.config, agent.model_hash, stopwatch_ns)


def _runners(agent: HRMAgent, artifact: Path | None, plan: RuntimePlan) -> Runners:
    return Runners(
        agent.network, agent.model_hash, artifact=artifact, cache=plan.cache, settled_below=agent.settled_below,
        threads=plan.threads,
    )  # fmt: skip


def runtime_plan(settings: Settings) -> RuntimePlan:
    """What the settings under `performance` ask for."""
    performance = settings.performance
    return RuntimePlan(
        Runtime(performance.runtime), Precision(performance.precision), performance.cache_dir or default_cache(),
        performance.torch_threads,
    )  # fmt: skip
