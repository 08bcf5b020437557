"""What a daemon says on its bus, over all its lives → which of its promises it broke, and how it stands.

Each promise is looked at where it can first be broken: at an order that leaves, at a fill, at the quiet end. A `Watch`
knows nothing of how the daemon works, only the events that it publishes.
Invariant: a promise that is broken is told once, with the simulated time.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from daemon.core.clock import NS_PER_S
from daemon.core.events import (
    CANDIDATE,
    EXTERNAL,
    Action,
    BeginCanary,
    CanaryChanged,
    CanaryState,
    CancelOrder,
    Complexity,
    Decision,
    EndCanary,
    Event,
    FeedState,
    FeedStatus,
    Fill,
    Flatten,
    Halt,
    LoadModel,
    ManualOrderAnswered,
    MigrationChanged,
    ModelLoaded,
    ModelRefused,
    OrderApproved,
    OrderCancelRequested,
    OrderIntent,
    OrderRejected,
    OrderSent,
    PositionChanged,
    PositionRestated,
    Reduce,
    Resume,
    SettingChanged,
    StrategySwapped,
    SwapStrategy,
    TradingState,
    TradingStateChanged,
)
from daemon.journal.schema import JOURNALED
from tests.simulation.own_class import OWN
from tests.simulation.settings import MOST_UNITS

HEARD_S = 1.0
"""Every station has heard of a fill after so long."""
MOST_CANCELS = 30
"""Of one order in a minute, those that people ask for included."""
ASKED = (Halt, Resume, Reduce, Flatten, LoadModel, BeginCanary, EndCanary, CancelOrder, SwapStrategy)
FALSE = ("was deleted while", "was replaced by")
"""What nobody does to a file here."""
LOADED_S = 115.0
"""A command to load a model is answered after so long."""
ANSWER_S = 20.0
"""A bar of the decision interval is answered by somebody after so long."""


class Broken(msgspec.Struct, frozen=True):
    """A promise that was not kept."""

    at: float
    promise: str
    told: str

    def __str__(self) -> str:
        return f"{self.at:9.3f} s  {self.promise}: {self.told}"


class Watch:
    """Sees every journaled event of every life."""

    def __init__(self, now: Callable[[], float], max_a_minute: int, max_loss: int) -> None:
        self.broken: list[Broken] = []
        self.counts: Counter[str] = Counter()
        self.digest = hashlib.sha256()
        self._place = os.fsencode(Path.cwd())
        """Where this session lies, which nothing of it may depend on; a line about the disk names it."""
        self.state = TradingState.ACTIVE
        self.state_s = 0.0
        """Since when."""
        self.stale = True
        self.must_stand: TradingState | None = None
        """What an operator was told is in force and on disk, until it is taken back."""
        self.intents: dict[str, OrderIntent] = {}
        self.sent: set[str] = set()
        self.fills: dict[str, Fill] = {}
        self.positions: dict[str, int] = {}
        self.waiting: dict[str, list[Callable[[], None]]] = {}
        """What is to be done right after the next event of a type."""
        self.must_decide: str | None = None
        """Whom an operator was told is in charge, until somebody else was put there."""
        self.cancelled: dict[str, float] = {}
        """Orders that somebody wants off the market, and since when."""
        self.answered: set[tuple[str, str]] = set()
        """Commands that were answered as taken and on disk: kind, and the reason that was given."""
        self.moved: MigrationChanged | None = None
        """The newest step of the migration."""
        self.wished = ""
        """The key of the newest wish for a model."""
        self.gave_way = ""
        """The model whose first answer was a failure, where the one before it came back for that."""
        self.canary: CanaryChanged | None = None
        """The newest word of one."""
        self.spoilt: set[tuple[str, int]] = set()
        """Bars for which a user's class gave no answer."""
        self._came: list[tuple[float, Event]] = []
        """Commands of which the one that comes last holds, as they were on the bus."""
        self._commands: set[str] = set()
        self._models: list[tuple[int, str]] = []
        """From the close of which bar on the HRM decides with which model, in this life."""
        self._loading: dict[str, float] = {}
        self._by_key: dict[str, str] = {}
        self._left_for: dict[str, str] = {}
        """By the key of an order by hand, the order that left for it."""
        self._stir: asyncio.Future[None] | None = None
        self._now = now
        self._limits: list[tuple[float, int]] = []
        """Since when an order may open how many units, newest last."""
        self._max_a_minute = max_a_minute
        self._max_loss = max_loss
        self.disk_fails = False
        """Whether a command may be in force and not on disk: to ask again is then right, and it is taken again."""
        self._booked: list[tuple[float, Fill]] = []
        """Today's fills, with when they were published."""
        self._decided_s = 0.0
        self._cancels: dict[str, list[float]] = {}
        self._entries: list[int] = []
        self._restated: dict[str, int] = {}
        """What a corporate action made more of what was held, by symbol."""
        self._owed: dict[tuple[str, int], float] = {}
        self._told: set[tuple[str, str]] = set()

    def begin_life(
        self, on_record: Collection[str], restated: Collection[str], intents: Collection[str],
        cancelled: Collection[str], model: str, canary: CanaryChanged | None, max_order: int,
        moved: MigrationChanged | None,
    ) -> None:  # fmt: skip
        """A new process: what it must answer begins with what it hears, and it trades unless it says otherwise.

        `on_record`: the fills that the journal holds. Others died with the process, and are to be booked again.
        `restated`: the symbols of which it says that they are counted anew. `intents`: the orders that it holds.
        Somebody else's, adopted while nothing could be written, is adopted again under the same name, which the
        venue's makes; one of ours has a name of its own, and is never made again.
        `cancelled`: those of them that somebody wanted off the market. `model`: what the store names; `canary` and
        `moved`: the newest that the journal has of a canary and a migration; `max_order`: what one order may open, as
        an earlier process was told.
        """
        self.moved = moved
        self._limits = [(self._now(), max_order)]
        self._restated = {symbol: more for symbol, more in self._restated.items() if symbol in restated}
        self.cancelled = {name: self._now() for name in self.cancelled if name in cancelled}
        self._owed.clear()
        self._commands.clear()
        self._models, self._loading = [(0, model)], {}
        self.canary = canary
        self.fills = {fill_id: fill for fill_id, fill in self.fills.items() if fill_id in on_record}
        self.intents = {
            name: intent for name, intent in self.intents.items() if intent.strategy != EXTERNAL or name in intents
        }
        lost = set(on_record) - self.fills.keys()
        if lost:
            self.breaks("the journal tells what happened", f"it holds fills that were never published: {sorted(lost)}")
        self.state, self.stale = TradingState.ACTIVE, True

    def end_life(self) -> None:
        """A process has ended in order: what it was asked for it has answered."""
        if self._loading:
            self.breaks("every model is loaded or refused", f"nothing came of {len(self._loading)} when it ended")

    def wait(self, seconds: float) -> None:
        """The machine sleeps: what is owed is owed so much later."""
        self._owed = {key: asked + seconds for key, asked in self._owed.items()}

    def pass_night(self) -> None:
        """The day's profit begins anew."""
        self._booked.clear()

    def decided_since(self, at: float) -> bool:
        """Whether a decision was made since then."""
        return self._decided_s >= at

    def follow(self, bus: Any) -> None:
        """Listen to a daemon."""
        bus.tap(JOURNALED, self.see)

    def breaks(self, promise: str, told: str) -> None:
        """A promise was not kept."""
        if (promise, told) not in self._told:
            self._told.add((promise, told))
            self.broken.append(Broken(round(self._now(), 3), promise, told))

    def see(self, event: Event) -> None:
        """One event, as it is published."""
        kind = type(event).__name__
        self.counts[kind] += 1
        self.digest.update(kind.encode() + msgspec.json.encode(event).replace(self._place, b""))
        match event:
            case Complexity():
                self._owed[event.symbol, event.ts] = self._now()
            case Decision():
                self._owed.pop((event.symbol, event.ts_bar), None)
                self._decided_s = self._now()
                self._check_decider(event)
            case OrderIntent():
                self._on_intent(event)
            case OrderApproved():
                self._on_approved(event)
            case OrderSent():
                self._on_sent(event)
            case OrderRejected():
                self._on_rejected(event)
            case OrderCancelRequested():
                self._on_cancel_asked(event)
            case Fill():
                self._on_fill(event)
            case PositionRestated():
                carried = event.carried or 0
                whole = abs(carried) * event.denominator // event.numerator
                self._restated[event.symbol] = (whole if carried > 0 else -whole) - carried
            case PositionChanged():
                self.positions[event.symbol] = event.quantity
            case TradingStateChanged():
                self.state, self.state_s = event.state, self._now()
            case FeedStatus() if event.symbol is None:
                self.stale = event.state is not FeedState.CONNECTED
            case ManualOrderAnswered():
                self._by_key[event.order_id] = event.order.key
            case CancelOrder():
                self.cancelled.setdefault(event.order_id, self._now())
            case SettingChanged() if event.key == MOST_UNITS:
                self._limits.append((self._now(), int(event.after)))
            case SwapStrategy() | Resume(automatic=False) | Halt() | Reduce() | Flatten():
                self._came.append((self._now(), event))
                if isinstance(event, Resume):
                    self.must_stand = None
                if isinstance(event, SwapStrategy) and event.name != self.must_decide:
                    self.must_decide = None  # asked for, and done at the latest by the next life
            case StrategySwapped():
                if event.new != self.must_decide:
                    self.must_decide = None
            case MigrationChanged():
                self.moved = event
            case CanaryChanged():
                self._on_canary(event)
            case LoadModel():
                self._loading[event.key] = self._now()
                self.wished = event.key
            case ModelRefused():
                self._loading.pop(event.key, None)
            case ModelLoaded():
                self._loading.pop(event.key, None)
                self._models.append((event.after_bar, event.model_hash))
                self.gave_way = "" if event.key else event.before
            case _:
                pass
        reason = getattr(event, "reason", "")
        by_hand = not isinstance(event, CancelOrder) or reason.startswith("asked-cancel-")  # a flatten cancels, too
        if isinstance(event, ASKED) and reason.startswith("asked-") and by_hand:
            if reason in self._commands and not self.disk_fails:
                self.breaks("a command isn't doubled", f"{kind} {reason} was taken again")
            self._commands.add(reason)
        if isinstance(event, Halt) and any(words in reason for words in FALSE):
            self.breaks("what is said of a file is so", reason)
        for do in self.waiting.pop(kind, ()):
            do()
        if self._stir is not None and not self._stir.done():
            self._stir.set_result(None)

    def put_in_charge(self, name: str, asked_s: float) -> None:
        """An operator who asked for it then was told so."""
        newest = self._newest_since(asked_s, (SwapStrategy,))
        self.must_decide = newest.name if isinstance(newest, SwapStrategy) else name

    def stand(self, state: TradingState, asked_s: float) -> None:
        """The same of a state that is to hold."""
        newest = self._newest_since(asked_s, (Halt, Reduce, Flatten, Resume))
        if not isinstance(newest, Resume):
            self.must_stand = state

    def _newest_since(self, at: float, kinds: tuple[type, ...]) -> Event | None:
        """Of some that are asked for at once any may come last."""
        return next((event for came, event in reversed(self._came) if came >= at and isinstance(event, kinds)), None)

    async def stirred(self, seconds: float) -> None:
        """Until something is said, for so long at most."""
        loop = asyncio.get_running_loop()
        stir = self._stir = loop.create_future()
        timer = loop.call_later(seconds, lambda: stir.done() or stir.set_result(None))
        await stir
        timer.cancel()

    def overdue(self, superseded: int) -> None:
        """Bars that nobody has answered in time."""
        late = [key for key, asked in self._owed.items() if self._now() - asked > ANSWER_S]
        if len(late) > superseded:
            self.breaks("every bar is answered", f"{len(late)} are not after {ANSWER_S:g} s, such as {late[0]}")

        stuck = [key for key, asked in self._loading.items() if self._now() - asked > LOADED_S]
        if stuck:
            self.breaks("every model is loaded or refused", f"nothing came of {len(stuck)} commands")

    def _check_decider(self, decision: Decision) -> None:
        """Who decides a bar is who was in charge when it closed."""
        if decision.strategy == "hrm" and decision.model_hash:
            model = [model for after, model in self._models if after < decision.ts_bar][-1]
            if decision.model_hash != model:
                told = f"{decision.model_hash} decided the bar {decision.ts_bar}, {model} was in charge"
                self.breaks("the model in charge decides", told)
        if decision.failed and decision.action is not Action.HOLD:
            self.breaks(
                "a failed decision opens nothing", f"{decision.action} {decision.symbol} by {decision.strategy}"
            )
        if decision.strategy == OWN and (decision.symbol, decision.ts_bar) in self.spoilt and not decision.failed:
            self.breaks("no answer is a failed decision", f"{decision.action} {decision.symbol} at {decision.ts_bar}")
        canary = self.canary
        if decision.strategy.startswith(CANDIDATE) and (
            canary is None or decision.symbol not in canary.symbols
            or (canary.state is not CanaryState.RUNNING and decision.ts_bar > canary.ts)
        ):  # fmt: skip
            self.breaks("a candidate decides only on its share", f"{decision.symbol} at {decision.ts_bar}: {canary}")

    def _on_canary(self, event: CanaryChanged) -> None:
        before = self.canary
        runs = before is not None and before.state is CanaryState.RUNNING
        if before is not None and runs and event.began_ts != before.began_ts:
            self.breaks("one canary at most", f"{event.reason}: another one than began at {before.began_ts}")
        if event.state is CanaryState.RUNNING and event.against == f"{event.strategy} {event.model_hash}":
            self.breaks("a canary is another than the one in charge", f"{event.agent}: {event.against}")
        self.canary = event

    def _on_intent(self, intent: OrderIntent) -> None:
        if intent.order_id in self.intents:
            self.breaks("no order twice", f"{intent.order_id} was made again")
        self.intents[intent.order_id] = intent

    def _on_approved(self, event: OrderApproved) -> None:
        intent = self.intents.get(event.order_id)
        if intent is None or intent.reduces:
            return
        if intent.quantity > self.max_order:
            self.breaks("limits hold", f"{intent.order_id} opens {intent.quantity} units, {self.max_order} allowed")
        self._check_loss(event.order_id)
        self._entries = [ts for ts in self._entries if ts > event.ts - 60 * NS_PER_S] + [event.ts]
        if len(self._entries) > self._max_a_minute:
            self.breaks("limits hold", f"{len(self._entries)} entries in a minute, {self._max_a_minute} allowed")

    @property
    def max_order(self) -> int:
        """What one order may open; a limit that was changed counts once every station has heard of it."""
        heard = [limit for limit in self._limits if limit[0] < self._now() - HEARD_S]
        return max(most for _, most in [*heard[-1:], *self._limits[len(heard) :]])

    def _on_sent(self, event: OrderSent) -> None:
        if event.order_id in self.sent:
            self.breaks("no order twice", f"{event.order_id} left twice")
        self.sent.add(event.order_id)
        key = self._by_key.get(event.order_id)
        if key is not None and self._left_for.setdefault(key, event.order_id) != event.order_id:
            self.breaks("one key, one order", f"{event.order_id} left for {key}, as {self._left_for[key]} had")
        intent = self.intents.get(event.order_id)
        if intent is None:
            self.breaks("an intent before its order", f"{event.order_id} left without one")
        elif intent.reduces or -intent.side.sign * self.summed().get(intent.symbol, 0) >= intent.quantity:
            pass  # made to close something, or it does by now
        elif self.state is not TradingState.ACTIVE:
            self.breaks("only exits unless ACTIVE", f"{event.order_id} left while {self.state}")
        elif self.must_stand is not None:
            self.breaks("a command holds", f"{event.order_id} left after {self.must_stand} was on disk")

    def _on_rejected(self, event: OrderRejected) -> None:
        intent = self.intents.get(event.order_id)
        if intent is not None and intent.reduces and "rate budget is used up" in event.reason:
            self.breaks("calls are left for exits", f"{event.order_id}: {event.reason}")

    def _on_cancel_asked(self, event: OrderCancelRequested) -> None:
        now, order_id = self._now(), event.order_id
        asked = self._cancels[order_id] = [at for at in self._cancels.get(order_id, []) if at > now - 60] + [now]
        if len(asked) > MOST_CANCELS:
            self.breaks("the venue isn't hammered", f"{order_id} was to be cancelled {len(asked)} times in a minute")

    def _on_fill(self, fill: Fill) -> None:
        known = self.fills.get(fill.fill_id)
        if known is not None:
            self.breaks("no fill twice", f"{fill.fill_id} of {fill.order_id}")
        self.fills[fill.fill_id] = fill
        self._booked.append((self._now(), fill))

    def _check_loss(self, order_id: str) -> None:
        """Of a day that is flat by fills that everybody has heard of the profit is known to the paisa."""
        fills = [it for at, it in self._booked if at < self._now() - HEARD_S and it.fill_id in self.fills]
        held: Counter[str] = Counter()
        net = Decimal(0)
        for fill in fills:
            held[fill.symbol] += fill.side.sign * fill.quantity
            net -= fill.side.sign * fill.quantity * fill.price + fill.costs
        if len(fills) == len(self._booked) and not any(held.values()) and net <= -self._max_loss:
            self.breaks("limits hold", f"{order_id} opens with {net} rupees made today, -{self._max_loss} allowed")

    def summed(self) -> dict[str, int]:
        """Positions as the fills of all lives make them."""
        summed: Counter[str] = Counter()
        for fill in self.fills.values():
            summed[fill.symbol] += fill.side.sign * fill.quantity
        summed.update(self._restated)
        return {symbol: quantity for symbol, quantity in summed.items() if quantity}
