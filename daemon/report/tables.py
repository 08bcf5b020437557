"""One look for every table on a terminal.

Invariant: no figure, symbol or id is cut or broken in two. Words are folded where room is short; a table that
needs more than the terminal has runs over its edge.
"""

from __future__ import annotations

import sys
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table

PIPED_WIDTH = 120
"""Where nobody looks at it."""


class _Table(Table):
    """Columns that are not to be wrapped are as wide as their widest cell, whatever room there is."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        for column, cell in zip(self.columns, cells, strict=True):
            if column.no_wrap:
                column.min_width = max(column.min_width or 0, cell_len(str(cell)))
        super().add_row(*cells, **options)


def table(*heads: str, title: str | None = None) -> Table:
    """An empty table. A head with ">" before it is one of figures: to the right and whole; with "=", of whole names."""
    made = _Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title=title, title_justify="left")
    for head in heads:
        if head[:1] in (">", "="):
            name = head[1:]
            made.add_column(name, justify="right" if head[0] == ">" else "left", no_wrap=True, min_width=cell_len(name))
        else:
            made.add_column(head, overflow="fold")
    return made


def facts() -> Table:
    """An empty table of names and what is so: two columns without a head."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    return made


def terminal() -> Console:
    """Stdout; what is printed on it is no markup, for names and reasons may hold brackets."""
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)


def show(renderable: RenderableType, console: Console | None = None, widest: int | None = None) -> None:
    """Print on `console` (default: stdout), at most `widest` columns unless a figure needs more."""
    console = console or terminal()
    before = console.width
    needed = Measurement.get(console, console.options.update(max_width=10_000), renderable).minimum
    wanted = max(needed, before if widest is None else min(before, widest))
    console.width = max(before, wanted)  # rich prints no wider than the console is
    console.print(renderable, width=wanted, crop=False)
    console.width = before
