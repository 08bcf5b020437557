"""The picture of `hrmd top`: whole figures in every terminal, and no green light that isn't true."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from rich.console import Console
from rich.text import Text

from daemon.control.view import DecisionRow, Health
from daemon.core.clock import NS_PER_S
from daemon.core.events import TradingState
from daemon.supervision.health import bad, doubtful, good
from daemon.top.picture import picture, pill
from daemon.top.seen import LOST_AFTER_NS, Look, Seen
from tests.unit.control.fakes import DECISIONS, EQUITY, LINES, ORDERS, POSITIONS, STATUS, FakeDaemon

T0 = 1000 * NS_PER_S
SIZES = [(20, 5), (40, 14), (60, 20), (80, 24), (81, 25), (120, 40), (250, 80)]


def look(**changes: object) -> Look:
    """A daemon with large figures."""
    held = msgspec.structs.replace(
        POSITIONS[0], symbol="NSE:BANKNIFTY26JAN50000CE", quantity=-12_500, average_price=Decimal("51234.55"),
        last_price=Decimal("52345.60"), unrealised_pnl=Decimal("-13888125.00"), realised_pnl=Decimal("1234567.89"),
        costs=Decimal("123456.78"),
    )  # fmt: skip
    orders = [
        msgspec.structs.replace(ORDERS[number % 3], order_id=f"H6b0ac7aa41045aL{number:07d}") for number in range(30)
    ]
    fields: dict[str, object] = {
        "status": STATUS, "health": Health.of([good("running", "it trades")]), "risk": FakeDaemon().risk(),
        "positions": [held, *POSITIONS],
        "orders": orders, "decisions": [DecisionRow.of(one) for one in DECISIONS] * 5, "equity": EQUITY, "logs": LINES,
    }  # fmt: skip
    return Look(**(fields | changes))  # type: ignore[arg-type]


def seen(**changes: object) -> Seen:
    """A look of this moment."""
    known = Seen()
    known.heard(look(**changes), T0)
    return known


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("lost", [False, True])
def test_it_fills_every_terminal_and_is_wider_than_none(width: int, height: int, lost: bool) -> None:
    """As many lines as there are, each within the width."""
    known = seen()
    known.trouble = "gone" if lost else ""
    lines = picture(known, width, height, T0).split("\n", allow_blank=True)
    assert len(lines) == height
    assert max(line.cell_len for line in lines) <= width


def test_only_the_pill_has_a_colour_behind_it() -> None:
    """The words beside it are read on the terminal's own ground."""
    console, lost = Console(), seen()
    lost.trouble = "gone"
    for known, word in ((seen(), " ACTIVE "), (lost, " LOST ")):
        first = picture(known, 80, 24, T0).split("\n")[0]
        assert first.plain.startswith(word)
        behind = [first.get_style_at_offset(console, at).bgcolor is not None for at in range(len(first.plain))]
        assert behind == [at < len(word) for at in range(len(first.plain))]


@pytest.mark.parametrize(("width", "height"), SIZES[2:])
def test_no_figure_is_cut(width: int, height: int) -> None:
    """A column is there with all its figures, or not at all."""
    text = picture(seen(), width, height, T0).plain
    for figure in ("−₹1,38,88,125.00", "+₹12,34,567.89", "₹1,23,456.78", "51,234.55", "H6b0ac7aa41045aL0000001"):
        for start in range(4, len(figure)):
            assert figure in text or figure[:start] not in text.replace(figure, "")


def test_80_by_24_has_all_of_it() -> None:
    """Money, the ladder, health, the four lists and the keys."""
    text = picture(seen(positions=POSITIONS, orders=ORDERS), 80, 24, T0).plain
    for shown in ("ACTIVE", "net +₹2,138.04", "₹10,02,138.04", "hrm", "rules", "flat", "rung 0", "healthy", "−500",
                  "348.20", "+₹525.00", "ACCEPTED", "buy long", "61 %", "bar closed", "h halt", "q quit",
                  "simulated ticks"):  # fmt: skip
        assert shown in text


def test_wider_shows_more() -> None:
    """Columns that there was no room for."""
    narrow, wide = (picture(seen(), width, 40, T0).plain for width in (80, 160))
    assert ("₹1,23,456.78" in narrow, "₹1,23,456.78" in wide) == (False, True)


def test_the_light_is_green_only_while_it_is_true() -> None:
    """Not at first, not when lost, not when too old, not when ill or halted."""
    well = seen()
    assert "green" in str(pill(well, T0).style)
    assert "green" in str(pill(well, T0 + LOST_AFTER_NS).style)
    late = pill(well, T0 + LOST_AFTER_NS + 1)
    assert (late.plain, str(late.style)) == (" LOST ", "bold white on red")
    well.trouble = "no hrmd answers"
    assert pill(well, T0).plain == " LOST "
    assert pill(Seen(), T0).plain == " LOST "
    ill = {"status": msgspec.structs.replace(STATUS, healthy=False), "health": Health.of([bad("feed", "stale", "")])}
    doubt = {"health": Health.of([doubtful("disk", "3 GB", "")])}
    halted = {"status": msgspec.structs.replace(STATUS, trading_state=TradingState.HALTED)}
    reached = {"risk": msgspec.structs.replace(FakeDaemon().risk(), reached="the day's loss: nothing is opened")}
    assert "nothing is opened" in picture(seen(**reached), 80, 24, T0).plain
    for changes in (ill, doubt, halted, reached):
        assert "green" not in str(pill(seen(**changes), T0).style)


def test_nothing_on_a_lost_screen_is_green() -> None:
    """What was known stands there, dim, with its time."""
    known = seen()
    known.trouble = "no hrmd answers at http://127.0.0.1:8642"
    drawn = picture(known, 100, 30, T0)
    assert "what is below was so at 09:15:00 IST" in drawn.plain
    assert "+₹525.00" in picture(seen(), 100, 30, T0).plain
    assert not [span for span in drawn.spans if "green" in str(span.style)]
    assert str(drawn.style) == ""  # spans are all that carries colour


def test_what_is_to_be_mended_is_said() -> None:
    """The worst first, with what to do, and how many more there are."""
    checks = [
        doubtful("disk", "3 GB", "make room"),
        bad("feed", "stale since 09:20", "look at the feed"),
        good("x", ""),
    ]
    text = picture(seen(health=Health.of(checks)), 80, 24, T0).plain
    assert "fail feed: stale since 09:20 → look at the feed  (+1)" in text
    assert "warn disk: 3 GB → make room" in picture(seen(health=Health.of(checks)), 80, 40, T0).plain


def test_orders_that_work_come_first_and_the_chosen_one_is_seen() -> None:
    """However many there are; the choice stays with the order, not with the line."""
    known = seen()
    known.choose(1)
    first = known.chosen
    assert first.endswith("0000001")  # the newest that works; 0 is filled
    known.heard(look(orders=[ORDERS[0], *look().orders]), T0)
    assert known.chosen == first
    for _ in range(40):
        known.choose(1)
    assert known.chosen.endswith("0000029")
    assert f"▶  {known.chosen}" in picture(known, 100, 24, T0).plain
    known.heard(look(orders=[]), T0)
    assert (known.chosen, known.chosen_order()) == ("", None)


def test_hostile_text_is_one_line_and_no_markup() -> None:
    """Brackets and line ends in a reason."""
    status = msgspec.structs.replace(STATUS, trading_reason="[red]a\nb", trading_state=TradingState.HALTED)
    lines = picture(seen(status=status), 80, 24, T0).split("\n", allow_blank=True)
    assert "[red]a b" in lines[0].plain
    assert len(lines) == 24
    assert isinstance(lines[0], Text)
