"""Bars → how hard the market is to read: six components and a score in [0, 1], and the regime.

Returns are logarithmic, inside a session (the first bar of a day counts from its own open, so an overnight jump is not
volatility). With n = `volatility_window`, m = `trend_window`, k = `momentum_window`:

- volatility: v / (1 + v), v = σ of the last n returns over its own long-run average: 0 calm, 0.5 as usual, → 1 wild.
- trend_strength: Kaufman's efficiency ratio |Σr| / Σ|r| over m returns: 0 aimless, 1 one-way (Kaufman, "Smarter
  Trading", 1995).
- momentum: the share of random walks of that volatility that moved less over k bars, erf(|Σr| / (σ√(2k))).
- regime_change: 1 − min(σ₁, σ₂) / max(σ₁, σ₂), σ of the last n returns against the n before: 0 the same, → 1 another
  market.
- correlation_breakdown: mean over the other instruments of |ρ_short − ρ_long| / 2, ρ over n and over
  `correlation_window` returns at common times: 0 as before or alone, 1 from +1 to −1.
- event_impact: from the calendar of events, 0 where there is none.

Score = weights · (volatility, trend_strength, momentum) + uplift · (the other three), at most 1. Invariant: every value
is finite and in [0, 1] for positive prices that a market can have; what can't be computed yet is 0, and the regime
unknown.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from operator import mul

import msgspec

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import DAY_NS
from daemon.core.events import Bar, Complexity, Event, PriceJumped, Regime
from daemon.market.scheduled_events import ScheduledEvents
from daemon.settings.bars import ComplexitySettings

NOISE = 1e-24
"""Variance of log-returns that is only rounding."""

MANY_WINDOWS = 64
"""More than are in use at a time, beside those of each symbol; older ones are forgotten."""


class _About(msgspec.Struct, frozen=True):
    """Returns about their mean, and the sum of their squares."""

    deviations: list[float]
    squares: float


class History:
    """What the detector remembers of one symbol."""

    __slots__ = ("_abouts", "baseline", "changes", "count", "day", "last_close", "returns", "sigmas", "tails", "times")

    def __init__(self, length: int, window: int) -> None:
        self.sigmas: deque[float | None] = deque(maxlen=window)
        self.returns: deque[float] = deque(maxlen=length)
        self.times: deque[int] = deque(maxlen=length)
        self.count = 0
        """Returns so far."""
        self.last_close = 0.0
        self.day = -1
        self.baseline = 0.0
        self.tails: list[tuple[int, ...]] = []
        """Times of the newest window of returns, and of the one before it; none where there are too few."""
        self.changes: dict[str, tuple[tuple[int, ...], float]] = {}
        """By other symbol the newest window at which their correlations were compared, and what came of it."""
        self._abouts: dict[int, tuple[_About, _About]] = {}

    def add(self, close: int, change: float) -> None:
        """A return, of the bar that closed at `close`."""
        self.count += 1
        self.returns.append(change)
        self.times.append(close)
        self.tails = []
        self._abouts.clear()

    def abouts(self, back: int, short: int, long: int) -> tuple[_About, _About]:
        """Of the `short` and of the `long` returns up to `back` before the newest; every other symbol asks for them."""
        found = self._abouts.get(back)
        if found is None:
            returns = list(self.returns)
            end = len(returns) - back
            found = self._abouts[back] = _about(returns[end - short : end]), _about(returns[end - long : end])
        return found


class ComplexityDetector:
    """Loop-free: `on_bar` takes a bar of the decision interval and returns the complexity at its close."""

    def __init__(self, settings: ComplexitySettings, events: ScheduledEvents) -> None:
        self._settings = settings
        self._events = events
        self._length = max(
            settings.volatility_window, settings.trend_window, settings.momentum_window, settings.correlation_window + 1
        )  # one more: of instruments whose bars close together, the first asked has no match yet for its newest return
        self._least = max(settings.volatility_window, settings.trend_window)
        self._smoothing = 2.0 / (settings.baseline_window + 1)
        self._root = math.sqrt(2.0 * settings.momentum_window)
        self._history: dict[str, History] = {}
        self._windows: dict[tuple[int, ...], tuple[int, ...]] = {}

    def on_bar(self, bar: Bar) -> Complexity:
        """Complexity of `bar.symbol` at `bar.ts_close`."""
        settings = self._settings
        history, (sigma, trend, moved) = self._note(bar)
        volatility = self._volatility(history, sigma)
        momentum = self._momentum(moved, sigma)
        change = self._regime_change(history, sigma)
        breakdown = self._correlation_breakdown(bar.symbol) if len(self._history) > 1 else 0.0
        impact = self._events.impact(bar.symbol, bar.ts_close)
        weights, uplift = settings.weights, settings.uplift
        score = weights.volatility * volatility + weights.trend_strength * trend + weights.momentum * momentum
        score += uplift.regime_change * change + uplift.correlation_breakdown * breakdown
        score += uplift.event_impact * impact
        return Complexity(
            symbol=bar.symbol,
            interval=bar.interval,
            ts=bar.ts_close,
            volatility=volatility,
            trend_strength=trend,
            momentum=momentum,
            regime_change=change,
            correlation_breakdown=breakdown,
            event_impact=impact,
            score=min(1.0, score),
            regime=self._regime(history.count, volatility, trend),
        )

    def forget(self, symbol: str) -> None:
        """Begin anew: what the bars of `symbol` were like says nothing any more."""
        self._history.pop(symbol, None)
        for history in self._history.values():
            history.changes.clear()

    def remember(self, bar: Bar) -> None:
        """Leave behind what `on_bar` would, without its answer: for bars that were decided on before."""
        history, (sigma, _, _) = self._note(bar)
        self._volatility(history, sigma)
        self._regime_change(history, sigma)

    def _note(self, bar: Bar) -> tuple[History, Sequence[float]]:
        """The symbol's history with the bar in it, and the figures of its newest returns."""
        history = self._history.get(bar.symbol)
        if history is None:
            history = self._history[bar.symbol] = History(self._length, self._settings.volatility_window)
        day = bar.ts_open // DAY_NS
        before = history.last_close if day == history.day else bar.open
        history.day = day
        history.last_close = bar.close
        return history, self._figures(bar.symbol, history, bar.ts_close, math.log(bar.close / before))

    def _figures(self, symbol: str, history: History, close: int, change: float) -> Sequence[float]:
        """(σ, efficiency, |Σr| of the momentum window) of the newest returns, 0 before there are enough; adds one."""
        history.add(close, change)
        settings, returns = self._settings, list(history.returns)
        volatility, trend, momentum = settings.volatility_window, settings.trend_window, settings.momentum_window
        return (
            _deviation(returns[-volatility:]) if len(returns) >= volatility else 0.0,
            _efficiency(returns[-trend:]) if len(returns) >= trend else 0.0,
            abs(math.fsum(returns[-momentum:])) if len(returns) >= momentum else 0.0,
        )

    def _volatility(self, history: History, sigma: float) -> float:
        if sigma <= 0.0:
            return 0.0
        if history.baseline <= 0.0:
            history.baseline = sigma
        history.baseline += self._smoothing * (sigma - history.baseline)
        ratio = sigma / history.baseline
        return ratio / (1.0 + ratio)

    def _momentum(self, moved: float, sigma: float) -> float:
        return math.erf(moved / (sigma * self._root)) if sigma > 0.0 else 0.0

    def _regime_change(self, history: History, sigma: float) -> float:
        """`history.sigmas` holds σ as it was at each of the last n bars; the oldest is the window before this one."""
        sigmas = history.sigmas
        before = sigmas[0] if len(sigmas) == sigmas.maxlen else None
        sigmas.append(sigma if history.count >= self._settings.volatility_window else None)
        if before is None:
            return 0.0
        larger = max(sigma, before)
        return 1.0 - min(sigma, before) / larger if larger > 0.0 else 0.0

    def _correlation_breakdown(self, symbol: str) -> float:
        mine = self._history[symbol]
        self._cut_tails(mine)
        tails, changes = mine.tails, []
        if not tails:
            return 0.0
        newest = tails[0]
        for name, other in self._history.items():
            if not other.tails or name == symbol:
                change = self._change_at_common_times(mine, other) if name != symbol else None
                if change is not None:
                    changes.append(change)
                continue
            window = other.tails[0]
            # bars that close together: the other's newest may have yet to come
            back = 0 if newest is window else 1 if tails[-1] is window else -1
            known = mine.changes.get(name) if back >= 0 else None
            if known is not None and known[0] is window:  # the other one asked when it was its turn
                changes.append(known[1])
                continue
            change = self._change_at_common_times(mine, other) if back < 0 else self._change(mine, back, other)
            if change is not None:
                changes.append(change)
                if back >= 0:
                    mine.changes[name] = other.changes[symbol] = window, change
        return math.fsum(changes) / len(changes) if changes else 0.0

    def _change(self, mine: History, back: int, other: History) -> float:
        """How far the short correlation of two symbols is from the long one, up to the other's newest return."""
        short, long = self._settings.volatility_window, self._settings.correlation_window
        one, two = mine.abouts(back, short, long), other.abouts(0, short, long)
        return abs(_together(one[0], two[0], short) - _together(one[1], two[1], long)) / 2.0

    def _change_at_common_times(self, mine: History, other: History) -> float | None:
        """The same, where one of them has times of its own; None where they have too few in common."""
        short, long = self._settings.volatility_window, self._settings.correlation_window
        if len(other.times) < long:
            return None
        own = dict(zip(mine.times, mine.returns, strict=True))
        pairs = [(own[ts], value) for ts, value in zip(other.times, other.returns, strict=True) if ts in own][-long:]
        if len(pairs) < long:
            return None
        x, y = [one for one, _ in pairs], [one for _, one in pairs]
        recent = _together(_about(x[-short:]), _about(y[-short:]), short)
        return abs(recent - _together(_about(x), _about(y), long)) / 2.0

    def _cut_tails(self, history: History) -> None:
        """Name the newest windows of a symbol, one tuple for all symbols that have the same, told apart by identity."""
        long, times = self._settings.correlation_window, tuple(history.times)
        if len(self._windows) > MANY_WINDOWS + 4 * len(self._history):
            self._windows.clear()
        for end in (len(times), len(times) - 1):
            if end >= long:
                window = times[end - long : end]
                history.tails.append(self._windows.setdefault(window, window))

    def _regime(self, returns: int, volatility: float, trend: float) -> Regime:
        if returns < self._least:
            return Regime.UNKNOWN
        if volatility >= self._settings.volatile_above:
            return Regime.VOLATILE
        if trend >= self._settings.trending_above:
            return Regime.TRENDING
        return Regime.RANGING


def _deviation(values: Sequence[float]) -> float:
    """Population standard deviation; 0 where it is only rounding noise."""
    mean = math.fsum(values) / len(values)
    variance = math.fsum([(value - mean) ** 2 for value in values]) / len(values)
    return math.sqrt(variance) if variance > NOISE else 0.0


def _efficiency(returns: Sequence[float]) -> float:
    path = math.fsum(map(abs, returns))
    return min(1.0, abs(math.fsum(returns)) / path) if path > 0.0 else 0.0


def _about(values: Sequence[float]) -> _About:
    mean = math.fsum(values) / len(values)
    deviations = [value - mean for value in values]
    return _About(deviations, math.fsum([deviation**2 for deviation in deviations]))


def _together(one: _About, other: _About, n: int) -> float:
    """Pearson's correlation of n returns, 0 where one side varies by no more than rounding noise."""
    if one.squares <= n * NOISE or other.squares <= n * NOISE:
        return 0.0
    rho = math.fsum(map(mul, one.deviations, other.deviations)) / math.sqrt(one.squares * other.squares)
    return 1.0 if rho > 1.0 else -1.0 if rho < -1.0 else rho


class ComplexityActor(Actor):
    """Publishes a `Complexity` for every bar of the decision interval; it is what asks the strategy to decide."""

    name = "complexity"

    def __init__(self, bus: Bus, detector: ComplexityDetector, interval: str) -> None:
        super().__init__(bus)
        self.detector = detector
        self._interval = interval
        self.inbox = bus.subscribe(self.name, (Bar,), where=lambda bar: bar.interval == interval)
        bus.subscribe(self.name, (PriceJumped,), inbox=self.inbox)

    def remember(self, seen: Iterable[Event]) -> None:
        """What an earlier process saw, oldest first."""
        for event in seen:
            if isinstance(event, Bar) and event.interval == self._interval:
                self.detector.remember(event)
            elif isinstance(event, PriceJumped):
                self.detector.forget(event.symbol)

    def handle(self, event: Event) -> None:
        """Bar in, complexity out."""
        if isinstance(event, Bar):
            self.bus.publish(self.detector.on_bar(event))
        elif isinstance(event, PriceJumped):
            self.detector.forget(event.symbol)
