"""A run's events, as they come or out of its journal → its `ReplaySummary` and what its page shows.

Invariant: the same events in the same order give the same summary, whoever tells them: a replay while it plays, or the
journal that it wrote.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from daemon.core.clock import NS_PER_MS, india_day
from daemon.core.events import (
    Bar,
    Decision,
    Event,
    Fill,
    Halt,
    PriceAdjusted,
    PriceJumped,
    RunCounted,
    SymbolHalted,
)
from daemon.market.calendar import CalendarRangeError, MarketCalendar, ist_date
from daemon.market.instruments import Kind
from daemon.market.symbol_files import needs_master
from daemon.portfolio.book import Portfolio
from daemon.portfolio.curve import CURVED, EquityCurve, Point
from daemon.report.page import Shown
from daemon.report.performance import Span
from daemon.report.side_by_side import ShadowRow
from daemon.report.summary import EquityPoint, ReplaySummary, Run, TickCounts
from daemon.report.tally import TALLIED, Tally
from daemon.report.text import counted, ist, rupees, whole
from daemon.report.trades import Trade
from daemon.run.holes import Holes
from daemon.run.tape_notes import (
    absent,
    ahead_of_receipt,
    lots_changed,
    made_of_bars,
    no_totals,
    not_chosen,
    out_of_order,
    outside,
    stands_still,
)
from daemon.run.thin import ThinBars
from daemon.settings.orders import PaperSettings
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from daemon.strategy.openings import opens_nothing
from daemon.tape.bar_ticks import DAILY

_SAID: tuple[type[Event], ...] = (PriceAdjusted, PriceJumped, SymbolHalted, Halt, RunCounted)
CHRONICLED: tuple[type[Event], ...] = tuple(dict.fromkeys((*TALLIED, *CURVED, *_SAID)))
"""The events that a chronicle is made of."""


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run before its first tick."""

    tapes: list[str]
    symbols: list[str]
    model: str
    simulated: bool
    latency: str
    order_delay_ns: int = 0
    """What an injected latency adds from a decision to the market."""
    made_of: str = ""
    """The interval of the bars of which the tapes are made; "" for ticks."""
    received: bool = False
    """Whether times of receipt were recorded."""
    instruments: dict[str, tuple[Kind, bool]] = {}
    """Of each symbol its kind and whether it is traded."""
    untried: str = ""
    """What must be said of a model that knows simulated markets alone, on real ticks."""
    twice_told: str = ""
    """What must be said of tapes that tell of the same symbols at the same time."""
    idle: list[str] = []
    """What must be said of limits, freeze quantities and corporate actions that held for nothing."""
    learned: tuple[str, str] | None = None
    """First and last recorded day that its model learned from; None where it did of none, or of other ticks."""
    depth: int | None = None
    """Segments that a decision of the HRM took at most; None where nobody said."""

    def kind_of(self, symbol: str) -> Kind | None:
        """None where nobody said."""
        found = self.instruments.get(symbol)
        return found[0] if found is not None else None


class _Decider(msgspec.Struct):
    """A strategy: when the first bar closed on which it decided (UTC ns), and how many decisions it made."""

    first_ts: int
    decisions: int = 0


class Chronicle:
    """Tell it everything of `CHRONICLED` in order, then ask."""

    def __init__(
        self, settings: Settings, calendar: MarketCalendar, described: Described, portfolio: Portfolio, *, keep: bool
    ) -> None:
        """`portfolio` as the run found it, which moves from here on; `keep`: what the page shows besides figures."""
        self.tally = Tally(described.kind_of)
        self.described = described
        self.notes: list[str] = []
        """Said after the others."""
        self._settings, self._calendar, self._keep = settings, calendar, keep
        self._curve = EquityCurve(portfolio, settings.strategy.interval, by_bar=keep)
        self._shown = Shown()
        self._holes = Holes(settings.strategy.interval, calendar)
        self._thin = ThinBars()
        self._sessions: dict[dt.date, Span] = {}
        self._counted: list[RunCounted] = []
        self._bars = self._bars_before = 0
        """Heard since the newest count of a run's, and of what came before that."""
        self._bars_of_volume = self._without_volume = 0
        """Bars of what has a volume, and those of them in which the price moved and it didn't."""
        self._day = -1
        """Of the newest bar, so that each session is looked up once."""
        self._actions: list[str] = []
        self._unlike = 0
        self._deciders: dict[str, _Decider] = {}
        self._interrupted = ""
        self._stopped_ts = 0
        """When it was stopped, 0 where it went on after that."""
        self._last_close_ts = 0
        for held in portfolio.positions():
            if held.quantity:
                self.tally.carry(held.symbol, held.quantity, held.average_price, held.mark, held.opened_ts)
                self.notes.append(f"carried in: {held.quantity} {held.symbol} at {held.average_price:,.2f} on average")

    def record(self, event: Event) -> None:
        """Take an event."""
        self.tally.record(event)
        self._curve.record(event)
        if isinstance(event, Bar):
            self._on_bar(event)
        elif isinstance(event, Decision):
            self._unlike += event.novelty > 1.0
            self._deciders.setdefault(event.strategy, _Decider(event.ts_bar)).decisions += 1
            if self._keep:
                self._shown.decisions.append(event)
        elif isinstance(event, Fill):
            if self.described.kind_of(event.symbol) is not Kind.INDEX:
                self._thin.fill(event)
            if self._keep:
                self._shown.fills.append(event)
        elif isinstance(event, PriceAdjusted | PriceJumped):
            self._actions.append(event.words)
            self._actions += _unbooked(event, self._curve.portfolio)
            if self._keep and isinstance(event, PriceAdjusted):
                self._shown.adjusted.append(event)
        elif isinstance(event, SymbolHalted) and event.overnight:
            self._actions.append(f"{event.symbol}: {event.reason}")
        elif isinstance(event, Halt) and event.shutdown:
            self._interrupted, self._stopped_ts = event.reason, event.ts
        elif isinstance(event, RunCounted):
            self._counted.append(event)
            self._bars_before += max(event.bars, self._bars)  # a run that wasn't counted may have told the more of them
            self._bars = 0

    def _on_bar(self, bar: Bar) -> None:
        self._bars += 1
        self._last_close_ts = max(self._last_close_ts, bar.ts_close)
        if bar.ts_close > self._stopped_ts:
            self._stopped_ts = 0
        if bar.interval != self._settings.strategy.interval:
            return
        if self._keep:
            self._shown.bars.append(bar)
        self._thin.bar(bar)
        if bar.volume >= 0 and self.described.kind_of(bar.symbol) is not Kind.INDEX:
            self._bars_of_volume += 1
            self._without_volume += bar.volume == 0 and bar.high > bar.low
        day = india_day(bar.ts_open)
        self._holes.record(bar)
        if day == self._day:
            return
        self._day, date = day, ist_date(bar.ts_open)
        if date not in self._sessions:
            try:
                session = self._calendar.session(date)
            except CalendarRangeError:
                session = None
            if session is not None:
                self._sessions[date] = session.open_ns, session.close_ns

    def summary(self, wall_s: float) -> ReplaySummary:
        """What it came to; `wall_s` is what the machine needed, 0 where nobody measured it."""
        described, settings = self.described, self._settings
        ticks, shadow = self._ticks(), self._shadow()
        run = Run(
            tapes=described.tapes,
            symbols=described.symbols,
            strategy=settings.strategy.name,
            interval=settings.strategy.interval,
            model=described.model,
            simulated=described.simulated,
            latency=described.latency,
            starting_equity=self._curve.starting,
            max_segments=self._depth(),
            notes=self._notes(ticks),
        )
        equity = [EquityPoint(ts, value) for ts, value in self._curve.by_session()]
        held = {item.symbol: item.mark for item in self._curve.portfolio.positions() if item.quantity}
        ruin = self._curve.ruin
        ruined_ts = None if ruin is None else ruin[0]
        summary = self.tally.summary(run, ticks, equity, self._spans(), wall_s, held, ruined_ts)
        deciders = {name: one.decisions for name, one in self._deciders.items()}
        return msgspec.structs.replace(summary, shadow=shadow, bars=self._bars_before + self._bars, deciders=deciders)

    def _depth(self) -> int:
        if "hrm" not in (self._settings.strategy.name, *self._deciders):
            return 0
        return self.described.depth or self._settings.hierarchical_reasoning_model.max_segments

    def shown(self) -> Shown:
        """What the page shows besides the summary's figures; empty unless it was to be kept."""
        equity = [EquityPoint(ts, value) for ts, value in self._curve.by_bar]
        trades = [*self.tally.trades, *self.tally.open_trades]
        return msgspec.structs.replace(self._shown, equity=equity, trades=trades)

    def _spans(self) -> list[Span]:
        """Of what was played: to where it was stopped, or as far as is known of a run that didn't end in order."""
        told = sorted({span for one in self._counted for span in one.sessions}) or sorted(self._sessions.values())
        until = self._stopped_ts if self._counted else self._last_close_ts
        return [(start, min(end, until)) for start, end in told if start < until] if until else told

    def _gaps(self, spans: list[Span]) -> str:
        """What has to be said of sessions between those that were played."""
        return absent(len(spans), len(self._calendar.sessions_between(spans[0][0], spans[-1][0]))) if spans else ""

    def _ticks(self) -> TickCounts:
        """Of all processes that ended in order; the others took their counts with them."""
        rejected: dict[str, int] = {}
        for one in self._counted:
            for reason, count in one.rejected.items():
                rejected[reason] = rejected.get(reason, 0) + count
        firsts = [one.first_ts for one in self._counted if one.first_ts is not None]
        lasts = [one.last_ts for one in self._counted if one.last_ts is not None]
        if not self._counted and self._curve.by_session():
            firsts = [min(span[0] for span in self._sessions.values())] if self._sessions else []
            lasts = [self._curve.by_session()[-1][0]]
        return TickCounts(
            accepted=sum(one.accepted for one in self._counted),
            rejected=rejected,
            repaired=sum(one.repaired for one in self._counted),
            first_ts=min(firsts, default=None),
            last_ts=max(lasts, default=None),
        )

    def _shadow(self) -> list[ShadowRow]:
        """Of the latest process: each begins its shadows anew."""
        return msgspec.convert(list(self._counted[-1].shadow), list[ShadowRow]) if self._counted else []

    def _notes(self, ticks: TickCounts) -> list[str]:
        described, settings = self.described, self._settings
        late = out_of_order(ticks, [Path(tape) for tape in described.tapes], described.received, settings.bars.grace_ms)
        delay_ns = settings.bars.grace_ms * NS_PER_MS + described.order_delay_ns
        dropped = _not_built(settings.bars.intervals, described.made_of)
        spans = self._spans()
        doubts = self._calendar.doubts(ist_date(open_ns) for open_ns, _ in spans)
        made = made_of_bars(described.made_of, dropped, delay_ns)
        chosen = not_chosen(settings.feed, described.symbols) if described.tapes else ""
        ahead = ahead_of_receipt(ticks) if described.received else ""
        gaps = self._gaps(spans) if described.tapes else ""
        totals = no_totals(ticks) or stands_still(self._without_volume, self._bars_of_volume)
        said = (
            opens_nothing(settings), described.untried, _known(described, spans),
            described.twice_told, made, chosen, late, totals, outside(ticks), ahead, gaps,
            self._holes.words() if described.tapes else "", self._thin.words(), self.tally.wanted_nothing(),
            _kinder(settings.broker.paper) if described.tapes or settings.broker.on_paper else "",
        )  # fmt: skip
        notes = [*_of_others(settings.strategy.name, self._deciders), *(note for note in said if note)]
        notes += [*doubts, *described.idle, *self._actions]
        derived = [it for it in described.symbols if described.kind_of(it) not in (None, Kind.EQUITY)]
        if described.tapes and derived and not needs_master(settings):
            notes += lots_changed(settings.market, derived, [ist_date(open_ns) for open_ns, _ in spans])
        if self._unlike:
            were = "decision was" if self._unlike == 1 else "decisions were"
            notes.append(
                f"{self._unlike} {were} in a market unlike those that the model knows: it opened nothing there"
            )
        notes += _of_indices(described.symbols, described.instruments)
        portfolio = self._curve.portfolio
        unsettled = portfolio.unsettled
        held = [it.symbol for it in portfolio.positions() if it.quantity and it.symbol not in unsettled]
        if held:
            notes.append(f"still held at the end, valued at the last bar: {', '.join(held)}")
        if unsettled:
            notes.append(f"still held at the end, valued as before the night in doubt: {', '.join(unsettled)}")
        notes += _over_a_night([*self.tally.trades, *self.tally.open_trades], described)
        notes += _ruined(self._curve.ruin)
        if self._interrupted and described.tapes:
            notes.append(f"{self._interrupted}: the tape was not played to its end")
        return [*notes, *self.notes]


def _of_others(name: str, deciders: Mapping[str, _Decider]) -> list[str]:
    """What other strategies than the one that was asked for decided: the result isn't that one's alone."""
    others = {other: one for other, one in deciders.items() if other != name}
    if not others:
        return []
    made = sum(one.decisions for one in others.values())
    total = sum(one.decisions for one in deciders.values())
    told = ", ".join(f"{other} {whole(one.decisions)} from {ist(one.first_ts):%Y-%m-%d %H:%M} on" for other, one in
                     others.items())  # fmt: skip
    return [f"{whole(made)} of {counted(total, 'decision')} were not {name}'s ({told}): the result is not its own"]


def _kinder(paper: PaperSettings) -> str:
    """In what fills were kinder than by the settings that ship; "" where they weren't."""
    shipped = PaperSettings()
    ways = []
    if paper.slippage_bp < shipped.slippage_bp:
        ways.append(f"slippage of {paper.slippage_bp:g} bp ({shipped.slippage_bp:g} as shipped)")
    if paper.spread_bp < shipped.spread_bp:
        ways.append(f"a spread of {paper.spread_bp:g} bp where nobody quotes ({shipped.spread_bp:g} as shipped)")
    if paper.limit_fill == "touch":
        ways.append("limit orders filled by a price that only touched them")
    return f"kinder fills than as shipped: {'; '.join(ways)}" if ways else ""


def _ruined(ruin: Point | None) -> list[str]:
    """An account that owed money: what it did after that no broker would have let it do."""
    if ruin is None:
        return []
    when = f"{ist(ruin[0]):%Y-%m-%d %H:%M}"
    return [f"the account was ruined: {rupees(ruin[1])} on {when}; what came after that is no result"]


def _unbooked(event: PriceAdjusted | PriceJumped, portfolio: Portfolio) -> list[str]:
    """The money of a dividend: who is short owes it, and looks the better for it."""
    held = next((it for it in portfolio.positions() if it.symbol == event.symbol and it.quantity), None)
    if held is None or isinstance(event, PriceJumped) or event.shares:
        return []
    money = abs(held.quantity) * held.mark * (event.denominator - event.numerator) / event.denominator
    due = "owed, so that the result is too good by it" if held.quantity < 0 else "due, so that it is too poor by it"
    return [
        f"{event.symbol}: {held.quantity} held over the {event.kind}: some {rupees(money)} {due}, for it isn't booked"
    ]


def _not_built(intervals: Iterable[str], made_of: str) -> list[str]:
    """Those of the bars `intervals` that can't be built of bars `made_of`."""
    step = INTERVALS[made_of] if made_of else 1
    return [name for name in intervals if name != DAILY and INTERVALS[name] % step]


def _over_a_night(trades: Sequence[Trade], described: Described) -> list[str]:
    """Trades that went from one day into another, though everything is closed before a session's end."""
    shares: list[Trade] = []
    contracts: list[Trade] = []
    for trade in trades:
        if india_day(trade.entry_ts) < india_day(trade.exit_ts):
            (shares if described.kind_of(trade.symbol) is Kind.EQUITY else contracts).append(trade)
    said = []
    if shares:
        said.append(
            f"{_nights(shares, 'in shares')}, charged as within a day: delivered shares pay STT of 0.1 % on both "
            "sides, short ones can't be delivered, and a broker closes INTRADAY positions on the day"
        )
    if contracts:
        said.append(
            f"{_nights(contracts, 'in contracts')}: they were to be closed before the session's end, and weren't (had "
            "the tape's day ended?); what the night brought is not the strategy's"
        )
    return said


def _nights(trades: Sequence[Trade], what: str) -> str:
    first, many = trades[0], f"{len(trades)} trades" if len(trades) > 1 else "1 trade"
    return (
        f"{many} {what} went over a night (the first: {first.direction} {whole(first.quantity)} {first.symbol}, "
        f"{ist_date(first.entry_ts)} to {ist_date(first.exit_ts)})"
    )


def _known(described: Described, spans: list[Span]) -> str:
    """What must be said of sessions that the model has learned from; "" where there are none."""
    if described.learned is None:
        return ""
    first, last = described.learned
    count = sum(first <= ist_date(open_ns).isoformat() <= last for open_ns, _ in spans)
    if not count:
        return ""
    return (
        f"{count} of {len(spans)} sessions lie in the days that the model learned from ({first} to {last}): what it "
        "earned there is no test of it"
    )


def _of_indices(symbols: Iterable[str], instruments: Mapping[str, tuple[Kind, bool]]) -> list[str]:
    notes = []
    for symbol in symbols:
        kind, tradeable = instruments.get(symbol, (None, False))
        if kind is Kind.INDEX:
            traded = "traded as its future at spot prices, which no venue offers" if tradeable else "it is not traded"
            notes.append(f"{symbol} is an index: {traded}")
    return notes
