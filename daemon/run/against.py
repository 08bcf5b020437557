"""A journal and its tape → whether the recorded day comes out again, and if not, where and why.

The day is replayed as it was recorded: its settings, its symbols, its model by its hash, and each decision as late and
as deep as it was then. A replay's journal has to come out again event by event. A daemon's day is one of market,
decisions, orders and positions (`daemon.run.parity`). Invariant: the journal stays untouched, and nothing is sent to a
broker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from daemon.core.clock import NS_PER_MS
from daemon.core.errors import UsageError
from daemon.core.events import Bar, Decision, Event, OrderAccepted, OrderIntent, PositionChanged, RunCounted
from daemon.core.ids import decision_id
from daemon.core.latency import FixedLatency, Latency, MeasuredLatency
from daemon.journal.reader import JournalReader
from daemon.journal.schema import BEGINS_AT
from daemon.market.calendar import ist_date
from daemon.run.causes import (
    COMMANDS,
    Cause,
    What,
    likeliest_first,
    of_bar,
    of_code,
    of_commands,
    of_counts,
    of_model,
    of_settings,
    of_tapes,
)
from daemon.run.latency import parse_latency, recorded_decisions
from daemon.run.models_of_run import find_model
from daemon.run.parity import LIVED, Comparison, Difference, compare_lived, compare_told, within
from daemon.run.reporting import chosen_runs, recovers, settings_of_run
from daemon.settings.layers import laid_over
from daemon.settings.loading import build_settings
from daemon.settings.tree import Settings
from daemon.strategy.build import pin_runtime


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `events` are those that are equal, by kind; `causes` are empty where all are."""

    journal: str
    runs: list[int]
    tapes: list[str]
    lived: bool
    """Whether it is a daemon's day, of which times are the machine's."""
    equal: bool
    events: dict[str, int]
    difference: Difference | None
    causes: list[Cause]
    notes: list[str]


class AsLate:
    """Each decision at the time at which it was made in a daemon's day, and as deep; others at once."""

    order_ns = 0

    def __init__(self, journal: Path, runs: Sequence[int], grace_ns: int) -> None:
        """Raises `UsageError` for a journal that can't be read."""
        self.name = f"recorded:{journal}"
        self._made, self._superseded = recorded_decisions(journal, runs)
        self._at_venue = _arrivals(journal, runs)
        self._grace_ns = grace_ns

    def decision_ns(self, decision: Decision, elapsed_ns: int) -> int:
        """From the bar's close, its grace over, to when its order was on the market; without one, to the decision."""
        then = self._made.get((decision.symbol, decision.ts_bar))
        if then is None:
            return 0
        made = self._at_venue.get(decision_id(decision.symbol, decision.ts_bar), then.ts)
        return max(0, made - then.ts_bar - self._grace_ns)

    def then(self, symbol: str, ts_bar: int) -> Decision | None:
        """What was decided on the bar; None where nothing was."""
        return self._made.get((symbol, ts_bar))

    def superseded(self, symbol: str, ts_bar: int) -> bool:
        """Whether a newer bar had closed before its turn came."""
        return (symbol, ts_bar) in self._superseded


def _arrivals(journal: Path, runs: Sequence[int]) -> dict[str, int]:
    """When the first order of a decision was on the market, UTC ns, by the decision's id."""
    wanted: dict[str, str] = {}
    arrived: dict[str, int] = {}
    reader = JournalReader(journal)
    for run in runs:
        reader.select(run)
        for event in reader.events(OrderIntent, OrderAccepted):
            if isinstance(event, OrderIntent) and event.decision:
                wanted[event.order_id] = event.decision
            elif isinstance(event, OrderAccepted) and event.order_id in wanted:
                arrived.setdefault(wanted[event.order_id], event.ts)
    reader.close()
    return arrived


class RecordedDay:
    """A day of a journal: what a replay of it needs, and what it came to."""

    def __init__(self, journal: Path, run: int | None = None) -> None:
        """Raises `UsageError` for what can't be read."""
        self.path = journal
        self._reader = JournalReader(journal)
        self.runs = chosen_runs(self._reader, journal, run)
        self.metadata = self._reader.metadata(self.runs[0])
        if BEGINS_AT in self.metadata:
            raise UsageError(f"{journal}: run {self.runs[0]} was shortened; what it began with can't be replayed")
        self.recorded = settings_of_run(self.metadata, journal)
        self.lived = recovers(self.metadata)
        self.notes: list[str] = []
        if len(self.runs) > 1:
            self.notes.append(f"the daemon was restarted: joined of the runs {', '.join(map(str, self.runs))}")
        self.symbols: list[str] = msgspec.json.decode(self.metadata.get("symbols", "[]"))
        self._changed = self.settings = self.recorded

    def changed(self, changes: Sequence[str]) -> Settings:
        """Its settings, and `changes` (`a.b.c=VALUE`) over them. Raises `UsageError` for what can't be set."""
        return build_settings(laid_over(self.recorded.model_dump_json(), changes)) if changes else self.recorded

    def prepare(self, changes: Sequence[str]) -> None:
        """Let `settings` be those by which it is replayed. Raises `UsageError` for what can't be set."""
        self._changed = self.changed(changes)
        named = any(change.startswith("model_management.artifact=") for change in changes)
        self.settings = self._replayable(self._changed, named=named)

    def _replayable(self, settings: Settings, *, named: bool) -> Settings:
        """On paper, with the arithmetic and the model that decided then, unless another was `named`."""
        settings = pin_runtime(settings, self.metadata.get("runtime", ""))
        if not settings.broker.on_paper:
            settings = settings.model_copy(update={"broker": settings.broker.model_copy(update={"name": "paper"})})
        sha256, file = self.metadata.get("model_hash", ""), self.metadata.get("model_file", "")
        management = settings.model_management
        if file and not named and management.artifact == self.recorded.model_management.artifact:
            found = find_model(settings, self.path, sha256, file)
            if found is not None:
                settings = settings.model_copy(
                    update={"model_management": management.model_copy(update={"artifact": found})}
                )
            else:
                self.notes.append(f"model {sha256} isn't found: {management.artifact} of the settings decides")
        return settings

    def tapes(self) -> list[Path]:
        """Where its ticks lie. Raises `UsageError` where they don't."""
        named = [Path(name) for name in msgspec.json.decode(self.metadata.get("tapes", "[]"), type=list[str])]
        beside = self.path.resolve().parent
        if not named:
            named = [self.recorded.feed.record.path / f"{day}.parquet" for day in self._days()]
        found = [path if path.is_file() else beside / path.name for path in named]
        for path, where in zip(named, found, strict=True):
            if not where.is_file():
                raise UsageError(
                    f"{path}: the tape of {self.path} isn't there, nor beside the journal; seal it (hrmd tape seal) or "
                    f"name it: hrmd replay TAPE --against {self.path}"
                )
        if not found:
            raise UsageError(f"{self.path}: holds no bar and names no tape: there is nothing to replay")
        return found

    def _days(self) -> list[str]:
        spans = [span for run in self.runs if (span := self._reader.span(run)) is not None]
        return sorted({str(ist_date(ts)) for span in spans for ts in span})

    def latency(self) -> Latency:
        """As it was. Raises `UsageError` where the journal that it was taken from is gone."""
        name = self.metadata.get("latency", "zero")
        if name == MeasuredLatency.name:
            return AsLate(self.path, self.runs, self.recorded.bars.grace_ms * NS_PER_MS)
        return FixedLatency(0.0) if name == "zero" else parse_latency(name)

    def compare(self, replayed: Path, model_hash: str, tapes: Sequence[Path], latency: str) -> Parity:
        """With the replay's journal; it decided on `model_hash`. Raises `CheckFailed` for an altered journal."""
        again = JournalReader(replayed)
        try:
            found = self._lived(again) if self.lived else compare_told(self._events(), again.events())
            causes = (
                [] if found.difference is None else self._causes(found.difference, again, model_hash, tapes, latency)
            )
        finally:
            again.close()
            self._reader.close()
        return Parity(
            journal=str(self.path), runs=self.runs, tapes=[str(path) for path in tapes], lived=self.lived,
            equal=found.difference is None, events=found.equal, difference=found.difference, causes=causes,
            notes=self.notes,
        )  # fmt: skip

    def _lived(self, again: JournalReader) -> Comparison:
        """Between the first and the last bar that the daemon saw close."""
        spans = [span for run in self.runs if (span := self._reader.span(run)) is not None]
        first, last = min(span[0] for span in spans), max(span[1] for span in spans)
        return compare_lived(
            within(self._events(*LIVED), first, last), within(again.events(*LIVED), first, last)
        )  # fmt: skip

    def _events(self, *kinds: type[Event]) -> Iterator[Event]:
        for run in self.runs:
            self._reader.select(run)
            yield from self._reader.events(*kinds)

    def _causes(
        self, difference: Difference, again: JournalReader, model_hash: str, tapes: Sequence[Path], latency: str
    ) -> list[Cause]:
        counted = [[one for one in told if isinstance(one, RunCounted)] for told in (
            self._events(RunCounted), again.events(RunCounted))]  # fmt: skip
        causes = [
            *of_settings(self.recorded, self._changed),
            *of_model(self.metadata.get("model_hash", ""), model_hash, difference),
            *of_tapes(self.metadata, tapes), *of_counts(*counted), *of_bar(difference), *of_code(self.metadata),
            *of_commands(self._events(*COMMANDS), difference.ts),
        ]  # fmt: skip
        was = self.metadata.get("latency", "")
        if latency != was and not (was == MeasuredLatency.name and latency == f"recorded:{self.path}"):
            causes.append(Cause(What.LATENCY, f"latency was {was}, is {latency}"))
        if self.lived:
            causes += self._of_a_daemon()
        return likeliest_first(causes, difference)

    def _of_a_daemon(self) -> list[Cause]:
        causes = []
        if not self.recorded.broker.on_paper:
            causes.append(Cause(What.VENUE, f"the run traded at {self.recorded.broker.name}, the replay on paper"))
        else:
            causes.append(Cause(What.LATENCY, "a daemon's orders reach the venue when its machine gets to it"))
        if self.recorded.risk.budget.url is not None:
            lent = "the run had leases of a budget that daemons share, the replay its own limits alone"
            causes.append(Cause(What.ACCOUNT, lent))
        for event in self._events(PositionChanged, Bar):
            if isinstance(event, Bar):
                break
            if isinstance(event, PositionChanged) and event.quantity:
                held = f"{event.quantity} {event.symbol}"
                causes.append(Cause(What.ACCOUNT, f"the run began with {held}, the replay with nothing"))
        return causes
