"""One canary run without a daemon: its share, what ends it, what it is judged by, and how it comes back."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from daemon.core.errors import SettingsError, UsageError
from daemon.core.events import Action, CanaryChanged, CanaryState, Decision, ShadowResult
from daemon.settings.canary import CanarySettings
from daemon.shadow.canary import CHAMPION, Canary, share_of
from daemon.strategy.sharing import Sharing
from daemon.supervision.comparison import Verdict
from strategies.base import HUNG, LATE, NOT_FINITE, UNFIT
from tests.samples import OPEN, RELIANCE, SBIN, decide, settings_of
from tests.unit.shadow.test_shadow import RESULT

CASH = Decimal(1_000_000)
NAMES = tuple(f"NSE:S{number}-EQ" for number in range(8))
BEGAN = CanaryChanged(
    ts=OPEN, agent="next", strategy="hrm", model_hash="abc", state=CanaryState.RUNNING, symbols=(SBIN,), size=0.5,
    sessions=0, mean_bp=0.0, better=1.0, worse=1.0, who="anna", reason="a test", against="hrm def", began_ts=OPEN,
    base_pnl=Decimal(100),
)  # fmt: skip


def canary(began: CanaryChanged = BEGAN, **settings: object) -> Canary:
    """One that has begun, three failed closes from its end."""
    return Canary(CanarySettings(**settings), began, 3, CASH)  # type: ignore[arg-type]


def its(ts_bar: int, halt_reason: str = "", *, failed: bool = False, strategy: str = "canary:next") -> Decision:
    """A decision of the candidate on a bar."""
    return decide(Action.HOLD, ts_bar=ts_bar, strategy=strategy, halt_reason=halt_reason, failed=failed, reason="why")


def results(day: int, candidate: int, champion: int) -> list[ShadowResult]:
    """What both accounts came to in a whole session after it began."""
    since = OPEN + 1 + day
    one = msgspec.structs.replace(
        RESULT, agent="next", strategy="hrm", model_hash="abc", day=day, since_ts=since, net_pnl=Decimal(candidate)
    )
    other = msgspec.structs.replace(
        RESULT, agent=CHAMPION, strategy="hrm", model_hash="def", day=day, since_ts=since, net_pnl=Decimal(champion)
    )
    return [one, other]


# -- its share --------------------------------------------------------------------------------------------------------


def test_the_share_is_the_same_in_any_order() -> None:
    """So many of the instruments, at least one."""
    chosen = share_of(CanarySettings(instruments=0.5), NAMES)
    assert len(chosen) == 4
    assert set(share_of(CanarySettings(instruments=0.5), NAMES[::-1])) == set(chosen)
    assert set(share_of(CanarySettings(instruments=0.25), NAMES)) < set(chosen)
    assert len(share_of(CanarySettings(instruments=0.01), NAMES)) == 1


def test_named_symbols_count_more() -> None:
    """All of them have to be decided on."""
    assert share_of(CanarySettings(symbols=[NAMES[3]]), NAMES) == (NAMES[3],)
    with pytest.raises(UsageError, match=r"canary\.symbols: expected some of .*, got 'NSE:TCS-EQ'"):
        share_of(CanarySettings(symbols=["NSE:TCS-EQ"]), NAMES)


def test_all_of_everything_is_no_share() -> None:
    """With one instrument only a part of the size is."""
    with pytest.raises(UsageError, match=r"canary\.size: expected below 1"):
        share_of(CanarySettings(size=1), (SBIN,))
    assert share_of(CanarySettings(size=0.5), (SBIN,)) == (SBIN,)


def test_a_symbol_stands_once() -> None:
    """In the settings."""
    with pytest.raises(SettingsError, match="symbols: each once, X stands 2 times"):
        settings_of("canary.symbols=[X, X]")


def test_it_decides_on_its_symbols_while_the_settings_own_is_in_charge() -> None:
    """And while it runs."""
    sharing = Sharing("hrm")
    assert sharing.decider(SBIN, "hrm") == "hrm"
    sharing.follow(BEGAN)
    assert sharing.decider(SBIN, "hrm") == "canary:next"
    assert sharing.decider(RELIANCE, "hrm") == "hrm"
    assert sharing.decider(SBIN, "rules") == "rules"
    sharing.follow(msgspec.structs.replace(BEGAN, state=CanaryState.ROLLED_BACK))
    assert sharing.decider(SBIN, "hrm") == "hrm"


# -- what ends it -----------------------------------------------------------------------------------------------------


def test_failed_closes_in_a_row_end_it() -> None:
    """A good one between begins the row anew; those of others say nothing."""
    one = canary()
    assert one.on_decision(its(1, failed=True)) == ""
    assert one.on_decision(its(2, HUNG, failed=True)) == ""
    assert one.on_decision(its(3)) == ""
    assert [one.on_decision(its(n, failed=True, strategy="hrm")) for n in range(4, 9)] == [""] * 5
    assert [one.on_decision(its(n, failed=True)) for n in (10, 10, 11)] == [""] * 3
    assert one.on_decision(its(12, failed=True)) == "3 failed decisions in a row: why"


def test_closes_without_time_end_it_too() -> None:
    """One that is never in time is of no use."""
    one = canary()
    assert [one.on_decision(its(n, LATE)) for n in (1, 2)] == [""] * 2
    assert "3 bar closes without a decision in time" in one.on_decision(its(3, LATE))


@pytest.mark.parametrize("halt_reason", [UNFIT, NOT_FINITE, "invalid"])
def test_what_is_beyond_hope_ends_it_at_once(halt_reason: str) -> None:
    """Hung too often, or figures that are none."""
    assert canary().on_decision(its(1, halt_reason, failed=True))


def test_a_loss_ends_it() -> None:
    """Since it began, at the limit."""
    one = canary(max_loss_bp=10.0)
    assert one.loss(Decimal("-899.99")) == ""
    assert one.loss(Decimal(-900)) == (
        "lost 1,000.00 rupees (10.0 bp) on its instruments, the limit (canary.max_loss_bp) is 10"
    )
    assert one.earned(Decimal(150)) == Decimal(50)


def test_it_ends_once() -> None:
    """The first word counts."""
    one = canary()
    one.end(CanaryState.ROLLED_BACK)
    one.end(CanaryState.PROMOTED)
    assert one.state is CanaryState.ROLLED_BACK


# -- what it is judged by ---------------------------------------------------------------------------------------------


def test_a_session_is_judged_when_both_accounts_have_told() -> None:
    """Whichever tells first; the difference is in bp of the cash."""
    one = canary()
    first, second = results(1, 300, 100)
    assert not one.on_result(second)
    assert one.on_result(first)
    assert one.changed(OPEN, "", "").judged == ((1, 2.0),)


@pytest.mark.parametrize(
    "changes",
    [
        {"whole": False}, {"since_ts": OPEN - 1}, {"agent": "other"}, {"model_hash": "xyz"},
    ],
    ids=["in part", "begun before it", "another agent", "another model"],
)  # fmt: skip
def test_what_says_nothing_of_the_two_is_passed_over(changes: dict[str, object]) -> None:
    """A session counts whole, since it began, of these weights."""
    one = canary()
    candidate, champion = results(1, 300, 100)
    one.on_result(champion)
    assert not one.on_result(msgspec.structs.replace(candidate, **changes))


def test_a_session_that_was_played_twice_counts_once() -> None:
    """The first time."""
    one = canary()
    one.remember([*results(1, 300, 100), *results(1, 900, 100)])
    assert one.changed(OPEN, "", "").judged == ((1, 2.0),)


def test_a_verdict_is_final() -> None:
    """Nothing that comes later is judged."""
    one = canary(alpha=0.4, bound_bp=1.0)
    for day in range(40):
        one.remember(results(day, 1000, 0))
        if one.verdict is not Verdict.CONTINUE:
            break
    assert one.verdict is Verdict.PROMOTE
    sessions = one.sessions
    one.remember(results(99, -5000, 0))
    assert (one.verdict, one.sessions) == (Verdict.PROMOTE, sessions)
    assert one.words.startswith("better by more than 0 bp a session")


def test_what_it_says_is_all_that_a_restart_needs() -> None:
    """The capital comes back to the last bit, and goes on as if nothing had happened."""
    through, before = canary(), canary()
    for day in range(5):
        through.remember(results(day, 40 * day, 100))
        before.remember(results(day, 40 * day, 100))
    encoded = msgspec.json.encode(before.changed(OPEN, "anna", "so far"))
    after = canary(msgspec.json.decode(encoded, type=CanaryChanged))
    assert after.changed(OPEN, "", "") == before.changed(OPEN, "", "")
    for day in range(3, 9):
        through.remember(results(day, 500, 100))
        after.remember(results(day, 500, 100))
    assert after.changed(OPEN, "", "") == through.changed(OPEN, "", "")
