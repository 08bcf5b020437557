"""What a daemon lives on goes wrong: feed, broker, disk and event loop, each with its line in health, at 100 times."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.chaos_model import beyond_limits, run
from benchmarks.fault_cases import CASES, LIMIT_UNITS
from daemon.core.events import Event, OrderApproved
from daemon.journal.writer import Journal
from tests.samples import OPEN, intend, wave, write_tape

AROUND = {
    case.name: case
    for case in CASES
    if case.name in (
        "the event loop is blocked for 2 s", "the feed is cut", "the broker answers 502", "the journal's disk is full",
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two and a half hours, a minute and a half at this speed."""
    return write_tape(tmp_path_factory.mktemp("tape") / "wave.parquet", *wave(150, every_s=1))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly) if "blocked" in name else name for name in AROUND]
)
def test_it_is_said_nothing_is_opened_and_all_is_well_again(name: str, tape: Path, tmp_path: Path) -> None:
    """Within its decisions, as long as it lasts, by the right check; then journal and exchange hold the same."""
    pytest.importorskip("fyers_apiv3", reason="the Fyers SDK is not installed")
    case = AROUND[name]
    row = run(case, tape, tmp_path)
    assert row.health.startswith(f"{case.check} {case.status}: "), row
    assert row.right, row


def test_health_must_say_it_by_the_right_check_and_as_gravely() -> None:
    """Another check, a milder word or another text is no line of this fault."""
    case = AROUND["the feed is cut"]
    checks = [{"name": "feed", "status": "fail", "text": "the feed is stale: the connection was closed"}]
    assert case.line({"checks": checks}) == "feed fail: the feed is stale: the connection was closed"
    assert case.line({"checks": [checks[0] | {"status": "warn"}]}) == ""
    assert case.line({"checks": [checks[0] | {"text": "stale symbols: 1"}]}) == ""
    assert case.line({"checks": [{"name": "feed", "status": "ok", "text": ""}, checks[0] | {"name": "ticks"}]}) == ""


def test_orders_beyond_the_limits_are_counted(tmp_path: Path) -> None:
    """One is too large; of the others, one opens something while the fault is known and lasts."""

    def ordered(name: str, ts: int, quantity: int = 10, *, reduces: bool = False) -> list[Event]:
        intent = intend(name, quantity=quantity, reduces=reduces, ts=ts)
        return [intent, OrderApproved(ts=ts, order_id=name)]

    journal = Journal(tmp_path / "j.sqlite", safe=False)
    for event in (
        *ordered("before", OPEN + 1), *ordered("entry", OPEN + 20), *ordered("exit", OPEN + 21, reduces=True),
        *ordered("large", OPEN + 50, LIMIT_UNITS + 1),
    ):  # fmt: skip
        journal.append(event)
    journal.close()
    assert beyond_limits(tmp_path / "j.sqlite", (OPEN + 10, OPEN + 30)) == 2
    assert beyond_limits(tmp_path / "j.sqlite", (0, 0)) == 1
