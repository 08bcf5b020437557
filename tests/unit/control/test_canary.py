"""The canary run over the control API: shown, begun, ended, and what is refused."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from daemon.control.tables import canary_table
from daemon.control.view import CanaryRow, NotTradingError
from daemon.core.clock import NS_PER_S
from daemon.core.events import BeginCanary, EndCanary
from daemon.report.text import ist_second
from tests.unit.control.fakes import CANARY, NOW
from tests.unit.control.test_server import Running, running

__all__ = ["running"]


async def test_it_is_shown(running: Running) -> None:
    """With its proof, and who could begin one."""
    status, answer, _ = await running.ask("GET", "/canary")
    assert status == 200
    assert (answer["state"], answer["agent"], answer["symbols"], answer["size"]) == (
        "running", "fast", ["NSE:SBIN-EQ"], 0.5,
    )  # fmt: skip
    assert (answer["better"], answer["needed"], answer["net_pnl"], answer["began_ts"]) == (7.5, 20.0, "12.50", str(NOW))


async def test_commands_carry_who_and_why(running: Running) -> None:
    """On the bus before the answer."""
    bodies = (
        b'{"do": "begin", "agent": "fast", "who": "anna", "reason": "a week on paper"}',
        b'{"do": "promote", "who": "anna", "reason": "better"}',
        b'{"do": "rollback"}',
    )
    for body in bodies:
        assert (await running.ask("POST", "/control/canary", body=body))[0] == 202
    begun, promoted, back = running.daemon.submitted
    assert begun == BeginCanary(ts=begun.ts, agent="fast", who="anna", reason="a week on paper")  # type: ignore[attr-defined]
    assert isinstance(promoted, EndCanary)
    assert (promoted.promote, promoted.who, promoted.reason) == (True, "anna", "better")
    assert isinstance(back, EndCanary)
    assert (back.promote, back.who, back.reason) == (False, "an operator", "by the operator")


async def test_what_cannot_be_done_is_a_line(running: Running) -> None:
    """And nothing is published."""
    running.daemon.why = "no canary runs"
    status, answer, _ = await running.ask("POST", "/control/canary", body=b'{"do": "promote"}')
    assert (status, answer["detail"]) == (409, "canary promote: no canary runs")
    assert running.daemon.submitted == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"do": "begin"}', "agent: expected with do begin, and only then"),
        (b'{"do": "rollback", "agent": "fast"}', "agent: expected with do begin, and only then"),
        (b'{"do": "begin", "agent": "A b"}', "agent: expected a shadow agent's name"),
        (b'{"do": "stop"}', "do: expected one of begin, promote, rollback"),
        (b'{"do": "rollback", "reason": " "}', "reason: expected 1 to 200 printable characters in one line"),
        (b"", 'body: expected {"do": "begin"'),
    ],
)
async def test_what_cannot_be_meant(running: Running, body: bytes, error: str) -> None:
    """The line names the field."""
    status, answer, _ = await running.ask("POST", "/control/canary", body=body)
    assert status == 400
    assert answer["detail"].startswith(error)
    assert running.daemon.submitted == []


async def test_one_that_was_not_taken_says_so(running: Running) -> None:
    """Such as while the journal can't be written."""
    running.daemon.trouble = NotTradingError("the disk is full")
    body = b'{"do": "begin", "agent": "fast"}'
    status, answer, _ = await running.ask("POST", "/control/canary", body=body)
    assert (status, answer["detail"]) == (503, "canary begin was not taken: the disk is full")


def shown(row: CanaryRow) -> str:
    """As somebody reads it at a terminal."""
    out = io.StringIO()
    Console(file=out, width=160).print(canary_table(row))
    return out.getvalue()


def test_the_table_says_it_all() -> None:
    """State, share, proof, money."""
    for words in (
        f"fast: running since {ist_second(NOW)}", "decides on", "looks good (anna)",
        "NSE:SBIN-EQ · at 0.5 of the limits on size", "better 7.50, worse 0.25, of 20 needed",
        "12 sessions, +3.25 bp a session", "+₹12.50",
    ):  # fmt: skip
        assert words in shown(CANARY)


def test_one_that_has_ended_says_when() -> None:
    """It is no more what it was since it began, and decides on nothing."""
    ended = msgspec.structs.replace(CANARY, state="rolled back", ts=NOW + 3600 * NS_PER_S, net_pnl=None)
    said = shown(ended)
    assert f"fast: rolled back {ist_second(ended.ts or 0)}, begun {ist_second(NOW)}" in said
    assert "decided on" in said
    assert "on proof" not in said
