"""The strategy stage: bars, complexity and positions in, decisions out.

A `Complexity` asks for a decision, from the moment in which it is published; a strategy that thinks for long does so on
a thread, the loop goes on meanwhile, and thinking has a limit: who hasn't answered by then has hung, is left behind and
made anew. Invariant: every complexity is answered, but for those that a newer bar of their symbol has made needless; of
a strategy that raises or hangs the answer is a HOLD that failed. Decisions leave in the order in which their bars
closed; of bars that closed together the symbol that had to go without a decision before comes first.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol, runtime_checkable

import msgspec
import structlog

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_MS, NS_PER_S, Clock, india_day, stopwatch_ns
from daemon.core.errors import StrategyHung
from daemon.core.events import (
    CANDIDATE,
    Action,
    Bar,
    CanaryChanged,
    Complexity,
    Decision,
    EaseStrategy,
    Event,
    InferenceMeasured,
    MarketRemembered,
    Mitigation,
    MitigationTaken,
    ModelLoaded,
    PositionChanged,
    PriceAdjusted,
    PriceJumped,
    ShadowDecided,
    ShadowStrategy,
    StrategySwapped,
)
from daemon.core.ids import decision_id
from daemon.core.threads import ThreadWorker, Worker
from daemon.market.legs import Legs
from daemon.strategy.easing import ease, no_number
from daemon.strategy.recorded import Remembering, decide_as_then, not_thought
from daemon.strategy.seeing import see
from daemon.strategy.sharing import Sharing
from daemon.strategy.succession import Succession
from daemon.strategy.thinking import Broken, HangBudget, Thinker, attempt
from strategies.base import (
    HUNG,
    LATE,
    NOT_FINITE,
    RAISED,
    UNFIT,
    Foreseeing,
    MarketView,
    Moment,
    Renewable,
    Strategy,
    hold,
    model_hash_of,
    unthought,
)

log = structlog.get_logger("strategy")

FLAT = "flat"
"""The rung below every strategy: nothing is decided any more, positions are closed by the supervisor."""


BATCH_S = 60.0
"""So much longer than one decision may a batch of them take: batches are made so that they take about a second."""


class ThinkingLimit(msgspec.Struct, frozen=True):
    """When a strategy has hung, and how often it may."""

    limit_s: float
    """Of the machine's time, for one decision on the thread."""
    hangs_per_day: int | None
    """Each is a failed decision and a fresh start; beyond it the strategy is unfit. None: the first is a fault."""


class _Request:
    """A decision on the bar that closed at `ts_bar`, and when it was asked for in event time and in duration time."""

    __slots__ = ("monotonic_ns", "ts", "ts_bar")

    def __init__(self, clock: Clock, ts_bar: int) -> None:
        self.ts = clock.now_ns()
        self.monotonic_ns = clock.monotonic_ns()
        self.ts_bar = ts_bar


class _Turn(msgspec.Struct, frozen=True, eq=False):
    """A decision that waits for the thread: what it is about, as of its bar, and who was asked."""

    moment: Moment
    request: _Request
    strategy: str


@runtime_checkable
class Deliberating(Protocol):
    """A strategy that can do with less time."""

    def decide_since(self, moment: Moment, asked_ns: int, waiting: int) -> Decision:
        """Decide within a deadline that started at `asked_ns` and that `waiting` decisions have to share."""


@runtime_checkable
class Placed(Protocol):
    """A strategy that can say what it is at while it thinks, and be asked to end it."""

    def left(self) -> str:
        """Its thread is left: the file and line that it was at, "" where nobody knows."""


class Latency(Protocol):
    """How long a decision took, in the run's own time."""

    def decision_ns(self, decision: Decision, elapsed_ns: int) -> int:
        """Nanoseconds between bar close and decision; `elapsed_ns` is what the run's clock measured."""


class StrategyActor(Actor):
    """Asks the active strategy about every bar of the decision interval."""

    name = "strategy"

    def __init__(
        self,
        bus: Bus,
        view: MarketView,
        strategies: Mapping[str, Strategy],
        active: str,
        clock: Clock,
        latency: Latency,
        limit: ThinkingLimit,
        intervals: tuple[str, ...],
        legs: Legs | None = None,
        thread: Callable[[str], Worker] = ThreadWorker,
        stopwatch: Callable[[], int] = stopwatch_ns,
        decides_from: int = 0,
    ) -> None:
        """`thread` makes the one that strategies think on; `stopwatch` measures how long they do (ns).

        Bars that close before `decides_from` (UTC ns) are seen and not decided on.
        """
        super().__init__(bus)
        self.view = view
        self.legs = legs if legs is not None else Legs()
        self.strategies = dict(strategies)
        self.succession = Succession(self.strategies)
        self._decides_from = decides_from
        self.newest_bar = 0
        """When the newest bar closed that a decision was asked for, UTC ns."""
        self.seen: Moment | None = None
        """The newest moment that was to be decided."""
        self.active = active
        self.sharing = Sharing(active)
        self.foreseer: Foreseeing | None = None
        """Who knows its decisions before it is asked, in a replay that is looked ahead of."""
        self._clock = clock
        self._latency = latency
        self._remembered = latency if isinstance(latency, Remembering) else None
        self._then = latency.then if isinstance(latency, Remembering) else _nothing_known
        self._limit = limit
        self._thinker = Thinker(thread)
        self._stopwatch = stopwatch
        self._hangs = HangBudget(limit.hangs_per_day or 0)
        self._renewals: dict[str, asyncio.Future[Strategy | Broken]] = {}
        self._requests: dict[str, deque[_Request]] = {}
        self._newest_ns: dict[str, int] = {}
        self._turns: list[_Turn] = []
        self._shadow = ""
        self._shadows: list[Moment] = []
        """Moments that the strategy on probation is still to decide on."""
        self._missed: Counter[str] = Counter()
        """How often in a row a symbol's turn came too late."""
        self.owed = 0
        """Decisions that were asked for and not made yet; read from other threads, too."""
        self.superseded = 0
        """Decisions that were not made because a newer bar of the symbol had closed before their turn came."""
        decided = self._decided
        bus.tap((Complexity,), self._ask, where=decided)
        self.inbox = bus.subscribe(self.name, (Bar,), where=lambda bar: bar.interval in intervals)
        bus.subscribe(self.name, (Complexity,), where=decided, inbox=self.inbox)
        others = (
            PositionChanged, PriceAdjusted, PriceJumped, StrategySwapped, MarketRemembered, EaseStrategy,
            ShadowStrategy, CanaryChanged,
        )  # fmt: skip
        bus.subscribe(self.name, others, inbox=self.inbox)
        bus.subscribe(self.name, (Decision,), where=lambda made: made.wanted is not None, inbox=self.inbox)

    def handle(self, event: Event) -> Awaitable[None] | None:
        """Remember, or decide."""
        if isinstance(event, Complexity):
            return self._decide(event)
        if see(event, self.view, self.legs):
            return None
        if isinstance(event, StrategySwapped):
            self.active, self._shadow = event.new, ""
            self._hangs.forgive(event.new)
            if event.new in self.strategies:
                return self._begin_anew(event.new)
        elif isinstance(event, EaseStrategy):
            return self._ease(event)
        elif isinstance(event, CanaryChanged):
            self.sharing.follow(event)
        elif isinstance(event, ShadowStrategy):
            self._shadow = event.strategy
        return None

    def admit(self, candidate: Strategy) -> None:
        """Have who is to decide on a share, once `CanaryChanged` says so; it has a clean record."""
        self.strategies[candidate.name] = candidate
        self._hangs.forgive(candidate.name)
        self._renewals.pop(candidate.name, None)

    def is_being_renewed(self, name: str) -> bool:
        """Whether a strategy has hung and its thread may still be at it."""
        return name in self._renewals

    def close(self) -> None:
        """Let the thread go; one that hangs isn't waited for."""
        self._thinker.close()

    def _begin_anew(self, name: str) -> Awaitable[None] | None:
        """All its depth, and nothing remembered of before: who is put in charge has a clean record.

        Who has hung is made anew once more: the first time it may have failed, and made one that thinks as little.
        """
        strategy = self.strategies[name]
        ease(strategy, Mitigation.BACK)
        if name in self._renewals and isinstance(strategy, Renewable):
            return self._renew(name, strategy)
        ease(strategy, Mitigation.CLEAR_CACHES)
        return None

    def _renew(self, name: str, strategy: Renewable) -> Awaitable[None] | None:
        """Make it anew beside the loop; a replay waits for it, so that how long it takes decides nothing."""
        renewing = self._renewals[name] = self._thinker.aside(strategy.renewed)
        return _until(renewing) if self._limit.hangs_per_day is None else None

    def _ease(self, event: EaseStrategy) -> Awaitable[None] | None:
        """Do what the supervisor asks for; said when it is done, after the decisions that were made without it."""
        strategy = self.strategies.get(event.strategy)
        if strategy is None or event.strategy != self.active:
            return None
        renewing = None
        if event.step is Mitigation.RENEW:
            if isinstance(strategy, Renewable) and event.strategy not in self._renewals:
                renewing = self._renew(event.strategy, strategy)
        elif event.strategy not in self._renewals:  # a thread that was left behind may be at it still
            ease(strategy, event.step)
        self.bus.publish(
            MitigationTaken(
                ts=event.ts, step=event.step, strategy=event.strategy, trigger=event.trigger, evidence=event.evidence
            )
        )
        return renewing

    def _decided(self, complexity: Complexity) -> bool:
        """Whether somebody decides on it: not on a future that is traded for its index."""
        return complexity.ts >= self._decides_from and not self.legs.holds(complexity.symbol)

    def _ask(self, complexity: Complexity) -> None:
        request = _Request(self._clock, complexity.ts)
        self.owed += 1
        self._requests.setdefault(complexity.symbol, deque()).append(request)
        self._newest_ns[complexity.symbol] = request.monotonic_ns
        self.newest_bar = max(self.newest_bar, complexity.ts)

    def _decide(self, complexity: Complexity) -> Awaitable[None] | None:
        """Decide now, or line up for the thread with the market as it is at this place in the order."""
        request = self._requests[complexity.symbol].popleft()
        moment = self.seen = self.view.moment(complexity)
        decider = self.sharing.decider(complexity.symbol, self.active)
        strategy = self.strategies.get(decider)
        if strategy is None:
            self._publish(hold(moment, FLAT, "no strategy is in charge"), request)
        elif strategy.in_thread:
            self._turns.append(_Turn(moment, request, decider))
        else:
            answer = attempt(partial(strategy.decide, moment), (moment.symbol, moment.ts))
            self._publish(_failure(strategy, moment, RAISED, answer.why) if isinstance(answer, Broken) else answer,
                          request)  # fmt: skip
        if self._shadow in self.strategies:
            self._shadows.append(moment)
        return self._take_turns() if self._turns or self._shadows else None

    async def _take_turns(self) -> None:
        while (turn := self._next_turn()) is not None:
            self._turns.remove(turn)
            await self._take(turn)
        if not any(self._requests.values()):  # nobody waits
            await self._take_shadow()

    async def _take_shadow(self) -> None:
        """Let the strategy on probation decide on the newest moment; nobody waits for it, and nobody acts on it."""
        strategy, moments = self.strategies.get(self._shadow), self._shadows
        self._shadows = []
        if strategy is None or not moments:
            return
        day = india_day(self._clock.now_ns())
        if self._hangs.spent(self._shadow, day) or not self._renewed(self._shadow):
            return
        moment, strategy = moments[-1], self.strategies[self._shadow]
        answer = await self._thinker.think(partial(strategy.decide, moment), self._limit.limit_s)
        if answer is None:
            why = f"hung: no answer within {self._limit.limit_s:g} s"
            if isinstance(strategy, Placed):
                strategy.left()
            self._hangs.note(strategy.name, day)
            if isinstance(strategy, Renewable):
                self._renewals[strategy.name] = self._thinker.aside(strategy.renewed)
        else:
            why = answer.why if isinstance(answer, Broken) else answer.reason if answer.failed else no_number(answer)
        self.bus.publish(
            ShadowDecided(
                ts=self._clock.now_ns(), symbol=moment.symbol, strategy=self._shadow, failed=bool(why), reason=why
            )
        )

    def _renewed(self, name: str) -> bool:
        """Whether it can be asked: one that is being made anew takes its place once it is there."""
        renewal = self._renewals.get(name)
        if renewal is None:
            return True
        if not renewal.done() or isinstance(fresh := renewal.result(), Broken):
            return False
        self.strategies[name] = fresh
        del self._renewals[name]
        return True

    def _next_turn(self) -> _Turn | None:
        """The oldest bar's, of those that closed together the one who went without longest, even if it isn't here yet.

        With nobody late that is the order in which they were asked for.
        """
        if not self._turns:
            return None
        candidate = self.sharing.candidate
        turn = min(
            self._turns,
            key=lambda one: (one.request.ts_bar, one.strategy == candidate, -self._missed[one.moment.symbol]),
        )
        if turn.strategy == candidate and any(self._requests.values()):
            return None  # whatever it does, it does it after the one in charge
        behind = (symbol for symbol, queue in self._requests.items() if queue and queue[0].ts_bar <= turn.moment.ts)
        longest = max((self._missed[symbol] for symbol in behind), default=0)
        return None if longest > self._missed[turn.moment.symbol] else turn

    async def _take(self, turn: _Turn) -> None:
        """Decide on the thread, unless a newer bar of the symbol has closed meanwhile.

        Bars that close at one instant of the run's clock (a replay that catches up after a gap) supersede nothing, so
        that what is decided never depends on how fast this machine is.
        """
        turn = self._as_shared_now(turn)
        symbol, request = turn.moment.symbol, turn.request
        was = self._remembered is not None and self._remembered.superseded(symbol, request.ts_bar)
        if was or self._newest_ns[symbol] > request.monotonic_ns:
            self.superseded += 1
            self.owed -= 1
            self._missed[symbol] += 1
            log.warning("a newer bar has closed", decision=decision_id(symbol, request.ts_bar), symbol=symbol)
            return
        if self.succession.take_up(turn.strategy, request.ts_bar):
            self._hangs.forgive(turn.strategy)
            self._renewals.pop(turn.strategy, None)
        decision = self._unasked(turn)
        if decision is None:
            decision = await self._think(turn)
        if decision.halt_reason == LATE:
            self._missed[symbol] += 1
        else:
            del self._missed[symbol]
        self._publish(decision, request)

    def _as_shared_now(self, turn: _Turn) -> _Turn:
        """A candidate whose share has ended since it was asked isn't heard any more."""
        if not turn.strategy.startswith(CANDIDATE) or self.active not in self.strategies:
            return turn
        return msgspec.structs.replace(turn, strategy=self.sharing.decider(turn.moment.symbol, self.active))

    def _unasked(self, turn: _Turn) -> Decision | None:
        """Why the strategy can't be asked, as a decision; None where it can."""
        name, moment, hangs = turn.strategy, turn.moment, self._hangs
        strategy, day = self.strategies[name], india_day(self._clock.now_ns())
        if hangs.spent(name, day):
            return _failure(strategy, moment, UNFIT, f"hung {hangs.count(name, day)} times today, not asked again")
        renewal = self._renewals.get(name)
        if renewal is not None and not renewal.done():
            return unthought(moment, name, LATE, "hung, and is being made anew", model_hash=model_hash_of(strategy))
        if renewal is not None:
            fresh = renewal.result()
            if isinstance(fresh, Broken):
                return _failure(strategy, moment, RAISED, f"hung, and can't be made anew: {fresh.why}")
            self.strategies[name] = fresh
            del self._renewals[name]
        then = self._then(moment.symbol, moment.ts)
        if then is not None and (again := not_thought(strategy, moment, then)) is not None:
            return again
        waited_ns = self._clock.monotonic_ns() - turn.request.monotonic_ns
        if self._limit.hangs_per_day is not None and waited_ns > self._limit.limit_s * NS_PER_S:
            reason = f"asked {waited_ns / NS_PER_MS:.0f} ms ago, no time is left"
            return unthought(moment, name, LATE, reason, model_hash=model_hash_of(strategy))
        return None

    async def _think(self, turn: _Turn) -> Decision:
        strategy, moment, request = self.strategies[turn.strategy], turn.moment, turn.request
        foreseer = self.foreseer
        if foreseer is not None and foreseer is strategy:
            known = await self._foreseen(foreseer, turn)
            if known is not None:
                return known
        waiting = 1 + len(self._turns) + sum(1 for queue in self._requests.values() if queue)
        measured = self._stopwatch()
        answer = await self._thinker.think(
            partial(_answer, strategy, moment, request.monotonic_ns, waiting, self._then(moment.symbol, moment.ts)),
            self._limit.limit_s,
            (moment.symbol, moment.ts),
        )
        if answer is None:
            return self._hung(strategy, moment)
        self.bus.publish(
            InferenceMeasured(ts=request.ts, symbol=moment.symbol, elapsed_ns=self._stopwatch() - measured)
        )  # fmt: skip
        return _failure(strategy, moment, RAISED, answer.why) if isinstance(answer, Broken) else answer

    async def _foreseen(self, strategy: Foreseeing, turn: _Turn) -> Decision | None:
        """The decision, where it is known ahead: said when everybody else is done, as a thread's answer is."""
        moment = turn.moment
        if strategy.is_ahead_due(moment):
            work, limit_s = partial(strategy.look_ahead, moment), self._limit.limit_s + BATCH_S
            if await self._thinker.think(work, limit_s, (moment.symbol, moment.ts)) is None:
                return self._hung(self.strategies[turn.strategy], moment)
        known = strategy.foreseen(moment)
        if known is None:
            return None
        await asyncio.sleep(0)
        decision, elapsed_ns = known
        self.bus.publish(InferenceMeasured(ts=turn.request.ts, symbol=moment.symbol, elapsed_ns=elapsed_ns))
        return decision

    def _hung(self, strategy: Strategy, moment: Moment) -> Decision:
        """Its thread was left: make it anew, so that the late answer touches nothing that decides."""
        place = strategy.left() if isinstance(strategy, Placed) else ""
        reason = f"hung: no answer within {self._limit.limit_s:g} s" + (f" (it is at {place})" if place else "")
        if self._limit.hangs_per_day is None:
            raise StrategyHung(f"strategy {strategy.name}, {decision_id(moment.symbol, moment.ts)}: {reason}")
        log.error(
            "strategy hung", strategy=strategy.name, decision=decision_id(moment.symbol, moment.ts),
            symbol=moment.symbol, limit_s=self._limit.limit_s,
        )  # fmt: skip
        day = india_day(self._clock.now_ns())
        self._hangs.note(strategy.name, day)
        if isinstance(strategy, Renewable):
            self._renewals[strategy.name] = self._thinker.aside(strategy.renewed)
        if self._hangs.spent(strategy.name, day):
            count = self._hangs.count(strategy.name, day)
            return _failure(strategy, moment, UNFIT, f"{reason}, {count} times today: not asked again")
        return _failure(strategy, moment, HUNG, reason)

    def _publish(self, decision: Decision, request: _Request) -> None:
        """Stamp the decision with the run's time and publish it; one that is no number is a failure."""
        if figure := no_number(decision):
            decision = _unusable(decision, figure)
        latency = self._latency.decision_ns(decision, self._clock.monotonic_ns() - request.monotonic_ns)
        decision = msgspec.structs.replace(decision, ts=request.ts + latency, latency_ns=latency)
        self.bus.publish(decision)
        self.owed -= 1
        back = self.succession.judge(decision)
        if back is not None:
            self._come_back(back, decision)

    def _come_back(self, back: Strategy, failed: Decision) -> None:
        """The model of before decides the next bar: the new one has made no good decision."""
        reason = f"the new model failed ({failed.halt_reason or 'its answer'}): {failed.reason}"
        log.error(
            "the model before comes back", decision=decision_id(failed.symbol, failed.ts_bar), symbol=failed.symbol,
            failed=failed.model_hash, reason=reason,
        )  # fmt: skip
        self.bus.publish(
            ModelLoaded(
                ts=failed.ts, key="", name=str(getattr(back, "description", "")), model_hash=model_hash_of(back),
                before=failed.model_hash, after_bar=failed.ts_bar, runtime=str(getattr(back, "runtime", "")),
                file=str(getattr(back, "artifact", None) or ""), closes=False, reason=reason,
            )
        )  # fmt: skip


async def _until(renewal: asyncio.Future[Strategy | Broken]) -> None:
    await asyncio.wait((renewal,))


def _unusable(decision: Decision, figure: str) -> Decision:
    """The safe decision in place of one whose `figure` is no number."""
    return Decision(
        ts=decision.ts, ts_bar=decision.ts_bar, symbol=decision.symbol, interval=decision.interval,
        strategy=decision.strategy, action=Action.HOLD, quantity=1, confidence=0.0,
        reason=f"{figure} is not finite", price=decision.price, halt_reason=NOT_FINITE,
        complexity=decision.complexity, regime=decision.regime, model_hash=decision.model_hash, failed=True,
    )  # fmt: skip


def _nothing_known(symbol: str, ts_bar: int) -> Decision | None:
    return None


def _answer(strategy: Strategy, moment: Moment, asked_ns: int, waiting: int, then: Decision | None) -> Decision:
    if then is not None:
        return decide_as_then(strategy, moment, then)
    if isinstance(strategy, Deliberating):
        return strategy.decide_since(moment, asked_ns, waiting)
    return strategy.decide(moment)


def _failure(strategy: Strategy, moment: Moment, halt_reason: str, reason: str) -> Decision:
    return unthought(moment, strategy.name, halt_reason, reason, failed=True, model_hash=model_hash_of(strategy))
