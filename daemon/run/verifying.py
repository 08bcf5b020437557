"""A journal → whether its decisions can be made again: the recorded events through the recorded settings.

Bars, complexities, positions and swaps are put, in the journal's order, into a fresh `MarketView`; each recorded
decision is then made again at its recorded depth, by the model that was in charge then (`daemon.run.models_of_run`).
Of a run that was shortened, decisions that saw bars from before its present beginning can't be made again; they are
counted. What a shared budget denied is denied again, by the lease in force. Invariant: on the platform that wrote the
journal, with the recorded model, every field but the time and the measured latency must come out bit for bit. Where
nobody asked at once what mattered, `why` is empty and not compared. Of a journal that another version of hrmd wrote,
figures may come out a little otherwise (its arithmetic added up in another order): they are counted, and by how much.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from daemon.core.code import code_sha256
from daemon.core.errors import ArtifactError, CheckFailed, UsageError
from daemon.core.events import (
    CANDIDATE,
    AccountSnapshot,
    Bar,
    CanaryChanged,
    Complexity,
    Decision,
    Event,
    Mitigation,
    MitigationTaken,
    ModelLoaded,
    PositionChanged,
    StrategySwapped,
)
from daemon.journal.reader import JournalReader
from daemon.journal.schema import BEGINS_AT, CANARY, IN_CHARGE
from daemon.market.calendar import MarketCalendar
from daemon.market.calendar_file import CalendarFile
from daemon.market.legs import Legs
from daemon.report.text import ist_second
from daemon.run.candidates_of_run import CandidatesOfRun
from daemon.run.lease_of_run import LENT, LeaseOfRun
from daemon.run.models_of_run import ModelsOfRun
from daemon.settings.renamed import renamed
from daemon.settings.tree import Settings
from daemon.strategy.actor import FLAT
from daemon.strategy.build import view_settings
from daemon.strategy.easing import ease
from daemon.strategy.own import changed_since
from daemon.strategy.seeing import SEEN, see
from daemon.strategy.sharing import Sharing
from daemon.strategy.switching import RUNG
from strategies.base import (
    HUNG,
    SINGLE_CYCLE,
    UNFIT,
    UNTHOUGHT,
    FixedCosts,
    MarketView,
    Moment,
    Renewable,
    Strategy,
    ViewSettings,
    hold,
    model_hash_of,
    unthought,
)

STAMPED = ("ts", "latency_ns")
"""Fields that the run's clock gives, not the strategy."""
FIGURES = (
    "quantity", "share", "confidence", "value", "h_confidence", "l_confidence", "convergence", "q_halt", "q_continue",
    "novelty",
)  # fmt: skip
"""Fields that a network's arithmetic gives."""
NEAR = 0.01
"""How far a figure that another version's arithmetic made may lie from this one's, as a share of it or of one."""


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared."""

    journal: str
    decisions: int
    model: str
    passed_over: int = 0
    """Decisions that can't be made again, for the bars that they saw were deleted with the run's beginning."""
    canary: str = ""
    """Decisions of canaries that can't be made again, how many and why."""
    near: int = 0
    """Decisions of another version of hrmd whose figures this one makes a little otherwise."""
    off_by: float = 0.0
    """By how much at most, as a share of the figure or of one."""


class _Past:
    """What a shortened run no longer tells: a symbol is seen as it was once its windows are full of kept bars.

    A position that was carried over the beginning, or shown at a basis from before it, hides its symbol until it ends.
    """

    def __init__(self, settings: ViewSettings, legs: Legs, *, shortened: bool) -> None:
        self.shortened = shortened
        self._settings = settings
        self._legs = legs
        self._bars: Counter[tuple[str, str]] = Counter()
        self._carried: set[str] = set()

    def see(self, event: Event) -> None:
        """An event that the view is fed with, or the snapshot with which a shortened run begins."""
        if isinstance(event, Bar):
            self._bars[event.symbol, event.interval] += 1
        elif isinstance(event, AccountSnapshot):
            self._carried |= {self._legs.shown(item.symbol) for item in event.holdings if item.quantity}
        elif isinstance(event, PositionChanged) and not event.quantity:
            self._carried.discard(self._legs.shown(event.symbol))
        elif isinstance(event, PositionChanged) and not self._legs.measured(event.symbol):
            self._carried.add(self._legs.shown(event.symbol))

    def hides(self, symbol: str) -> bool:
        """Whether a moment of `symbol` may have been another then."""
        wanted, bars = self._settings, self._bars
        whole = (
            bars[symbol, wanted.interval] >= wanted.window
            and bars[symbol, wanted.coarse_interval] >= wanted.coarse_window
            and symbol not in self._carried
        )
        return self.shortened and not whole


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded decision, the `number`-th of its run, with what was known then and who decided."""

    number: int
    recorded: Decision
    moment: Moment
    strategy: Strategy | None


def verify_journal(path: Path, look: Callable[[Made], None] | None = None) -> Verification:
    """Make the latest run's decisions again. Raises `CheckFailed` at the first difference, or `UsageError`.

    Each is shown to `look` before; what that raises ends it.
    """
    reader = JournalReader(path)
    metadata = reader.metadata()
    try:
        settings = Settings(**renamed(msgspec.json.decode(metadata.get("settings", "")), "the journal"))
    except (ValidationError, msgspec.DecodeError, TypeError, RecursionError):
        raise UsageError(
            f"{path}: its settings are not those of this version of hrmd ({metadata.get('version')})"
        ) from None
    models = ModelsOfRun(settings, metadata, path)
    lent = LeaseOfRun(path, known=BEGINS_AT not in metadata)
    candidates, sharing = CandidatesOfRun(settings, models), Sharing(settings.strategy.name)
    strategies = models.strategies
    seen = view_settings(settings)
    view, legs = MarketView(seen, MarketCalendar(_calendar_file(metadata, path))), Legs(_legs(metadata, path))
    past = _Past(seen, legs, shortened=BEGINS_AT in metadata)
    active: str = metadata.get(IN_CHARGE, settings.strategy.name)
    asked: dict[tuple[str, int], tuple[Moment, str]] = {}
    hidden: set[tuple[str, int]] = set()
    count = passed_over = near = 0
    other_code, off_by = metadata.get("code") != code_sha256(), 0.0
    if CANARY in metadata:
        said = _canary(metadata[CANARY], path)
        sharing.follow(said)
        candidates.follow(said)
    kinds: tuple[type[Event], ...] = (
        *SEEN, Complexity, StrategySwapped, Decision, ModelLoaded, MitigationTaken, CanaryChanged,
    )  # fmt: skip
    if settings.risk.budget.url is not None:
        kinds = (*kinds, *LENT)
    for event in reader.events(*kinds, *((AccountSnapshot,) if past.shortened else ())):
        past.see(event)
        lent.see(event)
        if isinstance(event, AccountSnapshot):
            view.restore_sessions(event.sessions)
        if see(event, view, legs):
            continue
        if isinstance(event, StrategySwapped):
            active = event.new
            if active in strategies:
                ease(strategies[active], Mitigation.CLEAR_CACHES)
        elif isinstance(event, MitigationTaken):
            _mitigate(strategies, event)
        elif isinstance(event, ModelLoaded):
            models.on_loaded(event)
        elif isinstance(event, CanaryChanged):
            sharing.follow(event)
            candidates.follow(event)
        elif isinstance(event, Complexity) and not legs.holds(event.symbol):
            if past.hides(event.symbol):
                hidden.add((event.symbol, event.ts))
            else:
                asked[event.symbol, event.ts] = (_moment(view, event, path), sharing.decider(event.symbol, active))
        elif isinstance(event, Decision) and (event.symbol, event.ts_bar) in hidden:
            hidden.discard((event.symbol, event.ts_bar))
            passed_over += 1
        elif isinstance(event, Decision):
            moment, name = _asked(asked, event, path)
            name = _decider(name, event, path)
            if name in candidates.missing:
                candidates.skipped[name] += 1
                continue
            if not name.startswith(CANDIDATE):
                models.turn_to(event)
            if name in models.missing:
                raise ArtifactError(f"{path}: {name} decided, and can't be built: {models.missing[name]}")
            if name == RUNG and models.gone:
                raise CheckFailed(
                    f"{path}: {count} decisions made again, all equal; from decision {count + 1} "
                    f"({_bar(event)}) on they can't be: {models.gone}"
                )
            strategy = strategies.get(name)
            if changed := changed_since(strategy, event.model_hash):
                raise CheckFailed(f"{path}: decision {count + 1} ({_bar(event)}): {changed}")
            if look is not None:
                look(Made(number=count + 1, recorded=event, moment=moment, strategy=strategy))
            off = _compare(event, _decide_again(strategy, moment, event), count, path, NEAR if other_code else 0.0)
            near, off_by = near + (off > 0), max(off_by, off)
            if event.halt_reason in (HUNG, UNFIT) and isinstance(strategy, Renewable):
                strategies[name] = strategy.renewed()
            count += 1
    reader.close()
    return Verification(
        journal=str(path), decisions=count, model=metadata.get("model", ""), passed_over=passed_over,
        canary=candidates.said, near=near, off_by=off_by,
    )  # fmt: skip


def _decider(asked: str, decision: Decision, path: Path) -> str:
    """Who decided: who was asked, or the one in charge where the candidate's share ended meanwhile."""
    if decision.strategy.startswith(CANDIDATE) and asked != decision.strategy:
        why = f"{decision.strategy} decided, and it was {asked}'s to decide"
        raise CheckFailed(f"{path}: {_bar(decision)}: {why}: the journal was altered")
    return decision.strategy if asked.startswith(CANDIDATE) else asked


def _canary(body: str, path: Path) -> CanaryChanged:
    try:
        return msgspec.json.decode(body, type=CanaryChanged)
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: the canary that it begins with can't be read ({error})") from None


def _mitigate(strategies: dict[str, Strategy], event: MitigationTaken) -> None:
    """What it remembers is gone; how deep it thought is in its decisions."""
    strategy = strategies.get(event.strategy)
    if event.step is Mitigation.RENEW and isinstance(strategy, Renewable):
        strategies[event.strategy] = strategy.renewed()
    elif event.step is Mitigation.CLEAR_CACHES and strategy is not None:
        ease(strategy, event.step)


def _calendar_file(metadata: dict[str, str], path: Path) -> CalendarFile:
    """What lay over the shipped calendar in the run, whatever its file says by now."""
    try:
        return msgspec.json.decode(metadata.get("calendar", "{}"), type=CalendarFile)
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: its calendar can't be read ({error})") from None


def _moment(view: MarketView, complexity: Complexity, path: Path) -> Moment:
    try:
        return view.moment(complexity)
    except KeyError:
        why = f"{complexity.symbol} at {ist_second(complexity.ts)}: asked about before any bar of it"
        raise CheckFailed(f"{path}: {why}: the journal was altered") from None


def _legs(metadata: dict[str, str], path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(metadata.get("legs", "{}"), type=dict[str, str])
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: its legs can't be read ({error})") from None


def _asked(asked: dict[tuple[str, int], tuple[Moment, str]], decision: Decision, path: Path) -> tuple[Moment, str]:
    """The moment that a decision answers; those of earlier bars were never answered (a crash, a newer bar)."""
    found = asked.pop((decision.symbol, decision.ts_bar), None)
    if found is not None:
        for earlier in [key for key in asked if key[1] < decision.ts_bar]:
            del asked[earlier]
        return found
    raise CheckFailed(f"{path}: {_bar(decision)}: a decision that no bar asked for")


def _decide_again(strategy: Strategy | None, moment: Moment, recorded: Decision) -> Decision:
    if strategy is None:
        return hold(moment, FLAT, "no strategy is in charge")
    if recorded.halt_reason in UNTHOUGHT:  # machine and clock decided it: what it says of the market is compared
        return unthought(
            moment, strategy.name, recorded.halt_reason, recorded.reason, failed=recorded.failed,
            model_hash=model_hash_of(strategy),
        )  # fmt: skip
    if recorded.cost_bp:
        moment = msgspec.structs.replace(moment, costs=FixedCosts(recorded.cost_bp))
    decide_at = getattr(strategy, "decide_at", None)
    if decide_at is not None and recorded.segments:
        single_cycle = recorded.halt_reason == SINGLE_CYCLE
        decision: Decision = decide_at(moment, recorded.segments, single_cycle=single_cycle)
        if recorded.min_segments > decision.min_segments == getattr(strategy, "depth", 0):
            # of a journal from before depth was held to that of the model's training
            decision = msgspec.structs.replace(decision, min_segments=recorded.min_segments)
        return msgspec.structs.replace(decision, halt_reason=recorded.halt_reason, reason=recorded.reason)
    return strategy.decide(moment)


def _compare(recorded: Decision, again: Decision, number: int, path: Path, near: float) -> float:
    """How far the figures are from each other at most. Raises `CheckFailed` where it is more than `near`."""
    furthest = 0.0
    for field in recorded.__struct_fields__:
        if field in STAMPED:
            continue
        was, now = getattr(recorded, field), getattr(again, field)
        if field in ("why", "share") and not was:  # asked by nobody, or of a journal from before there was one
            continue
        off = _off(was, now, field)
        if off > near:
            raise CheckFailed(
                f"{path}: decision {number + 1} ({_bar(recorded)}): {field} was {_said(was)}, is now {_said(now)}"
            )
        furthest = max(furthest, off)
    return furthest


def _off(was: Any, now: Any, field: str) -> float:
    """How far apart two values are, as a share; infinite for what no network works out, and where one is no number."""
    if was == now:
        return 0.0
    if field not in FIGURES or not (math.isfinite(was) and math.isfinite(now)):
        return math.inf
    return float(abs(was - now) / max(abs(was), 1.0))


def _bar(decision: Decision) -> str:
    """Of which symbol, and when the bar closed that it was made on."""
    return f"{decision.symbol}, bar that closed {ist_second(decision.ts_bar)}"


def _said(value: object) -> str:
    """A member of an enumeration by its name, as the journal's readers know it."""
    return value.name if isinstance(value, Enum) else repr(value)
