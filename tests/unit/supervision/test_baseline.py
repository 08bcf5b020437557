"""The strategy in charge beside the baseline: when it earns less, what is done about it, once, and over restarts."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from daemon.core.bus import Bus
from daemon.core.clock import DAY_NS, ReplayClock
from daemon.core.errors import SettingsError
from daemon.core.events import (
    Action,
    BaselineWeighed,
    Event,
    Flatten,
    Halt,
    LockStrategy,
    Mitigation,
    MitigationTaken,
    ShadowResult,
    StrategySwapped,
    SwapStrategy,
    TradingState,
    TradingStateChanged,
)
from daemon.settings.run import SupervisorSettings, TriggerSettings
from daemon.supervision.baseline import Baseline, Rival
from daemon.supervision.care import Traits
from daemon.supervision.health import CheckStatus
from daemon.supervision.health_checks import baseline as check
from daemon.supervision.health_readings import BaselineReading, Readings
from daemon.supervision.supervisor import Ladder, Supervisor
from tests.samples import OPEN, decide, settings_of

RIVAL = Rival("steady", "rules", "", 0.05, 50.0, Decimal(1_000_000))
DAY = 20458
TRIPS_AT = 12
"""Sessions of 30 bp less each that are proof."""


def session(number: int, ours_bp: float, baseline_bp: float, **changes: Any) -> ShadowResult:
    """The `number`-th, of the HRM beside the baseline, on a million rupees."""
    result = ShadowResult(
        ts=OPEN + number * DAY_NS, agent="steady", strategy="rules", model_hash="", day=DAY + number, since_ts=OPEN,
        whole=True, dropped="", decisions=75, skipped=0, failed=0, compared=75, agreed=60, depth=0.0, latency_ms=1.0,
        orders=4, fills=4, trades=2, net_pnl=Decimal(str(baseline_bp)) * 100, real_net_pnl=Decimal(str(ours_bp)) * 100,
        real_decisions=75, real_trades=2, real_strategy="hrm", real_model_hash="aa",
    )  # fmt: skip
    return msgspec.structs.replace(result, **changes)


def sessions(count: int, ours_bp: float, baseline_bp: float, first: int = 1) -> list[ShadowResult]:
    """All alike, but that they go up and down by 3 bp together."""
    ups = [3.0 if n % 2 else -3.0 for n in range(first, first + count)]
    return [session(n, ours_bp + up, baseline_bp + up) for n, up in enumerate(ups, first)]


def weighed(results: Iterable[ShadowResult], **settings: Any) -> Baseline:
    """A baseline that has seen them."""
    found = Baseline(TriggerSettings(**settings), RIVAL)
    for result in results:
        found.see(result)
    return found


def standing(found: Baseline) -> Any:
    """Of the HRM."""
    return found.standing("hrm", "aa")


@pytest.mark.parametrize(
    ("ours_bp", "baseline_bp", "percent"),
    [(5, 10, 50), (8, 10, 20), (-10, -8, 25), (12, 10, -20), (-1, 0, 20), (-1, 1, 40), (-10, 10, 200)],
)
def test_a_share_of_what_the_baseline_earns_or_of_the_floor(ours_bp: float, baseline_bp: float, percent: float) -> None:
    """Of its mean session without the sign; next to nothing is no measure."""
    found = standing(weighed(sessions(10, ours_bp, baseline_bp)))
    assert (found.sessions, found.percent) == (10, pytest.approx(percent))


def test_without_proof_nothing_is_said() -> None:
    """However much less it was: two sessions prove nothing."""
    found = standing(weighed(sessions(2, -40, 10)))
    assert found.percent > 30
    assert (found.warns, found.trips, found.needed) == (False, False, 20.0)


def test_what_is_proven_and_small_is_only_told() -> None:
    """A fifth less is a warning, a tenth is nothing; both are certain after enough sessions."""
    for ours_bp, baseline_bp, warns, trips in ((27, 30, False, False), (22.5, 30, True, False), (15, 30, True, True)):
        found = standing(weighed(sessions(400, ours_bp, baseline_bp)))
        assert found.proof > found.needed
        assert (found.warns, found.trips) == (warns, trips), ours_bp


def test_sessions_that_say_nothing() -> None:
    """In part, of another agent or of other weights, decided by several or by a person, or seen before."""
    good = session(5, -5, 5)
    others = [
        {"whole": False}, {"agent": "other"}, {"strategy": "ppo"}, {"model_hash": "bb"}, {"real_strategy": ""},
        {"day": DAY + 4},
    ]  # fmt: skip
    found = weighed([good, good, *(msgspec.structs.replace(good, **change) for change in others)])
    assert standing(found).sessions == 1
    assert found.standing("hrm", "of another model").sessions == 0
    assert Baseline(TriggerSettings(), None).see(good) is None


# -- what the supervisor does ---------------------------------------------------------------------------------------


class Desk:
    """A supervisor over hrm, rules, flat that is measured by the baseline, and what it published."""

    def __init__(self, **settings: Any) -> None:
        self.bus = Bus()
        self.clock = ReplayClock(OPEN)
        chosen = SupervisorSettings(**({"ladder": ["hrm", "rules", "flat"], "tries_per_day": 1} | settings))
        ladder = Ladder(chosen.ladder, "hrm", chosen.max_failed_decisions)
        self.supervisor = Supervisor(self.bus, ladder, chosen, self.clock, Traits(rival=RIVAL))
        self.said: list[Event] = []
        kinds = (StrategySwapped, Flatten, Halt, MitigationTaken, BaselineWeighed)
        self.bus.tap(kinds, self.said.append)

    def tell(self, *events: Event) -> list[Event]:
        """Publish at their times; what the supervisor said, but for where the baseline stands."""
        before = len(self.said)
        for event in events:
            self.clock.advance(max(getattr(event, "ts", 0), self.clock.now_ns()))
            self.bus.publish(event)
            while (taken := self.supervisor.inbox.take()) is not None:
                self.supervisor.handle(taken)
                self.supervisor.inbox.done()
        return [one for one in self.said[before:] if not isinstance(one, BaselineWeighed)]

    @property
    def weighed(self) -> list[BaselineWeighed]:
        """Where it stood, session after session."""
        return [one for one in self.said if isinstance(one, BaselineWeighed)]


def deciding(number: int) -> Any:
    """A decision of the HRM, of the `number`-th day."""
    at = OPEN + number * DAY_NS
    return decide(Action.HOLD, strategy="hrm", model_hash="aa", ts=at, ts_bar=at)


def test_a_proven_loss_steps_down_at_the_end_of_the_session_and_once() -> None:
    """With its evidence, before the next decision; never back by itself; whom a person puts back begins anew."""
    desk = Desk()
    assert desk.tell(*sessions(TRIPS_AT - 1, -15, 15)) == []
    swapped, taken = desk.tell(*sessions(1, -15, 15, first=TRIPS_AT))
    assert isinstance(taken, MitigationTaken)
    assert (taken.step, taken.strategy, taken.trigger) == (Mitigation.STEP_DOWN, "hrm", "baseline")
    assert taken.evidence.startswith("200 % less than steady earned on paper, in ")
    assert taken.evidence.endswith("proven at α = 0.05")
    assert isinstance(swapped, StrategySwapped)
    assert (swapped.new, swapped.reason) == ("rules", taken.evidence)
    assert desk.supervisor.care.came_from == []
    back = SwapStrategy(ts=OPEN + 61 * DAY_NS, name="hrm", reason="I know better")
    assert [type(one) for one in desk.tell(back, deciding(62))] == [StrategySwapped]
    assert desk.tell(*sessions(TRIPS_AT - 1, -15, 15, first=70), deciding(90)) == []
    assert [type(one) for one in desk.tell(session(91, -15, 15))] == [StrategySwapped, MitigationTaken]


def test_while_locked_it_is_wanted_and_done_after() -> None:
    """The lock holds at the session's end and at every decision; unlocked the next decision takes the step."""
    desk = Desk()
    desk.tell(LockStrategy(ts=OPEN, locked=True, reason="I watch"))
    assert desk.tell(*sessions(TRIPS_AT, -15, 15), deciding(61)) == []
    assert "step_down is wanted" in desk.supervisor.care.wanted
    desk.tell(LockStrategy(ts=OPEN, locked=False, reason=""))
    assert [type(one) for one in desk.tell(deciding(62))] == [StrategySwapped, MitigationTaken]


def test_the_day_s_limit_holds() -> None:
    """None left: wanted, not done."""
    desk = Desk(max_steps_per_day=0)
    assert desk.tell(*sessions(TRIPS_AT, -15, 15)) == []
    assert "no more is allowed" in desk.supervisor.care.wanted


def test_with_nobody_below_it_halts_once() -> None:
    """A person takes it up again: the evidence is used up."""
    desk = Desk(ladder=["hrm"])
    steps = desk.tell(*sessions(TRIPS_AT, -15, 15))
    assert [type(one) for one in steps] == [Halt, MitigationTaken]
    resumed = TradingStateChanged(ts=OPEN + 61 * DAY_NS, state=TradingState.ACTIVE, reason="by hand")
    assert desk.tell(resumed, deciding(61), session(62, -15, 15)) == []


def test_evidence_goes_on_after_a_restart() -> None:
    """From the newest word in the journal and what came after it; the trip comes at the same session as without."""
    results = sessions(TRIPS_AT, -15, 15)
    before, after = Desk(), Desk()
    assert before.tell(*results[:-1]) == []
    after.supervisor.care.baseline.restore(before.weighed[-3:-2], results[:-1])
    after.supervisor.recall([], None, OPEN)
    assert after.weighed[-1].sessions == TRIPS_AT - 1
    assert [type(one) for one in after.tell(results[-1])] == [StrategySwapped, MitigationTaken]
    for other in (RIVAL.agent + "2", RIVAL.agent):
        rival = msgspec.structs.replace(RIVAL, agent=other, bound_bp=RIVAL.bound_bp + (other == RIVAL.agent))
        fresh = Baseline(TriggerSettings(), rival)
        fresh.restore(before.weighed[-1:], [])
        assert standing(fresh).sessions == 0


def test_health_says_where_it_stands() -> None:
    """A line in every case, and what to do."""

    def said(results: list[ShadowResult], dropped: str = "") -> tuple[CheckStatus, str]:
        found = check(Readings(strategy="hrm", baseline=BaselineReading("steady", dropped, standing(weighed(results)))))
        return found.status, found.text

    assert check(Readings()).text == "no baseline is named"
    assert said([]) == (CheckStatus.OK, "no whole session of hrm beside steady yet")
    assert said([session(1, 6, 5)])[1].startswith("20 % more than steady earned on paper, in 1 session; proof")
    assert said(sessions(400, 22.5, 30))[0] is CheckStatus.WARN
    assert said(sessions(400, 15, 30))[0] is CheckStatus.FAIL
    assert said([], "hung") == (CheckStatus.WARN, "the baseline steady is dropped: hung")


def test_a_baseline_that_nobody_is_is_refused() -> None:
    """In one line that says who there is."""
    with pytest.raises(SettingsError, match=r"baseline among the names of shadow\.agents \(it is 'x', they are none"):
        settings_of("supervisor.triggers.baseline=x")
    chosen = settings_of("shadow.agents=[{name: x, strategy: rules}]", "supervisor.triggers.baseline=x")
    assert chosen.supervisor.triggers.baseline == "x"
    with pytest.raises(SettingsError, match="baseline_warn_percent not above"):
        settings_of("supervisor.triggers.baseline_warn_percent=40")
