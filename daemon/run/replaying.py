"""A replay as one object: tapes and settings in, a `ReplaySummary` and the files asked for out.

Shared by `hrmd replay` and whoever else needs a backtest. Invariant: equal tapes and settings give equal summaries but
for `wall_s`, `ticks_per_s`, `inference_ms` and `thinking_ms`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec
import pyarrow as pa
import structlog

from daemon.app import App
from daemon.core.clock import NS_PER_S, ReplayClock, stopwatch_ns
from daemon.core.errors import Fault, TapeError, UsageError
from daemon.core.events import Bar, Decision, Event, Fill, InferenceMeasured, TickBatch
from daemon.core.files import check_regular, resolved
from daemon.core.latency import Latency
from daemon.feed.replay import TapeFeed
from daemon.journal.files import ALL_PARTS
from daemon.market.calendar import MarketCalendar
from daemon.native.kernel import column_kernel
from daemon.plan import RunPlan
from daemon.portfolio.book import Portfolio
from daemon.report.chance import SensitivityRow
from daemon.report.summary import ReplaySummary
from daemon.report.trades import Trade
from daemon.run.chronicle import CHRONICLED, Chronicle, Described
from daemon.run.many import Crew, Job, Processes, cores, not_to_be_split, thinks
from daemon.run.output_tables import (
    bars_table,
    check_replaced,
    decisions_table,
    equity_table,
    fills_table,
    trades_table,
    write_table,
)
from daemon.run.outputs import ReplayOutputs as ReplayOutputs
from daemon.run.split import Helpers, Share, Watch, events_of, shares, short_of_money, won
from daemon.run.tape_notes import none_usable
from daemon.settings.tree import Settings
from daemon.tape.file import NOTES_KEY, SIMULATED
from daemon.tape.format import TapeWriter

log = structlog.get_logger("replay")


class Replay:
    """One replay; `run` once, `stop` to end it early with what was done so far in order."""

    def __init__(
        self, settings: Settings, tapes: list[Path], symbols: list[str], latency: Latency, outputs: ReplayOutputs,
        workers: int = 1, crew: Crew | None = None,
    ) -> None:  # fmt: skip
        """Open everything; with `workers` over 1 sessions are played by so many processes: this one, and a `crew`.

        Raises `UsageError` for tapes, models and places that can't be used.
        """
        _check_places(outputs, tapes)
        self.outputs = outputs
        self._adds_to_journal = outputs.journal is not None and outputs.journal.exists()
        self.interrupted = False
        self.beside: Callable[[Processes], list[SensitivityRow]] | None = None
        """Replays of the same under other costs, to be told with the summary."""
        self._others: Processes | None = None
        """Those that play them."""
        self._asked = (settings, tapes, symbols, latency, outputs)
        self.summary: ReplaySummary | None = None
        """What it came to, from its end on: it is there, too, where an output then can't be written."""
        self._settings = settings
        self._latency = latency
        self._started_ns = stopwatch_ns()
        self._helpers: Helpers | None = None
        self._own: Share | None = None
        if workers > 1:
            self._share_out(workers, crew)
        try:
            self._open()
        except BaseException:
            self._dismiss()
            raise

    def _open(self) -> None:
        """The run, from its beginning."""
        settings, tapes, symbols, latency, outputs = self._asked
        plan = RunPlan(
            tapes=tapes,
            symbols=symbols,
            clock=ReplayClock(),
            latency=latency,
            journal=outputs.journal,
            durable=False,
            restarts=False,
            order_prefix="R",
            pumped=True,
            kernel=column_kernel(settings.performance.cache_dir),
        )
        self.app = App(settings, plan)
        self._watch = Watch(self.app, self._own) if self._own is not None else None
        if settings.risk.budget.url is not None:
            log.info("a replay shares no budget: the limits of risk alone hold", budget=settings.risk.budget.url)
        self._bars: list[Bar] = []
        self._fills: list[Fill] = []
        self._decisions: list[Decision] = []
        self.chronicle = Chronicle(
            settings, self.app.calendar, self._described(), Portfolio(settings.broker.starting_cash),
            keep=outputs.report is not None,
        )  # fmt: skip
        self.tally = self.chronicle.tally
        bus = self.app.bus
        bus.tap(CHRONICLED, self._hear)
        bus.tap((InferenceMeasured,), self._measure)

    @property
    def written(self) -> list[Path]:
        """The files that `run` wrote."""
        outputs = self.outputs
        page = outputs.report / "index.html" if outputs.report is not None else None
        return [path for path in (outputs.journal, page, *outputs.tables(), outputs.ticks) if path is not None]

    @property
    def trades(self) -> list[Trade]:
        """All of them, those that were still open at the end last."""
        return [*self.tally.trades, *self.tally.open_trades]

    def stop(self) -> None:
        """End early, in order."""
        self.interrupted = True
        self.app.stop("interrupted")
        if self._helpers is not None:
            self._helpers.crew.terminate()
        if self._others is not None:
            self._others.terminate()

    async def run(self) -> ReplaySummary:
        """Play to the end and write the files. Raises `TapeError` when no tick of the tape could be used."""
        if self._helpers is not None:
            if not (why := await self._run_shares(self._helpers)):
                return await self._end()
            log.warning("played in one process", reason=why)
            self._own = None
            self._open()
        if self.outputs.ticks is not None:
            with TapeWriter(self.outputs.ticks, notes=self.app.tapes.nature, overwrite=True) as writer:
                self.app.bus.tap((TickBatch,), writer.write)
                await self.app.run()
                self._check_usable(self.chronicle.summary(0.0))
        else:
            await self.app.run()
        return await self._end()

    async def _end(self) -> ReplaySummary:
        """Say what it came to, and write what was asked for."""
        if self._own is None and (foreseer := self.app.strategy.foreseer) is not None:
            log.info("decisions were thought of in batches", decisions=foreseer.known_ahead)
        summary = self._summarise()
        self._check_usable(summary)
        if self.beside is not None and not self.interrupted:
            summary = msgspec.structs.replace(summary, sensitivity=await self._told_beside(self.beside))
        self.summary = summary
        self._write(summary)
        return summary

    async def _told_beside(self, beside: Callable[[Processes], list[SensitivityRow]]) -> list[SensitivityRow]:
        """What came of the same under other costs; nothing where somebody asked for the end meanwhile."""
        with closing(Processes(cores(), thinks=thinks(self._settings))) as self._others:
            try:
                return await asyncio.to_thread(beside, self._others)
            except BrokenExecutor:
                if not self.interrupted:
                    raise Fault("a process of the replay ended") from None
                return []
            finally:
                self._others = None

    def _share_out(self, workers: int, crew: Crew | None) -> None:
        """Have other processes begin with all sessions but the first ones; why they can't is a line of the log."""
        settings, tapes, symbols, latency, outputs = self._asked
        why = not_to_be_split(settings, outputs.journal, outputs.ticks)
        if not why:
            job = Job(
                settings=settings.model_dump_json(), tapes=[str(tape) for tape in tapes], symbols=symbols,
                latency=latency.name,
            )  # fmt: skip
            self._own, *others = shares(job, MarketCalendar.load(settings.market.calendar_file), workers)
            if others:
                crew = crew if crew is not None else Crew(len(others), thinks=thinks(settings))
                self._helpers = Helpers(others, crew)
                return
            self._own, why = None, "there is one session"
        log.warning("played in one process", reason=why)

    async def _run_shares(self, helpers: Helpers) -> str:
        """Play the first share while others play theirs; why what they lived through can't be used, "" where it was."""
        assert self._watch is not None
        others = asyncio.create_task(asyncio.to_thread(helpers.told))
        try:
            await self.app.run()
            if self.interrupted:
                raise KeyboardInterrupt
            found = await others if not self._watch.carried else []
        except BrokenExecutor:
            raise (KeyboardInterrupt() if self.interrupted else Fault("a process of the replay ended")) from None
        finally:
            self._dismiss()
            await asyncio.wait((others,))
            others.exception()  # whatever came of them after that is nobody's any more
        for carried in (self._watch.carried, *(told.carried for told in found)):
            if carried:
                return f"sessions depend on each other: {carried}"
        if short := short_of_money(won(self.app), found):
            return f"sessions depend on each other: {short}"
        for told in found:
            for elapsed_ns in told.inference_ns:
                self.tally.inference(elapsed_ns / NS_PER_S)
            for event in events_of(told):
                self._take(event)
        return ""

    def _dismiss(self) -> None:
        """End the other processes; calling it again does nothing."""
        if self._helpers is not None:
            self._helpers.crew.close()
            self._helpers = None

    def _hear(self, event: Event) -> None:
        if self._watch is None or self._watch.holds(event):
            self._take(event)

    def _take(self, event: Event) -> None:
        """An event of the run, for its summary and its tables."""
        self.chronicle.record(event)
        outputs = self.outputs
        if isinstance(event, Bar) and outputs.bars is not None:
            self._bars.append(event)
        elif isinstance(event, Fill) and outputs.fills is not None:
            self._fills.append(event)
        elif isinstance(event, Decision) and outputs.decisions is not None:
            self._decisions.append(event)

    def _measure(self, event: Event) -> None:
        if isinstance(event, InferenceMeasured) and (self._watch is None or self._watch.holds(event)):
            self.tally.inference(event.elapsed_ns / NS_PER_S)

    def _described(self) -> Described:
        app = self.app
        return Described(
            tapes=[str(path) for path in app.tapes.paths], symbols=list(app.symbols), model=app.model,
            simulated=app.tapes.simulated, latency=self._latency.name, order_delay_ns=self._latency.order_ns,
            made_of=app.tapes.bars, received=app.tapes.received, instruments=app.kinds(),
            untried=app.untried, twice_told=app.tapes.twice_told, idle=app.market.idle, depth=app.depth,
            learned=app.learned,
        )  # fmt: skip

    def _summarise(self) -> ReplaySummary:
        assert isinstance(self.app.feed, TapeFeed)
        for doubt in self.app.calendar.doubts(session.date for session in self.app.feed.sessions):
            log.warning(doubt)
        summary = self.chronicle.summary((stopwatch_ns() - self._started_ns) / NS_PER_S)
        return msgspec.structs.replace(summary, shadow=self.app.shadows.rows())

    def _check_usable(self, summary: ReplaySummary) -> None:
        if summary.ticks_accepted or self.interrupted:
            return
        if self.outputs.journal is not None and not self._adds_to_journal:  # a replay that is refused leaves nothing
            for part in ALL_PARTS:
                Path(f"{self.outputs.journal}{part}").unlink(missing_ok=True)
        why = ("too late", "ahead of their receipt")
        notes = "".join(f"; {note}" for note in summary.notes if any(words in note for words in why))
        raise TapeError(none_usable(summary.tapes, summary.ticks_rejected) + notes)

    def _write(self, summary: ReplaySummary) -> None:
        """Each output for itself. Raises `UsageError` that names all that can't be written."""
        outputs, failed = self.outputs, list[UsageError]()
        tables: list[tuple[Path | None, Callable[[], pa.Table]]] = [
            (outputs.bars, partial(_bars_made, self._bars, simulated=summary.simulated)),
            (outputs.fills, partial(fills_table, self._fills)),
            (outputs.trades, partial(trades_table, self.tally.trades)),
            (outputs.decisions, partial(decisions_table, self._decisions)),
            (outputs.equity, partial(equity_table, summary.equity)),
        ]
        writes: list[Callable[[], object]] = [
            partial(_write_made, table, path) for path, table in tables if path is not None
        ]
        if outputs.report is not None:
            from daemon.report.html import write_report

            writes.append(partial(write_report, outputs.report, summary, self.chronicle.shown()))
        for write in writes:
            try:
                write()
            except UsageError as error:
                failed.append(error)
        if failed:
            raise UsageError("; ".join(map(str, failed))) from failed[0]


def _bars_made(bars: Sequence[Bar], *, simulated: bool) -> pa.Table:
    """With the word of a tape that they are made up, for a tape that is made of them again."""
    table = bars_table(bars)
    return table.replace_schema_metadata({NOTES_KEY: msgspec.json.encode(SIMULATED)}) if simulated else table


def _write_made(table: Callable[[], pa.Table], path: Path) -> None:
    write_table(table(), path)


def _check_journal(path: Path) -> None:
    """Before a model is read: it is opened by the run. Raises `UsageError` for what can't be one."""
    try:
        if path.exists():
            check_regular(path)
    except OSError as error:
        raise UsageError(f"journal {path}: {error.strerror}") from None


def _check_places(outputs: ReplayOutputs, tapes: list[Path]) -> None:
    """No output lies where it can't, on a tape that is read, or on another output. Raises `UsageError`."""
    taken = {resolved(tape): "a tape of this replay" for tape in tapes}
    for name in outputs.__struct_fields__:
        path: Path | None = getattr(outputs, name)
        if path is None:
            continue
        if name == "journal":
            _check_journal(path)
        elif name != "report":
            if not path.parent.is_dir():
                raise UsageError(f"{path}: its directory does not exist")
            if path.is_dir():
                raise UsageError(f"{path}: is a directory; name a file to write")
            if not os.access(path if path.exists() and not path.is_file() else path.parent, os.W_OK):
                raise UsageError(f"{path}: can't be written (Permission denied)")
        else:
            from daemon.report.shell import check_page

            check_page(path / "index.html")
        if resolved(path) in taken:
            raise UsageError(f"{path}: is {taken[resolved(path)]}; name another place for the {name}")
        taken[resolved(path)] = f"where the {name} go"
        if name not in ("journal", "report"):
            check_replaced(path, name)
