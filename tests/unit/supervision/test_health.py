"""How values are graded, and what all checks come to."""

from __future__ import annotations

import pytest

from daemon.supervision.health import (
    Check,
    CheckStatus,
    Limits,
    Overall,
    bad,
    changes,
    doubtful,
    good,
    measured,
    overall,
    texts,
)

OK, WARN, FAIL = CheckStatus.OK, CheckStatus.WARN, CheckStatus.FAIL


@pytest.mark.parametrize(("value", "status"), [(49.9, OK), (50, WARN), (99.9, WARN), (100, FAIL), (1e9, FAIL)])
def test_a_value_is_graded_at_its_limits(value: float, status: CheckStatus) -> None:
    """At the limit it counts."""
    assert Limits(50, 100).grade(value, OK) is status


@pytest.mark.parametrize(("value", "status"), [(5.1, OK), (5, OK), (4.9, WARN), (1, WARN), (0.9, FAIL), (0, FAIL)])
def test_where_little_is_bad(value: float, status: CheckStatus) -> None:
    """Room on a disk."""
    assert Limits(5, 1, low=True).grade(value, OK) is status


def grades(limits: Limits, *values: float) -> list[CheckStatus]:
    """What each look came to, one after the other."""
    status, found = OK, []
    for value in values:
        status = limits.grade(value, status)
        found.append(status)
    return found


def test_a_value_at_its_limit_does_not_flap() -> None:
    """It gets better only when the value has left the limit by a tenth."""
    assert grades(Limits(50, 100), 49, 51, 49, 51, 46, 44) == [OK, WARN, WARN, WARN, WARN, OK]
    assert grades(Limits(50, 100), 99, 101, 99, 91, 89, 99, 44) == [WARN, FAIL, FAIL, FAIL, WARN, WARN, OK]
    assert grades(Limits(5, 1, low=True), 5.1, 4.9, 5.1, 5.4, 5.6, 0.9, 1.05, 1.2) == [
        OK, WARN, WARN, WARN, OK, FAIL, FAIL, WARN,
    ]  # fmt: skip


def test_without_a_second_limit_nothing_fails() -> None:
    """However bad the value."""
    assert Limits(50).grade(1e9, WARN) is WARN


def test_a_measured_check_says_which_limit_it_has_passed() -> None:
    """Or the first one where none; what to do only where something is to be done."""
    found = [measured("x", value, "ms", Limits(50, 100), {}, "text", "do it") for value in (10, 60, 110)]
    assert [(check.status, check.value, check.limit, check.do) for check in found] == [
        (OK, 10, 50, ""), (WARN, 60, 50, "do it"), (FAIL, 110, 100, "do it"),
    ]  # fmt: skip
    assert measured("x", 46, "ms", Limits(50, 100), {"x": WARN}, "", "").status is WARN


def test_the_worst_check_is_the_word() -> None:
    """And each kind has its texts, in order."""
    well, look, ill = good("a", "fine"), doubtful("b", "a look", "do"), bad("c", "ill", "do")
    assert [overall(checks) for checks in ((), (well,), (well, look), (look, ill, well))] == [
        Overall.HEALTHY, Overall.HEALTHY, Overall.DEGRADED, Overall.UNHEALTHY,
    ]  # fmt: skip
    assert (texts((ill, look, ill), FAIL), texts((ill, look), WARN)) == (["ill", "ill"], ["a look"])


def test_only_changes_are_changes() -> None:
    """A check that nobody has spoken of was fine; another text alone is none."""
    checks: list[Check] = [good("a", "1"), doubtful("b", "2", ""), bad("c", "3", ""), good("d", "4")]
    found = changes({"c": FAIL, "d": WARN}, checks)
    assert [(one.check, one.before, one.now, one.text) for one in found] == [
        ("b", "ok", "warn", "2"), ("d", "warn", "ok", "4"),
    ]  # fmt: skip


def test_what_is_said_to_all() -> None:
    """The outline where there is one."""
    assert bad("a", "NSE:SBIN-EQ: 5,000", "", "a symbol").said_to_all == "a symbol"
    assert bad("a", "the feed has ended", "").said_to_all == "the feed has ended"
