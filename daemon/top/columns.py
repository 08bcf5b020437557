"""Rows of cells → lines of a given width. Invariant: a figure, name or id is shown whole or its column not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

GAP = 2
LEAST_WORDS = 12
"""Cells below which words say nothing."""


@dataclass(frozen=True, slots=True)
class Column:
    """`keep`: the lower, the earlier it goes where there is no room; `words` may be cut, at the end of a line."""

    head: str
    right: bool = False
    keep: int = 9
    words: bool = False


def shorten(text: str, cells: int) -> str:
    """Words in at most `cells`; what is missing is marked."""
    flat = " ".join(text.split())
    return flat if cell_len(flat) <= cells else set_cell_size(flat, max(0, cells - 1)) + "…" * (cells > 0)


def lines(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> list[Text]:
    """The head, then a line a row, each at most `width` cells."""
    sizes = [
        max([cell_len(column.head), *(cell_len(row[at].plain) for row in rows)]) for at, column in enumerate(columns)
    ]
    shown = [at for at, column in enumerate(columns) if not column.words]
    while len(shown) > 1 and sum(sizes[at] + GAP for at in shown) - GAP > width:
        shown.remove(min(shown, key=lambda at: columns[at].keep))
    used = sum(sizes[at] + GAP for at in shown)
    room = width - used
    last = [at for at, column in enumerate(columns) if column.words and room >= LEAST_WORDS]
    head = [Text(column.head, "bold cyan") for column in columns]
    made = []
    for cells in [head, *rows]:
        line = Text(no_wrap=True, end="")
        for at in shown:
            space = " " * (sizes[at] - cell_len(cells[at].plain))
            line.append(space if columns[at].right else "").append_text(cells[at])
            line.append(" " * GAP if columns[at].right else space + " " * GAP)
        for at in last:
            line.append(Text(shorten(cells[at].plain, room), cells[at].style))
        line.rstrip()
        made.append(line)
    return made


def parts(texts: Sequence[Text], width: int, between: str = "  ") -> Text:
    """As many of `texts` as there is room for, the first ones first, each whole."""
    line = Text(no_wrap=True, end="")
    for text in texts:
        gap = between if line.plain else ""
        if text.plain and cell_len(line.plain) + cell_len(gap) + cell_len(text.plain) <= width:
            line.append(gap).append_text(text)
    return line


def spread(left: Text, right: Text, width: int) -> Text:
    """`right` at the right edge, where there is room for both."""
    space = width - cell_len(left.plain) - cell_len(right.plain)
    return left.copy() if space < 2 else left.copy().append(" " * space).append_text(right)
