"""What a run leaves on record: the journal, what the run is at its beginning, and what only it counted at its end.

Invariant: whoever reads the journal alone can play the run again and needs to ask nobody else.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping

import msgspec

from daemon import __version__
from daemon.assembly.market import MarketOfRun
from daemon.assembly.ticks import seen_intervals
from daemon.bars.builder import BarBuilder
from daemon.core.bus import Bus
from daemon.core.clock import DAY_NS
from daemon.core.code import code_sha256, file_sha256
from daemon.core.events import Bar, RunCounted
from daemon.feed.live.feed import LiveFeed
from daemon.feed.replay import TapeFeed
from daemon.journal.schema import JOURNALED
from daemon.journal.writer import Journal
from daemon.market.instruments import Kind
from daemon.plan import RunPlan
from daemon.settings.tree import Settings
from daemon.shadow.shadows import Shadows
from daemon.strategy.switching import RUNG
from strategies.base import Strategy, model_hash_of


def open_journal(settings: Settings, plan: RunPlan) -> Journal | None:
    """The run's journal; None where it keeps none."""
    if not plan.journal:
        return None
    return Journal(
        plan.journal,
        safe=plan.durable,
        group_commit_ms=settings.journal.group_commit_ms,
        hand=plan.machine.hand,
        database=plan.machine.database,
        stopwatch=plan.machine.stopwatch,
        memory=plan.machine.memory,
    )


def keep_record(bus: Bus, settings: Settings, plan: RunPlan, journal: Journal, started_ts: int) -> None:
    """Journal everything of its types, and the bars that decisions depend on; what is too old goes."""
    if plan.recover:
        journal.prune(started_ts - settings.journal.keep_days * DAY_NS)
    intervals = seen_intervals(settings)
    bus.tap(JOURNALED, journal.append)
    bus.tap((Bar,), journal.append, where=lambda bar: bar.interval in intervals)


class Deciding(msgspec.Struct, frozen=True, kw_only=True):
    """What a run says of who decides."""

    strategies: Mapping[str, Strategy]
    model: str
    untried: str
    depth: int
    learned: tuple[str, str] | None


def described(
    settings: Settings, plan: RunPlan, market: MarketOfRun, deciding: Deciding, kinds: Mapping[str, tuple[Kind, bool]],
    started_ts: int,
) -> dict[str, str]:  # fmt: skip
    """What the run is, for the journal's metadata."""
    tapes, rung = market.tapes, deciding.strategies.get(RUNG)
    return {
        "version": __version__,
        "code": code_sha256(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "started_ts": str(started_ts),
        "settings": settings.model_dump_json(),
        "settings_sha256": settings.digest(),
        "tapes": _json([str(path) for path in plan.tapes]),
        "tapes_sha256": _json([file_sha256(path) for path in plan.tapes]),
        "symbols": _json(market.symbols),
        "latency": plan.latency.name,
        "recovers": "true" if plan.recover else "",
        "order_delay_ns": str(plan.latency.order_ns),
        "model": deciding.model,
        "untried": deciding.untried,
        "learned": _json(deciding.learned),
        "twice_told": tapes.twice_told,
        "idle": _json(market.idle),
        "depth": str(deciding.depth),
        "simulated": "true" if tapes.simulated else "",
        "made_of": tapes.bars,
        "received": "true" if tapes.received else "",
        "instruments": _json(kinds),
        "legs": _json(market.legs.indices),
        "calendar": _json(market.calendar.file),
        "symbol_master": str(market.master_day or ""),
        "runtime": str(getattr(rung, "runtime", "")),
        "model_hash": model_hash_of(rung),
        "model_file": str(getattr(rung, "artifact", None) or ""),
    }


def counted(ts: int, feed: TapeFeed | LiveFeed, builder: BarBuilder, shadows: Shadows) -> RunCounted:
    """What the journal can't be asked for otherwise."""
    rejected = {reason: count for reason, count in feed.tick_filter.rejected.items() if count}
    if builder.late:
        rejected["late"] = builder.late
    sessions = feed.sessions if isinstance(feed, TapeFeed) else []
    rows = (msgspec.structs.replace(row, thinking_ms=None) for row in shadows.rows())
    return RunCounted(
        ts=ts, accepted=feed.tick_filter.accepted - builder.late, repaired=sum(feed.tick_filter.repaired.values()),
        rejected=rejected, first_ts=feed.first_ts, last_ts=feed.last_ts, bars=builder.built,
        sessions=tuple((it.open_ns, it.close_ns) for it in sessions),
        shadow=tuple(msgspec.to_builtins(row) for row in rows),
    )  # fmt: skip


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
