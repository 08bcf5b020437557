"""Before a command goes out: what it does, and the second key or the word that gives it. Enter alone gives nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Input, Static

BOX = """
{name} {{ align: center middle; }}
{name} > Vertical {{
    width: 64; max-width: 96%; height: auto; border: heavy $warning; padding: 0 1; background: $surface;
}}
"""


class SecondKey(ModalScreen[bool]):
    """True after `y`; any other key is no."""

    CSS = BOX.format(name="SecondKey")

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def compose(self) -> ComposeResult:
        """What it does, and the key."""
        with Vertical():
            yield Static(Text(self._what))
            yield Static(Text.assemble("press ", ("y", "bold reverse"), " to do it; any other key: no"))

    def on_key(self, event: Key) -> None:
        """Answer."""
        event.stop()
        self.dismiss(event.key == "y")


class TypedWord(ModalScreen[bool]):
    """True once the word is typed and Enter pressed; Escape is no, and so is another word."""

    CSS = BOX.format(name="TypedWord")
    BINDINGS: ClassVar[list[BindingType]] = [("escape", "no", "no")]

    def __init__(self, what: str, word: str) -> None:
        super().__init__()
        self._what = what
        self._word = word

    def compose(self) -> ComposeResult:
        """What it does, and the word."""
        with Vertical():
            yield Static(Text(self._what))
            yield Static(Text.assemble("type ", (self._word, "bold reverse"), " and Enter to do it; Escape: no"))
            yield Input(max_length=40)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Answer."""
        event.stop()
        self.dismiss(event.value.strip() == self._word)

    def action_no(self) -> None:
        """Leave it."""
        self.dismiss(False)


class OneOf(ModalScreen[str]):
    """One of up to nine names, by its digit; "" for any other key."""

    CSS = BOX.format(name="OneOf")

    def __init__(self, what: str, names: Sequence[str], now: str) -> None:
        super().__init__()
        self._what = what
        self._names = list(names)[:9]
        self._now = now

    def compose(self) -> ComposeResult:
        """The names with their digits."""
        with Vertical():
            yield Static(Text(self._what))
            for number, name in enumerate(self._names, 1):
                mark = "  (in charge now)" if name == self._now else ""
                yield Static(Text.assemble((str(number), "bold reverse"), f" {name}{mark}"))

    def on_key(self, event: Key) -> None:
        """Answer."""
        event.stop()
        number = int(event.key) if event.key.isdigit() else 0
        self.dismiss(self._names[number - 1] if 1 <= number <= len(self._names) else "")
