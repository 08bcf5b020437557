"""What the entries that a model wanted came to → what the next one earns at least, and whether it is worth making.

Adaptive conformal inference (Gibbs and Candès, 2021) on the newest of them: the bound is an order statistic of what
they earned, whose level follows how often earlier bounds were missed. An entry counts whether it was made or not, all
are measured alike (so many bars from the next bar's open, after costs, in usual moves), and one at a time, so that a
refused one, which is wanted again at the next bar, doesn't count twice. Invariant: a record is a function of bars and
decisions in their order; entries lie under their bounds as often as was asked, whatever the market does, to within
(1 + rate) / (rate · entries).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from daemon.core.events import EntriesRecord
from models.config import EntrySettings

LEAST_UNIT_BP: Final = 0.1
"""Nothing moves less."""
_TO_DEVIATION: Final = math.sqrt(math.pi / 2)
_BP: Final = 1e4

Move = tuple[float, float]
"""Open and close of a bar."""


def begun(model: str, settings: EntrySettings) -> EntriesRecord:
    """Nothing is known of this model's entries."""
    return EntriesRecord(model=model, level=1.0 - settings.confidence)


def bound(record: EntriesRecord, settings: EntrySettings) -> float | None:
    """What an entry earns at least but for a share `level`, in usual moves; None where too little is known.

    The largest of what was earned that a share `level` at most lies under, the next one counted among them.
    """
    earned = sorted(record.earned)
    if len(earned) < settings.fewest:
        return None
    rank = math.floor(record.level * (len(earned) + 1) + 1e-9)
    if rank < 1:
        return -math.inf
    return earned[rank - 1] if rank <= len(earned) else math.inf


def learned(record: EntriesRecord, earned: float, settings: EntrySettings) -> EntriesRecord:
    """With what one more came to: its bound was missed, and the level falls, or held, and it rises a little."""
    low, level = bound(record, settings), record.level
    if low is not None:
        level += settings.rate * (1.0 - settings.confidence - (earned < low))
    return EntriesRecord(
        model=record.model, level=level, earned=(*record.earned, earned)[-settings.newest :]
    )  # one that was open is over


def after_wanting(
    record: EntriesRecord, side: int, cost_bp: float, day: int, today: Sequence[Move], settings: EntrySettings
) -> EntriesRecord:
    """The model wants an entry (+1 long, −1 short) on `day`, whose bars so far are `today`; one at a time counts."""
    if record.side or not today:
        return record
    usual = _TO_DEVIATION * _BP * sum(abs(math.log(close / open_)) for open_, close in today) / len(today)
    unit_bp = max(usual, LEAST_UNIT_BP) * math.sqrt(settings.bars)
    return msgspec.structs.replace(
        record, side=side, day=day, bars=0, filled=0.0, last=0.0, cost_bp=cost_bp, unit_bp=unit_bp
    )


def after_bar(record: EntriesRecord, day: int, move: Move, settings: EntrySettings) -> EntriesRecord:
    """A bar has closed: the first one after an entry fills it, the last of `settings.bars` or of its day settles it."""
    if not record.side:
        return record
    if day != record.day:
        return _settled(record, settings)
    open_, close = move
    record = msgspec.structs.replace(record, bars=record.bars + 1, filled=record.filled or open_, last=close)
    return _settled(record, settings) if record.bars >= settings.bars else record


def _settled(record: EntriesRecord, settings: EntrySettings) -> EntriesRecord:
    if not record.bars:  # wanted at a session's last bar
        return EntriesRecord(model=record.model, level=record.level, earned=record.earned)
    gained_bp = record.side * _BP * math.log(record.last / record.filled) - 2.0 * record.cost_bp
    return learned(record, gained_bp / record.unit_bp, settings)
