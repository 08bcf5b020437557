"""What a link to the venue should have done by now → whether it lives, and how long to wait before the next one.

Judged by ticks that came, never by what the link says of itself: a half-open link looks connected, a feed can be mute,
and the token's early-morning rollover leaves a link that nobody closes. Invariant: outside a session no silence is a
reason to end a link.
"""

from __future__ import annotations

import random

import msgspec

from daemon.core.clock import NS_PER_S
from daemon.settings.feed import LiveSettings

DOUBT_S = 3.0
"""After so long a silence of all symbols a closing bar is marked, though the link is not given up yet."""
CALM_NS = 600 * NS_PER_S
"""So long without a link that ended for its silence halves the patience."""


class LinkState(msgspec.Struct):
    """How far one link has come; times in UTC ns, 0 for not yet."""

    started: int
    subscribed: int = 0
    last_ticks: int = 0
    peak_mb: float = 0.0
    damage: int = 0
    """Exceptions that the SDK caught, and ticks of nobody's symbol: each may have cost a symbol its place."""
    silent: frozenset[str] = frozenset()
    """Symbols that are stale, or of which this link told nothing at all."""

    def silent_s(self, now: int, open_since: int) -> float:
        """Seconds without a tick, as far as one could be expected."""
        return (now - max(self.last_ticks, self.subscribed, open_since)) / NS_PER_S


class LinkWatch:
    """Loop-free judge of one link after another.

    Where silence ends one link after another it is the market that is quiet: patience doubles each time, up to the age
    at which every symbol is stale by itself, and comes back with time.
    """

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings
        self._doublings = 0
        self._impatient_ns = 0
        self._tried: frozenset[str] = frozenset()

    def doubtful(self, link: LinkState, now: int, open_since: int) -> bool:
        """Whether so long a silence leaves a closing bar in doubt."""
        return link.silent_s(now, open_since) > DOUBT_S * self._patience(now)

    def _patience(self, now: int) -> float:
        calm = (now - self._impatient_ns) // CALM_NS
        return 2.0 ** max(0, self._doublings - calm)

    def _loses_patience(self, now: int) -> None:
        calm = (now - self._impatient_ns) // CALM_NS
        self._doublings = min(max(0, self._doublings - calm) + 1, 16)
        self._impatient_ns = now

    def fault(self, link: LinkState, now: int, open_since: int | None, next_open: int) -> str:
        """Why the link should be ended now, "" while it is good.

        `open_since` is when the market opened (or when we began to look), None while it is closed; `next_open` is the
        open of the present session or of the one to come.
        """
        limits = self._settings
        if not link.subscribed:
            waited = (now - link.started) / NS_PER_S
            return f"not subscribed after {waited:.0f} s" if waited > limits.start_s else ""
        if link.peak_mb > limits.max_gateway_mb:
            return f"the gateway holds {link.peak_mb:.0f} MB, limit {limits.max_gateway_mb:g} MB"
        renewal = next_open - int(limits.renew_before_open_s * NS_PER_S)
        if link.started < renewal <= now < next_open:
            return "a new link for the new day"
        if open_since is None:
            return ""
        lost = self._lost_symbols(link, now)
        if lost:
            return f"the SDK lost its hold of {', '.join(lost)}"
        silent = link.silent_s(now, open_since)
        longest = max(limits.silence_s, min(limits.silence_s * self._patience(now), limits.stale_after_s))
        if silent > longest:
            self._loses_patience(now)
            return f"no ticks for {silent:.1f} s"
        return ""

    def _lost_symbols(self, link: LinkState, now: int) -> list[str]:
        """Symbols worth a new link: this one is damaged, and they don't tick; each is tried for once."""
        if not link.damage or (now - link.subscribed) / NS_PER_S <= self._settings.stale_after_s:
            return []
        lost = link.silent - self._tried
        self._tried = link.silent
        return sorted(lost)


class Backoff:
    """Pauses between links: doubling, with jitter, short again after a link that worked."""

    def __init__(self, settings: LiveSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._failures = 0

    def pause_s(self, *, worked: bool, hopeless: bool = False) -> float:
        """Seconds until the next try; `hopeless` where only somebody's help (a login) will do."""
        limits = self._settings
        self._failures = 0 if worked else self._failures + 1
        longest = limits.restart_longest_s
        exponent = min(max(0, self._failures - 1), 32)
        whole = longest if hopeless else min(limits.restart_first_s * 2.0**exponent, longest)
        return whole * self._rng.uniform(0.5, 1.0)
