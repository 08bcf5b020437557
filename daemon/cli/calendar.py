"""`hrmd calendar`: what the exchange calendar holds, and taking NSE's list of a new year into it.

Invariant: nothing is written but `market.calendar_file`, as a whole, and only what a start would accept.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from daemon.cli.instruments import parse_day
from daemon.cli.options import AsJson, Config, Overrides, print_json, settings_and_logs
from daemon.core.clock import wall_ns
from daemon.core.errors import UsageError
from daemon.market.calendar import MarketCalendar, ist_date
from daemon.market.calendar_file import (
    LAST_DATE,
    CalendarFile,
    check_confirmed,
    read_calendar_file,
    write_calendar_file,
)
from daemon.market.calendar_update import Update, updated
from daemon.market.holiday_list import read_holiday_list
from daemon.market.opening import say_now
from daemon.market.segments import hours, segments
from daemon.report.tables import show, table

calendar_app = typer.Typer(help="NSE's sessions and holidays; take a new year's list.", no_args_is_help=True)


class _Day(msgspec.Struct, frozen=True):
    """A holiday, or (with `parts`) a session at a weekend or with hours of its own."""

    date: dt.date
    weekday: str
    name: str
    parts: list[tuple[str, str]] = []


class _Hours(msgspec.Struct, frozen=True):
    """Of one segment; `unknown` says why there are none."""

    segment: str
    opens: str
    closes: str
    unknown: str


class _Year(msgspec.Struct, frozen=True, kw_only=True):
    year: int
    confirmed_to: dt.date
    doubt: str
    sessions: int
    now: str
    holidays: list[_Day]
    special_sessions: list[_Day]


@calendar_app.command("show")
def show_year(
    year: Annotated[int | None, typer.Argument(help="Such as 2027; default: this one.", show_default=False)] = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show a year's holidays and special sessions, and whether NSE has confirmed them."""
    calendar = MarketCalendar.load(settings_and_logs(config, overrides).market.calendar_file)
    now = wall_ns()
    chosen = year if year is not None else ist_date(now).year
    if not calendar.first_date.year <= chosen <= LAST_DATE.year:
        raise UsageError(f"{chosen}: expected a year from {calendar.first_date.year} to {LAST_DATE.year}")
    found = _year(calendar, chosen, now)
    if as_json:
        print_json(found)
        return
    shown = table("=date", "=day", "what", "=session (IST)", title=f"NSE in {chosen}: {found.sessions} sessions")
    for day in sorted((*found.holidays, *found.special_sessions), key=lambda item: item.date):
        hours = ", ".join("-".join(part) for part in day.parts) or "none"
        shown.add_row(str(day.date), day.weekday, day.name, hours)
    show(shown)
    typer.echo(f"confirmed to {found.confirmed_to}; now: {found.now}")
    if found.doubt:
        typer.echo(found.doubt)


@calendar_app.command("hours")
def show_hours(
    day: Annotated[str | None, typer.Option(help="A weekday, such as 2026-01-05; default: today.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show when other segments than NSE's shares trade on an ordinary weekday (MCX: on holidays of 2026 too)."""
    chosen = parse_day("--day", day) if day else ist_date(wall_ns())
    rows = [_Hours(segment, *_hours_or_why(segment, chosen)) for segment in segments()]
    if as_json:
        print_json({"day": chosen.isoformat(), "segments": rows})
        return
    shown = table("=segment", "=open (IST)", "=close (IST)", "what isn't known", title=f"hours on {chosen}")
    for row in rows:
        shown.add_row(row.segment, row.opens or "-", row.closes or "-", row.unknown)
    show(shown)


def _hours_or_why(segment: str, day: dt.date) -> tuple[str, str, str]:
    try:
        return (*hours(segment, day), "")
    except UsageError as error:
        return "", "", str(error).partition(": ")[2]


@calendar_app.command("update")
def update(
    source: Annotated[
        Path,
        typer.Option(
            "--from",
            show_default=False,
            help="NSE's list of trading holidays: the CSV of its holiday page, or the JSON of its holiday master.",
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Take NSE's list of holidays into market.calendar_file, and show what changes.

    Fyers has no call for holidays, so the list comes as a file:
    https://www.nseindia.com/resources/exchange-communication-holidays
    """
    path = settings_and_logs(config, overrides).market.calendar_file
    if path is None:
        raise UsageError("market.calendar_file: is not set; name the file to write, such as config/calendar.yaml")
    shipped = MarketCalendar()
    old = read_calendar_file(path) if path.exists() or path.is_symlink() else CalendarFile()
    found = updated(old, read_holiday_list(source))
    check_confirmed(found.file, shipped.confirmed_to, path)
    if found.changes and not dry_run:
        write_calendar_file(path, found.file)
    if as_json:
        print_json({"file": str(path), "written": bool(found.changes) and not dry_run,
                    "confirmed_to": MarketCalendar(found.file).confirmed_to, "changes": found.changes,
                    "remarks": found.remarks})  # fmt: skip
    else:
        _print(path, found, written=not dry_run)


def _print(path: Path, found: Update, *, written: bool) -> None:
    for line in (*found.changes, *found.remarks):
        typer.echo(f"  {line}")
    if not found.changes:
        typer.echo(f"{path}: nothing changes")
    else:
        typer.echo(f"{path}: {'written; a daemon takes it at its next start' if written else 'not written'}")


def _year(calendar: MarketCalendar, year: int, now_ns: int) -> _Year:
    first, last = dt.date(year, 1, 1), dt.date(year, 12, 31)
    days = [first + dt.timedelta(days=offset) for offset in range((last - first).days + 1)]
    special = [day for day in sorted(calendar.special) if day.year == year]
    return _Year(
        year=year, confirmed_to=calendar.confirmed_to, doubt=calendar.doubt(last),
        sessions=sum(calendar.session(day) is not None for day in days), now=say_now(calendar, now_ns),
        holidays=[_Day(day, f"{day:%a}", calendar.closed_because(day)) for day in calendar.holidays(year)],
        special_sessions=[_Day(day, f"{day:%a}", calendar.special[day].name, calendar.parts(day)) for day in special],
    )  # fmt: skip
