"""What a strategy is told of earlier sessions: live, after a restart and in training the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from daemon.core.clock import DAY_NS
from daemon.core.events import Bar, PriceJumped
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.market.legs import Legs
from daemon.market.trade_costs import UNKNOWN_BP, TradeCosts
from daemon.recovery.market import Recalled, remembered
from models.config import FeatureSettings, History
from models.features import TOLD_OF_PAST, encode
from models.past import LEFT, MOST, SUMS, known
from models.training.batches import BatchSettings, make_batch
from models.training.family import members, sessions_of
from models.vocabulary import Vocabularies
from strategies.base import FixedCosts, MarketView
from strategies.hrm import observation
from tests.samples import settings_of
from tests.unit.feed.ticks import OPEN_NS
from tests.unit.strategies.moments import CALENDAR, MINUTE, VIEW, complexity_at

SESSIONS = sessions_of(members(1, 9), 4, 9)
WHOLE = msgspec.structs.replace(VIEW, window=75)


def bars(sessions: Sequence[int] = range(4)) -> list[Bar]:
    """The simulated bars as events, a session a day from the test calendar's on."""
    made = []
    for day in sessions:
        for n, row in enumerate(SESSIONS.bars[SESSIONS.offsets[day] : SESSIONS.offsets[day + 1]]):
            opened = OPEN_NS + day * DAY_NS + n * 5 * MINUTE
            open_, high, low, close, volume = row.tolist()
            made.append(
                Bar(
                    symbol="AAA", interval="5m", ts_open=opened, ts_close=opened + 5 * MINUTE, open=open_, high=high,
                    low=low, close=close, volume=-1 if math.isnan(volume) else int(volume), ticks=1,
                )
            )  # fmt: skip
    return made


def fed(events: Sequence[Bar]) -> MarketView:
    """A view that has seen them."""
    view = MarketView(WHOLE, CALENDAR, FixedCosts(2.0))
    for bar in events:
        view.on_bar(bar)
    return view


def left(view: MarketView) -> list[tuple[float, ...]]:
    """What the sessions left that are over."""
    return [session.sums for session in view.past("AAA")]


def test_live_is_told_what_training_is() -> None:
    """At every bar of the fourth session: the same numbers as a batch of training has, and the cost that was asked."""
    settings = BatchSettings(FeatureSettings(past_sessions=20, belief=True))
    batch = make_batch(SESSIONS, np.array([3]), settings, Vocabularies(), cost_bp=np.array([2.0]))
    view = fed(bars(range(3)))
    for n, bar in enumerate(bars([3])):
        view.on_bar(bar)
        seen = observation(view.moment(complexity_at(bar.ts_close)), History.SESSION, 20)
        assert seen.cost_bp == 2.0
        if n < 74:
            calendar = batch.features.calendar[n]
            assert np.asarray(seen.past)[:TOLD_OF_PAST] == pytest.approx(calendar[23:34], rel=1e-5, abs=1e-6)
            if n >= settings.features.min_bars - 1:
                alone = encode([seen], Vocabularies(), settings.features).calendar[0]
                assert (alone[34:] == calendar[34:]).all()
                assert np.any(alone[34:])


def test_who_does_not_ask_is_told_nothing() -> None:
    """A model from before there was such a thing sees what it always saw."""
    seen = observation(fed(bars()).moment(complexity_at(bars()[-1].ts_close)), History.SESSION)
    assert not np.any(seen.past)
    assert seen.cost_bp == 3.0


@pytest.mark.parametrize("stopped", [0, 30, 74, 75, 76, 150, 200, 299])
def test_a_restart_is_told_what_the_process_before_knew(stopped: int) -> None:
    """After any bar: the rest of the day and the next give the same sums, bit for bit."""
    events = bars()
    (told,) = remembered(Recalled(events[: stopped + 1]), WHOLE, Legs(), {}, OPEN_NS)
    again = MarketView(WHOLE, CALENDAR)
    again.on_remembered(told)
    for bar in events[stopped + 1 :]:
        again.on_bar(bar)
    assert left(again) == left(fed(events))


@pytest.mark.parametrize("stopped", [10, 80, 160])
def test_a_snapshot_holds_all_that_is_known(stopped: int) -> None:
    """A view that begins with it goes on as the one that it was taken from."""
    events = bars()
    before = fed(events[:stopped])
    again = MarketView(WHOLE, CALENDAR)
    again.restore_sessions(msgspec.json.decode(msgspec.json.encode(before.sessions()), type=type_of(before)))
    for bar in events[stopped:]:
        again.on_bar(bar)
        before.on_bar(bar)
    assert left(again) == left(before)


def test_sessions_on_record_from_before_there_was_evidence_have_none() -> None:
    """A journal of an earlier version: its trends are known, its sessions speak for no market."""
    before = fed(bars())
    records = {name: msgspec.structs.replace(one, over=tuple(it[:SUMS] for it in one.over))
               for name, one in before.sessions().items()}  # fmt: skip
    again = MarketView(WHOLE, CALENDAR)
    again.restore_sessions(records)
    assert [one[:SUMS] for one in left(again)] == [one[:SUMS] for one in left(before)][: len(left(again))]
    assert not np.any([one[SUMS:] for one in left(again)])
    assert len(known(left(again), 20)) == len(known(left(before), 20))


def type_of(view: MarketView) -> object:
    """What a journal reads the sessions as."""
    return dict[str, type(next(iter(view.sessions().values())))]


def test_a_jump_leaves_nothing_of_before() -> None:
    """What lies before says nothing of the price that comes; a process that goes on knows it, too."""
    jump = PriceJumped(ts=OPEN_NS, symbol="AAA", before=100.0, after=200.0)
    before, after = bars([0, 1])[:100], bars([2, 3])
    view = fed(before)
    view.on_jumped(jump)
    for bar in after:
        view.on_bar(bar)
    assert left(view) == left(fed(after))
    (told,) = remembered(Recalled([*before, jump, *after]), WHOLE, Legs(), {}, OPEN_NS)
    assert list(told.past) == left(view)


def test_no_more_sessions_are_kept_than_anybody_asks_for() -> None:
    """The memory of a daemon that runs for months stays what it is."""
    one = bars([0])[:12]
    view = MarketView(WHOLE, CALENDAR)
    for day in range(MOST + 10):
        for bar in one:
            view.on_bar(msgspec.structs.replace(bar, ts_open=bar.ts_open + day * DAY_NS))
    assert len(view.past("AAA")) == MOST
    assert len(view.past("AAA")[0].sums) == LEFT
    assert view.moment(complexity_at(OPEN_NS + 75 * MINUTE)).known(5) == pytest.approx(known(left(view)[-5:], 5))


def test_what_a_trade_costs_is_the_schedules() -> None:
    """Both sides' charges, halved, and half a tick; brokerage is less of a larger order."""
    book = InstrumentBook(settings_of().market)

    def costs(half_spread_bp: float = 0.0, slippage_bp: float = 0.0) -> TradeCosts:
        units = lambda _, price, share: int(share * 500_000 / price)  # noqa: E731
        return TradeCosts(CostSchedule(), book.resolve, units, half_spread_bp, slippage_bp)

    large = costs()
    share = large.bp("NSE:RELIANCE-EQ", 1300.0, OPEN_NS)
    assert 1.5 < share < 4.0
    assert large.bp("NSE:RELIANCE-EQ", 1300.0, OPEN_NS, 0.04) > share + 2.0
    half_tick = 1e4 * 0.05 / 2 / 1300.0
    assert costs(1.0, 0.7).bp("NSE:RELIANCE-EQ", 1300.0, OPEN_NS) == pytest.approx(share + 1.7 - half_tick)
    assert costs(half_tick / 2).bp("NSE:RELIANCE-EQ", 1300.0, OPEN_NS) == share
    assert large.bp("NSE:NIFTY50-INDEX", 24_000.0, OPEN_NS) < share  # a future pays less tax on its turnover
    assert large.bp("what is this", 10.0, OPEN_NS) == UNKNOWN_BP
    assert large.bp("NSE:RELIANCE-EQ", 1300.0, 1) == UNKNOWN_BP
