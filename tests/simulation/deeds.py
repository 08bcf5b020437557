"""What each action of a plan does to the world."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from daemon.control.view import HandSide, NotDurableError, NotTradingError, OrderTicket
from daemon.core.clock import NS_PER_MS, NS_PER_S
from daemon.core.errors import HrmdError
from daemon.core.events import Event, Flatten, Halt, Reduce, Resume, Side, SwapStrategy, TradingState
from daemon.run.service import Service
from daemon.sandbox.faults import Fault, FaultKind, Route
from daemon.sandbox.hours import Phase
from daemon.settings.tree import Settings
from tests.simulation.brains import CANDIDATE
from tests.simulation.clerk import asking
from tests.simulation.computer import BROKEN, FULL, LOCKED
from tests.simulation.own_class import OWN
from tests.simulation.plan import HEALED_S, Action, Do
from tests.simulation.promises import SETTLES_S
from tests.simulation.settings import MAX_ORDER, MOST_UNITS

if TYPE_CHECKING:
    from tests.simulation.world import World

Deed = Callable[["World", Action], None]


def _venue(kind: FaultKind, on: Route = Route.PLACE, **fields: Any) -> Deed:
    """The next call (or a few) suffers."""

    def do(world: World, action: Action) -> None:
        seconds = action.seconds if kind in (FaultKind.LATE, FaultKind.DELAY, FaultKind.STALE) else 1.0
        times = 1 + action.number % 4
        fault = Fault(kind=kind, on=on, seconds=seconds, **{"times": times, **fields})
        problem = fault.problem()
        assert problem is None, f"{kind} {on}: {problem}"
        world.venue.server.plan.queue([fault])

    return do


def _until(owner: str, name: str) -> Deed:
    """Something is wrong for as long as the action says."""

    def do(world: World, action: Action) -> None:
        setattr(getattr(world, owner), name, world.loop.time() + action.seconds)

    return do


def _command(
    made: Callable[[Service, Action], Any],
    stands: TradingState | None = None,
    *,
    lifts: bool = False,
    swaps: bool = False,
) -> Deed:
    """An operator's command; what they were told is on disk stands until it is taken back."""

    def do(world: World, action: Action) -> None:
        async def give(service: Service) -> None:
            began_s, command = world.loop.time(), made(service, action)
            try:
                await service.app.desk.command(command)
            except (NotDurableError, NotTradingError):
                return
            if asked != world.asked:
                return
            if swaps:
                world.watch.put_in_charge(command.name, began_s)
            if stands is not None and world.loop.time() > world.lifted_until:
                world.watch.stand(stands, began_s)

        world.asked += 1
        asked = world.asked
        if lifts:
            world.watch.must_stand = None
        world.command(give)

    return do


def _place(world: World, action: Action) -> None:
    symbol = world.plan.symbol_of(action)
    side = (HandSide.BUY, HandSide.SELL)[action.number // 2 % 2]
    ticket = OrderTicket(key=f"k{action.number}", symbol=symbol, side=side, quantity=1 + action.number % 9)

    async def place(service: Service) -> None:
        for _ in range(1 + action.number // 4 % 2):  # some ask again under the same key
            try:
                await service.app.desk.place(ticket)
            except (HrmdError, TimeoutError):
                continue

    world.command(place)


def _ask_order(world: World, action: Action) -> None:
    side = ("buy", "sell")[action.number // 2 % 2]
    symbol = world.plan.symbol_of(action)
    world.clerk.ask("order", action, symbol=symbol, side=side, quantity=1 + action.number % 9)


def _cancel(world: World, action: Action) -> None:
    async def cancel(service: Service) -> None:
        working = sorted(service.app.orders.working)
        if working:
            try:
                await service.app.desk.cancel(working[action.number % len(working)], "by the operator")
            except HrmdError:
                return

    world.command(cancel)


def _ask_cancel(world: World, action: Action) -> None:
    """One of the orders that worked when somebody looked; by the time it is asked for it may be done."""
    service = world.running()
    working = sorted(service.app.orders.working) if service is not None else []
    if working:
        world.clerk.ask("cancel", action, order_id=working[action.number % len(working)])


def _rung(world: World, action: Action) -> str:
    """Whom an operator wants in charge."""
    ladder = world.settings.supervisor.ladder
    rungs = [*ladder, OWN] if world.plan.has("own.") else ladder
    return rungs[action.number % len(rungs)]


def _swap(service: Service, action: Action) -> SwapStrategy:
    ladder = service.settings.supervisor.ladder
    return SwapStrategy(ts=_ts(service), name=ladder[action.number % len(ladder)], reason="by hand")


def _own(wrong: str) -> Deed:
    """A user's class is wrong for so long, two bars at least."""
    return lambda world, action: world.mood.spoil_own(wrong, 130.0 if action.number % 2 else action.seconds + 61.0)


def _most_units(action: Action, file: Settings) -> int:
    """A limit that is tighter than the file's, or as it is there."""
    return max(1, file.risk.max_order_quantity - action.number % 8)


def _ask_reload(world: World, action: Action) -> None:
    """Somebody writes another limit into the settings file, and has it read."""
    risk = world.file.risk.model_copy(update={"max_order_quantity": MAX_ORDER - action.number % 8})
    world.file = world.file.model_copy(update={"risk": risk})
    world.clerk.ask("reload", action)


def _roll_back(world: World, action: Action) -> None:
    async def roll_back(service: Service) -> None:
        name = service.view.status().rollback_to
        if name:
            try:
                await service.app.desk.command(SwapStrategy(ts=_ts(service), name=name, reason="rollback: by hand"))
            except HrmdError:
                return

    world.command(roll_back)


def _jump(world: World, action: Action) -> None:
    world.computer.clocks.offset_ns += (action.number * 20 - 10_000) * NS_PER_MS


def _leap(world: World, action: Action) -> None:
    """A clock that is wrong by up to fourteen hours, until somebody sets it right.

    That is early enough for a daemon that began with it to begin once more before all is to be well.
    """
    clocks, by = world.computer.clocks, (action.number - 500) * 100 * NS_PER_S
    clocks.offset_ns += by

    def set_right() -> None:
        clocks.offset_ns -= by

    world.loop.call_later(min(action.seconds, max(0.0, HEALED_S - 60 - world.loop.time())), set_right)


def _freeze(world: World, action: Action) -> None:
    world.ticks.frozen[world.plan.symbol_of(action)] = world.loop.time() + action.seconds


def _ts(service: Service) -> int:
    return service.app.plan.clock.now_ns()


def _drift(world: World, action: Action) -> None:
    """A clock that gains or loses up to 5 % of what passes."""
    clocks = world.computer.clocks
    clocks.drift((action.number - 500) / 10_000)
    world.loop.call_later(action.seconds, clocks.drift, 0.0)


def _sleep(world: World, action: Action) -> None:
    """The machine sleeps: nothing of the daemon runs, and timers don't count meanwhile."""
    process = world.process

    def wake() -> None:
        if world.process is process:  # of one that had ended already the next was awake meanwhile
            world.computer.clocks.sleep(int(action.seconds * NS_PER_S))

    if process is not None and process.alive and world.loop.suspend(process, action.seconds):
        world.watch.wait(action.seconds)
        world.loop.call_later(action.seconds, wake)


def _token_dies(kind: Route | None) -> Deed:
    """It expires with the next call or push, or (None) as the feed is told; somebody logs in a little later."""

    def do(world: World, action: Action) -> None:
        gate = world.venue.gate

        def log_in() -> None:
            if gate.expired:
                world.log_in()

        if kind is None:
            gate.expire(-16)
            world.ticks.refuse()
        else:
            code = (-8, -15, -16, -17)[action.number % 4]
            world.venue.server.plan.queue([Fault(kind=FaultKind.EXPIRE_TOKEN, on=kind, code=code)])
        world.loop.call_later(action.seconds + 1, log_in)

    return do


class _Poison(Event):
    """An event that nobody can look at, while faults last: a process that sleeps or waits meets it later."""

    lasts: Callable[[], bool]

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        if self.lasts():
            raise ArithmeticError("a station met what it can't handle")
        return _Poison


def _crash(times: int) -> Deed:
    """A station of the path fails."""

    def do(world: World, action: Action) -> None:
        service, process = world.running(), world.process
        if service is None or process is None:
            return
        actors = service.app.actors
        inbox = actors[action.number % len(actors)].inbox
        for _ in range(times):
            poison = _Poison(lambda: world.loop.time() < HEALED_S)
            world.loop.call_soon(inbox.put, poison, context=process.context())

    return do


def _market(phase: Phase) -> Deed:
    """The whole market is in another phase for a while; after a halt it opens by an auction."""

    def do(world: World, action: Action) -> None:
        venue, loop = world.venue, world.loop
        venue.rule(phase)
        if phase is Phase.HALTED:
            loop.call_later(action.seconds, venue.rule, Phase.PRE_OPEN)
        loop.call_later(action.seconds + (8.0 if phase is Phase.HALTED else 0.0), venue.rule, None)

    return do


def _lock(world: World, action: Action) -> None:
    symbol = world.plan.symbol_of(action)
    world.venue.lock(symbol, (Side.BUY, Side.SELL)[action.number // 2 % 2])
    world.loop.call_later(action.seconds, world.venue.lock, symbol, None)


def _band(world: World, action: Action) -> None:
    world.venue.banded_until = world.loop.time() + action.seconds


def _refuse_cancels(world: World, action: Action) -> None:
    """No order can be taken off any more, until faults stop."""
    world.venue.server.plan.queue([Fault(kind=FaultKind.REJECT, on=Route.CANCEL, times=100_000)])
    world.troubled_until = HEALED_S + SETTLES_S


def _slow_wire(world: World, action: Action) -> None:
    world.network.slowness = 1.0 + action.number % 100
    world.loop.call_later(action.seconds, setattr, world.network, "slowness", 1.0)


def _terminate(world: World, action: Action) -> None:
    if world.process is not None:
        world.loop.terminate(world.process)


def _server_stands(world: World, action: Action) -> None:
    """Who answers at the control API gets no turn, and all else goes on."""
    answers = world.computer.answers
    if answers is not None:
        answers.side.stand(world.loop, min(action.seconds, HEALED_S - world.loop.time()))


_BY_HAND = {"reason": "by hand"}

DEEDS: dict[Do, Deed] = {
    Do.KILL: lambda world, action: world.die(action.number % 60, action.seconds, torn=False),
    Do.POWER_CUT: lambda world, action: world.die(action.number % 60, action.seconds, torn=True),
    Do.TERMINATE: _terminate,
    Do.BLOCK: lambda world, action: world.network.block(action.seconds),
    Do.BLOCK_ANSWERS: lambda world, action: world.network.block(action.seconds, answers_only=True),
    Do.REFUSE: lambda world, action: world.network.refuse(action.seconds),
    Do.CUT: lambda world, action: world.network.cut(),
    Do.SLOW_WIRE: _slow_wire,
    Do.PLACE_LOST: _venue(FaultKind.DROP),
    Do.PLACE_SILENT: _venue(FaultKind.DROP, after=True),
    Do.PLACE_LATE: _venue(FaultKind.LATE),
    Do.PLACE_SLOW: _venue(FaultKind.DELAY, after=True),
    Do.PLACE_BROKEN: _venue(FaultKind.BROKEN),
    Do.PLACE_BROKEN_AFTER: _venue(FaultKind.BROKEN, after=True),
    Do.PLACE_GARBLED: _venue(FaultKind.GARBLED, after=True),
    Do.PLACE_NO_ACK: _venue(FaultKind.NO_ACK, after=True),
    Do.PLACE_REJECTED: _venue(FaultKind.REJECT),
    Do.PLACE_REJECTED_LATER: _venue(FaultKind.REJECT_LATER),
    Do.PLACE_PARTIAL: _venue(FaultKind.PARTIAL),
    Do.CANCEL_LOST: _venue(FaultKind.DROP, Route.CANCEL),
    Do.CANCEL_SILENT: _venue(FaultKind.DROP, Route.CANCEL, after=True),
    Do.BOOK_BROKEN: _venue(FaultKind.BROKEN, Route.ORDERS, times=5),
    Do.BOOK_STALE: _venue(FaultKind.STALE, Route.ORDERS, times=5),
    Do.POSITIONS_BROKEN: _venue(FaultKind.BROKEN, Route.POSITIONS, times=5),
    Do.LIMITED: _venue(FaultKind.LIMITED, Route.ANY),
    Do.PUSH_LOST: _venue(FaultKind.LOSE, Route.PUSH, times=6),
    Do.PUSH_TWICE: _venue(FaultKind.DUPLICATE, Route.PUSH, times=6),
    Do.PUSH_REORDERED: _venue(FaultKind.REORDER, Route.PUSH, times=6),
    Do.PUSH_CUT: _venue(FaultKind.CUT, Route.PUSH),
    Do.PUSH_MUTE: _venue(FaultKind.MUTE, Route.PUSH, times=1),
    Do.TICKS_CUT: lambda world, action: world.ticks.cut(),
    Do.TICKS_MUTE: _until("ticks", "mute_until"),
    Do.TICKS_LATE: _until("ticks", "late_until"),
    Do.TICKS_TWICE: _until("ticks", "repeat_until"),
    Do.TICKS_WRONG: _until("ticks", "wrong_until"),
    Do.TICKS_FROZEN: _freeze,
    Do.DISK_FULL: lambda world, action: world.computer.disk.fail(FULL, action.seconds),
    Do.DISK_LOCKED: lambda world, action: world.computer.disk.fail(LOCKED, action.seconds),
    Do.DISK_BROKEN: lambda world, action: world.computer.disk.fail(BROKEN, action.seconds),
    Do.DISK_SLOW: lambda world, action: world.computer.disk.slow(action.seconds),
    Do.DISK_HANGS: lambda world, action: world.computer.disk.hang(action.seconds),
    Do.THOUGHT_HANGS: _until("computer", "no_thought_until"),
    Do.THOUGHT_SLOW: _until("computer", "slow_thought_until"),
    Do.THOUGHT_RAISES: _until("mood", "raises_until"),
    Do.THOUGHT_JUNK: _until("mood", "junk_until"),
    Do.OWN_RAISES: _own("raises"),
    Do.OWN_ANSWERS: _own("answers"),
    Do.OWN_WILD: _own("wild"),
    Do.OWN_HANGS: _until("computer", "no_thought_until"),
    Do.CLOCK_JUMPS: _jump,
    Do.CLOCK_LEAPS: _leap,
    Do.CLOCK_DRIFTS: _drift,
    Do.CLOCK_SLEEPS: _sleep,
    Do.DISK_FORGETS: lambda world, action: world.computer.forget_from_now_on(action.seconds),
    Do.CANCEL_REFUSED: _refuse_cancels,
    Do.BOOK_LAGS: lambda world, action: world.venue.exchange.past.hold(action.seconds),
    Do.PUSH_ECHO: _venue(FaultKind.ECHO, Route.PUSH, quantity=3),
    Do.TOKEN_DIES: _token_dies(Route.ANY),
    Do.TOKEN_DIES_PUSHING: _token_dies(Route.PUSH),
    Do.TOKEN_DIES_FEEDING: _token_dies(None),
    Do.STATION_CRASHES: _crash(1),
    Do.STATION_CRASHES_AGAIN: _crash(5),
    Do.MARKET_HALTED: _market(Phase.HALTED),
    Do.MARKET_AUCTION: _market(Phase.PRE_OPEN),
    Do.MARKET_PAUSED: _market(Phase.PAUSED),
    Do.MARKET_LOCKED: _lock,
    Do.MARKET_BANDED: _band,
    Do.SQUARED_OFF: lambda world, action: world.venue.square_off(),
    Do.SPLIT: lambda world, action: None,  # a night does it, whatever was done meanwhile
    Do.CHANGE_ELSEWHERE: lambda world, action: world.venue.change(action.number),
    Do.HALT: _command(lambda service, action: Halt(ts=_ts(service), **_BY_HAND), TradingState.HALTED),
    Do.RESUME: _command(lambda service, action: Resume(ts=_ts(service), **_BY_HAND), lifts=True),
    Do.REDUCE: _command(lambda service, action: Reduce(ts=_ts(service), **_BY_HAND), TradingState.REDUCING),
    Do.FLATTEN: _command(lambda service, action: Flatten(ts=_ts(service), **_BY_HAND), TradingState.REDUCING),
    Do.PLACE: _place,
    Do.CANCEL: _cancel,
    Do.SWAP: _command(_swap, swaps=True),
    Do.ROLL_BACK: _roll_back,
    Do.TRADE_ELSEWHERE: lambda world, action: world.venue.trade_elsewhere(
        action.number, world.settings.broker.live.product
    ),
    Do.ASK_HALT: asking("halt"),
    Do.ASK_RESUME: asking("resume"),
    Do.ASK_REDUCE: asking("reduce"),
    Do.ASK_FLATTEN: asking("flatten"),
    Do.ASK_ORDER: _ask_order,
    Do.ASK_CANCEL: _ask_cancel,
    Do.ASK_SWAP: lambda world, action: world.clerk.ask("strategy", action, name=_rung(world, action)),
    Do.ASK_CONFIG: lambda world, action: world.clerk.ask(
        "config", action, changes={MOST_UNITS: _most_units(action, world.file)}
    ),
    Do.ASK_RELOAD: _ask_reload,
    Do.MODEL_LOADED: asking("model", lambda action: {"model": f"/m{action.number % 4}"}),
    Do.MODEL_BACK: asking("model", lambda action: {"model": "previous"}),
    Do.MODEL_REFUSED: _until("mood", "refuses_until"),
    Do.MODEL_HANGS: _until("computer", "no_load_until"),
    Do.CANARY_BEGINS: asking("canary", lambda action: {"do": "begin", "agent": CANDIDATE}),
    Do.CANARY_PROMOTED: asking("canary", lambda action: {"do": "promote"}),
    Do.MIGRATION_ADVANCES: asking("migration/advance", lambda action: {"who": "the operator"}),
    Do.MIGRATION_BACK: asking("migration/rollback", lambda action: {"who": "the operator"}),
    Do.CANARY_ENDS: asking("canary", lambda action: {"do": "rollback"}),
    Do.TAPE_FULL: _until("tapes", "full_until"),
    Do.TAPE_BROKEN: _until("tapes", "broken_until"),
    Do.TAPE_UNCUT: _until("tapes", "uncut_until"),
    Do.TAPE_SLOW: _until("tapes", "slow_until"),
    Do.TAPE_FORGETS: _until("tapes", "forgets_until"),
    Do.FILES_FULL: _until("files", "full_until"),
    Do.FILES_BROKEN: _until("files", "broken_until"),
    Do.FILES_READ_ONLY: _until("files", "read_only_until"),
    Do.FILES_HANG: _until("files", "hangs_until"),
    Do.CONTROL_STANDS: _server_stands,
    Do.CONTROL_CROWD: lambda world, action: world.clerk.crowd(10 + action.number % 30),
    Do.CONTROL_HEARD: lambda world, action: world.listeners.listen(action.seconds),
    Do.CONTROL_LEFT: lambda world, action: world.clerk.leave_next(1 + action.number % 3),
    Do.FILES_FORGET: lambda world, action: world.files.forget_from_now_on(action.seconds),
}
