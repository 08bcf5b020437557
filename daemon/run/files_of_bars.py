"""Settings and paths of bars → what is trained on and judged on, adjusted and timed as the settings say.

Invariant: the same settings and files give the same sessions in every process, here and on another machine.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from daemon.core.errors import UsageError
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.market.hours import hours_of
from daemon.market.instruments import InstrumentBook
from daemon.market.overnight import OvernightLimit
from daemon.settings.market import MarketSettings
from daemon.settings.tree import Settings
from models.training.adjusting import Action
from models.training.columns import columns_named
from models.training.errors import DataError
from models.training.files import FileData


def file_data(
    settings: Settings, bars: Sequence[Path], seconds: Sequence[int], border: dt.date, columns: str, option: str
) -> FileData:
    """``seconds``: intervals; ``option``: how the border was given. Raises `UsageError` for columns that aren't."""
    limit = OvernightLimit(InstrumentBook(settings.market), settings.market.max_overnight_percent)
    try:
        named = columns_named(columns)
    except DataError as error:
        raise UsageError(str(error)) from None
    actions = partial(_actions, settings.market)
    hours = hours_of(MarketCalendar.load(settings.market.calendar_file))
    return FileData(bars, seconds, border, actions, limit.broken, named, option, hours)


def _actions(market: MarketSettings, symbol: str) -> list[Action]:
    """The corporate actions of `market.adjustments` as bars are adjusted by them."""
    found = []
    for item in market.adjustments_of(symbol):
        ratio = float(item.fraction)
        found.append(Action(ist_ns(item.date, "00:00"), ratio, 1.0 / ratio if item.shares else 1.0))
    return found
