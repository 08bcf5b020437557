"""What a migration has seen → the gates of a stage: each a reading against its limit, passed or not. Pure.

Invariant: what isn't known is no pass, and a value at its limit is one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from daemon.core.events import CanaryChanged, CanaryState, Decider, GateReading, SessionMeasured, ShadowResult
from daemon.settings.canary import CanarySettings
from daemon.settings.migration import MigrationSettings
from daemon.supervision.comparison import Evidence, Verdict

FLAT: Final = "flat"


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """The shadow agent that the settings name, as this process has it, and what its artifact says on the disk."""

    agent: str
    decider: Decider
    taught: bool
    """Whether it has a model that a market had to teach."""
    trouble: str = ""
    """Why its artifact can't be used, "" where it can."""
    trained_to: str = ""
    """The newest day of its training, an ISO date; "" where nobody says."""
    metrics: Mapping[str, float] = {}
    dropped: str = ""
    """Why it decides no more, "" while it does."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is so at the moment, and no event of the past tells."""

    in_charge: Decider
    models: Mapping[str, Decider]
    """Who decides on each strategy of the ladder."""
    within_reach: Collection[str]
    """Strategies that can be put in charge."""
    candidate: Candidate | None
    halted: str
    """Why it doesn't trade, "" where it does."""
    today: str
    """An ISO date, India."""
    named: Decider = Decider("")
    """Who decides on the strategy of the settings."""
    no_share: str = ""
    """Why the candidate can't be let decide on a share now, "" where it can."""


def none_gates(facts: Facts) -> tuple[GateReading, ...]:
    """Somebody has to be there whose baseline it is."""
    name = facts.in_charge.strategy
    return (so("in charge", name not in ("", FLAT), f"{name or 'nobody'} decides"),)


def baseline_gates(
    settings: MigrationSettings, sessions: Sequence[SessionMeasured], former: Decider, facts: Facts
) -> tuple[GateReading, ...]:
    """Enough of one and the same; what it came to is shown."""
    return (
        _sessions("whole sessions in charge", len(sessions), settings.baseline_sessions),
        _unchanged("in charge", facts.in_charge, former, "the baseline began with"),
        *_measured(sessions),
    )


def training_gates(facts: Facts) -> tuple[GateReading, ...]:
    """There is a candidate, its artifact says what it is, and it can be told from who is in charge."""
    one = facts.candidate
    if one is None:
        return (so("candidate", False, "no candidate: name a shadow agent in migration.candidate and restart"),)
    readings = [
        so("candidate", not one.dropped, f"{one.agent} was dropped: {one.dropped}" if one.dropped else one.agent),
        so("another", not one.decider.same_as(facts.in_charge), f"{said(one.decider)} is to follow "
           f"{said(facts.in_charge)}"),
    ]  # fmt: skip
    if not one.taught:
        return (*readings, so("artifact", True, f"{one.decider.strategy} have no model, there is nothing to train"))
    trained = one.trained_to
    until = f"trained on data to {trained or 'nobody knows when'}, before {facts.today}"
    return (
        *readings,
        so("artifact", not one.trouble, one.trouble or f"{one.decider.file}, SHA-256 {one.decider.model_hash}"),
        at_least("metrics", len(one.metrics), 1, _metrics(one.metrics)),
        so("trained to", bool(trained) and trained < facts.today, until),
    )


def parallel_gates(
    settings: MigrationSettings, results: Sequence[ShadowResult], evidence: Evidence, signed: tuple[str, Decider],
    former: Decider, facts: Facts,
) -> tuple[GateReading, ...]:  # fmt: skip
    """On paper it does what it must, and nothing says that it is worse."""
    decisions, failed = sum(one.decisions for one in results), sum(one.failed for one in results)
    compared, agreed = sum(one.compared for one in results), sum(one.agreed for one in results)
    agreement = 100 * agreed / compared if compared else None
    words = "nothing to compare yet" if agreement is None else f"{agreement:.1f} % of actions"
    trouble = facts.candidate.dropped if facts.candidate is not None else ""
    return (
        _signed(signed, facts),
        _unchanged("in charge", facts.in_charge, former, "the baseline was of"),
        so("alive", not trouble, f"was dropped: {trouble}" if trouble else "it decides"),
        _sessions("whole sessions on paper", len(results), settings.parallel_sessions),
        _failed(settings, decisions, failed),
        _latency(settings, [one.thinking_p99_ms for one in results]),
        shown("agreement", agreement, words),
        so("comparison", evidence.verdict is not Verdict.ROLL_BACK,
           f"{evidence.verdict.value}{f' ({evidence.reason})' if evidence.reason else ''}, proof that it is better "
           f"{evidence.better:.2f}, worse {evidence.worse:.2f}"),
        at_least("mean difference", evidence.mean_bp if results else None, settings.min_mean_bp,
                 f"{evidence.mean_bp:+.2f} bp a session, at least {settings.min_mean_bp:+g}"),
        so("share", not facts.no_share, facts.no_share or "its canary can begin"),
    )  # fmt: skip


def gradual_gates(
    settings: MigrationSettings, canary: CanaryChanged | None, proof: CanarySettings, signed: tuple[str, Decider],
    facts: Facts,
) -> tuple[GateReading, ...]:  # fmt: skip
    """For real on a share it is not rolled back, and it is shown to be better.

    Settings that put it in charge of everything end its sessions and stand for no gate: what was shown by then counts.
    """
    seen = canary.sessions if canary is not None else 0
    enough = _sessions("sessions of the canary", seen, settings.gradual_sessions)
    ended = canary is not None and canary.state is CanaryState.PROMOTED
    by_settings = canary is not None and canary.by_settings
    promoted = ended and not by_settings
    state = canary.state.value if canary is not None else "not begun"
    better, needed = canary.better if canary is not None else None, 1 / proof.alpha
    words = f"proof that it is better {better or 0.0:.2f}, at least {needed:g} (1 / canary.alpha)"
    reading = at_least("proof", better, needed, words)
    if promoted and reading.passed:  # the canary's own proof ended it, and there will be no more sessions
        enough = msgspec.structs.replace(enough, passed=True, text=f"{enough.text}; ended by its proof")
    if promoted:
        reading = msgspec.structs.replace(reading, passed=True, text=f"promoted by the canary; {words}")
    candidate = _signed(signed, facts)
    if ended:
        candidate = so("candidate", True, said(signed[1]))
    if by_settings:
        candidate = _unchanged("candidate", facts.in_charge, signed[1], "promoted was")
    return (
        candidate,
        so("canary", canary is not None and canary.state is not CanaryState.ROLLED_BACK, f"the canary is {state}"),
        enough,
        reading,
    )


def full_gates(
    settings: MigrationSettings, canary: CanaryChanged | None, sessions: Sequence[SessionMeasured],
    baseline: Sequence[SessionMeasured], decider: Decider, facts: Facts,
) -> tuple[GateReading, ...]:  # fmt: skip
    """It was promoted, it decides, and it does as well as who was before."""
    promoted = canary is not None and canary.state is CanaryState.PROMOTED
    return (
        so("promotion", promoted, f"the canary is {canary.state.value if canary is not None else 'not begun'}"),
        _unchanged("in charge", facts.in_charge, decider, "signed was"),
        _sessions("whole sessions on probation", len(sessions), settings.probation_sessions),
        _failed(settings, sum(one.decisions for one in sessions), sum(one.failed for one in sessions)),
        _latency(settings, [one.latency_p99_ms for one in sessions]),
        _drop(settings, sessions, baseline),
    )


# -- the kinds of readings --------------------------------------------------------------------------------------------


def so(name: str, passed: bool, text: str) -> GateReading:
    """It is so, or not."""
    return GateReading(name=name, passed=passed, text=text)


def shown(name: str, value: float | None, text: str) -> GateReading:
    """A figure for the record: there is no limit."""
    return GateReading(name=name, passed=True, text=text, value=value)


def at_least(name: str, value: float | None, limit: float, text: str) -> GateReading:
    """Passed from the limit on; None never is."""
    return GateReading(name=name, passed=value is not None and value >= limit, text=text, value=value, limit=limit)


def at_most(name: str, value: float | None, limit: float, text: str) -> GateReading:
    """Passed up to the limit; None never is."""
    return GateReading(name=name, passed=value is not None and value <= limit, text=text, value=value, limit=limit)


def said(decider: Decider) -> str:
    """A strategy and the beginning of its model's hash."""
    return f"{decider.strategy} {decider.model_hash[:12]}".strip() or "nobody"


def mean_bp(sessions: Sequence[SessionMeasured]) -> float | None:
    """Of net profit a session; None before the first."""
    return sum(one.net_bp for one in sessions) / len(sessions) if sessions else None


def _sessions(what: str, seen: int, needed: int) -> GateReading:
    return at_least("sessions", seen, needed, f"{seen} {what}, at least {needed}")


def _unchanged(name: str, now: Decider, then: Decider, whose: str) -> GateReading:
    return so(name, now.same_as(then), f"{said(now)} decides" if now.same_as(then) else
              f"{said(now)} decides, {whose} {said(then)}")  # fmt: skip


def _signed(signed: tuple[str, Decider], facts: Facts) -> GateReading:
    """Whether the candidate is the one for whose training somebody signed."""
    agent, decider = signed
    now = facts.candidate
    if now is not None and now.agent == agent and now.decider.same_as(decider):
        return so("candidate", True, f"{agent}: {said(decider)}")
    found = f"{now.agent}: {said(now.decider)}" if now is not None else "none"
    return so("candidate", False, f"is {found}, signed was {agent}: {said(decider)}; roll back to change it")


def _failed(settings: MigrationSettings, decisions: int, failed: int) -> GateReading:
    share, limit = 100 * failed / decisions if decisions else None, settings.max_failed_percent
    text = f"{failed:,} of {decisions:,} decisions failed" + ("" if share is None else f" ({share:.2f} %)")
    return at_most("failed", share, limit, f"{text}, at most {limit:g} %")


def _latency(settings: MigrationSettings, sessions_ms: Sequence[float]) -> GateReading:
    """Of the worst session; one in which nothing was measured shows nothing."""
    measured = bool(sessions_ms) and min(sessions_ms) > 0
    worst, limit = max(sessions_ms) if measured else None, settings.max_latency_ms
    text = "not measured" if worst is None else f"p99 {worst:.1f} ms in the worst session"
    return at_most("latency", worst, limit, f"{text}, at most {limit:g} ms")


def _drop(
    settings: MigrationSettings, sessions: Sequence[SessionMeasured], baseline: Sequence[SessionMeasured]
) -> GateReading:
    """Profit a session against the baseline's."""
    now, before = mean_bp(sessions), mean_bp(baseline)
    if now is None or before is None:
        return so("profit", False, "nothing to compare yet")
    limit = before - abs(before) * settings.max_drop_percent / 100
    why = f"baseline {before:+.2f}, less {settings.max_drop_percent:g} %"
    text = f"{now:+.2f} bp a session, at least {limit:+.2f} ({why})"
    return at_least("profit", now, limit, text)


def _measured(sessions: Sequence[SessionMeasured]) -> tuple[GateReading, ...]:
    """The baseline, in figures."""
    decisions, failed = sum(one.decisions for one in sessions), sum(one.failed for one in sessions)
    share, trades = 100 * failed / decisions if decisions else None, sum(one.trades for one in sessions)
    profit = mean_bp(sessions)
    worst = max((one.latency_p99_ms for one in sessions), default=None)
    return (
        shown("profit", profit, "-" if profit is None else f"{profit:+.2f} bp a session"),
        shown("decisions", decisions, f"{decisions:,} decisions"),
        shown("failed", share, "-" if share is None else f"{share:.2f} % of decisions failed"),
        shown("latency", worst, "-" if worst is None else f"p99 {worst:.1f} ms in the worst session"),
        shown("trades", trades, f"{trades:,} trades"),
    )


def _metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items())) or "its manifest has no metrics"
