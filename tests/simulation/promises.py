"""What must be so in every second of a session, long after the last fault, and when all is over.

Looked at from outside: in the venue's book, in what the daemon says of itself, in the journal that it left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from daemon.calls.call_record import CallRecord
from daemon.core.events import PROTECTION, CanaryState, MigrationStage, TradingState
from daemon.orders.book import OrderState
from daemon.recovery.account import recover
from daemon.sandbox.exchange import Status
from daemon.sandbox.faults import Route
from daemon.supervision.migration import ON_TRIAL, Owed
from strategies.base import model_hash_of
from tests.simulation.brains import CANDIDATE
from tests.simulation.record import journaled
from tests.simulation.settings import MAX_GROSS, MAX_POSITION

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.run.service import Service
    from tests.simulation.world import World

UNANSWERED_S = 8.0
"""A disk that has given no answer for so long has been noticed."""
SETTLES_S = 8.0
"""After a fault, or a command, the venue's book follows within so long."""
DRIFT = 1.02
"""So far prices may carry a notional beyond what was allowed when it was entered."""
NEVER_LEFT = (OrderState.INTENT, OrderState.APPROVED, OrderState.SENT)
HANGS = ("wire.", "process.", "clock.")
"""After one of these a call may be counted in another second than that in which it was sent."""


def always(world: World) -> None:
    """Every second."""
    watch, service = world.watch, world.running()
    world.recorded.always(world)
    if service is not None and service.app.desk.open:
        watch.overdue(service.app.strategy.superseded)
        _lost_cancellations_are_a_fault(world)
        _entries_are_taken_off(world)
        _what_is_cancelled_is_taken_off(world)
        held_s = max((hand.held_s for hand in world.computer.hands), default=0.0)
        awake = world.process is not None and not world.process.asleep  # who sleeps neither halts nor trades
        if held_s > UNANSWERED_S and awake and watch.state is TradingState.ACTIVE:
            watch.breaks("who can't write doesn't trade", f"the journal's disk has hung for {held_s:.0f} s")
        active, must = service.app.supervisor.ladder.active, watch.must_decide
        if must not in (None, active):
            watch.breaks("who was put in charge decides", f"{must} was put in charge, and {active} decides")
    venue, gross = world.venue, 0.0
    for symbol in world.plan.symbols:
        net = venue.exchange.ledger.net(symbol)
        gross += max(0, abs(net) - venue.foreign) * float(venue.price(symbol))
        if abs(net) > MAX_POSITION + venue.foreign:
            watch.breaks("limits hold", f"{net} {symbol} held, {MAX_POSITION} allowed")
    if gross > MAX_GROSS * DRIFT:
        watch.breaks("limits hold", f"positions of {gross:.0f} rupees held, {MAX_GROSS} allowed")


def _lost_cancellations_are_a_fault(world: World) -> None:
    """It is felt when one is spoilt, which may be long after the plan has it."""
    left, before = world.venue.server.plan.waiting(Route.CANCEL), world.cancels_to_spoil
    if left < before:
        world.troubled_until = max(world.troubled_until, world.loop.time() + SETTLES_S)
    world.cancels_to_spoil = left


def _entries_are_taken_off(world: World) -> None:
    """Nothing that opens a position works at the venue while trading is halted or reducing, in quiet times."""
    watch, now = world.watch, world.loop.time()
    if world.venue.gate.expired:  # nobody is let in who would take them off
        world.troubled_until = max(world.troubled_until, now + SETTLES_S)
    quiet_s = now - max(world.troubled_until, watch.state_s)
    if watch.state is TradingState.ACTIVE or quiet_s < 0 or now - watch.state_s < SETTLES_S:
        return
    exchange = world.venue.exchange
    for order in exchange.orders.values():
        intent = watch.intents.get(order.wanted.tag)
        if order.status is not Status.PENDING or intent is None or intent.reduces:
            continue
        closes = max(0, -intent.side.sign * exchange.ledger.net(intent.symbol))
        if order.remaining > closes:  # by now it may close what it was not made to close, and may then stay
            watch.breaks("entries are taken off", f"{intent.order_id} works while {watch.state}")


def _what_is_cancelled_is_taken_off(world: World) -> None:
    """In quiet times, whatever it was made for, and counted from when the venue has it."""
    watch, now = world.watch, world.loop.time()
    for order in world.venue.exchange.orders.values():
        wanted_s = watch.cancelled.get(order.wanted.tag)
        if wanted_s is None or order.status is not Status.PENDING:
            continue
        wanted_s = max(wanted_s, world.works_since.setdefault(order.wanted.tag, now))  # it may come late
        if now > max(wanted_s + SETTLES_S, world.troubled_until):
            told = f"{order.wanted.tag} still works {now - wanted_s:.0f} s later"
            watch.breaks("what is cancelled is taken off", told)


def at_its_end(world: World, service: Service) -> None:
    """A daemon that says that it ended well has left nothing of its own to work, but what protects a position."""
    watch = world.watch
    for symbol in world.plan.symbols:
        bare = _bare(world, service, symbol)
        if bare and not _leaves_alone(service, symbol):
            watch.breaks("an end leaves no position without its stop", bare)
    if not world.settings.execution.cancel_on_shutdown:
        return
    for order in world.venue.exchange.orders.values():
        intent = None if order.wanted.tag in world.forgotten else watch.intents.get(order.wanted.tag)
        if order.status is Status.PENDING and intent is not None and intent.strategy != PROTECTION:
            watch.breaks(
                "an end leaves nothing of ours to work", f"{order.wanted.tag} works, and nothing was said of it"
            )


def _leaves_alone(service: Service, symbol: str) -> bool:
    """Whether nothing is placed of a symbol now, or it is to be closed; nothing trades outside a session."""
    risk, now = service.app.risk, service.app.plan.clock.now_ns()
    forbidden = not risk._exits_pass or symbol in risk.book.unsettled or bool(risk.book.halted)
    return forbidden or not risk._in_session(now) or bool(risk._why_closing(symbol, now))


def unquiet(world: World) -> Iterator[tuple[str, str]]:
    """What isn't yet as it must be once all is quiet: the promise, and what is wrong."""
    standing, service = world.standing(), world.running()
    health = [] if service is None else service.view.health().reasons
    if service is None or not standing.startswith("active:"):
        yield "it trades again", f"it is {standing}: {health}"
        return
    if world.stage.ends_s:
        yield from _over(world)
    elif not standing.endswith(":fresh"):
        yield "it trades again", f"its feed is stale: {health}"
    elif not world.watch.decided_since(world.healed_at):
        yield "it trades again", f"nothing was decided since the last fault: {health}"
    yield from _ours_are_the_venues(world, service)


def _over(world: World) -> Iterator[tuple[str, str]]:
    """After the close nothing works any more."""
    pending = [it.order_id for it in world.venue.exchange.orders.values() if it.status is Status.PENDING]
    if pending:
        yield "the day ends", f"{pending} work after the close"


def _ours_are_the_venues(world: World, service: Service) -> Iterator[tuple[str, str]]:
    app, watch, ledger = service.app, world.watch, world.venue.exchange.ledger
    working = app.orders.working.values()
    doubtful = [it.intent.order_id for it in working if it.state is OrderState.UNKNOWN]
    stuck = [it.intent.order_id for it in working if it.state in NEVER_LEFT]
    if stuck:
        yield "every order comes to an end", f"{stuck} neither left nor was written off"
    if doubtful or app.risk.book.unknown:
        yield "what is unknown is found out", f"{doubtful} {app.risk.book.unknown}"
    ours = {item.symbol: item.quantity for item in app.portfolio.portfolio.positions() if item.quantity}
    if ours != watch.summed():
        yield "a position is the sum of its fills", f"{ours} held, fills make {watch.summed()}"
    venues = {symbol: net for symbol in world.plan.symbols if (net := ledger.net(symbol))}
    if ours != venues:
        yield "ours is the venue's", f"positions: we say {ours}, the venue {venues}"
    runs, canary = app.canary.running is not None, watch.canary
    if runs is not (canary is not None and canary.state is CanaryState.RUNNING):
        yield "a canary runs until it was ended", f"running: {runs}, and the newest word is {canary}"
    yield from _succession(world, app)
    if app.risk.book.halted:
        yield "it trades again", f"symbols are stopped: {dict(app.risk.book.halted)}"
    yield from _protected(world, service)
    if app.risk.closing.owed.of and not world.stage.ends_s:
        yield "an exit that has to wait is done", f"{list(app.risk.closing.owed.of.values())} are owed"
    cash, theirs = (
        app.portfolio.portfolio.cash,
        round(ledger.cash - world.venue.paid, 6),
    )  # a part of a share has no end of digits
    if ours == venues and cash != theirs:
        yield "ours is the venue's", f"cash: we say {cash}, the venue {theirs}"


def _protected(world: World, service: Service) -> Iterator[tuple[str, str]]:
    """A stop for all that is to have one, and none, and no target, without a position or for more of it."""
    for symbol in world.plan.symbols:
        net, legs, _ = _at_the_venue(world, symbol)
        if legs["wrong"] or max(legs.values(), default=0) > abs(net):
            yield "no stop without its position", f"{symbol}: {net} held, {dict(legs)} at the venue"
        elif bare := _bare(world, service, symbol):
            yield "no position without its stop", bare


def _bare(world: World, service: Service, symbol: str) -> str:
    """What of a symbol is to have a stop, and has none at the venue, "" for nothing."""
    bracket = service.app.risk.book.brackets.of.get(symbol)
    net, legs, others = _at_the_venue(world, symbol)
    stops = bracket is not None and bracket.stop is not None and not bracket.stray and not world.stage.ends_s
    if not stops or legs["stop"] >= abs(net) - others:
        return ""
    return f"{symbol}: {net} held, {others} closing, {dict(legs)}, {bracket}"


def _at_the_venue(world: World, symbol: str) -> tuple[int, Counter[str], int]:
    """What is held (signed), what stops and targets of ours are for, and what all others would close."""
    exchange = world.venue.exchange
    net, legs, others = exchange.ledger.net(symbol), Counter[str](), 0
    for order in exchange.orders.values():
        if order.status is not Status.PENDING or order.wanted.symbol != symbol:
            continue
        intent = world.watch.intents.get(order.wanted.tag)
        closes = net * order.wanted.side.sign < 0
        if intent is not None and intent.strategy == PROTECTION:
            legs[intent.reason if closes else "wrong"] += order.remaining
        elif closes:
            others += order.remaining
    return net, legs, others


def _succession(world: World, app: App) -> Iterator[tuple[str, str]]:
    """The migration stands where its newest step left it, and what that asks for was given."""
    if app.migration is None or not world.plan.has("migration."):
        return
    migration, moved = app.migration.migration, world.watch.moved
    stage = moved.stage if moved is not None else world.plan.migration
    if migration.stage is not stage:
        yield "a migration stands where its newest step left it", f"{migration.stage}, the newest step is to {stage}"
    sound = not world.plan.has("model.refused", "model.hangs")
    answered = migration.refused or (not sound and migration.owed in (Owed.ASKED, Owed.PROMOTE))
    if migration.owed is not Owed.NOTHING and not answered:
        yield "what a step asks for is given", f"{migration.owed} is owed in stage {stage}"
    newest, restores = app.strategy.succession.newest("hrm"), world.watch.wished.startswith("migration-")
    restores = restores and stage not in ON_TRIAL  # or the wish was lost with its life
    if restores and sound and moved is not None and model_hash_of(newest) != moved.former.model_hash:
        yield (
            "who was in charge before is so again",
            f"{model_hash_of(newest)} decides, it was {moved.former.model_hash}",
        )
    others = world.plan.has("model.") or world.watch.gave_way == CANDIDATE
    if stage is MigrationStage.FULL and moved is not None and not others and model_hash_of(newest) != CANDIDATE:
        yield "who has come to full decides everything", f"{model_hash_of(newest)} decides"
    canary = world.watch.canary if app.canary.running is not None else None
    back = moved is not None and moved.before in ON_TRIAL and stage not in ON_TRIAL
    if moved is not None and back and canary is not None and canary.began_ts <= moved.ts:
        yield "a candidate that went back decides nothing", f"its canary runs in stage {stage}"  # one by hand may


def on_record(world: World, told: Any) -> None:
    """The journal tells the account as the daemon had it, and holds every fill once."""
    account = recover(world.computer.journal, world.settings.broker.live.starting_cash)
    assert account is not None, "it was journaled"
    positions = {it.symbol: it.quantity for it in account.portfolio.positions() if it.quantity}
    for name, ours, again in (
        ("positions", {it.symbol: it.quantity for it in told.holdings if it.quantity}, positions),
        ("cash", told.cash, account.portfolio.cash),
        ("owed exits", told.owed, tuple(account.owed.values())),
    ):
        if ours != again:
            world.watch.breaks("the journal tells the same account", f"{name}: {ours} in memory, {again} on record")


def past_calls(world: World) -> None:
    """Every call of every life is in the file of past calls, as far as nothing befell that and its day is one."""
    ends, stage, plan = world.ends, world.stage, world.plan
    if ends["torn"] or stage.off_s is not None or plan.has("files.", "clock.", "disk.hangs"):
        return
    record = CallRecord(world.settings.broker.fyers.calls_file, 1)
    with record.shared(world.computer.clocks.monotonic_ns()) as calls:
        used = calls.used
    record.close()
    if used < world.venue.server.meter.total:
        told = f"{used} are on record, the venue had {world.venue.server.meter.total}"
        world.watch.breaks("calls are counted over restarts", told)


def at_the_venue(world: World) -> None:
    """Nothing at the venue that the journal doesn't know, and nothing twice."""
    watch, server = world.watch, world.venue.server
    intents = journaled(world.computer.journal, "OrderIntent", "order_id")
    for order_id in sorted(it for it, count in intents.items() if count > 1):
        watch.breaks("no order twice", f"{order_id} is in the journal {intents[order_id]} times")
    tags: Counter[str] = Counter(order.wanted.tag for order in world.venue.exchange.orders.values())
    for tag, count in tags.items():
        if tag and count > 1:
            watch.breaks("no order twice", f"{tag} stands in the venue's book {count} times")
        intent = watch.intents.get(tag)
        if tag in world.forgotten or (intent is not None and intent.reduces):
            continue  # where the journal can't be written exits leave all the same
        if tag and tag not in intents:
            watch.breaks("an intent before its order", f"{tag} is at the venue and not in the journal")
    for kind in sorted({kind for kind, _ in watch.answered} if not world.ends["forgot"] else ()):
        written = journaled(world.computer.journal, kind, "reason")
        lost = sorted(reason for it, reason in watch.answered if it == kind and reason not in written)
        if lost:
            watch.breaks("what was answered is on record", f"{kind} {', '.join(lost)} isn't")
    if server.meter.refused and not any(it.do.startswith(HANGS) for it in world.plan.actions):
        watch.breaks("the venue's rate limits hold", f"{server.meter.refused} calls were refused")
