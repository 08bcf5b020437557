"""The canary run of an `App` → how control shows it. Invariant: nothing here changes the daemon or waits."""

from __future__ import annotations

from daemon.app import App
from daemon.control.view import CanaryRow

NONE = "none"


def canary_row(app: App) -> CanaryRow:
    """The newest one, and who could begin the next."""
    settings, desk, newest = app.settings.canary, app.canary, app.canary.newest
    needed, earned = 1.0 / settings.alpha, desk.earned
    if newest is None:
        return CanaryRow(
            state=NONE, agent="", strategy="", model_hash="", against="", symbols=[], size=0.0, began_ts=None, ts=None,
            sessions=0, mean_bp=0.0, better=1.0, worse=1.0, needed=needed, net_pnl=None, who="", reason="",
            promote=settings.promote, agents=desk.agents,
        )  # fmt: skip
    return CanaryRow(
        state=newest.state.value, agent=newest.agent, strategy=newest.strategy, model_hash=newest.model_hash,
        against=newest.against, symbols=list(newest.symbols), size=newest.size, began_ts=newest.began_ts or None,
        ts=newest.ts, sessions=newest.sessions, mean_bp=newest.mean_bp, better=newest.better, worse=newest.worse,
        needed=needed, net_pnl=earned, who=newest.who, reason=newest.reason, promote=settings.promote,
        agents=desk.agents,
    )  # fmt: skip


def canary_words(app: App) -> str:
    """Who decides on a share, and how far the proof is; "" where nobody does."""
    canary, newest = app.canary.running, app.canary.newest
    if canary is None or newest is None:
        return ""
    words = f"{canary.agent} decides on {len(canary.symbols)} instruments at {newest.size:g} of the size"
    words = f"{words}, {newest.sessions} sessions judged (proof: better {newest.better:.2f}, worse {newest.worse:.2f})"
    return f"{words}; {newest.reason}" if newest.reason.startswith("proof: ") else words
