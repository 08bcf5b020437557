"""The files that a replay is asked for; apart from what plays it, which takes long to import."""

from __future__ import annotations

from pathlib import Path

import msgspec


class ReplayOutputs(msgspec.Struct, frozen=True, kw_only=True):
    """Files to write; None for those nobody asked for."""

    journal: Path | None = None
    report: Path | None = None
    bars: Path | None = None
    fills: Path | None = None
    ticks: Path | None = None
    trades: Path | None = None
    decisions: Path | None = None
    equity: Path | None = None

    def tables(self) -> list[Path]:
        """Those that are tables, in the order in which they are said."""
        wanted = (self.bars, self.fills, self.trades, self.decisions, self.equity)
        return [path for path in wanted if path is not None]
