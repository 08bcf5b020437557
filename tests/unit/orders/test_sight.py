"""How long the broker's book and positions have been out of sight, and what is said of it."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from daemon.calls.outcome import NotSent, Outcome, Rejected, Unknown
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.orders.sight import BOOK, POSITIONS, Sight


def test_what_was_never_read_is_out_of_sight() -> None:
    """From the first moment, one after the other, with the reason where there is one."""
    sight = Sight(ReplayClock(1), 30.0)
    assert (sight.trouble, sight.left_s) == ("the broker's orders and trades have not been read yet", 0.0)
    sight.saw(BOOK)
    sight.missed(POSITIONS, Unknown("HTTP 502"))
    assert sight.trouble == "the broker's positions have not been read yet (HTTP 502)"
    sight.saw(POSITIONS)
    assert (sight.trouble, sight.left_s, sight.missing) == ("", 45.0, False)


def test_how_old_the_answers_are() -> None:
    """The older of the two; nobody knows before both were read."""
    clock = ReplayClock(1)
    sight = Sight(clock, 30.0)
    sight.saw(BOOK)
    assert sight.age_s is None
    clock.advance(1 + 4 * NS_PER_S)
    sight.saw(POSITIONS)
    assert sight.age_s == 4


@pytest.mark.parametrize(("reconcile_s", "limit_s"), [(30.0, 45), (10.0, 15), (1.0, 5), (0.1, 5)])
@pytest.mark.parametrize("lost", [BOOK, POSITIONS])
def test_the_limit(reconcile_s: float, limit_s: int, lost: str) -> None:
    """Half as long again as they are read, at least five seconds; of either alone."""
    clock = ReplayClock(1)
    sight = Sight(clock, reconcile_s)
    for what in (BOOK, POSITIONS):
        sight.saw(what)
    clock.advance(1 + limit_s * NS_PER_S)
    sight.saw(POSITIONS if lost == BOOK else BOOK)
    assert (sight.trouble, sight.left_s) == ("", 0.0)
    clock.advance(2 + limit_s * NS_PER_S)
    assert sight.trouble == f"the broker's {lost} have not been read for {limit_s} s"
    sight.saw(lost)
    assert sight.trouble == ""


@pytest.mark.parametrize(
    ("outcome", "why"),
    [(Rejected(-16, "no token"), "-16: no token"), (NotSent("the venue's rate limit"), "the venue's rate limit"),
     (Unknown("HTTP 502"), "HTTP 502")],
)  # fmt: skip
def test_a_failure_is_said_once(outcome: Outcome[None], why: str) -> None:
    """With what the broker answered, and again only after it could be read."""
    sight = Sight(ReplayClock(1), 30.0)
    with capture_logs() as logs:
        for _ in range(3):
            sight.missed(BOOK, outcome)
        sight.saw(BOOK)
        sight.saw(BOOK)
        sight.missed(BOOK, outcome)
    assert [(line["log_level"], line.get("why")) for line in logs] == [
        ("warning", why), ("info", None), ("warning", why),
    ]  # fmt: skip
    assert sight.missing
