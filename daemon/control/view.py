"""What the control server may ask the daemon for: two Protocols, and the plain structs that they speak in.

`daemon.run.view` implements `ControlView`, `daemon.control.manual_desk` implements `OrderDesk`; the structs are the
JSON of the API and of `/openapi.json`, written by `daemon.core.json_form`. Money is exact; times are integer UTC
nanoseconds.
Invariant: a view reads and never changes the daemon.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Protocol

import msgspec

from daemon.control.accepted import Accepted as Accepted
from daemon.control.rows import Asked, HrmMetrics, Listing, Page, RiskView
from daemon.control.standing import Standing
from daemon.control.words import HandSide as HandSide
from daemon.control.words import HandType as HandType
from daemon.core.clock import NS_PER_MS
from daemon.core.errors import HrmdError
from daemon.core.events import (
    ControlAction,
    Decision,
    Event,
    ManualOrder,
    ManualOrderAnswered,
    OrderType,
    Side,
    TradingState,
)
from daemon.orders.book import Order, OrderState
from daemon.report.migration import MigrationAnswer, MigrationView
from daemon.report.side_by_side import ShadowRow
from daemon.supervision.health import Check, CheckStatus, Overall, overall, texts

MAX_REASON_CHARS = 200
MAX_PRICE = 10_000_000
_END = r"$(?!\n)"
"""The end, for ECMA-262 and for Python, whose `$` alone lets a line end follow."""
_UNSEEN = (
    r"\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"
    r"\ufff9-\ufffb"
)
"""What would break a line of a log, turn its direction, or look like nothing."""

Key = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9._-]{1,64}" + _END)]
"""The asker's own name of an order, new for each."""
Reason = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=MAX_REASON_CHARS, pattern=f"^ *[^ {_UNSEEN}][^{_UNSEEN}]*{_END}"),
]
"""Why, for the journal: one line that can be seen."""
Symbol = Annotated[str, msgspec.Meta(min_length=1, max_length=50, pattern=f"^[^{_UNSEEN}]+{_END}")]
PriceText = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(?=[0-9.]*[1-9])[0-9]{1,7}(\.[0-9]{1,4})?" + _END,
        description=f"Rupees above 0 and below {MAX_PRICE}; of a limit order only",
    ),
]
PriceNumber = Annotated[float, msgspec.Meta(ge=0.0001, lt=MAX_PRICE, description="As text it is exact")]
BY_THE_OPERATOR = "by the operator"
AN_OPERATOR = "an operator"
"""Who gave a command, where the asker doesn't say."""


class InferenceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What thinks, and how it keeps its time. Counts are cumulative since the start."""

    runtime: str
    """Such as "native int8"."""
    model_hash: str
    deadline_ms: float
    overruns: int
    """Decisions that were published after the deadline, those that came too late to be thought about included."""
    superseded: int
    """Decisions that were not made because a newer bar of the symbol had closed before their turn came."""
    cache_hits: int
    cache_misses: int
    """Both 0 where decisions are not kept."""


class RecorderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is on the tape. Ticks, cumulative since the start."""

    recorded: int
    lost: int
    """Not on the tape: the disk was too slow, full or failing."""
    trouble: str
    """Why nothing can be written at the moment, "" where it can."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon at a glance. Counts are cumulative since `started_ts`; rupees."""

    version: str
    mode: str
    """Who takes the orders and gives the ticks, such as "paper · tape ×20"."""
    simulated: bool
    """Whether the ticks are made up."""
    started_ts: int
    """Wall time of the start."""
    ts: int
    """The run's time: the tape's where a tape is played."""
    last_tick_ts: int | None
    """`ts_event` of the newest accepted tick; None before the first."""
    feed: str
    trading_state: TradingState
    trading_reason: str
    trading_who: str = ""
    """Who gave the command, "hrmd" where no person did; "" while it trades."""
    strategy: str
    """The strategy in charge, one of the supervisor's ladder."""
    strategy_rung: int
    """Its place on the ladder: 0 is the best one, the last is flat."""
    strategy_reason: str = ""
    """Why it is in charge, where it isn't the settings' own from the start."""
    strategy_who: str = ""
    """Who put it there."""
    model: str
    """Such as "untrained (seed 7)", or a name and hash; "" where no model decides."""
    symbols: list[str]
    healthy: bool
    reasons: list[str]
    """Why it isn't healthy; empty when it is."""
    ticks_accepted: int
    ticks_rejected: dict[str, int]
    bars: int
    decisions: int
    orders: int
    fills: int
    denied: dict[str, int]
    working_orders: int
    open_positions: int
    equity: Decimal
    """Cash plus positions at their last prices."""
    net_pnl: Decimal
    """Realised and unrealised since the start, after costs."""
    costs: Decimal
    strategies: list[str] = []
    """Those that `/control/strategy` can put in charge, best first."""
    rollback_to: str = ""
    """Whom `/control/rollback` puts in charge; "" where nobody is there."""
    strategy_left: str = ""
    """The better strategy that was left by itself, for `strategy_reason`; no rollback puts it back. "" where none."""
    strategy_lock: str = ""
    """Why nothing is done by itself about the strategy in charge, "" where it is."""
    strategy_lock_who: str = ""
    strategy_steps: list[str] = []
    """What was done by itself about the strategy in charge, oldest first, such as "less_depth"."""
    strategy_back: str = ""
    """What is tried again by itself, and when; "" where there is nothing better."""
    strategies_missing: dict[str, str] = {}
    """Rungs of the ladder that can't be built, and why."""
    token: str = ""
    """Until when the broker's access holds, in words; "" where there is none to hold."""
    token_left_s: float | None = None
    """Seconds until then; None where nobody knows."""
    inference: InferenceStatus | None = None
    """None where no model reasons."""
    recorder: RecorderStatus | None = None
    """None where ticks are not recorded."""
    session: str = ""
    """Whether the market is open by the calendar, why not, and when it opens next; "" before the run has a time."""
    notes: list[str] = []
    """What is worth knowing and no reason to be unhealthy, such as a year that the calendar doesn't confirm."""
    health: Overall = Overall.HEALTHY
    """Healthy, degraded (something is worth a look) or not."""
    warnings: list[str] = []
    """What is worth a look; `/health` has every check."""
    model_simulated: bool = False
    """Whether the model in charge has learned from a simulated market alone, and is untried on a real one."""
    feed_counts: dict[str, int] = {}
    """Of a live feed: links, messages, conflated quotes, and by reason what was refused, unreadable or swallowed."""


class PositionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol held, or traded and flat again. `quantity` is signed; `unrealised_pnl` is None without a price."""

    symbol: str
    quantity: int
    average_price: Decimal
    last_price: Decimal | None
    unrealised_pnl: Decimal | None
    realised_pnl: Decimal
    costs: Decimal
    stop: Decimal | None = None
    target: Decimal | None = None


class OrderRow(msgspec.Struct, frozen=True, kw_only=True):
    """One order that works or is of the day, newest first in lists. `state` is in the words of `daemon.orders.book`."""

    ts: int
    order_id: str
    symbol: str
    side: Side
    type: str
    quantity: int
    filled: int
    limit_price: Decimal | None
    average_price: Decimal | None
    state: str
    strategy: str
    reason: str
    stop_price: Decimal | None = None


class DecisionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One decision as the API shows it: `action` by name, without the network's inner values."""

    ts: int
    symbol: str
    interval: str
    strategy: str
    action: str
    quantity: int
    confidence: float
    price: Decimal
    reason: str
    segments: int
    halt_reason: str
    complexity: float
    regime: str
    failed: bool
    h_module_confidence: float
    l_module_confidence: float
    adaptive_time_used: float
    why: str = ""

    @classmethod
    def of(cls, decision: Decision) -> DecisionRow:
        """The row that shows `decision`."""
        shared = {name: getattr(decision, name) for name in cls.__struct_fields__ if name not in _OWN}
        return cls(
            action=decision.action.name, price=Decimal(repr(decision.price)), adaptive_time_used=
            decision.latency_ns / NS_PER_MS, h_module_confidence=decision.h_confidence,
            l_module_confidence=decision.l_confidence, **shared,
        )  # fmt: skip


_OWN = {"action", "price", "h_module_confidence", "l_module_confidence", "adaptive_time_used"}


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the daemon does what it is there for, and if not why; every check of it."""

    healthy: bool
    """No check failed; it may be degraded."""
    state: Overall
    reasons: list[str]
    """What the checks that failed say."""
    warnings: list[str]
    """What those say that are worth a look."""
    checks: list[Check]

    @classmethod
    def of(cls, checks: Sequence[Check]) -> Health:
        """What the checks come to."""
        state = overall(checks)
        return cls(
            healthy=state is not Overall.UNHEALTHY, state=state, reasons=texts(checks, CheckStatus.FAIL),
            warnings=texts(checks, CheckStatus.WARN), checks=list(checks),
        )  # fmt: skip

    def outline(self) -> HealthOutline:
        """The same for who shows no token."""
        said = {status: [one.said_to_all for one in self.checks if one.status is status] for status in CheckStatus}
        return HealthOutline(
            healthy=self.healthy, state=self.state, reasons=said[CheckStatus.FAIL], warnings=said[CheckStatus.WARN]
        )


class HealthOutline(msgspec.Struct, frozen=True, kw_only=True):
    """Health without symbols and money."""

    healthy: bool
    state: Overall
    reasons: list[str]
    warnings: list[str]


class OrderTicket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order by hand. A request that is repeated with its `key` places nothing more and is answered as before."""

    key: Key
    symbol: Symbol
    side: HandSide
    quantity: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
    type: HandType = HandType.MARKET
    price: PriceText | PriceNumber | None = None
    reason: Reason = BY_THE_OPERATOR
    reduce_only: bool = False
    """Whether risk shall deny it where it would do more than close what is held."""
    who: Reason = AN_OPERATOR

    def order(self, ts: int) -> ManualOrder:
        """The command, at `ts`."""
        return ManualOrder(
            ts=ts, key=self.key, symbol=self.symbol, side=Side[self.side.name], quantity=self.quantity,
            type=OrderType[self.type.name], limit_price=None if self.price is None else Decimal(str(self.price)),
            reason=self.reason, reduce_only=self.reduce_only, who=self.who,
        )  # fmt: skip


class OrderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What risk said: approved, or the check that said no, with its limit and the value. `repeated`: it said it before.

    `state`, `filled` and `reason` are how the order stood as this was answered, in the words of `/orders`, which has it
    under its `order_id` and follows it; "" where it isn't known any more.
    """

    key: str
    order_id: str
    approved: bool
    check: str
    limit: str
    value: str
    repeated: bool
    ts: int
    state: str = ""
    filled: int = 0
    reason: str = ""

    @classmethod
    def of(cls, answer: ManualOrderAnswered, order: Order | None, *, repeated: bool) -> OrderAnswer:
        """The answer as the API shows it."""
        state, filled, reason = (order.state.value, order.filled, order.reason) if order is not None else ("", 0, "")
        return cls(
            key=answer.order.key, order_id=answer.order_id, approved=answer.approved, check=answer.check,
            limit=answer.limit, value=answer.value, repeated=repeated, ts=answer.ts, state=state, filled=filled,
            reason=reason,
        )  # fmt: skip

    @property
    def came_to_nothing(self) -> bool:
        """It was denied, or ended without a fill."""
        return not self.approved or (self.state in _ENDED and not self.filled)

    @property
    def words(self) -> str:
        """What became of it so far, for people."""
        return f"{'approved' if self.approved else 'denied'}{self.standing}"

    @property
    def standing(self) -> str:
        """How it stands, as the words after "approved" or "denied"."""
        if not self.approved:
            return f" by {self.check}: {self.value}, limit {self.limit}"
        if self.came_to_nothing:
            return f", but {self.state.lower()}: {self.reason}"
        found = _STANDING.get(self.state, "")
        return f", {found}" if found else ""


_ENDED = (OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED)
_STANDING: dict[str, str] = {
    OrderState.INTENT: "not sent yet",
    OrderState.APPROVED: "not sent yet",
    OrderState.SENT: "on its way to the venue",
    OrderState.UNKNOWN: "and whether the venue has it isn't known yet",
    OrderState.ACCEPTED: "the venue has it",
    OrderState.PARTIALLY_FILLED: "filled in part",
    OrderState.FILLED: "filled",
}
"""How an approved order stands, in words."""


class CancelTicket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which order is to be taken off the market."""

    order_id: str
    reason: Reason = BY_THE_OPERATOR
    who: Reason = AN_OPERATOR


class ModelTicket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model shall decide: a file by its absolute path, or a version of the store; current and previous are such.

    `previous` is the one that decided before, whether the store has it or not.
    """

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=1024, pattern=f"^[^{_UNSEEN}]+{_END}")]
    reason: Reason = BY_THE_OPERATOR
    who: Reason = AN_OPERATOR


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it: loaded, and deciding from the next bar on, or refused for `reason`, and nothing changed."""

    loaded: bool
    model: str
    """Its name and the beginning of its hash; what was asked for where it was refused."""
    model_hash: str
    before: str
    """The hash of the one that decided until now."""
    reason: str
    after_restart: str
    """What the next start loads, in words; "" where nothing changed."""
    ts: int


class MigrationTicket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who signs for a step of the migration, and why."""

    who: Reason
    reason: Reason = BY_THE_OPERATOR


class CanaryDo(StrEnum):
    """What is to be done about a canary."""

    BEGIN = "begin"
    PROMOTE = "promote"
    ROLLBACK = "rollback"


class CanaryTicket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be done about the canary run; `agent` is a shadow agent's name, of `begin` only."""

    do: CanaryDo
    agent: Annotated[str, msgspec.Meta(pattern="^[a-z0-9_-]{0,24}" + _END)] = ""
    reason: Reason = BY_THE_OPERATOR
    who: Reason = AN_OPERATOR


class CanaryRow(msgspec.Struct, frozen=True, kw_only=True):
    """The newest canary run, and who could begin one.

    `state` is "none" where there never was one. `sessions` to `worse` are the proof so far (`canary.alpha`): bp of the
    starting cash a session, the candidate's virtual account less that of the one in charge.
    """

    state: str
    agent: str
    strategy: str
    model_hash: str
    against: str
    """Whom it is compared with."""
    symbols: list[str]
    size: float
    began_ts: int | None
    ts: int | None
    sessions: int
    mean_bp: float
    better: float
    worse: float
    needed: float
    """What `better` or `worse` must come to."""
    net_pnl: Decimal | None
    """Of the account on its instruments since it began; None where none runs."""
    who: str
    reason: str
    promote: str
    """On proof: ask, or auto."""
    agents: list[str]
    """Who could begin one."""


class KeyTakenError(HrmdError):
    """The key of an order by hand stands for another order."""


class NotTradingError(HrmdError):
    """Orders by hand, or the command that was given, are not taken now."""


class NotDurableError(HrmdError):
    """A command is in force, and not on disk: the message says why. A restart may not know of it."""


class OrderDesk(Protocol):
    """Where commands and orders by hand are handed in."""

    async def command(self, event: Event) -> None:
        """Put a command on the bus and on disk; raises `NotDurableError`, or `NotTradingError` where not taken."""

    async def place(self, ticket: OrderTicket) -> OrderAnswer:
        """Risk's answer to somebody; raises `KeyTakenError`, `NotTradingError` or `TimeoutError`."""

    def note(self, action: ControlAction) -> None:
        """For the record; never raises."""

    async def cancel(self, order_id: str, reason: str, who: str) -> int | None:
        """Ask for a cancellation; when that was (UTC ns), None where no such order works. Raises as `command` does."""


class ModelDesk(Protocol):
    """Where another model is put in charge."""

    async def load_model(self, ticket: ModelTicket) -> ModelAnswer:
        """What became of it; raises `NotTradingError`, `NotDurableError` or `TimeoutError`."""


class MigrationDesk(Protocol):
    """Where a person gives word on the migration."""

    async def advance(self, ticket: MigrationTicket) -> MigrationAnswer:
        """To the next stage, or why not; raises `NotTradingError` or `NotDurableError`."""

    async def roll_back(self, ticket: MigrationTicket) -> MigrationAnswer:
        """Back, or why not; raises as `advance` does."""


class ControlView(Protocol):
    """What the daemon answers; every method returns at once, from memory."""

    def status(self) -> Status:
        """The daemon at a glance; also the numbers of `/metrics`."""

    def standing(self) -> Standing:
        """What commands change."""

    def positions(self) -> Sequence[PositionRow]:
        """Symbols held first, then those traded in this run and flat again."""

    def orders(self) -> Sequence[OrderRow]:
        """Working and recent orders, newest first."""

    def decisions(self, limit: int) -> Sequence[Decision]:
        """The newest `limit` decisions or fewer, newest first; `limit` ≥ 1."""

    def page(self, listing: Listing, asked: Asked) -> Page:
        """A page of rows, newest first; of decisions `Decision` itself, of bars `Bar`, of the rest the API's rows."""

    def order(self, order_id: str) -> OrderRow | None:
        """One order of `orders`."""

    def hrm_metrics(self) -> HrmMetrics:
        """How the model reasons."""

    def risk(self) -> RiskView:
        """How much of each limit is used."""

    def shadow(self) -> Sequence[ShadowRow]:
        """The agent in charge and those beside it; empty where there are none."""

    def migration(self) -> MigrationView:
        """Where the way to a candidate stands."""

    def canary(self) -> CanaryRow:
        """The newest canary run."""

    def why_not(self, ticket: CanaryTicket) -> str:
        """Why that can't be done now, in a line; "" where it can."""

    def health(self) -> Health:
        """Cheap: `/healthz` is asked often, and gets its outline."""
