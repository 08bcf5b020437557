"""A person's word on the migration: on disk before the answer, and what the answer and the view say of it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest

from daemon.control.manual_desk import ManualDesk
from daemon.control.migration_desk import MigrationDesk, view_of
from daemon.control.view import MigrationTicket, NotTradingError
from daemon.core.errors import JournalError
from daemon.core.events import AdvanceMigration, CanaryState, MigrationStage, RollBackMigration
from daemon.orders.book import OrderBook
from daemon.recovery.account import Account
from daemon.report.migration import markdown
from tests.migrations import Process, Witnessed, at_full, at_gradual, at_parallel, canary, measured, on_paper
from tests.threads import Hung

TICKET = MigrationTicket(who="asha", reason="it is time")


class Broken:
    """A journal that can't be written."""

    def durable(self) -> None:
        """Say so."""
        raise JournalError("the disk is full")


def desk_of(process: Process, journal: Broken | None = None, *, opened: bool = True) -> MigrationDesk:
    """A desk on the process' bus."""
    manual = ManualDesk(process.bus, process.clock, Account(Decimal(1)), OrderBook(), journal, ())
    manual.open = opened
    return MigrationDesk(process.clock, manual, process.keeper)


async def test_a_step_and_a_refusal() -> None:
    """What moved, on which gates; what didn't, and why."""
    process = Process(Witnessed())
    desk = desk_of(process)
    begun = await desk.advance(TICKET)
    assert (begun.moved, begun.stage, begun.before, begun.who) == (True, "baseline", "none", "asha")
    assert [gate.name for gate in begun.gates] == ["in charge"]
    refused = await desk.advance(TICKET)
    assert (refused.moved, refused.stage) == (False, "baseline")
    assert "sessions: 0 whole sessions in charge, at least 2" in refused.reason
    assert [gate.passed for gate in refused.gates if gate.name == "sessions"] == [False]
    back = await desk.roll_back(TICKET)
    assert (back.moved, back.stage, back.before) == (True, "none", "baseline")


async def test_a_candidate_on_a_disk_that_hangs_is_said() -> None:
    """Whoever asks is answered; nothing moves."""
    hung, process = Hung(), Process(Witnessed())
    manual = ManualDesk(process.bus, process.clock, Account(Decimal(1)), OrderBook(), None, ())
    manual.open = True
    desk = MigrationDesk(process.clock, manual, process.keeper, hung.thread, read_s=0.01)
    for _ in range(2):
        with pytest.raises(NotTradingError, match=r"artifact can't be read: no answer for 0\.01 s; try it again"):
            await desk.advance(TICKET)
    assert (hung.begun, process.keeper.migration.stage) == (1, "none")
    hung.goes_on.set()


@pytest.mark.parametrize("journal", [None, Broken()])
async def test_what_cannot_be_kept_is_not_taken(journal: Broken | None) -> None:
    """A journal that fails, or a daemon that ends: no step either way."""
    process = at_parallel()
    desk = desk_of(process, journal, opened=journal is not None)
    for give in (desk.advance, desk.roll_back):
        with pytest.raises(NotTradingError):
            await give(TICKET)
    assert process.migration.stage is MigrationStage.PARALLEL
    assert len(process.said(AdvanceMigration, RollBackMigration)) == 3


@pytest.mark.parametrize(
    ("come_to", "changes", "back"),
    [
        (lambda: Process(Witnessed()), "Sessions of the one in charge are measured", "nothing to go back from"),
        (at_parallel, "next decides for real on a share", "to stage baseline. Who decides stays: ppo aaaa"),
        (at_gradual, "next decides everything; ppo aaaa decides no more", "the canary ends, ppo aaaa decides"),
        (at_full, "the migration is done. next stays in charge", "ppo aaaa is put in charge again"),
    ],
)
def test_the_report_says_what_changes_and_how_to_go_back(
    come_to: Callable[[], Process], changes: str, back: str
) -> None:
    """For every stage; with what was signed until then."""
    process = come_to()
    view = view_of(process.keeper, 1)
    report = markdown(view)
    assert changes in report
    assert back in report
    assert report.count("By asha: it is time") == len(process.migration.history)
    assert "Signature: ____" in report


def test_a_candidate_above_the_strategy_of_the_settings_takes_a_start() -> None:
    """What to set is in the view, before it and for the way back from it."""
    process = at_gradual()
    process.publish(canary())
    process.witness.change(within_reach=("ppo", "rules", "flat"))
    changes = view_of(process.keeper, 1).changes
    assert changes.endswith(
        "This takes a start: stop, set strategy.name: hrm, model_management.artifact: /models/next.safetensors, start "
        "again; no advance is needed."
    )
    unproved = msgspec.structs.replace(canary(CanaryState.PROMOTED, better=1.0), by_settings=True)
    process.publish(unproved)
    view = view_of(process.keeper, 1)
    assert (view.stage, view.back) == (
        "gradual", "`hrmd ctl migration rollback` leads to stage baseline: ppo aaaa is put in charge again.",
    )  # fmt: skip


def test_both_agents_stand_side_by_side() -> None:
    """Sessions on paper with their difference; of the baseline and the probation one of them."""
    process = at_parallel()
    process.publish(on_paper(3), on_paper(4, net_pnl=Decimal(400)))
    process.advance()
    process.publish(canary())
    process.advance()
    process.publish(canary(CanaryState.PROMOTED), measured(5, process.migration.signed[1], net_bp=1.25))
    rows = view_of(process.keeper, 1).sessions
    assert [(row.session, row.in_charge_bp, row.candidate_bp, row.difference_bp) for row in rows] == [
        ("1970-01-02", 5.0, None, None), ("1970-01-03", 5.0, None, None), ("1970-01-04", 5.0, 7.0, 2.0),
        ("1970-01-05", 5.0, 4.0, -1.0), ("1970-01-06", None, 1.25, None),
    ]  # fmt: skip


def test_what_has_to_be_looked_at_is_in_the_view() -> None:
    """A canary that was rolled back."""
    process = at_gradual()
    process.publish(canary(CanaryState.ROLLED_BACK, reason="it lost"))
    view = view_of(process.keeper, 1)
    assert (view.stage, view.trouble, view.ready) == ("parallel", "the canary was rolled back: it lost", False)
