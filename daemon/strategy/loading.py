"""A model that somebody wants in charge → the strategy on it, ready and checked, or why not.

All of it runs on a thread beside the one that decides. Invariant: what is returned fits the settings, was read whole,
has decided twice (the newest moment of the market, and one that is made up) with finite answers within the deadline,
and carries nothing of that.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from daemon.core.clock import DAY_NS, IST_OFFSET_NS, NS_PER_MS, Clock, stopwatch_ns
from daemon.core.errors import ArtifactError
from daemon.core.events import Complexity, Regime
from daemon.settings.tree import Settings
from daemon.strategy.build import load_hrm, pin_runtime, store_of, view_settings
from daemon.strategy.store import PREVIOUS, Release
from daemon.strategy.switching import Known
from strategies.base import NS_PER_MINUTE, Moment, Strategy, ViewSettings
from strategies.hrm import HRMStrategy

TRIES = 5
"""The quickest of so many decisions must be within the deadline: a machine has bad moments."""


class ModelLoader:
    """Loads and checks; one call at a time."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._store = store_of(settings)

    def load(self, wanted: str, before: Known | None, deciding: Known, runtime: str, seen: Moment | None) -> Strategy:
        """The strategy on the model `wanted` (a path, a version of the store, previous).

        `before` is what decided before `deciding`, which decides now with `runtime`; `seen` is the newest moment of the
        market. Raises `ArtifactError`, one line.
        """
        file, release = self._find(wanted, before, deciding)
        strategy = load_hrm(pin_runtime(self._settings, runtime), self._clock, file)
        if release is not None and strategy.model_hash != release.sha256:
            raise ArtifactError(f"{file}: is another model than its folder says; install {release.name} again")
        if release is None and wanted == PREVIOUS and before is not None and strategy.model_hash != before.model_hash:
            raise ArtifactError(f"{file}: isn't the model any more that decided before ({before.model_hash[:12]})")
        if strategy.model_hash == deciding.model_hash:
            raise ArtifactError(f"{strategy.description}: is in charge already")
        settings = self._settings
        deadline_ms = settings.hierarchical_reasoning_model.act.deadline_ms
        if seen is not None:
            _check(strategy, seen, deadline_ms)
        if not _check(strategy, made_up(view_settings(settings)), deadline_ms):
            raise ArtifactError(f"{strategy.description}: can't read bars as the settings have them")
        return strategy.renewed()  # without what the checks left in its memory

    def keep(self, model_hash: str) -> None:
        """The model that decides now is the store's current one, where it is one of its own. Raises `ArtifactError`."""
        if any(one.sha256 == model_hash and not one.archived for one in self._store.index().releases):
            self._store.select(model_hash)

    def _find(self, wanted: str, before: Known | None, deciding: Known) -> tuple[Path | None, Release | None]:
        """The file, and the release where the store has it."""
        if wanted == PREVIOUS and before is not None:
            release = next((one for one in self._store.index().releases if one.sha256 == before.model_hash), None)
            return (self._store.checked(release), release) if release is not None else (before.file, None)
        if "/" in wanted:
            return Path(wanted), None
        release = self._store.find(wanted)
        if wanted == PREVIOUS and self._store.index().current != deciding.model_hash:
            raise ArtifactError("no model decided before this one; name the one to load")
        return self._store.checked(release), release


def _check(strategy: HRMStrategy, moment: Moment, deadline_ms: float) -> bool:
    """Whether it thought about it. Raises `ArtifactError` where it failed, or took longer than the deadline."""
    least_ms = math.inf
    for _ in range(TRIES):
        began = stopwatch_ns()
        decision = strategy.decide(moment)
        least_ms = min(least_ms, (stopwatch_ns() - began) / NS_PER_MS)
        if decision.failed:
            raise ArtifactError(f"{strategy.description}: failed at a decision to try it: {decision.reason}")
        if least_ms <= deadline_ms:
            return bool(decision.halt_reason)
    raise ArtifactError(
        f"{strategy.description}: takes {least_ms:.0f} ms for a decision, the deadline (act.deadline_ms) is "
        f"{deadline_ms:g} ms"
    )


def made_up(settings: ViewSettings) -> Moment:
    """A moment of a market that swings a little, in the middle of a session, flat."""
    ts = 180 * NS_PER_MINUTE - IST_OFFSET_NS + 555 * NS_PER_MINUTE + DAY_NS
    calm = Complexity(
        symbol="MADE-UP", interval=settings.interval, ts=ts, volatility=0.5, trend_strength=0.5, momentum=0.5,
        regime_change=0.5, correlation_breakdown=0.0, event_impact=0.0, score=0.5, regime=Regime.RANGING,
    )  # fmt: skip
    return Moment(
        symbol=calm.symbol, interval=settings.interval, ts=ts, bars=_swing(settings.window),
        coarse=_swing(settings.coarse_window), complexity=calm, position=0, position_share=0.0, unrealised_atr=0.0,
        bars_held=0, session_bars=settings.window, session_coarse=settings.coarse_window, minute_of_session=180.0,
        minutes_to_close=195.0, weekday=4, may_enter=True,
    )  # fmt: skip


def _swing(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """So many bars, (count, 5), around 100 rupees."""
    close = 100.0 + np.sin(np.arange(count) / 5.0)
    opened = np.concatenate([[100.0], close[:-1]])[:count]
    high, low = np.maximum(opened, close) + 0.1, np.minimum(opened, close) - 0.1
    return np.column_stack([opened, high, low, close, 1000.0 + 10.0 * np.arange(count)])
