"""Symbols of the sandbox → small symbol master files, laid out as Fyers' public ones (21 columns, no header).

Invariant: every symbol that the sandbox has a price for, and that Fyers' file would hold, stands in its file once.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Sequence
from typing import Final

from daemon.market.instruments import Instrument, InstrumentBook, Kind

INDEX_FUTURES: Final = (("NIFTY", "NSE:NIFTY50-INDEX", "26000"), ("BANKNIFTY", "NSE:NIFTYBANK-INDEX", "26009"))
MONTHS: Final = 3
TUESDAY, THURSDAY = 1, 3
SESSION: Final = "0915-1530|1815-1915:"
EXPIRY_TIME: Final = dt.time(10, 0, tzinfo=dt.UTC)
"""15:30 in India."""


def master_csv(name: str, symbols: Sequence[str], instruments: InstrumentBook, today: dt.date) -> str | None:
    """The text of `NSE_CM` or `NSE_FO` as of `today`; None for another file."""
    if name == "NSE_CM":
        rows = _cash(symbols, instruments, today)
    elif name == "NSE_FO":
        rows = _contracts(symbols, instruments, today)
    else:
        return None
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def monthly_expiry(year: int, month: int, weekday: int = TUESDAY) -> dt.date:
    """The last such weekday of a month."""
    following = dt.date(year + month // 12, month % 12 + 1, 1)
    day = following - dt.timedelta(days=1)
    return day - dt.timedelta(days=(day.weekday() - weekday) % 7)


def _cash(symbols: Sequence[str], instruments: InstrumentBook, today: dt.date) -> list[list[object]]:
    rows: list[list[object]] = []
    indices = {index: name for name, index, _ in INDEX_FUTURES}
    for number, symbol in enumerate(dict.fromkeys((*symbols, *indices)), 1):
        instrument = instruments.resolve(symbol)
        if instrument is None or not symbol.startswith("NSE:") or instrument.kind not in (Kind.EQUITY, Kind.INDEX):
            continue
        index = instrument.kind is Kind.INDEX
        body = symbol.partition(":")[2]
        lot, kind = (0, 10) if index else (instrument.lot_size, 0)
        tick = "0.05" if index else instrument.tick_size
        token = f"10100000{number:07d}"
        name = indices.get(symbol, body.rpartition("-")[0])
        rows.append([token, body, kind, lot, tick, "", SESSION, today.isoformat(), "", symbol, 10, 10, number, name,
                     number, "-1.0", "XX", token, "None", 1, "0.0"])  # fmt: skip
    return rows


def _futures(instruments: InstrumentBook, today: dt.date) -> list[list[object]]:
    rows: list[list[object]] = []
    for name, _, token in INDEX_FUTURES:
        for expiry in _expiries(today):
            symbol = f"NSE:{name}{expiry:%y%b}FUT".upper()
            instrument = instruments.resolve(symbol)
            assert isinstance(instrument, Instrument)
            moment = int(dt.datetime.combine(expiry, EXPIRY_TIME).timestamp())
            number = len(rows) + 1
            rows.append([f"1011{expiry:%y%m%d}{number:05d}", f"{name} {expiry:%d %b %y} FUT", 11, instrument.lot_size,
                         instrument.tick_size, "", SESSION, today.isoformat(), moment, symbol, 10, 11, number, name,
                         token, "-1.0", "XX", f"1010000000{token}", "None", 0, "0.0"])  # fmt: skip
    return rows


def _contracts(symbols: Sequence[str], instruments: InstrumentBook, today: dt.date) -> list[list[object]]:
    """The futures on indices, and whatever other contract has a price."""
    rows = _futures(instruments, today)
    known = {row[9] for row in rows}
    for symbol in dict.fromkeys(symbols):
        found = instruments.resolve(symbol)
        if found is None or found.expiry is None or symbol in known or not symbol.startswith("NSE:"):
            continue
        moment = int(dt.datetime.combine(found.expiry, EXPIRY_TIME).timestamp())
        number, option = len(rows) + 1, found.kind is Kind.OPTION
        kind = (14 if option else 11) if found.on_index else (15 if option else 13)
        rows.append([f"1011{found.expiry:%y%m%d}{number:05d}", symbol.partition(":")[2], kind, found.lot_size,
                     found.tick_size, "", SESSION, today.isoformat(), moment, symbol, 10, 11, number, found.underlying,
                     0, found.strike if option else "-1.0", found.right or "XX", "0", "None", 0, "0.0"])  # fmt: skip
    return rows


def _expiries(today: dt.date) -> list[dt.date]:
    found: list[dt.date] = []
    year, month = today.year, today.month
    while len(found) < MONTHS:
        expiry = monthly_expiry(year, month)
        if expiry >= today:
            found.append(expiry)
        year, month = year + month // 12, month % 12 + 1
    return found
