"""Entries that are held to what recent ones earned: live, after a restart, from a snapshot and in training the same."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec
import numpy as np
import pytest

from daemon.core.clock import ReplayClock
from daemon.core.events import Action, Bar, Decision, EntriesRecord, Event, PriceJumped, SessionsRecord
from daemon.market.legs import Legs
from daemon.recovery.account import Account
from daemon.recovery.market import Recalled, _as_lived, remembered
from daemon.run.many import not_to_be_split
from models.config import EntrySettings, HRMSettings
from models.conformal import bound
from models.training import objective as ob
from models.training.entries import SIDES, worth_making
from strategies.base import MarketView
from strategies.hrm import ENTRIES, HRMStrategy
from tests.samples import settings_of
from tests.unit.feed.ticks import OPEN_NS
from tests.unit.strategies import test_hrm as hrm
from tests.unit.strategies.moments import CALENDAR, complexity_at
from tests.unit.strategies.test_past_sessions import SESSIONS, WHOLE, bars

RULE = EntrySettings(adaptive=True, confidence=0.4, bars=3, newest=12, fewest=5, rate=0.1)
VIEW = msgspec.structs.replace(WHOLE, entries=RULE)
ACTIONS = np.random.default_rng(5).choice(
    [ob.BUY_LONG, ob.SELL_SHORT, ob.HOLD], (len(SESSIONS), int(SESSIONS.lengths.max()) - 1), p=[0.2, 0.2, 0.6]
)
"""What a model wants where it is flat; it is never in the market for longer than a bar."""


def wanting(moment_ts: int, price: float, action: int, model: str = "m") -> Decision:
    """The decision of a model that wants it, and that it costs 2 bp a side."""
    wanted = Action(action) if action in SIDES else None
    return Decision(
        ts=moment_ts, ts_bar=moment_ts, symbol="AAA", interval="5m", strategy="hrm", action=Action.HOLD, quantity=1,
        confidence=0.5, reason="", price=price, cost_bp=2.0, model_hash=model, wanted=wanted,
    )  # fmt: skip


def lived(days: Sequence[int] = range(4)) -> list[Event]:
    """Bars, each with what the model wants at it."""
    events: list[Event] = []
    for bar, action in zip(bars(days), (a for day in days for a in (*ACTIONS[day], ob.HOLD)), strict=True):
        events += [bar, wanting(bar.ts_close, bar.close, int(action))]
    return events


def fed(view: MarketView, events: Sequence[Event]) -> list[EntriesRecord | None]:
    """What the view knows after each bar, before what is wanted at it."""
    known = []
    for event in events:
        if isinstance(event, Bar):
            view.on_bar(event)
            known.append(view.entries("AAA"))
        elif isinstance(event, Decision):
            view.on_decision(event)
    return known


def test_live_refuses_what_an_evaluation_refuses() -> None:
    """The same entries, over four sessions in a row: where one is held nothing is wanted, and it is closed at once."""
    actions = np.full((*ACTIONS.shape, 3), ob.HOLD)
    actions[..., ob.FLAT] = ACTIONS
    actions[..., ob.LONG], actions[..., ob.SHORT] = ob.CLOSE_LONG, ob.CLOSE_SHORT
    left = worth_making(actions, SESSIONS, np.full(len(SESSIONS), 2.0), RULE)
    view, refused = MarketView(VIEW, CALENDAR), set()
    held = False
    for place, bar in enumerate(bars()):
        view.on_bar(bar)
        day, t = divmod(place, 75)
        if t == 74 or held or ACTIONS[day, t] not in SIDES:
            held = False
            continue
        record = view.entries("AAA")
        low = bound(record, RULE) if record is not None else None
        held = low is None or low > 0.0
        if not held:
            refused.add((day, t))
        view.on_decision(wanting(bar.ts_close, bar.close, int(ACTIONS[day, t])))
    assert {(int(day), int(t)) for day, t in np.argwhere((left != actions).any(axis=-1))} == refused
    assert 10 < len(refused) < 100


def test_what_is_wanted_in_the_market_counts_for_nothing() -> None:
    """An evaluation asks the row of the position that is held, as a model that is asked live does."""
    actions = np.full((*ACTIONS.shape, 3), ob.HOLD)
    actions[..., ob.FLAT] = ob.BUY_LONG  # once, and held to the end of the day
    assert (worth_making(actions, SESSIONS, np.full(len(SESSIONS), 900.0), RULE) == actions).all()
    many = RULE.model_copy(update={"bars": 1})
    actions[..., ob.LONG] = ob.CLOSE_LONG
    left = worth_making(actions, SESSIONS, np.full(len(SESSIONS), 900.0), many)
    assert (left[1:, :, ob.FLAT] == ob.HOLD).mean() > 0.9  # at that cost nothing is worth it, once enough is known


@pytest.mark.parametrize("stopped", [3, 61, 150, 151, 300, 433])
def test_a_restart_knows_what_the_process_before_knew(stopped: int) -> None:
    """After any event, one that is still open included; a snapshot tells it, too."""
    events = lived()
    whole, before = MarketView(VIEW, CALENDAR), MarketView(VIEW, CALENDAR)
    fed(whole, events)
    fed(before, events[:stopped])
    again, from_snapshot = MarketView(VIEW, CALENDAR), MarketView(VIEW, CALENDAR)
    (told,) = remembered(Recalled(events[:stopped]), VIEW, Legs(), {}, OPEN_NS)
    again.on_remembered(msgspec.json.decode(msgspec.json.encode(told), type=type(told)))
    written = msgspec.json.encode(before.sessions())
    from_snapshot.restore_sessions(msgspec.json.decode(written, type=dict[str, SessionsRecord]))
    for view in (again, from_snapshot):
        assert view.entries("AAA") == before.entries("AAA")
        fed(view, events[stopped:])
        assert view.entries("AAA") == whole.entries("AAA")


def test_a_snapshot_tells_of_what_was_cut_off() -> None:
    """A journal that begins with one: what was wanted before it counts as if it were there."""
    events, whole, before = lived(), MarketView(VIEW, CALENDAR), MarketView(VIEW, CALENDAR)
    fed(whole, events)
    fed(before, events[:301])
    taken = msgspec.structs.replace(Account(Decimal(100)).snapshot(OPEN_NS), sessions=before.sessions())
    (told,) = remembered(Recalled([taken, *events[301:]]), VIEW, Legs(), {}, OPEN_NS)
    assert told.entries == whole.entries("AAA")
    (blind,) = remembered(Recalled(events[301:]), VIEW, Legs(), {}, OPEN_NS)
    assert blind.entries != told.entries


def test_a_tape_that_is_played_again_replaces_what_was_wanted() -> None:
    """Of a day that was lived twice the second time counts, and it counts once."""
    first, twice = lived([0])[:90], lived([0])
    told = _as_lived([*first, *twice], ("5m",), 2**62)
    wanted = [event for event in told if isinstance(event, Decision)]
    assert wanted == [event for event in twice if isinstance(event, Decision) and event.wanted is not None]
    assert _as_lived(twice, ("5m",), twice[20].ts_close) == told[: len(_as_lived(twice[:22], ("5m",), 2**62))]


def test_another_model_begins_anew_and_a_jump_forgets() -> None:
    """What one model's entries came to says nothing of another's, nor what lies before a jump of the price after."""
    view, events = MarketView(VIEW, CALENDAR), lived([0, 1])
    fed(view, events)
    known = view.entries("AAA")
    assert known is not None
    assert len(known.earned) == RULE.newest
    view.on_decision(wanting(OPEN_NS, 1.0, ob.BUY_LONG, model="another"))
    other = view.entries("AAA")
    assert other is not None
    assert (other.model, other.earned, other.level) == ("another", (), 1 - RULE.confidence)
    view.on_jumped(PriceJumped(ts=OPEN_NS, symbol="AAA", before=100.0, after=200.0))
    assert view.entries("AAA") is None


def entering(adaptive: bool) -> tuple[HRMStrategy, int]:
    """A strategy that enters at `hrm.walk` of a seed, which is told."""
    rule = RULE.model_copy(update={"adaptive": adaptive})
    settings: HRMSettings = hrm.settings_of().model_copy(update={"entries": rule})
    found = HRMStrategy.load(None, 1, settings, ReplayClock())
    seed = next(seed for seed in range(60) if found.decide(hrm.walk(seed)).action in ENTRIES)
    return found, seed


@pytest.mark.parametrize(("earned", "made"), [((1.0,) * 8, True), ((-1.0,) * 8, False), ((-1.0,) * 4, True)])
def test_an_entry_is_made_where_recent_ones_earned_something(earned: tuple[float, ...], made: bool) -> None:
    """Refused with the reason otherwise, and what was wanted is said; few say nothing."""
    strategy, seed = entering(adaptive=True)
    moment, model = hrm.walk(seed), strategy.agent.model_hash
    wanted = strategy.decide(moment).action
    record = EntriesRecord(model=model, level=0.6, earned=earned)
    found = strategy.decide(msgspec.structs.replace(moment, entries=record))
    assert found.wanted is wanted
    assert found.action is (wanted if made else Action.HOLD)
    assert found.cost_bp == moment.cost_bp
    said = "too few of its 8 newest entries, made or not, earned anything (-1.00 moves); 5 segments"
    assert found.reason.startswith(said) is not made
    if not made:
        boundless = strategy.decide(msgspec.structs.replace(moment, entries=msgspec.structs.replace(record, level=0.0)))
        assert boundless.reason.startswith("too few of its 8 newest entries, made or not, earned anything; 5 segments")
    foreign = msgspec.structs.replace(record, model="another")
    assert strategy.decide(msgspec.structs.replace(moment, entries=foreign)).action is wanted


def test_as_shipped_nobody_looks() -> None:
    """Nothing is said of what was wanted, so nothing is kept and nothing refused."""
    strategy, seed = entering(adaptive=False)
    record = EntriesRecord(model=strategy.agent.model_hash, level=0.6, earned=(-1.0,) * 8)
    found = strategy.decide(msgspec.structs.replace(hrm.walk(seed), entries=record))
    assert found.action in ENTRIES
    assert (found.wanted, found.cost_bp) == (None, 0.0)
    view = MarketView(VIEW, CALENDAR)
    fed(view, bars([0]))
    assert view.moment(complexity_at(bars([0])[-1].ts_close)).entries is None


def test_sessions_depend_on_each_other() -> None:
    """A replay that is held to earlier entries is one run."""
    adaptive = "hierarchical_reasoning_model.entries.adaptive=true"
    assert not_to_be_split(settings_of("strategy.name=hrm")) == ""
    assert "entries" in not_to_be_split(settings_of("strategy.name=hrm", adaptive))
    assert not_to_be_split(settings_of("strategy.name=rules", adaptive)) == ""
