"""`hrmd top` on the terminal: draws what is known, and turns keys into questions and commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from daemon.control.finding import Target
from daemon.core.clock import stopwatch_ns
from daemon.core.errors import HrmdError
from daemon.report.text import price, whole
from daemon.top.asking import OneOf, SecondKey, TypedWord
from daemon.top.link import Link, said
from daemon.top.picture import picture
from daemon.top.seen import Seen, works

REDRAW_S = 0.5
"""So long at most a light outlives what it says: age alone can change it."""
FLAT = "flat"


class Top(App[None]):
    """One terminal that looks at one daemon."""

    ENABLE_COMMAND_PALETTE = False
    CSS = "Screen { overflow: hidden; } #picture { width: 100%; height: 100%; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h", "halt", "halt"),
        Binding("r", "resume", "resume"),
        Binding("f", "flatten", "flatten"),
        Binding("s", "strategy", "strategy"),
        Binding("c", "cancel", "cancel"),
        Binding("down", "choose(1)", "next order"),
        Binding("up", "choose(-1)", "order before"),
        Binding("q,ctrl+c", "quit", "quit", priority=False),
    ]

    def __init__(self, find: Callable[[], Target], sign: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """`find`: the daemon that is meant; `sign`: a command's body with who gives it."""
        super().__init__()
        self.seen = Seen()
        self.link = Link(find, self.seen, self.draw)
        self._sign = sign
        self._picture = Static(id="picture")

    def compose(self) -> ComposeResult:
        """All of the terminal is one picture."""
        yield self._picture

    def on_mount(self) -> None:
        """Begin to look."""
        self.run_worker(self.link.run(), name="link")
        self.set_interval(REDRAW_S, self.draw)
        self.draw()

    def on_resize(self) -> None:
        """Another size, another picture."""
        self.draw()

    def draw(self) -> None:
        """What is known now."""
        if self._picture.is_mounted:
            self._picture.update(picture(self.seen, self.size.width, self.size.height, stopwatch_ns()))

    def action_choose(self, by: int) -> None:
        """Another order."""
        self.seen.choose(by)
        self.draw()

    def action_halt(self) -> None:
        """Stop trading."""
        question = SecondKey("HALT: stop trading. Open positions stay.")
        self.push_screen(question, self._then("halt"))

    def action_resume(self) -> None:
        """Trade again."""
        self.push_screen(TypedWord("RESUME: trade again.", "resume"), self._then("resume"))

    def action_flatten(self) -> None:
        """Close everything."""
        held = 0 if self.seen.look is None else self.seen.look.status.open_positions
        what = f"FLATTEN: cancel working orders and close every position ({held}) at the market."
        self.push_screen(TypedWord(what, "flatten"), self._then("flatten"))

    def action_strategy(self) -> None:
        """Put another strategy in charge."""
        if self.seen.look is None:
            return self._notice("no strategy can be chosen: the daemon's ladder isn't known yet", bad=True)
        status = self.seen.look.status
        question = OneOf("STRATEGY: who shall decide?", status.strategies, status.strategy)
        self.push_screen(question, self._on_strategy)
        return None

    def _on_strategy(self, name: str | None) -> None:
        if not name:
            return self._notice("strategy: left as it is")
        then = self._then("strategy", name=name)
        if name == FLAT:
            question = TypedWord("STRATEGY flat: nobody decides, and every position is closed at the market.", FLAT)
            self.push_screen(question, then)
        else:
            self.push_screen(SecondKey(f"STRATEGY: put {name} in charge."), then)
        return None

    def action_cancel(self) -> None:
        """Take the chosen order off the market."""
        order = self.seen.chosen_order()
        if order is None:
            return self._notice("cancel: choose an order with ↑ or ↓ first", bad=True)
        if not works(order):
            return self._notice(f"cancel: {order.order_id} is {order.state}, there is nothing to cancel", bad=True)
        at = "the market" if order.limit_price is None else price(order.limit_price)
        what = f"CANCEL {order.order_id}: {order.side.value} {whole(order.quantity)} {order.symbol} at {at}."
        self.push_screen(SecondKey(what), self._then("cancel", order_id=order.order_id))
        return None

    def _then(self, command: str, **body: Any) -> Callable[[bool | None], None]:
        """What is done about the answer to a question."""

        def on_answer(yes: bool | None) -> None:
            if yes:
                self._notice(f"{command} …")
                self.run_worker(self._give(command, body), name=command)
            else:
                self._notice(f"{command}: not given")

        return on_answer

    async def _give(self, command: str, body: dict[str, Any]) -> None:
        try:
            self._notice(said(await self.link.command(f"/control/{command}", self._sign(body))))
        except HrmdError as error:
            self._notice(str(error), bad=True)

    def _notice(self, text: str, *, bad: bool = False) -> None:
        self.seen.notice, self.seen.notice_bad = text, bad
        self.draw()
