"""The agent in charge and the shadows beside it, as rows of one table: the JSON of `GET /shadow` and of a replay.

Rupees are exact; None means "can't be said". Invariant: every row counts the same way, on the same ticks, costs and
limits; only the orders of the one in charge may be real.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec


class ShadowSession(msgspec.Struct, frozen=True, kw_only=True):
    """One agent in one session. `whole`: it was there from the open to the close."""

    session: str
    since_ts: int
    until_ts: int
    whole: bool
    decisions: int
    agreement: float | None
    trades: int
    net_pnl: Decimal
    difference: Decimal | None
    """Its profit less that of the one in charge over the same time; None for that one."""


class ShadowEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent's whole sessions say against the one in charge, earlier processes' included.

    `better` and `worse` are e-values: 20 is proof at an error rate of 5 %, however often it was looked at.
    """

    sessions: int
    mean_bp: float
    """Of the differences, cut at `canary.bound_bp`, in bp of the starting cash."""
    clipped: int
    better: float
    worse: float
    verdict: str
    reason: str


class ShadowRow(msgspec.Struct, frozen=True, kw_only=True):
    """One agent since the start of the process, after costs, open positions at their last bars."""

    name: str
    strategy: str
    model: str
    in_charge: bool
    dropped: str
    """Why it decides no more, "" while it does."""
    decisions: int
    skipped: int
    """Decisions that its time budget didn't allow."""
    failed: int
    compared: int
    """Decisions of the same bar that both thought about."""
    agreement: float | None
    """The share of these with the same action."""
    depth: float | None
    """Mean reasoning segments."""
    latency_ms: float | None
    """Mean time to a decision, by the run's clock: measured live, injected in a replay."""
    thinking_ms: float | None
    """Mean time of the machine for a decision."""
    orders: int
    fills: int
    trades: int
    open_positions: int
    costs: Decimal
    net_pnl: Decimal
    difference: Decimal | None
    evidence: ShadowEvidence | None
    """None for the one in charge."""
    sessions: list[ShadowSession]
    """Those that are over, oldest first."""
