"""Small symbol masters of made-up days, laid out as Fyers' files."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from daemon.market.instruments import InstrumentBook
from daemon.market.symbol_master import FILES, SymbolMaster, folder_of
from daemon.sandbox.master import master_csv
from daemon.settings.market import MarketSettings

DAY = dt.date(2026, 1, 5)
SHARES = ("NSE:SBIN-EQ", "NSE:RELIANCE-EQ", "NSE:M&M-EQ")


def texts_of(day: dt.date = DAY, symbols: tuple[str, ...] = ()) -> dict[str, bytes]:
    """The files of a day: three shares, two indices, three futures on each, and other `symbols`."""
    book = InstrumentBook(MarketSettings(), day)
    texts = {name: master_csv(name, (*SHARES, *symbols), book, day) for name in FILES}
    return {name: text.encode() for name, text in texts.items() if text is not None}


def master_of(day: dt.date = DAY) -> SymbolMaster:
    """The master of a day."""
    return SymbolMaster(texts_of(day), day, 1, 5)


def put(directory: Path, day: dt.date = DAY, symbols: tuple[str, ...] = ()) -> None:
    """Copies of a day, as a download leaves them."""
    folder = folder_of(directory, day)
    folder.mkdir(parents=True)
    for name, text in texts_of(day, symbols).items():
        (folder / f"{name}.csv").write_bytes(text)
