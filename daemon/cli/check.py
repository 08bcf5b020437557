"""`hrmd check`: is everything there that `hrmd run` needs, and what to do where it isn't.

Invariant: nothing is changed by looking; with `--live` the broker is read, which counts as calls, and no order is sent.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from daemon.alerting.targets import read_targets
from daemon.brokers.choice import check_feed, real_ticks
from daemon.cli.options import AsJson, Config, Overrides, print_json, run_loop, settings_and_logs
from daemon.cli.showing import show_settings
from daemon.core.clock import Clock, LiveClock, ReplayClock
from daemon.core.errors import CheckFailed, HrmdError, SettingsError
from daemon.core.files import resolved
from daemon.feed.replay import Tapes
from daemon.journal.reader import check_journal
from daemon.market.calendar import MarketCalendar, ist_date
from daemon.market.instruments import InstrumentBook
from daemon.market.scheduled_events import ScheduledEvents
from daemon.market.symbol_files import needs_master
from daemon.preflight import Finding, State, bad, doubtful, good
from daemon.report import tables
from daemon.risk.book import RiskBook
from daemon.risk.lots import LotWatch
from daemon.run.findings import calendar_finding, live_findings
from daemon.settings.tree import Settings
from daemon.shadow.agents import build_agents
from daemon.strategy.build import build_strategies
from daemon.strategy.openings import opens_nothing
from daemon.tape.file import listed

_WORDS: Final = {State.OK: "ok  ", State.WARN: "warn", State.FAIL: "FAIL"}
_STYLES: Final = {State.OK: "green", State.WARN: "yellow", State.FAIL: "bold red"}


def check(
    live: Annotated[
        bool, typer.Option("--live", help="Before trading live: token, clock, funds, market, symbols, disk.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Only print every setting, and who set it.")] = False,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Check settings and preconditions; exit 1 where something is missing."""
    if show:
        return show_settings(config, overrides, as_json=as_json)
    settings = settings_and_logs(config, overrides)
    findings = [good("settings", f"valid ({settings.digest()[:12]})"), *_findings(settings, live=live)]
    findings.append(_calendar(settings, LiveClock()))
    if why := opens_nothing(settings):
        findings.append(doubtful("strategy", why, "mend the setting"))
    findings += _limits(settings, findings)
    if live:
        findings += run_loop(live_findings(settings, os.environ, LiveClock()))
    if as_json:
        print_json(findings)
    elif live:
        tables.show(_table(findings))
    else:
        for finding in findings:
            do = f" → {finding.do}" if finding.state is State.WARN else ""
            typer.echo(f"{_WORDS[finding.state]} {finding.name:10} {finding.text}{do}")
    failed = [finding.name for finding in findings if not finding.ok]
    if failed:
        raise CheckFailed(f"not ready: {', '.join(failed)}")


def _table(findings: Sequence[Finding]) -> Table:
    shown = tables.table("=", "=check", "found", "do")
    for finding in findings:
        state = Text(finding.state.value, _STYLES[finding.state])
        shown.add_row(state, finding.name, finding.text, finding.do)
    return shown


def _findings(settings: Settings, *, live: bool) -> Iterator[Finding]:
    """What a run needs on this machine; live ticks come from no tape."""
    for name, look in (
        ("feed", _feed), ("model", _model), ("events", _events), ("journal", _journal), ("control", _control),
        ("alerts", _alerts),
    ):  # fmt: skip
        if not (live and name == "feed"):
            yield _finding(name, look, settings)


def _finding(name: str, look: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return good(name, look(settings))
    except HrmdError as error:
        return bad(name, str(error))


def _calendar(settings: Settings, clock: Clock) -> Finding:
    try:
        calendar = MarketCalendar.load(settings.market.calendar_file)
    except SettingsError as error:
        return bad("calendar", str(error))
    return calendar_finding(calendar, ist_date(clock.now_ns()))


def _feed(settings: Settings) -> str:
    if not needs_master(settings):
        InstrumentBook(settings.market).check_named(settings.risk.limits)
    if settings.feed.source != "tape":
        check_feed(settings)
        return f"{len(settings.feed.symbols)} symbols, {'real' if real_ticks(settings) else 'rehearsed'} ticks"
    if not settings.feed.tape:
        raise SettingsError("feed.tape: name at least one tape (hrmd tape simulate makes one)")
    tapes = Tapes(settings.feed.tape, [], settings.feed.chunk_rows)
    if not needs_master(settings):
        InstrumentBook(settings.market).check_freeze_quantities(tapes.symbols)
    return f"{tapes.rows} ticks of {', '.join(tapes.symbols)}"


def _limits(settings: Settings, so_far: Sequence[Finding]) -> list[Finding]:
    """Limits that hold for nothing, and instruments of the tapes of which not one lot fits into the limits."""
    if not all(it.ok for it in so_far):
        return []
    if settings.feed.source != "tape":
        return [] if needs_master(settings) else _idle(settings, InstrumentBook(settings.market), settings.feed.symbols)
    tapes = Tapes(settings.feed.tape, [], settings.feed.chunk_rows)
    batch = next(tapes.batches(), None)
    if batch is None:
        return []
    instruments = InstrumentBook(settings.market, ist_date(int(batch.ts_recv[0])))
    watch, book = LotWatch(instruments), RiskBook()
    book.on_ticks(batch)
    lines = watch.look(batch.symbols, book, settings.risk)
    too_dear = [doubtful("limits", line, "widen the limits, or leave the symbol out") for line in lines]
    return [*too_dear, *_idle(settings, instruments, tapes.symbols)]


def _idle(settings: Settings, instruments: InstrumentBook, symbols: Sequence[str]) -> list[Finding]:
    lines = instruments.idle(settings.risk.limits, symbols)
    return [doubtful("limits", line, f"expected one of {listed(symbols)}, or take it out") for line in lines]


def _model(settings: Settings) -> str:
    strategy = build_strategies(settings, ReplayClock())[settings.strategy.name]
    beside = ", ".join(agent.name for agent in build_agents(settings, ReplayClock()))
    described = f"{settings.strategy.name} {getattr(strategy, 'description', '')}".strip()
    return f"{described}; beside it {beside}" if beside else described


def _events(settings: Settings) -> str:
    path = settings.complexity_detection.events_file
    ScheduledEvents.load(path)
    return f"{path} is readable" if path else "none set"


def _journal(settings: Settings) -> str:
    directory = resolved(settings.journal.path).parent
    existing = next(parent for parent in (directory, *directory.parents) if parent.exists())
    if not existing.is_dir():
        raise SettingsError(f"journal.path: {existing} is not a directory")
    if not os.access(existing, os.W_OK):
        raise SettingsError(f"journal.path: {existing} can't be written to")
    if settings.journal.path.exists():
        check_journal(settings.journal.path)
    return f"{settings.journal.path} can be written under {existing}"


def _alerts(settings: Settings) -> str:
    names = [target.name for target in read_targets(settings.alerts, os.environ)]
    return f"told: {', '.join(names)}" if names else "nobody is told of alerts (alerts.urls_file)"


def _control(settings: Settings) -> str:
    control = settings.control
    if not control.enabled:
        return "disabled"
    try:
        family = socket.AF_INET6 if ":" in control.host else socket.AF_INET
        with socket.create_server((control.host, control.port), family=family):
            return f"{control.host}:{control.port} is free"
    except OSError as error:
        raise SettingsError(f"control.port: {control.host}:{control.port}: {error.strerror}") from None
