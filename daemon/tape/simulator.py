"""A seed turned into the ticks of believable NSE sessions.

Each second a common and an own return move the log price; their size follows the U-shape of the day, a volatility that
clusters, and a regime that changes by the minute (up, down, ranging, volatile). Ticks arrive in bursts: every tick may
call forth others within seconds, the branching form of a Hawkes process (Hawkes and Oakes 1974). A trade happens at the
bid or the ask around the price, on the tick grid. Exchange stamps are whole seconds, as Fyers sends them.
Invariant: the same arguments give the same ticks, and without faults the tick filter accepts every one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.core.clock import NS_PER_MS, NS_PER_S
from daemon.core.events import MISSING_INT, TICK_COLUMNS, TickBatch
from daemon.market.calendar import Session

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

UNKNOWN_SYMBOL = "?UNKNOWN"
"""The symbol that faulty ticks of reason `unknown_symbol` bear; no instrument book knows it."""

FAULTS = (
    "unknown_symbol",
    "bad_time",
    "outside_session",
    "bad_price",
    "backward_time",
    "duplicate",
    "volume_fell",
)
"""What `fault_rate` adds: one extra tick of each kind per 1 / rate good ones."""

_CHUNK_ROWS = 131_072
_MINUTE_S = 60
_DAILY_VOLATILITY = 0.011  # of the log price from open to close, NIFTY shares' order of size
_GAP_VOLATILITY = 0.005  # overnight
_COMMON_SHARE = 0.5  # of the variance is the market's: the correlation of two symbols
_VOLATILITY_PERSISTENCE = 0.97  # per minute, of the log volatility
_VOLATILITY_SHOCK = 0.10
_BRANCHING = 0.5  # ticks that another tick calls forth, on average
_EXCITEMENT_S = 1.5  # how long after it, on average

# one row a regime: stays per minute, drift per minute in standard deviations, size of moves, share taken back
_REGIMES = np.array(
    [
        [0.96, +0.10, 0.9, 0.0],  # up
        [0.96, -0.10, 0.9, 0.0],  # down
        [0.97, 0.00, 0.7, 0.3],  # ranging
        [0.92, 0.00, 1.9, 0.0],  # volatile
    ]
)


class SimulatedSymbol(msgspec.Struct, frozen=True):
    """One instrument to simulate. Prices in rupees; an index has no volume and no quotes, and one tick a second."""

    symbol: str
    price: float
    tick_size: float = 0.05
    is_index: bool = False


def simulate(
    symbols: Sequence[SimulatedSymbol],
    sessions: Sequence[Session],
    ticks_per_session: int,
    seed: int,
    fault_rate: float = 0.0,
    trends: float = 1.0,
) -> Iterator[TickBatch]:
    """Make the ticks of all symbols over all sessions, in order of receipt.

    Each symbol has `ticks_per_session` ticks (an index at most one a second), and with `fault_rate` one more of each
    of `FAULTS` for every 1 / rate of them. Rises and falls drift and last `trends` times what they do as a rule: at 1
    following them hardly pays its costs, from 2 on it does. Holds one session in memory.
    """
    names = (*(item.symbol for item in symbols), *((UNKNOWN_SYMBOL,) if fault_rate else ()))
    kinds = _regimes(trends)
    walks = [_Walk(item.price, kinds) for item in symbols]
    market = _Walk(1.0, kinds)
    for number, session in enumerate(sessions):
        seconds = (session.close_ns - session.open_ns) // NS_PER_S
        common = market.returns(np.random.default_rng([seed, number]), seconds)
        parts = []
        for code, (item, walk) in enumerate(zip(symbols, walks, strict=True)):
            rng = np.random.default_rng([seed, number, code + 1])
            price, intensity = walk.prices(rng, seconds, common, opening=number == 0)
            times = _arrivals(rng, intensity, ticks_per_session, once_a_second=item.is_index)
            ticks = _ticks(rng, item, session, times, price) | {"code": np.full(len(times), code, dtype=np.int32)}
            parts.append(ticks if fault_rate == 0 else _with_faults(rng, ticks, session, fault_rate, len(symbols)))
        columns = {name: np.concatenate([part[name] for part in parts]) for name in TICK_COLUMNS}
        order = np.argsort(columns["ts_recv"], kind="stable")
        for start in range(0, len(order), _CHUNK_ROWS):
            rows = order[start : start + _CHUNK_ROWS]
            yield TickBatch(symbols=names, **{name: column[rows] for name, column in columns.items()})


class _Walk:
    """The log price of one symbol (or the market's common part), second by second, across sessions."""

    def __init__(self, price: float, kinds: Floats) -> None:
        self._kinds = kinds
        self._log_price = float(np.log(price))
        self._log_volatility = 0.0
        self._regime = 2

    def returns(self, rng: np.random.Generator, seconds: int) -> Floats:
        """Log returns of each second, of the size of a whole day's move."""
        minutes = -(-seconds // _MINUTE_S)
        regime = self._regimes(rng, minutes)
        shocks = rng.normal(0.0, _VOLATILITY_SHOCK, minutes)
        size = np.empty(minutes)
        for minute in range(minutes):  # an AR(1); 375 steps
            self._log_volatility = _VOLATILITY_PERSISTENCE * self._log_volatility + shocks[minute]
            size[minute] = self._log_volatility
        scale = _DAILY_VOLATILITY / np.sqrt(seconds)
        per_minute = np.exp(size) * self._kinds[regime, 2]
        volatility = np.repeat(per_minute, _MINUTE_S)[:seconds] * np.sqrt(_smile(seconds)) * scale
        drift = np.repeat(self._kinds[regime, 1], _MINUTE_S)[:seconds] / np.sqrt(_MINUTE_S)
        taken_back = np.repeat(self._kinds[regime, 3], _MINUTE_S)[:seconds]
        noise = rng.standard_normal(seconds)
        noise[1:] -= taken_back[1:] * noise[:-1]
        return np.asarray(volatility * (noise + drift), dtype=np.float64)

    def prices(self, rng: np.random.Generator, seconds: int, common: Floats, *, opening: bool) -> tuple[Floats, Floats]:
        """(price at the start of each second and at the close, relative rate of arrivals in each second)."""
        own = self.returns(rng, seconds)
        moves = np.sqrt(_COMMON_SHARE) * common + np.sqrt(1 - _COMMON_SHARE) * own
        gap = 0.0 if opening else rng.normal(0.0, _GAP_VOLATILITY)
        path = self._log_price + gap + np.concatenate(([0.0], np.cumsum(moves)))
        self._log_price = float(path[-1])
        activity = np.convolve(np.abs(moves), np.full(_MINUTE_S, 1 / _MINUTE_S), mode="same")
        return np.exp(path), _smile(seconds) * (0.3 + activity / activity.mean())

    def _regimes(self, rng: np.random.Generator, minutes: int) -> NDArray[np.int64]:
        chances, others = rng.random(minutes), rng.integers(1, len(self._kinds), minutes)
        path = np.empty(minutes, dtype=np.int64)
        for minute in range(minutes):
            if chances[minute] > self._kinds[self._regime, 0]:
                self._regime = int(self._regime + others[minute]) % len(self._kinds)
            path[minute] = self._regime
        return path


def _regimes(trends: float) -> Floats:
    """The regimes, with rises and falls that drift and last so many times what they do as a rule."""
    kinds = _REGIMES.copy()
    kinds[:2, 0] = 1.0 - (1.0 - kinds[:2, 0]) / trends
    kinds[:2, 1] *= trends
    return kinds


def _smile(seconds: int) -> Floats:
    """Activity over the day: high at the open, low at noon, rising to the close; mean 1."""
    x = np.linspace(0.0, 1.0, seconds)
    shape = 0.6 + 2.4 * np.exp(-x / 0.06) + 0.9 * np.exp(-(1 - x) / 0.08)
    return np.asarray(shape / shape.mean(), dtype=np.float64)


def _arrivals(rng: np.random.Generator, intensity: Floats, n: int, *, once_a_second: bool) -> Floats:
    """Sorted times of n ticks, seconds since the open, in [0, len(intensity))."""
    seconds = len(intensity)
    if once_a_second:
        n = min(n, seconds)
        return np.sort(rng.choice(seconds, n, replace=False, p=intensity / intensity.sum())).astype(np.float64)
    cumulated = np.concatenate(([0.0], np.cumsum(intensity)))

    def immigrants(count: int) -> Floats:
        places = rng.random(count) * cumulated[-1]
        return np.asarray(np.interp(places, cumulated, np.arange(seconds + 1)), dtype=np.float64)

    times = immigrants(max(1, round(n * (1 - _BRANCHING))))
    generations = [times]
    while (total := sum(map(len, generations))) < n:
        parents = np.repeat(times, rng.poisson(_BRANCHING, len(times)))
        times = parents + rng.exponential(_EXCITEMENT_S, len(parents))
        times = times[times < seconds]
        if not len(times):  # the family died out
            times = immigrants(n - total)
        generations.append(times)
    found = np.concatenate(generations)[:n]
    return np.sort(np.minimum(found, np.nextafter(float(seconds), 0.0)))


def _ticks(
    rng: np.random.Generator, item: SimulatedSymbol, session: Session, times: Floats, price: Floats
) -> dict[str, Any]:
    """All tick columns but `code`."""
    n = len(times)
    middle = np.interp(times, np.arange(len(price)), price)
    ts_event = session.open_ns + np.floor(times).astype(np.int64) * NS_PER_S
    delay_ms = 20.0 + rng.exponential(15.0, n)
    sent_ns = session.open_ns + np.rint(times * 1e3).astype(np.int64) * NS_PER_MS
    nothing = np.full(n, MISSING_INT, dtype=np.int64)
    columns: dict[str, Any] = {
        "ts_event": ts_event,
        "ts_recv": np.maximum.accumulate(sent_ns + np.rint(delay_ms * NS_PER_MS).astype(np.int64)),
        "oi": nothing,
        "traded": nothing,
    }
    if item.is_index:
        blank = np.full(n, np.nan)
        return columns | {
            "ltp": np.round(middle, 2), "bid": blank, "ask": blank,
            "last_qty": nothing, "volume": nothing, "bid_qty": nothing, "ask_qty": nothing,
        }  # fmt: skip
    return columns | _trades(rng, item, middle)


def _trades(rng: np.random.Generator, item: SimulatedSymbol, middle: Floats) -> dict[str, Any]:
    """Prices, quotes and quantities around the middle price (n,), on the grid of `tick_size`."""
    n = len(middle)
    wide = np.maximum(1, np.rint(middle * 5e-5 / item.tick_size)).astype(np.int64)  # about half a basis point
    spread = wide + rng.geometric(0.7, n) - 1
    bid = np.maximum(1, np.floor(middle / item.tick_size - (spread - 1) / 2).astype(np.int64))
    ask = bid + spread
    runs = np.cumsum(rng.random(n) < 0.35)  # buyers follow buyers
    buys = (rng.random(int(runs[-1]) + 1) < 0.5)[runs]
    thousand = 1e6 / float(middle[0])  # shares worth ten lakh rupees
    last_qty = np.maximum(1, np.rint(rng.lognormal(np.log(thousand * 0.02 + 1), 1.2, n))).astype(np.int64)
    depth = rng.lognormal(np.log(thousand * 0.2 + 1), 0.8, (2, n))
    return {
        "ltp": _on_grid(np.where(buys, ask, bid), item.tick_size),
        "bid": _on_grid(bid, item.tick_size),
        "ask": _on_grid(ask, item.tick_size),
        "last_qty": last_qty,
        "volume": np.cumsum(last_qty),
        "bid_qty": np.maximum(1, np.rint(depth[0])).astype(np.int64),
        "ask_qty": np.maximum(1, np.rint(depth[1])).astype(np.int64),
    }


def _on_grid(steps: Ints, tick_size: float) -> Floats:
    prices: Floats = np.round(steps * np.float64(tick_size), 4)
    return prices


def _with_faults(
    rng: np.random.Generator, ticks: dict[str, Any], session: Session, rate: float, unknown_code: int
) -> dict[str, Any]:
    """Add faulty copies of some ticks, each behind its original, so that the filter finds exactly those."""
    n = len(ticks["ts_event"])
    settled = np.flatnonzero(ticks["ts_event"] >= session.open_ns + 60 * NS_PER_S)
    kinds = FAULTS if ticks["volume"][0] >= 0 else FAULTS[:-1]  # an index has no volume that could fall
    each = min(round(n * rate), len(settled) // len(kinds))
    chosen = rng.permutation(settled)[: each * len(kinds)].reshape(len(kinds), each)
    copies = {name: column[chosen] for name, column in ticks.items()}
    row = {name: FAULTS.index(name) for name in FAULTS}
    copies["code"][row["unknown_symbol"]] = unknown_code
    copies["ts_event"][row["bad_time"]] = 0
    copies["ts_event"][row["outside_session"]] = session.open_ns - 1800 * NS_PER_S
    copies["ltp"][row["bad_price"]] = np.resize([0.0, -1.0, np.nan, np.inf, 1e9], each)
    copies["ts_event"][row["backward_time"]] -= 30 * NS_PER_S
    copies["volume"][row["volume_fell"] :] //= 2
    places = np.concatenate([np.arange(n), chosen.ravel()])
    order = np.argsort(places, kind="stable")
    return {name: np.concatenate([column, copies[name].ravel()])[order] for name, column in ticks.items()}
