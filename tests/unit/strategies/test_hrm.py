"""The HRM strategy: a real, small, untrained network behind it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from daemon.core.clock import LiveClock, ReplayClock
from daemon.core.events import Action, Decision, Regime
from models.agent import HRMAgent
from models.checkpoint import describe
from models.config import CarryState, EntrySettings, History, HRMSettings
from models.errors import CheckpointError
from models.manifest import Origin
from models.training.calibrating import calibrate
from models.training.markets import HiddenRegime
from strategies.base import FixedCosts, Moment
from strategies.hrm import ENTRIES, HRMStrategy, observation
from tests.unit.strategies.moments import marred, moment_of, rising

SHAPE = {
    "h_dim": 16, "h_layers": 1, "h_heads": 2, "l_dim": 16, "l_layers": 1, "l_heads": 2, "h_cycles": 1, "l_steps": 1,
}  # fmt: skip


class Ticking(ReplayClock):
    """A clock on which every look costs a millisecond."""

    def monotonic_ns(self) -> int:
        """Advance and tell."""
        self.advance(self.now_ns() + 1_000_000)
        return self.now_ns()


def settings_of(**act: object) -> HRMSettings:
    """Settings of a tiny network that wants five segments."""
    return HRMSettings.model_validate(
        {
            "profile": "small",
            "architecture": {"small": SHAPE},
            "act": {"min_segments": 5, "max_segments": 5} | act,
            "features": {"window": 20, "patch": 5, "min_bars": 10, "coarse_window": 4},
        }
    )


def strategy(seed: int = 1, clock: ReplayClock | LiveClock | None = None, **act: object) -> HRMStrategy:
    """A seeded, untrained strategy on a clock that stands still."""
    return HRMStrategy.load(None, seed, settings_of(**act), clock or ReplayClock())


def walk(seed: int) -> Moment:
    """A moment on a random walk."""
    rng = np.random.default_rng(seed)
    return moment_of((100 * np.exp(np.cumsum(rng.normal(0, 1e-3, 30)))).tolist())


def test_a_decision_says_how_it_was_reached() -> None:
    """Depth, halt reason, confidences, price, complexity and the model's hash come with the action."""
    hrm = strategy()
    found = hrm.decide(walk(0))
    assert (found.strategy, found.symbol, found.interval, found.failed) == ("hrm", "AAA", "5m", False)
    assert (found.segments, found.min_segments) == (5, 5)
    assert found.halt_reason in ("max_segments", "q_halt", "converged")
    assert found.reason.endswith(f"5 segments, {found.halt_reason}") or "no entries" in found.reason
    assert 1 <= found.quantity <= 100_000
    assert 0 < found.confidence <= 1
    assert (found.price, found.complexity, found.regime) == (walk(0).price, 0.5, "trending")
    assert found.model_hash == hrm.agent.model_hash
    assert found.action in (Action.BUY_LONG, Action.SELL_SHORT, Action.HOLD)


def test_the_same_moment_twice_is_the_same_decision() -> None:
    """Twice by one strategy, once by another of the same seed: equal in every field; another seed is another model."""
    hrm, moment = strategy(), walk(1)
    first = hrm.decide(moment)
    assert hrm.decide(moment) == first
    assert strategy().decide(moment) == first
    assert strategy(seed=2).decide(moment).model_hash != first.model_hash


def test_a_trade_says_what_mattered() -> None:
    """At the depth that it was decided at, also made again; a hold, a hurried or a large one says it when asked."""
    found = {seed: strategy(seed).decide(walk(7)) for seed in range(12)}
    traded = {seed: one for seed, one in found.items() if one.action in ENTRIES and one.why}
    assert traded
    assert all(one.why == "" for one in found.values() if one.action is Action.HOLD)
    for seed, one in traded.items():
        assert one.why.endswith(("+", "−"))
        assert strategy(seed).decide_at(walk(7), one.segments) == one
        assert strategy(seed).decide_at(walk(7), one.segments, single_cycle=True).why == ""
        named = {part.name: part.effect for part in strategy(seed).explain(walk(7), one)}
        for said in one.why.split(", "):
            assert (named[said[:-2]] > 0) is (said[-1] == "+")


@pytest.mark.parametrize("position", [0, 40, -40])
def test_only_what_the_position_allows(position: int) -> None:
    """Flat never closes, a position never opens another; whatever the market and the weights."""
    allowed = {
        0: {Action.BUY_LONG, Action.SELL_SHORT, Action.HOLD},
        40: {Action.CLOSE_LONG, Action.HOLD},
        -40: {Action.CLOSE_SHORT, Action.HOLD},
    }[position]
    seen = {
        strategy(seed).decide(msgspec.structs.replace(walk(seed), position=position, position_share=0.2)).action
        for seed in range(12)
    }
    assert seen <= allowed


KNOWN = calibrate([HiddenRegime().sessions(60, 1)], settings_of().features, "simulated")


def in_a_market(moment: Moment, scale: float) -> Decision:
    """What a buyer that knows the simulated market decides where the limit is `scale` times as far."""
    settings = settings_of()
    settings = settings.model_copy(update={"novelty": settings.novelty.model_copy(update={"scale": scale})})
    for seed in range(30):
        model = HRMAgent.untrained(settings, seed).model
        agent = HRMAgent(model, settings, describe(model, trained=True, novelty=KNOWN))
        if agent.decide(observation(walk(0), settings.features.history)).action in (0, 1):
            return HRMStrategy(agent, settings, ReplayClock(), "test").decide(moment)
    raise AssertionError("no seed wants to open")


@pytest.mark.parametrize(("taught", "cost_bp", "enters"), [(8.0, 15.9, True), (8.0, 16.1, False), (None, 99.0, True)])
def test_a_trade_far_dearer_than_any_in_training_isnt_made(taught: float | None, cost_bp: float, enters: bool) -> None:
    """An entry at more than twice that becomes a HOLD that names both; who doesn't say is taken at its word."""
    settings = settings_of()
    settings = settings.model_copy(update={"features": settings.features.model_copy(update={"past_sessions": 20})})
    costs = {"training_params": {"objective": {"costs": [{"since": "1990-01-01", "cost_bp": taught}]}}}
    origin = None if taught is None else Origin(version="0", data=("a.parquet",), settings=costs)
    moment = msgspec.structs.replace(walk(0), costs=FixedCosts(cost_bp))
    for seed in range(30):
        model = HRMAgent.untrained(settings, seed).model
        plain, agent = (HRMAgent(model, settings, describe(model, trained=True, origin=one)) for one in (None, origin))
        wanted = HRMStrategy(plain, settings, ReplayClock(), "test").decide(moment)
        if wanted.action in ENTRIES:
            decided = HRMStrategy(agent, settings, ReplayClock(), "test").decide(moment)
            assert decided.action is (wanted.action if enters else Action.HOLD)
            said = "a trade costs 16.1 bp a side, at most 8 where the model learned; "
            assert decided.reason == ("" if enters else said) + wanted.reason
            return
    raise AssertionError("no seed wants to open")


def test_in_an_unlike_market_no_position_is_opened() -> None:
    """The entry becomes a HOLD that names distance and reason; within the limit the same model enters."""
    refused, entered = in_a_market(walk(0), 1e-3), in_a_market(walk(0), 1e3)
    assert refused.novelty > 1 > entered.novelty > 0
    assert entered.action in ENTRIES
    assert refused.action is Action.HOLD
    assert refused.reason.startswith(f"market unlike those the model knows: {refused.novelty:.1f} × the limit (")
    assert refused.reason.endswith(entered.reason)
    assert (refused.value, refused.segments, refused.failed) == (entered.value, entered.segments, False)


def test_in_an_unlike_market_exits_go_on() -> None:
    """What is held is judged as ever."""
    found = set()
    for seed in range(12):
        held = msgspec.structs.replace(walk(seed), position=40, position_share=0.2)
        refused, entered = in_a_market(held, 1e-3), in_a_market(held, 1e3)
        assert (refused.action, refused.reason) == (entered.action, entered.reason)
        found.add(refused.action)
    assert Action.CLOSE_LONG in found


def test_a_market_that_can_not_be_read_is_not_the_model_s_fault() -> None:
    """Too few bars or a bar that is no bar: HOLD, not failed, with the reason alone: the decision has the rest."""
    found = strategy().decide(moment_of(rising(5)))
    assert (found.action, found.quantity, found.failed, found.segments) == (Action.HOLD, 1, False, 0)
    assert found.reason == "5 bars, at least 10 are needed"
    assert strategy().decide(moment_of(rising(1))).reason == "1 bar, at least 10 are needed"
    assert found.model_hash == strategy().agent.model_hash
    broken = marred(moment_of(rising(30)), np.s_[3, 1], np.nan)
    assert strategy().decide(broken).action is Action.HOLD
    assert not strategy().decide(broken).failed


def test_a_broken_model_fails() -> None:
    """NaN in a weight: HOLD, failed, and the reason says which output was wrong."""
    hrm = strategy()
    with torch.no_grad():
        next(iter(hrm.agent.model.parameters())).fill_(torch.nan)
    found = hrm.decide(walk(0))
    assert (found.action, found.quantity, found.failed) == (Action.HOLD, 1, True)
    assert "finite" in found.reason or "not a number" in found.reason
    assert found.model_hash == hrm.agent.model_hash


def test_eased_it_thinks_to_a_limit_and_can_be_asked_again() -> None:
    """Two segments, under the minimum, too; one cycle; all again. At the recorded depth it decides the same."""
    hrm, whole = strategy(), strategy().decide(walk(0))
    for most, single_cycle, depth, reason in ((2, False, 2, "limited"), (1, True, 1, "single_cycle")):
        hrm.ease(most_segments=most, single_cycle=single_cycle)
        found = hrm.decide(walk(0))
        assert (found.segments, found.min_segments, found.halt_reason) == (depth, 5, reason)
        assert hrm.renewed().decide(walk(0)) == found
        again = strategy().decide_at(walk(0), depth, single_cycle=single_cycle)
        assert msgspec.structs.replace(again, halt_reason=reason, reason=found.reason) == found
    assert hrm.decide_at(walk(0), whole.segments).segments == whole.segments
    hrm.ease(most_segments=None, single_cycle=False)
    assert hrm.decide(walk(0)) == whole


def test_a_limit_spoils_no_memory() -> None:
    """What was thought under a limit isn't remembered as the decision; forgetting empties the memory."""
    hrm = strategy()
    hrm.agent.keep_decisions(4)
    hrm.ease(most_segments=1, single_cycle=False)
    assert hrm.decide(walk(0)).segments == 1
    hrm.ease(most_segments=None, single_cycle=False)
    assert hrm.decide(walk(0)).segments == 5
    assert hrm.decide(walk(0)).segments == 5
    assert hrm.cache_hits == 1
    hrm.forget()
    hrm.decide(walk(0))
    assert (hrm.cache_hits, hrm.cache_misses) == (0, 1)


def test_one_made_anew_shares_nothing_that_is_written() -> None:
    """The same weights and decisions; no cache, no memory from bar to bar, no runner, no cost of segments."""
    settings = settings_of()
    settings = settings.model_copy(update={"carry_state": CarryState.SESSION})
    old = HRMStrategy.load(None, 1, settings, ReplayClock())
    first = old.decide(walk(0))
    fresh = old.renewed()
    assert fresh.agent.model is old.agent.model
    for name in ("runner", "_carried", "cache", "act"):
        assert getattr(fresh.agent, name) is not getattr(old.agent, name)
    assert (fresh.model_hash, fresh.description, fresh.runtime) == (old.model_hash, old.description, old.runtime)
    assert fresh.decide(walk(0)) == first
    assert old.decide(walk(0)) != first  # it remembers


def test_entries_are_cut_late() -> None:
    """What would open a position becomes HOLD near the close and says so; its figures stay."""
    entering = next(
        (hrm, walk(seed)) for seed in range(50) if (hrm := strategy(seed)).decide(walk(seed)).action in ENTRIES
    )
    hrm, moment = entering
    early, late = hrm.decide(moment), hrm.decide(msgspec.structs.replace(moment, may_enter=False))
    assert late.action is Action.HOLD
    assert late.reason == f"no entries this late ({early.reason})"
    assert (late.segments, late.confidence, late.value) == (early.segments, early.confidence, early.value)


def test_exits_are_not_cut_late() -> None:
    """Closing stays possible near the close."""
    leaving = None
    for seed in range(50):
        hrm = strategy(seed)
        held = msgspec.structs.replace(walk(seed), position=40, position_share=0.2, may_enter=False)
        if (found := hrm.decide(held)).action is Action.CLOSE_LONG:
            leaving = found
            break
    assert leaving is not None
    assert leaving.reason.startswith("5 segments")


def test_no_time_at_all_is_one_segment() -> None:
    """A deadline that has passed before the first segment still gives a decision, of depth 1, and says why."""
    found = strategy(clock=Ticking(), deadline_ms=1e-9).decide(walk(0))
    assert (found.segments, found.min_segments, found.halt_reason, found.failed) == (1, 5, "deadline", False)
    assert strategy(clock=LiveClock(), deadline_ms=1e-9).decide(walk(0)).segments == 1


def test_a_deadline_in_between() -> None:
    """With a few milliseconds on a clock that ticks it stops under its minimum; on one that stands still never."""
    assert strategy(clock=Ticking(), deadline_ms=5).decide(walk(0)).halt_reason == "deadline"
    assert strategy(clock=ReplayClock(), deadline_ms=5).decide(walk(0)).segments == 5


def test_deciding_again_at_the_recorded_depth() -> None:
    """Whatever the clock says, the recorded number of segments gives the recorded answer."""
    early = strategy(clock=Ticking(), deadline_ms=1e-9).decide(walk(0))
    again = strategy().decide_at(walk(0), early.segments)
    assert msgspec.structs.replace(again, halt_reason=early.halt_reason, reason=early.reason) == early
    full = strategy().decide(walk(0))
    assert strategy(clock=Ticking(), deadline_ms=1e-9).decide_at(walk(0), full.segments) == full


def test_complexity_buys_depth() -> None:
    """A harder market takes at least as many segments as the settings ask for."""
    hrm = strategy(min_segments=1, complexity_steps=[{"above": 0.6, "min_segments": 3}])
    easy, hard = walk(0), walk(0)
    hard = msgspec.structs.replace(hard, complexity=msgspec.structs.replace(hard.complexity, score=0.7))
    assert (hrm.decide(easy).min_segments, hrm.decide(hard).min_segments) == (1, 3)
    assert hrm.decide(hard).segments >= 3
    assert hrm.decide(hard).complexity == 0.7


def test_it_says_whether_it_was_ever_trained(tmp_path: Path) -> None:
    """A seeded network is "untrained", loaded from a file too; the file's hash is the decision's."""
    hrm = strategy(seed=7)
    assert hrm.description == "untrained (small, seed 7)"
    path = tmp_path / "model.safetensors"
    digest = hrm.agent.save_model(path, dtype="float32")
    loaded = HRMStrategy.load(path, 0, settings_of(), ReplayClock())
    assert loaded.description == "untrained (model.safetensors)"
    assert loaded.decide(walk(0)).model_hash == digest
    assert loaded.decide(walk(0)).action is hrm.decide(walk(0)).action


def test_a_trained_model_is_named_by_its_hash() -> None:
    """After learning it is no longer untrained."""
    hrm = strategy()
    hrm.agent.learn([observation(walk(seed), History.ROLLING) for seed in range(2)], [Action.HOLD, Action.BUY_LONG])
    again = HRMStrategy(hrm.agent, settings_of(), ReplayClock(), "mine")
    assert again.description == f"mine ({hrm.agent.model_hash[:12]})"


def test_an_observation_is_the_moment() -> None:
    """Every figure that the model reads is the moment's; the position is split into side and share."""
    moment = msgspec.structs.replace(
        walk(3), position=-40, position_share=0.2, unrealised_atr=-1.5, bars_held=7, minute_of_session=150.0
    )
    found = observation(moment, History.ROLLING)
    for name in ("symbol", "interval", "ts", "unrealised_atr", "bars_held", "minute_of_session", "minutes_to_close",
                 "weekday"):  # fmt: skip
        assert getattr(found, name) == getattr(moment, name), name
    assert (found.position_side, found.position_size, found.complexity) == (-1, 0.2, 0.5)
    assert found.bars is moment.bars
    assert found.coarse is moment.coarse


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """`load` raises; it does not start on other weights."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        HRMStrategy.load(path, 0, settings_of(), ReplayClock())


def test_the_regime_is_recorded() -> None:
    """A decision carries the regime that it was made in."""
    moment = moment_of(rising(30), Regime.VOLATILE)
    assert strategy().decide(moment).regime == "volatile"


def test_a_session_model_sees_bars_of_the_session_only() -> None:
    """With history session the bars and coarse bars of earlier sessions are left out."""
    moment = msgspec.structs.replace(walk(3), session_bars=7, session_coarse=0)
    found = observation(moment, History.SESSION)
    assert np.array_equal(found.bars, moment.bars[-7:])
    assert len(found.coarse) == 0


class ByShare(msgspec.Struct, frozen=True):
    """Small orders are dearer: 3 bp a side, and 30 where less than all is asked for."""

    small_bp: float = 30.0

    def bp(self, symbol: str, price: float, ts: int, share: float = 1.0) -> float:
        """By the share alone."""
        return 3.0 if share == 1.0 else self.small_bp


def knowing_costs(seed: int, **changes: object) -> HRMStrategy:
    """An untrained strategy that is told of costs, with a policy that cares."""
    settings = settings_of()
    settings = settings.model_copy(
        update={"features": settings.features.model_copy(update={"past_sessions": 3})} | changes
    )
    hrm = HRMStrategy.load(None, seed, settings, ReplayClock())
    with torch.no_grad():
        hrm.agent.model.heads.policy.weight.mul_(300.0)
    return hrm


def test_an_entry_is_told_the_cost_of_the_order_that_comes_of_it() -> None:
    """Asked again at that cost, and kept only where it still wants it; made again from what was recorded, the same."""
    moment = msgspec.structs.replace(walk(7), costs=ByShare())
    free = msgspec.structs.replace(walk(7), costs=FixedCosts(3.0))
    changed = 0
    for seed in range(6):
        hrm = knowing_costs(seed)
        plain, told = hrm.decide(free), hrm.decide(moment)
        if plain.action not in ENTRIES:
            assert told == plain
            continue
        assert plain.share < 1.0
        assert (plain.cost_bp, told.cost_bp) == (3.0, 30.0)
        assert told == hrm.decide(msgspec.structs.replace(moment, costs=FixedCosts(30.0)))
        again = msgspec.structs.replace(moment, costs=FixedCosts(told.cost_bp))
        assert hrm.decide_at(again, told.segments).action is told.action
        changed += told.confidence != plain.confidence
        named = {part.name: part.effect for part in hrm.explain(moment, told)}
        assert named == {part.name: part.effect for part in hrm.explain(again, told)}
    assert changed


def test_a_cautious_model_is_told_of_a_dearer_trade() -> None:
    """It decides as at that cost, live and made again from what was recorded; what is on record is the cost."""
    cautious = {"entries": EntrySettings(caution_bp=1.5)}
    changed = 0
    for seed in range(6):
        plain, hrm = knowing_costs(seed), knowing_costs(seed, **cautious)
        cheap, dear = (msgspec.structs.replace(walk(7), costs=FixedCosts(cost)) for cost in (3.0, 4.5))
        told = hrm.decide(cheap)
        assert told.cost_bp == 3.0
        assert msgspec.structs.replace(told, cost_bp=4.5) == plain.decide(dear)
        assert hrm.decide_at(cheap, told.segments).confidence == told.confidence
        assert hrm.explain(cheap, told) == plain.explain(dear, plain.decide(dear))
        changed += told.confidence != plain.decide(cheap).confidence
    assert changed


def test_who_is_told_of_no_cost_can_not_be_cautious() -> None:
    """One line that names the setting."""
    settings = settings_of().model_copy(update={"entries": EntrySettings(caution_bp=0.5)})
    with pytest.raises(CheckpointError, match=r"entries\.caution_bp: expected 0, for this network isn't told"):
        HRMStrategy.load(None, 1, settings, ReplayClock())


def test_nobody_is_asked_twice_for_nothing() -> None:
    """Where a small order costs no more, and where a second thought would carry states on twice."""
    same = msgspec.structs.replace(walk(7), costs=ByShare(3.0))
    carrying = {"carry_state": CarryState.SESSION}
    for seed in range(3):
        assert knowing_costs(seed).decide(same).cost_bp == 3.0
        hrm = knowing_costs(seed, **carrying)
        assert hrm.decide(msgspec.structs.replace(walk(7), costs=ByShare())).cost_bp == 3.0
