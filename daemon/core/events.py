"""The vocabulary of the bus: every message that travels between stages, and nothing else.

Events are frozen `msgspec.Struct`s without garbage-collector tracking. Times are integer UTC nanoseconds
(`ts_event` the exchange's, `ts_recv` ours). Prices are floats up to `Decision` and exact (`Decimal`) from
`OrderIntent` on. No tensor and no open resource crosses the bus. Invariant: an event never changes once published
(the arrays of a `TickBatch` are read-only by convention).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

MANUAL = "manual"
"""The strategy of orders by hand."""

ITSELF = "hrmd"
"""Who gave a command that no person gave."""
CANDIDATE = "canary:"
"""How the `strategy` of a decision and its orders begins where a canary decides; its agent's name follows."""

EXTERNAL = "external"
"""The strategy of orders that somebody else placed in our account."""
BY_HAND = (MANUAL, EXTERNAL)
"""Strategies of orders that a person placed: they rest until somebody takes them off, or the session is squared off."""

SETTLEMENT = "settlement"
"""The strategy of what the exchange does with a contract that is held when it ends."""

PROTECTION = "protection"
"""The strategy of the stop and the target of what is held: those of a symbol and side are for one position, so that of
all its stops and all its targets only the larger sum can ever be wanted."""

MISSING_INT = -1
"""What an integer tick column holds where the tape has null (every real value is ≥ 0)."""


class Action(IntEnum):
    """What a strategy may decide; the numbers are the requirements'."""

    BUY_LONG = 0
    SELL_SHORT = 1
    CLOSE_LONG = 2
    CLOSE_SHORT = 3
    HOLD = 4


class Side(StrEnum):
    """Of an order or a fill."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """+1 for BUY, −1 for SELL."""
        return 1 if self is Side.BUY else -1


class OrderType(StrEnum):
    """The four order types of the venue (Fyers 2, 1, 3, 4)."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    SL_MARKET = "SL_MARKET"
    SL_LIMIT = "SL_LIMIT"


class Mitigation(StrEnum):
    """What is done by itself about a strategy that doesn't do well, mildest first; BACK undoes."""

    LESS_DEPTH = "less_depth"
    """Half as many segments."""
    FREE_MEMORY = "free_memory"
    """What nobody needs is given back to the system."""
    CLEAR_CACHES = "clear_caches"
    """Decisions that were remembered, and what a model carries from bar to bar."""
    SINGLE_CYCLE = "single_cycle"
    """One cycle a decision."""
    RENEW = "renew"
    """Made anew, on the same weights."""
    STEP_DOWN = "step_down"
    """The next strategy of the ladder decides."""
    FLAT = "flat"
    """Nobody decides, everything is closed."""
    HALT = "halt"
    """Nothing is opened until a person says so."""
    BACK = "back"
    """Probation is over: all depth again, or the better strategy."""


class TradingState(StrEnum):
    """ACTIVE trades, REDUCING only closes, HALTED sends nothing (exits by setting)."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"


class Regime(StrEnum):
    """Of the market, as the complexity detector sees it."""

    UNKNOWN = "unknown"
    """Too few bars to tell."""
    TRENDING = "trending"
    RANGING = "ranging"
    VOLATILE = "volatile"


class FeedState(StrEnum):
    """Of the tick source."""

    CONNECTED = "connected"
    STALE = "stale"
    ENDED = "ended"


class Severity(StrEnum):
    """Of an alert, mildest first: to know, worth a look today, to be looked at now."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 is the mildest."""
        return list(Severity).index(self)


class CanaryState(StrEnum):
    """Whether a candidate decides for real on a share, and how that ended."""

    RUNNING = "running"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"


class MigrationStage(StrEnum):
    """The way of a candidate to the place of the one in charge, in its order."""

    NONE = "none"
    BASELINE = "baseline"
    """What the one in charge does is measured."""
    TRAINING = "training"
    """The candidate is made."""
    PARALLEL = "parallel"
    """It decides on paper, beside the one in charge."""
    GRADUAL = "gradual"
    """It decides for real on a share."""
    FULL = "full"
    """It decides everything, on probation."""


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Root of all messages; the journal keeps the class name beside the fields."""


# -- market ---------------------------------------------------------------------------------------------------------


class TickBatch(Event, frozen=True, gc=False):
    """Columns of one or many ticks of one or many symbols, in arrival order; all arrays have the same length n.

    `code[i]` indexes `symbols`. Null is −1 in integer columns and NaN in float columns. A `bid` or `ask` of 0 is a side
    of the book on which nobody is; null means that the source says nothing of it. `traded` is the quantity that changed
    hands with the tick, −1 where the instrument has none; the feed's tick filter fills it, a raw tape has −1.
    `lower_band` and `upper_band` are the day's price band, None where the source tells none at all.
    """

    symbols: tuple[str, ...]
    code: NDArray[np.int32]
    ts_event: NDArray[np.int64]
    ts_recv: NDArray[np.int64]
    ltp: NDArray[np.float64]
    last_qty: NDArray[np.int64]
    volume: NDArray[np.int64]
    bid: NDArray[np.float64]
    ask: NDArray[np.float64]
    bid_qty: NDArray[np.int64]
    ask_qty: NDArray[np.int64]
    oi: NDArray[np.int64]
    traded: NDArray[np.int64]
    lower_band: NDArray[np.float64] | None = None
    upper_band: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.ts_recv)

    def slice(self, start: int, stop: int) -> TickBatch:
        """Rows [start, stop) as views, no copies."""
        return self._picked(np.s_[start:stop])

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> TickBatch:
        """The rows that a mask or an index array selects, as copies."""
        return self._picked(rows)

    def _picked(self, rows: Any) -> TickBatch:
        return TickBatch(
            self.symbols, self.code[rows], self.ts_event[rows], self.ts_recv[rows], self.ltp[rows],
            self.last_qty[rows], self.volume[rows], self.bid[rows], self.ask[rows], self.bid_qty[rows],
            self.ask_qty[rows], self.oi[rows], self.traded[rows],
            None if self.lower_band is None else self.lower_band[rows],
            None if self.upper_band is None else self.upper_band[rows],
        )  # fmt: skip


TICK_COLUMNS = (
    "code", "ts_event", "ts_recv", "ltp", "last_qty", "volume", "bid", "ask", "bid_qty", "ask_qty", "oi", "traded",
)  # fmt: skip
BAND_COLUMNS = ("lower_band", "upper_band")
"""Columns that a batch may lack, prices in rupees."""


def joined(parts: Sequence[TickBatch]) -> TickBatch:
    """Batches in a row, of the same `symbols`, as one."""
    if len(parts) == 1:
        return parts[0]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in TICK_COLUMNS}
    return TickBatch(symbols=parts[0].symbols, **columns, **joined_bands(parts))


def joined_bands(parts: Sequence[TickBatch]) -> dict[str, Any]:
    """The band columns of batches in a row: null where a batch has none, left out where none tells any."""
    found: dict[str, Any] = {}
    for name in BAND_COLUMNS:
        columns = [getattr(part, name) for part in parts]
        if any(column is not None and not np.isnan(column).all() for column in columns):
            pairs = zip(parts, columns, strict=True)
            found[name] = np.concatenate([np.full(len(part), np.nan) if it is None else it for part, it in pairs])
    return found


class TimeAdvanced(Event, frozen=True, gc=False):
    """The clock reached `ts`: whatever is due by then (bars, square-off, time-outs) is due now."""

    ts: int


class Bar(Event, frozen=True, gc=False):
    """Open, high, low, close over [ts_open, ts_close) of one symbol; `volume` is −1 where the instrument has none."""

    symbol: str
    interval: str
    ts_open: int
    ts_close: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    ticks: int
    gap: bool = False


class Complexity(Event, frozen=True, gc=False):
    """How hard the market is to read, components and score in [0, 1], at the close of a bar."""

    symbol: str
    interval: str
    ts: int
    volatility: float
    trend_strength: float
    momentum: float
    regime_change: float
    correlation_breakdown: float
    event_impact: float
    score: float
    regime: Regime


class PriceAdjusted(Event, frozen=True, gc=False):
    """A corporate action takes effect: prices of `symbol` before `ts` count times `numerator` / `denominator`.

    Said before the first tick of the session of `date` (ISO, India). `shares`: volumes and quantities count inversely
    (a split or a bonus, not a dividend). `by_broker`: it is the broker's to change what is held. `carried`: so many
    (signed) were held when its date began; None: nobody says.
    """

    ts: int
    symbol: str
    date: str
    kind: str
    numerator: int
    denominator: int
    shares: bool
    by_broker: bool
    carried: int | None = None

    @property
    def ratio(self) -> float:
        """New price by old price."""
        return self.numerator / self.denominator

    @property
    def words(self) -> str:
        """For a reader."""
        return f"{self.symbol}: {self.kind} of {self.date} (×{self.ratio:.6g}): earlier bars are counted at it"


class PriceJumped(Event, frozen=True, gc=False):
    """Between two sessions a share's price went where no trading can take it: what lies before says nothing any more.

    Said before the first bar of the new session; `before` and `after` are rupees.
    """

    ts: int
    symbol: str
    before: float
    after: float

    @property
    def words(self) -> str:
        """For a reader."""
        return f"{self.symbol}: {overnight(self.before, self.after)}: earlier bars left out"


def overnight(before: float, after: float) -> str:
    """A jump of the price between two sessions, for a reader."""
    return f"{before:,.10g} → {after:,.10g} overnight (×{after / before:.4g})"


class FeedStatus(Event, frozen=True, gc=False):
    """The tick source changed state; `symbol` is None when it speaks of the whole feed."""

    ts: int
    state: FeedState
    symbol: str | None
    reason: str


# -- decision -------------------------------------------------------------------------------------------------------


class Decision(Event, frozen=True, gc=False):
    """What the strategy believes should be done, and how it came to it.

    `segments`, `min_segments`, `halt_reason` and the confidences are the HRM's; other strategies leave them at 0 or "".
    `latency_ns` is the time from bar close to decision that the run injected or measured by its clock. With a `novelty`
    over 1 the market is unlike those that the model was trained in; it is 0 where nobody measures it. `why`: what spoke
    for and against a trade, "" where nobody asked at once (`hrmd explain` does). An entry with a `share` is for that
    part of what the limits on size allow, whatever its `quantity`; 0: the quantity counts.
    """

    ts: int
    ts_bar: int
    symbol: str
    interval: str
    strategy: str
    action: Action
    quantity: int
    confidence: float
    reason: str
    price: float
    value: float = 0.0
    segments: int = 0
    min_segments: int = 0
    halt_reason: str = ""
    h_confidence: float = 0.0
    l_confidence: float = 0.0
    convergence: float = 0.0
    q_halt: float = 0.0
    q_continue: float = 0.0
    complexity: float = 0.0
    regime: str = ""
    model_hash: str = ""
    latency_ns: int = 0
    failed: bool = False
    novelty: float = 0.0
    cost_bp: float = 0.0
    limit_price: float = 0.0
    """Rupees at which an entry is to wait; 0: as `execution.order_type` says."""
    why: str = ""
    share: float = 0.0
    stop_price: float = 0.0
    """Of an entry: rupees at which what it opens is to be closed at a loss; 0: none."""
    target_price: float = 0.0
    """Of an entry: rupees at which what it opens is to be closed at a profit; 0: none."""
    wanted: Action | None = None
    """The entry that a model wanted, made or not, where entries are held to what recent ones earned; else None."""


class InferenceMeasured(Event, frozen=True, gc=False):
    """A model took `elapsed_ns` of the machine's time over a decision; for monitors, not for the journal."""

    ts: int
    symbol: str
    elapsed_ns: int


# -- orders ---------------------------------------------------------------------------------------------------------


class OrderIntent(Event, frozen=True, gc=False):
    """What we want done at the venue; journaled before anything leaves the machine. `order_id` is the client id.

    `decision` is the id (`daemon.core.ids`) of the decision that wanted it, "" where a person, risk or the venue did.
    """

    ts: int
    order_id: str
    symbol: str
    side: Side
    quantity: int
    type: OrderType
    limit_price: Decimal | None
    stop_price: Decimal | None
    reduces: bool
    strategy: str
    reason: str
    reference_price: Decimal
    decision: str = ""
    stop_loss: Decimal | None = None
    """Of an entry: the stop that the position is to have from its first fill on, rupees."""
    take_profit: Decimal | None = None
    """Of an entry: the target of the position, rupees."""


class OrderApproved(Event, frozen=True, gc=False):
    """Risk let the intent through."""

    ts: int
    order_id: str


class OrderDenied(Event, frozen=True, gc=False):
    """Risk refused the intent: our own answer, before the venue. Names the check, its limit and the value."""

    ts: int
    order_id: str
    symbol: str
    check: str
    limit: str
    value: str


class OrderSent(Event, frozen=True, gc=False):
    """The order is about to leave the machine: from here on the venue may have it."""

    ts: int
    order_id: str


class OrderAccepted(Event, frozen=True, gc=False):
    """The venue has the order."""

    ts: int
    order_id: str
    venue_id: str


class OrderRejected(Event, frozen=True, gc=False):
    """The venue refused the order."""

    ts: int
    order_id: str
    code: int
    reason: str


class OrderCancelled(Event, frozen=True, gc=False):
    """The order left the market; `filled` of it had been done before."""

    ts: int
    order_id: str
    filled: int
    reason: str


class OrderExpired(Event, frozen=True, gc=False):
    """The order's day ended at the venue; `filled` of it had been done before."""

    ts: int
    order_id: str
    filled: int
    reason: str


class OrderCancelRequested(Event, frozen=True, gc=False):
    """The venue is being asked to take the order off the market; it may still fill."""

    ts: int
    order_id: str
    reason: str


class OrderCancelFailed(Event, frozen=True, gc=False):
    """The venue did not cancel: the order works on."""

    ts: int
    order_id: str
    reason: str


class OrderUnknown(Event, frozen=True, gc=False):
    """The venue's answer never came: the order may or may not be live."""

    ts: int
    order_id: str
    reason: str


class OrderAmended(Event, frozen=True, gc=False):
    """Somebody changed the order at the venue: it is for `quantity` now, `change` more (or fewer) than before.

    With a `type` it and its prices are others, too; without one they are what they were.
    """

    ts: int
    order_id: str
    quantity: int
    change: int
    type: OrderType | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None

    def of(self, intent: OrderIntent) -> OrderIntent:
        """What the order is now."""
        if self.type is None:
            return msgspec.structs.replace(intent, quantity=self.quantity)
        return msgspec.structs.replace(
            intent, quantity=self.quantity, type=self.type, limit_price=self.limit_price, stop_price=self.stop_price
        )


class Fill(Event, frozen=True, gc=False):
    """A trade at the venue. `costs` are all statutory and brokerage charges in rupees, to the paisa."""

    ts: int
    fill_id: str
    order_id: str
    symbol: str
    side: Side
    quantity: int
    price: Decimal
    costs: Decimal
    traded_ts: int = 0
    """When the venue traded it, where that was on an earlier day than `ts`; else 0."""

    @property
    def of_ts(self) -> int:
        """When it was traded, as far as its day matters, UTC ns."""
        return self.traded_ts or self.ts


class PositionChanged(Event, frozen=True, gc=False):
    """A position after a fill. `quantity` is signed; `realised_pnl` and `costs` are cumulative for the symbol."""

    ts: int
    symbol: str
    quantity: int
    average_price: Decimal
    realised_pnl: Decimal
    costs: Decimal
    cash: Decimal
    opened_ts: int


# -- the account ----------------------------------------------------------------------------------------------------


class EntriesRecord(msgspec.Struct, frozen=True, gc=False):
    """What the entries that a model wanted of a symbol earned, made or not (`models.conformal`).

    `model`: its hash; `level`: the share of them that the bound lies above; `earned`: of the newest, after costs, in
    usual moves, oldest first. Of one that isn't over: `side` (+1 long, −1 short, 0: there is none), the UTC `day` of
    its session, the `bars` since, the price at which it was `filled` (0: not yet), the `last` one, what it costs a side
    and what a usual move is, bp.
    """

    model: str
    level: float
    earned: tuple[float, ...] = ()
    side: int = 0
    day: int = -1
    bars: int = 0
    filled: float = 0.0
    last: float = 0.0
    cost_bp: float = 0.0
    unit_bp: float = 0.0


class MarketRemembered(Event, frozen=True, gc=False):
    """What earlier processes saw of a symbol, told to the stations of one that goes on.

    `bars`: the newest of the intervals that decisions see, oldest first, as many as a strategy looks back on.
    `quantity`: the position that is held, signed, under the symbol that decisions are about; `bars_held`: bars of the
    decision interval since it was opened. `adjusted`: the corporate actions since the first of the bars, whose prices
    are those of their day. `past`: what sessions that are over left (`models.past.session_sums`), oldest first;
    `entries`: what the entries that its model wanted came to, None where nobody asks.
    """

    ts: int
    symbol: str
    bars: tuple[Bar, ...]
    adjusted: tuple[PriceAdjusted, ...]
    quantity: int
    bars_held: int
    past: tuple[tuple[float, ...], ...] = ()
    entries: EntriesRecord | None = None


class SymbolHalted(Event, frozen=True, gc=False):
    """No new risk in `symbol`: what the venue says of it and what we know differ, by the numbers in `reason`.

    `overnight`: a corporate action may have changed what is held, so that nothing but a person closes it, either.
    `held`: what the venue says is held (signed), of which an exit by itself takes no more; None where it didn't say.
    """

    ts: int
    symbol: str
    reason: str
    overnight: bool = False
    held: int | None = None


class ContractClosing(Event, frozen=True, gc=False):
    """A contract that ends is taken off the market, and what is held of it (`quantity`, signed) is closed."""

    ts: int
    symbol: str
    quantity: int
    reason: str


class ProtectionFailed(Event, frozen=True, gc=False):
    """A position (`quantity`, signed) can't have its stop, or has been turned round by it: it is closed."""

    ts: int
    symbol: str
    quantity: int
    reason: str


class ExitOwed(Event, frozen=True, gc=False):
    """A strategy's exit of `symbol` has to wait: it is tried until nothing is held to close, by the next process, too.

    `over`: it is done, on its way, or taken back.
    """

    ts: int
    symbol: str
    side: Side
    reason: str
    over: bool = False

    def closes(self, position: int) -> bool:
        """Whether a position (signed) is one that it takes from."""
        return position * self.side.sign < 0


class SymbolResumed(Event, frozen=True, gc=False):
    """The venue and we agree on `symbol` again; `overnight`: what a corporate action had made doubtful is settled."""

    ts: int
    symbol: str
    reason: str
    overnight: bool = False


class PositionRestated(Event, frozen=True, gc=False):
    """What is held of `symbol` counts in new shares: quantity times `denominator` / `numerator`, price inversely.

    `date` and `kind` are those of the corporate action. `carried`: so many (signed) were held when its date began, and
    only they count anew; None: all that is held.
    """

    ts: int
    symbol: str
    date: str
    kind: str
    numerator: int
    denominator: int
    carried: int | None = None


class FundsReported(Event, frozen=True, gc=False):
    """The account's money as the venue tells it, rupees; `cash` is to be compared with ours, None where it can't be.

    `settled`: nothing was under way, so that one reading says it all.
    """

    ts: int
    total: Decimal
    available: Decimal
    cash: Decimal | None = None
    settled: bool = False


class FundsDiffer(Event, frozen=True, gc=False):
    """The venue's cash and the journal's differ by more than the tolerance, or (`reason` "") no longer do; rupees."""

    ts: int
    broker: Decimal
    journal: Decimal
    reason: str


class BrokerStatus(Event, frozen=True, gc=False):
    """Whether the venue's book and positions are read as often as they must be; while they aren't nothing is opened."""

    ts: int
    readable: bool
    reason: str


class Reconciled(Event, frozen=True, gc=False):
    """The venue's book was compared with ours; `missed_fills` were booked, `unknown` orders are still unresolved."""

    ts: int
    orders: int
    trades: int
    missed_fills: int
    unknown: int


class OrderRecord(msgspec.Struct, frozen=True, gc=False):
    """An order inside a snapshot."""

    intent: OrderIntent
    state: str
    filled: int
    turnover: Decimal
    venue_id: str
    fill_ids: tuple[str, ...]
    unwanted: str = ""
    """Why it is to be taken off the market, "" where it isn't."""


class HoldingRecord(msgspec.Struct, frozen=True, gc=False):
    """A symbol's books inside a snapshot; `basis` is the signed cost of the open quantity, rupees."""

    symbol: str
    quantity: int
    basis: Decimal
    realised: Decimal
    costs: Decimal
    opened_ts: int
    mark: Decimal = Decimal(0)
    """What it was last valued at, rupees; 0 where nobody said."""
    mark_ts: int = 0
    opening_day: int = 0
    """The newest day on which it was traded, counted from 1970, and how many were held as that began."""
    opening: int = 0


class Bracket(msgspec.Struct, frozen=True, gc=False):
    """The stop and the target of a position, rupees; None: it has none. `decision` is the id of who wanted them.

    `stray`: why the position is to be closed though nobody decided so, "" where it isn't.
    """

    stop: Decimal | None
    target: Decimal | None
    decision: str = ""
    stray: str = ""
    since_ts: int = 0
    """When the order was made that brought them, UTC ns: they are prices of that day."""


class SessionsRecord(msgspec.Struct, frozen=True, gc=False):
    """What a symbol's sessions left that are over (`models.past.left_by`), and the bars so far of the newest.

    `today`: open, high, low, close, volume of each bar, a volume below zero where there is none; `day` counts UTC days.
    `entries`: what the entries that its model wanted came to, None where nobody asks.
    """

    over: tuple[tuple[float, ...], ...]
    today: tuple[tuple[float, float, float, float, float], ...]
    day: int
    entries: EntriesRecord | None = None


class AccountSnapshot(Event, frozen=True, gc=False):
    """All that a restart needs: what came before it in the journal need not be read again.

    `day` counts days of India's calendar since 1970; `day_start_net` is the profit so far at that day's start, rupees.
    """

    ts: int
    starting_cash: Decimal
    cash: Decimal
    holdings: tuple[HoldingRecord, ...]
    orders: tuple[OrderRecord, ...]
    state: TradingState
    state_reason: str
    flatten_reason: str
    day: int
    day_start_net: Decimal
    day_high: Decimal = Decimal(0)
    """The day's highest profit, rupees."""
    answered: tuple[ManualOrderAnswered, ...] = ()
    """The latest manual orders, so that none is placed twice."""
    barred_ts: int = 0
    """When a person forbade entries, UTC ns; 0 where nobody did, or the daemon by itself."""
    unsettled: dict[str, str] = {}
    """Symbols held over what may be a corporate action, and what is to be said of each."""
    restated: tuple[str, ...] = ()
    """Corporate actions that positions were counted anew for: symbol, date and kind."""
    sessions: dict[str, SessionsRecord] = {}
    """What decisions are told of earlier sessions, by symbol, for whoever makes decisions of a shortened run again."""
    state_who: str = ""
    closing: dict[str, str] = {}
    """Symbols that are being closed since a canary ended, and why."""
    changed: dict[str, str] = {}
    """Settings that were changed while running and are not the file's: JSON by dotted key."""
    brackets: dict[str, Bracket] = {}
    """The stop and target of what is held, by symbol."""
    owed: tuple[ExitOwed, ...] = ()
    """Strategies' exits that have to wait."""
    flattened: str = ""
    """Why everything was to be closed last, "" where a person said since that trading goes on."""


class DayProfitPeaked(Event, frozen=True, gc=False):
    """The day's profit was never higher; told in steps, so that a restart knows what a drawdown counts from."""

    ts: int
    day: int
    high: Decimal


class ShadowResult(Event, frozen=True, gc=False):
    """What a shadow agent came to in a session, on paper, beside the one in charge over the same time, rupees.

    `whole`: from the open to the close; `since_ts` is where it begins. `depth` and `latency_ms` are means.
    `real_strategy` with `real_model_hash` decided all of it by itself; "" where more than one did, where a person
    traded, or where trading was held up: its profit then says nothing of a strategy.
    """

    ts: int
    agent: str
    strategy: str
    model_hash: str
    day: int
    since_ts: int
    whole: bool
    dropped: str
    decisions: int
    skipped: int
    failed: int
    compared: int
    agreed: int
    depth: float
    latency_ms: float
    orders: int
    fills: int
    trades: int
    net_pnl: Decimal
    real_net_pnl: Decimal
    real_decisions: int
    real_trades: int
    thinking_p99_ms: float = 0.0
    """99th percentile of the machine's time for a decision; 0 where none was measured, and in a replay."""
    real_strategy: str = ""
    real_model_hash: str = ""
    mixed: bool = False
    """Whether a canary decided in it, too: the real figures are of two then."""


class RunCounted(Event, frozen=True, gc=False):
    """What a run that ends in order counted and the journal doesn't hold: its ticks, and bars of every interval.

    `sessions` are the (open, close) times of those on the tape, empty where the ticks came live. `shadow` are the rows
    of `daemon.report.side_by_side`, without what is a measurement of the machine.
    """

    ts: int
    accepted: int
    repaired: int
    rejected: dict[str, int]
    first_ts: int | None
    last_ts: int | None
    bars: int
    sessions: tuple[tuple[int, int], ...] = ()
    shadow: tuple[dict[str, Any], ...] = ()


class SessionMeasured(Event, frozen=True, gc=False):
    """What the one in charge came to in a session; said while a migration goes on.

    `whole`: one and the same decided from the open to the close. `net_bp` is of the starting cash, after costs, orders
    by hand included; `latency_p99_ms` is from bar to decision.
    """

    ts: int
    strategy: str
    model_hash: str
    day: int
    since_ts: int
    whole: bool
    decisions: int
    failed: int
    latency_p99_ms: float
    trades: int
    net_pnl: Decimal
    net_bp: float


class BaselineWeighed(Event, frozen=True, gc=False):
    """How the sessions of `strategy` with `model_hash` stand against those of the baseline, a shadow agent, by now.

    All that goes on from here: sums of `sessions` sessions up to `day`, bp of the starting cash, and the state of the
    bet on "worse" (`daemon.supervision.baseline`), of differences within ±`bound_bp`.
    """

    ts: int
    agent: str
    agent_strategy: str
    agent_model_hash: str
    bound_bp: float
    strategy: str
    model_hash: str
    day: int
    sessions: int
    ours_bp: float
    baseline_bp: float
    total: float
    squares: float
    log_capital: float


# -- state and commands -----------------------------------------------------------------------------------------------
# `who` gave a command: a person by his login name, a signal by its name, the daemon as `ITSELF`; "" in old journals.


class TradingStateChanged(Event, frozen=True, gc=False):
    """Trading was halted, reduced or resumed."""

    ts: int
    state: TradingState
    reason: str
    who: str = ""


class BudgetChanged(Event, frozen=True, gc=False):
    """So much of a budget that several daemons share is leased to this one, by its name there `who`; None: no lease.

    Rupees, gross: an entry beyond them is denied, and every entry where there is no lease.
    """

    ts: int
    who: str
    leased: Decimal | None
    reason: str


class StrategySwapped(Event, frozen=True, gc=False):
    """The supervisor or the user put another strategy in charge."""

    ts: int
    old: str
    new: str
    reason: str
    who: str = ""


class MitigationTaken(Event, frozen=True, gc=False):
    """The supervisor did something about `strategy`: which trigger asked for it, and on what evidence."""

    ts: int
    step: Mitigation
    strategy: str
    trigger: str
    evidence: str


class ShadowDecided(Event, frozen=True, gc=False):
    """What a strategy on probation would have done; nobody acts on it. `failed`: it wouldn't have been fine."""

    ts: int
    symbol: str
    strategy: str
    failed: bool
    reason: str


class ActorRestarted(Event, frozen=True, gc=False):
    """The supervisor restarted a crashed actor."""

    ts: int
    actor: str
    error: str
    restarts: int


class HealthChange(msgspec.Struct, frozen=True, gc=False):
    """A check of the daemon's health came to another status (ok, warn, fail); `text` is what it says now."""

    check: str
    before: str
    now: str
    text: str


class HealthReport(Event, frozen=True, gc=False):
    """A look at the daemon's own state, told where a check's status changed.

    `reasons` is why it isn't healthy; `state` is healthy, degraded or unhealthy, of all checks together.
    """

    ts: int
    healthy: bool
    reasons: tuple[str, ...]
    state: str = ""
    changes: tuple[HealthChange, ...] = ()


class AlertChanged(Event, frozen=True, gc=False):
    """An alert was raised (or got graver, or is told once more), or what it was about has cleared.

    `key` is the cause: one alert until it clears. `times`: how often it was raised of late, so that it is damped.
    """

    ts: int
    key: str
    kind: str
    severity: Severity
    raised: bool
    text: str
    times: int = 1


class AlertSent(Event, frozen=True, gc=False):
    """Somebody was told of the alerts with these keys; `target` names the service without its secrets."""

    ts: int
    keys: tuple[str, ...]
    target: str


class MemoryMeasured(Event, frozen=True, gc=False):
    """So much memory the process holds; told at every look at the daemon's health, never in a replay."""

    ts: int
    used_bytes: int


class Halt(Event, frozen=True, gc=False):
    """Command: stop trading; `shutdown` where only the process ends, so that the next one trades again.

    `automatic`: no person said so; what somebody else placed in the account is then left alone.
    """

    ts: int
    reason: str
    shutdown: bool = False
    automatic: bool = False
    who: str = ""


class Resume(Event, frozen=True, gc=False):
    """Command: trade again. `automatic`: no person said so; what is being closed or in doubt over a night stays so."""

    ts: int
    reason: str
    automatic: bool = False
    who: str = ""


class Reduce(Event, frozen=True, gc=False):
    """Command: only close from now on."""

    ts: int
    reason: str
    who: str = ""


class Flatten(Event, frozen=True, gc=False):
    """Command: cancel working orders and close every position.

    `automatic`: no person said so; a position in doubt over a night is left alone.
    """

    ts: int
    reason: str
    automatic: bool = False
    who: str = ""


class ManualOrder(Event, frozen=True, gc=False):
    """Command: place this order if risk lets it through. `key` is the asker's own: one order a key."""

    ts: int
    key: str
    symbol: str
    side: Side
    quantity: int
    type: OrderType
    limit_price: Decimal | None
    reason: str
    who: str = ""
    reduce_only: bool = False
    """Whether it is denied where it would do more than close what is held."""


class ManualOrderAnswered(Event, frozen=True, gc=False):
    """What risk said to a manual order; `check`, `limit` and `value` are "" where it was approved."""

    ts: int
    order: ManualOrder
    order_id: str
    approved: bool
    check: str = ""
    limit: str = ""
    value: str = ""


class CancelOrder(Event, frozen=True, gc=False):
    """Command: take one order off the market, and keep at it until it is gone, over restarts too."""

    ts: int
    order_id: str
    reason: str
    who: str = ""


class SettingChanged(Event, frozen=True, gc=False):
    """Command: a setting holds another value from here on, JSON; `as_in_file`: the settings file's, again.

    `key` is dotted. A limit is never wider than the file's.
    """

    ts: int
    who: str
    key: str
    before: str
    after: str
    reason: str
    as_in_file: bool = False


class ControlAction(Event, frozen=True, gc=False):
    """Somebody asked the control API for more than a look: who, for what, and how it was answered (HTTP status)."""

    ts: int
    who: str
    what: str
    status: int


class SwapStrategy(Event, frozen=True, gc=False):
    """Command: put the named strategy in charge."""

    ts: int
    name: str
    reason: str
    who: str = ""


class LoadModel(Event, frozen=True, gc=False):
    """Command: let another model decide. `key` is that of the request, `who` and `reason` are for the record.

    `model`: a file by its absolute path, or a version of the store; previous: the one that decided before.
    """

    ts: int
    key: str
    model: str
    who: str
    reason: str


class ModelLoaded(Event, frozen=True, gc=False):
    """Bars that close after `after_bar` (UTC ns) are decided by another model, those up to it by the one before.

    `key` is that of the command, "" where the earlier model came back because the new one failed. `file` is "" for a
    seeded network. `closes`: what is held is closed, nothing is handed over.
    """

    ts: int
    key: str
    name: str
    model_hash: str
    before: str
    after_bar: int
    runtime: str
    file: str
    closes: bool
    reason: str


class ModelRefused(Event, frozen=True, gc=False):
    """A model was not put in charge, and why; the one before decides on."""

    ts: int
    key: str
    model: str
    reason: str


class LockStrategy(Event, frozen=True, gc=False):
    """Command of a person: nothing is done by itself about the strategy in charge while `locked`."""

    ts: int
    locked: bool
    reason: str
    who: str = ""


class BeginCanary(Event, frozen=True, gc=False):
    """Command: let the shadow agent `agent` decide for real, on a share of the instruments and of the size."""

    ts: int
    agent: str
    who: str
    reason: str


class EndCanary(Event, frozen=True, gc=False):
    """Command: end what runs; `promote` puts the candidate in charge of everything, otherwise it goes back."""

    ts: int
    promote: bool
    who: str
    reason: str


class CanaryChanged(Event, frozen=True, gc=False):
    """Where a canary stands: said when it begins, ends, and after each session that it was judged by.

    `symbols` are those that it decides on, `size` the share of the limits' size that it may take there. `sessions` to
    `worse` are what `daemon.supervision.comparison` makes of it, bp of the starting cash a session.
    """

    ts: int
    agent: str
    strategy: str
    model_hash: str
    state: CanaryState
    symbols: tuple[str, ...]
    size: float
    sessions: int
    mean_bp: float
    better: float
    worse: float
    who: str
    reason: str
    against: str = ""
    """Whom it is compared with: strategy and model hash."""
    began_ts: int = 0
    runtime: str = ""
    """With what its model thinks, "" where it has none."""
    base_pnl: Decimal = Decimal(0)
    """What the account had won or lost on the traded symbols when it began, rupees."""
    judged: tuple[tuple[int, float], ...] = ()
    """The sessions that it was judged by: (day, difference in bp), oldest first."""
    closes: tuple[str, ...] = ()
    """Traded symbols on which what is held is closed, now that it has ended."""
    by_settings: bool = False
    """Whether it was promoted by a start with settings that name it, whatever was proved by then."""


class Decider(msgspec.Struct, frozen=True, gc=False):
    """Who decides: a strategy, the hash of its model and the file of that ("" where it has none)."""

    strategy: str
    model_hash: str = ""
    file: str = ""

    def same_as(self, other: Decider) -> bool:
        """Whether both decide alike, wherever the file lies."""
        return (self.strategy, self.model_hash) == (other.strategy, other.model_hash)


class GateReading(msgspec.Struct, frozen=True, gc=False):
    """One condition for leaving a stage: what was found, against which limit (None: there is none), and in words."""

    name: str
    passed: bool
    text: str
    value: float | None = None
    limit: float | None = None


class AdvanceMigration(Event, frozen=True, gc=False):
    """Command of a person: to the next stage, where every gate of the present one is passed. `who` signs for it."""

    ts: int
    who: str
    reason: str


class RollBackMigration(Event, frozen=True, gc=False):
    """Command of a person: the candidate goes back, and who was in charge at the baseline is so again."""

    ts: int
    who: str
    reason: str


class MigrationChanged(Event, frozen=True, gc=False):
    """The migration came from the stage `before` to `stage`, on these readings of the gates of `before`.

    `candidate` is a shadow agent and `decider` who decides under that name, as the training was signed; `former` is who
    was in charge when the baseline began. `who` signed, or hrmd where the canary was rolled back.
    """

    ts: int
    stage: MigrationStage
    before: MigrationStage
    candidate: str
    decider: Decider
    former: Decider
    gates: tuple[GateReading, ...]
    who: str
    reason: str


class MigrationStanding(Event, frozen=True, gc=False):
    """All that is known of a migration: what came before it in the journal need not be read again.

    `owed` is the command that its newest change still asks for, "" where it was given.
    """

    ts: int
    history: tuple[MigrationChanged, ...]
    baseline: tuple[SessionMeasured, ...]
    results: tuple[ShadowResult, ...]
    probation: tuple[SessionMeasured, ...]
    canary: CanaryChanged | None
    owed: str


class EaseStrategy(Event, frozen=True, gc=False):
    """Command of the supervisor: the stage of strategies does `step` to `strategy`, and says `MitigationTaken` then."""

    ts: int
    step: Mitigation
    strategy: str
    trigger: str
    evidence: str


class ShadowStrategy(Event, frozen=True, gc=False):
    """Command of the supervisor: let `strategy` decide beside the one in charge; "": nobody."""

    ts: int
    strategy: str
