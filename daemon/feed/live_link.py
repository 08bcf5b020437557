"""What a link to the venue should have done by now → whether it lives, and how long to wait before the next one.

Judged by ticks that came, never by what the link says of itself: a half-open link looks connected, a feed can be mute,
and the token's early-morning rollover leaves a link that nobody closes. Invariant: outside a session no silence is a
reason to end a link.
"""

from __future__ import annotations

import random

import msgspec

from daemon.clock import NS_PER_S
from daemon.settings import LiveSettings


class LinkState(msgspec.Struct):
    """How far one link has come; times in UTC ns, 0 for not yet."""

    started: int
    subscribed: int = 0
    last_ticks: int = 0
    peak_mb: float = 0.0


class LinkWatch:
    """Loop-free judge of one link after another."""

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings

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
        silent = (now - max(link.last_ticks, link.subscribed, open_since)) / NS_PER_S
        return f"no ticks for {silent:.1f} s" if silent > limits.silence_s else ""


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
