from __future__ import annotations

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from daemon.control.metrics import MEASURED, Metrics
from daemon.control.view import InferenceStatus, RecorderStatus
from daemon.core.events import ActorRestarted, Resume, StrategySwapped, TradingState
from daemon.supervision.health import bad, doubtful, good
from tests.unit.control.fakes import DECISIONS, IN_CHARGE, NOW, SHADOW, STATUS


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Every sample as (name, label values in the order of their labels' names…) → value."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_events_are_counted() -> None:
    """Decisions by strategy and action, their segments and halt reasons, swaps and restarts."""
    metrics = Metrics()
    for decision in DECISIONS:
        metrics.record(decision)
    metrics.record(msgspec.structs.replace(DECISIONS[0], failed=True, segments=0, halt_reason="late"))
    metrics.record(StrategySwapped(ts=NOW, old="hrm", new="rules", reason="3 failed"))
    metrics.record(ActorRestarted(ts=NOW, actor="bars", error="x", restarts=1))
    found = samples(metrics.render(STATUS))
    assert found["hrmd_decisions_total", "BUY_LONG", "hrm"] == 2
    assert found["hrmd_decisions_total", "HOLD", "hrm"] == 1
    assert found["hrmd_decisions_failed_total", "hrm"] == 1
    assert found[("hrmd_segments_count",)] == len(DECISIONS)
    assert found["hrmd_halts_total", "q_halt"] == len(DECISIONS)
    assert found["hrmd_halts_total", "late"] == 1
    assert found["hrmd_strategy_swaps_total", "rules"] == 1
    assert found["hrmd_actor_restarts_total", "bars"] == 1


def test_other_events_are_passed_over() -> None:
    """An event that isn't measured changes nothing but what the process itself uses."""
    metrics = Metrics()

    def measured() -> dict[tuple[str, ...], float]:
        found = samples(metrics.render(STATUS))
        return {
            name: value
            for name, value in found.items()
            if not name[0].endswith("_created") and "process_" not in name[0]
        }

    before = measured()
    metrics.record(Resume(ts=NOW, reason="x"))
    assert Resume not in MEASURED
    assert measured() == before


def test_measurements_are_seconds() -> None:
    """Inference and lag go into histograms; a loop that woke early was not late."""
    metrics = Metrics()
    metrics.inference(0.012)
    metrics.loop_lag(-0.001)
    found = samples(metrics.render(STATUS))
    assert found[("hrmd_inference_seconds_sum",)] == 0.012
    assert found["hrmd_inference_seconds_bucket", "0.01"] == 0
    assert found["hrmd_inference_seconds_bucket", "0.02"] == 1
    assert found[("hrmd_loop_lag_seconds_sum",)] == 0


def test_checks_of_health_are_gauges() -> None:
    """0, 1 or 2 by its status, and what was measured where something was."""
    checks = [good("running", "it trades"), doubtful("ladder", "rules decides", ""), bad("owed", "x", "")]
    checks.append(good("memory", "in use", 1.5, 3, "GB"))
    found = samples(Metrics().render(STATUS, checks))
    assert {name[1]: value for name, value in found.items() if name[0] == "hrmd_health"} == {
        "running": 0, "ladder": 1, "owed": 2, "memory": 0,
    }  # fmt: skip
    assert {name[1:]: value for name, value in found.items() if name[0] == "hrmd_health_value"} == {("memory",): 1.5}


def test_status_is_shown_as_it_is_at_the_scrape() -> None:
    """Ticks, refusals, state, strategy and money come from the status."""
    found = samples(Metrics().render(STATUS))
    assert found[("hrmd_ticks_total",)] == STATUS.ticks_accepted
    assert found["hrmd_ticks_rejected_total", "duplicate"] == 41_377
    assert found["hrmd_orders_denied_total", "max_order_notional"] == 2
    assert found["hrmd_trading_state", "ACTIVE"] == 1
    assert found["hrmd_trading_state", "HALTED"] == 0
    assert found["hrmd_strategy_rung", "hrm"] == 0
    assert found[("hrmd_net_pnl_rupees",)] == 2138.04
    assert found[("hrmd_last_tick_age_seconds",)] == 2
    halted = msgspec.structs.replace(STATUS, trading_state=TradingState.HALTED, last_tick_ts=None)
    found = samples(Metrics().render(halted))
    assert found["hrmd_trading_state", "HALTED"] == 1
    assert ("hrmd_last_tick_age_seconds",) not in found


def test_what_thinks_and_how_it_keeps_its_time() -> None:
    """The runtime and the model by name, overruns, superseded decisions, and the cache; a share needs questions."""
    thinking = InferenceStatus(
        runtime="native int8",
        model_hash="ab12",
        deadline_ms=50.0,
        overruns=2,
        superseded=3,
        cache_hits=0,
        cache_misses=0,
    )  # fmt: skip
    found = samples(Metrics().render(msgspec.structs.replace(STATUS, inference=thinking)))
    assert found["hrmd_inference_info", "ab12", "native int8"] == 1
    assert found[("hrmd_deadline_seconds",)] == 0.05
    assert found[("hrmd_deadline_overruns_total",)] == 2
    assert found[("hrmd_decisions_superseded_total",)] == 3
    assert found[("hrmd_decision_cache_misses_total",)] == 0
    assert ("hrmd_decision_cache_hit_ratio",) not in found
    asked = msgspec.structs.replace(thinking, cache_hits=1, cache_misses=3)
    found = samples(Metrics().render(msgspec.structs.replace(STATUS, inference=asked)))
    assert found[("hrmd_decision_cache_hits_total",)] == 1
    assert found[("hrmd_decision_cache_hit_ratio",)] == 0.25
    assert ("hrmd_inference_info", "ab12", "native int8") not in samples(Metrics().render(STATUS))


def test_what_is_on_the_tape() -> None:
    """Ticks recorded and lost, and whether the disk takes them now; nothing where ticks are not recorded."""
    failing = RecorderStatus(recorded=10, lost=4, trouble="no space left")
    found = samples(Metrics().render(msgspec.structs.replace(STATUS, recorder=failing)))
    assert found[("hrmd_ticks_recorded_total",)] == 10
    assert found[("hrmd_ticks_unrecorded_total",)] == 4
    assert found[("hrmd_recorder_failing",)] == 1
    well = msgspec.structs.replace(STATUS, recorder=RecorderStatus(recorded=10, lost=4, trouble=""))
    assert samples(Metrics().render(well))[("hrmd_recorder_failing",)] == 0
    assert ("hrmd_recorder_failing",) not in samples(Metrics().render(STATUS))


def test_registries_do_not_meet() -> None:
    """Two daemons in one process count for themselves."""
    one, other = Metrics(), Metrics()
    one.record(DECISIONS[0])
    assert ("hrmd_decisions_total", "BUY_LONG", "hrm") not in samples(other.render(STATUS))


def test_the_token_s_time_is_counted_down() -> None:
    """Only where there is a token that says when it ends; 0 when it has."""
    for left_s, shown in ((None, None), (90.5, 90.5), (0.0, 0.0)):
        found = samples(Metrics().render(msgspec.structs.replace(STATUS, token_left_s=left_s)))
        assert found.get(("hrmd_token_seconds_left",)) == shown


def test_shadow_agents_are_shown_by_name() -> None:
    """Counts and gauges of each; of the one in charge, and where there is no shadow, nothing."""
    found = samples(Metrics().render(STATUS, shadow=[IN_CHARGE, SHADOW]))
    assert found["hrmd_shadow_decisions_total", "fast"] == 70
    assert found["hrmd_shadow_skipped_total", "fast"] == 5
    assert found["hrmd_shadow_failed_total", "fast"] == 3
    assert found["hrmd_shadow_trades_total", "fast"] == 2
    assert found["hrmd_shadow_agreement_ratio", "fast"] == 0.75
    assert found["hrmd_shadow_thinking_seconds", "fast"] == 0.008
    assert found["hrmd_shadow_net_pnl_rupees", "fast"] == -100.5
    assert found["hrmd_shadow_difference_rupees", "fast"] == -2238.54
    assert found["hrmd_shadow_dropped", "fast"] == 1
    assert not [name for name in found if "in charge" in name]
    assert not [name for name in samples(Metrics().render(STATUS)) if "shadow" in name[0]]
