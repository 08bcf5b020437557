"""Each component of market complexity on a market whose answer is known."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections.abc import Sequence
from itertools import cycle, islice

import pytest

from daemon.bars.complexity import ComplexityActor, ComplexityDetector
from daemon.core.bus import Bus
from daemon.core.events import Bar, Complexity, PriceJumped, Regime
from daemon.market.scheduled_events import ScheduledEvent, ScheduledEvents
from daemon.settings.bars import ComplexitySettings, ComplexityUplift, ComplexityWeights
from tests.unit.feed.ticks import OPEN_NS, SECOND

MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
R = 1e-3

SMALL = ComplexitySettings(
    volatility_window=4, trend_window=4, momentum_window=2, baseline_window=19, correlation_window=8
)


def bars_of(returns: Sequence[float], symbol: str = "AAA", *, start: int = OPEN_NS, price: float = 100.0) -> list[Bar]:
    """Make five-minute bars whose log-returns are `returns`; each opens where the one before closed."""
    bars = []
    for n, value in enumerate(returns):
        close = price * math.exp(value)
        opened = start + n * 5 * MINUTE
        bars.append(
            Bar(symbol=symbol, interval="5m", ts_open=opened, ts_close=opened + 5 * MINUTE, open=price,
                high=max(price, close), low=min(price, close), close=close, volume=-1, ticks=1)
        )  # fmt: skip
        price = close
    return bars


def after(
    returns: Sequence[float], settings: ComplexitySettings = SMALL, events: ScheduledEvents | None = None
) -> Complexity:
    """Complexity at the last bar of one instrument."""
    detector = ComplexityDetector(settings, events or ScheduledEvents())
    return [detector.on_bar(bar) for bar in bars_of(returns)][-1]


def alternating(size: float, count: int) -> list[float]:
    """Make +size, -size, +size and so on."""
    return list(islice(cycle((size, -size)), count))


def test_a_flat_market_is_all_zero() -> None:
    """Nothing moves: every component and the score are 0, and the regime is ranging."""
    found = after([0.0] * 60)
    values = (found.volatility, found.trend_strength, found.momentum, found.regime_change, found.correlation_breakdown)
    assert (*values, found.event_impact, found.score) == (0.0,) * 7
    assert found.regime is Regime.RANGING


def test_it_speaks_of_its_bar() -> None:
    """Symbol, interval and time are the bar's."""
    found = after([0.0] * 3)
    assert (found.symbol, found.interval, found.ts) == ("AAA", "5m", OPEN_NS + 15 * MINUTE)


def test_nothing_is_said_before_there_are_enough_bars() -> None:
    """Volatility and trend wait for their windows, a regime change for two."""
    moves = [R, -R, 2 * R, 3 * R, -2 * R, R, 6 * R, 3 * R]
    assert (after(moves[:3]).volatility, after(moves[:3]).trend_strength) == (0.0, 0.0)
    assert after(moves[:4]).volatility > 0
    assert after(moves[:4]).trend_strength > 0
    assert after(moves[:7]).regime_change == 0.0
    assert after(moves[:8]).regime_change > 0


def test_the_regime_is_unknown_before_volatility_and_trend_are_known() -> None:
    """Until the longer window is full, again after a price that jumped, and for a bar that was only remembered, too."""
    later = SMALL.model_copy(update={"trend_window": 6})
    assert [after([0.0] * n, SMALL).regime for n in (1, 3, 4)] == [Regime.UNKNOWN, Regime.UNKNOWN, Regime.RANGING]
    assert [after([R] * n, later).regime for n in (5, 6)] == [Regime.UNKNOWN, Regime.TRENDING]
    detector, bars = ComplexityDetector(SMALL, ScheduledEvents()), bars_of([0.0] * 8)
    for bar in bars[:3]:
        detector.remember(bar)
    assert detector.on_bar(bars[3]).regime is Regime.RANGING
    detector.forget("AAA")
    assert detector.on_bar(bars[4]).regime is Regime.UNKNOWN


def test_a_one_way_market_is_efficient() -> None:
    """Steps of one sign, however uneven, have efficiency 1; a constant trend has no volatility at all."""
    assert after([R, 2 * R, R, 5 * R]).trend_strength == pytest.approx(1.0)
    steady = after([R] * 40)
    assert steady.trend_strength == pytest.approx(1.0)
    assert (steady.volatility, steady.momentum, steady.regime) == (0.0, 0.0, Regime.TRENDING)


def test_an_alternating_market_is_aimless() -> None:
    """Up and down by the same amount has efficiency 0, and its usual volatility is one half."""
    found = after(alternating(R, 60))
    assert found.trend_strength == pytest.approx(0.0, abs=1e-9)
    assert found.volatility == pytest.approx(0.5)
    assert found.regime is Regime.RANGING


def test_partly_efficient() -> None:
    """Three steps forth and one back: net 2 of 4."""
    assert after([R, R, -R, R]).trend_strength == pytest.approx(0.5)


def test_volatility_that_doubles() -> None:
    """Against an average that follows with 2 / (19 + 1), moves twice as large give 2 / 1.145 and so 2 / 3.145."""
    settings = SMALL.model_copy(update={"volatility_window": 2})
    moves = [*alternating(R, 60), *alternating(2 * R, 2)]  # σ goes 1, 1.5, 2; its average 1, 1.05, 1.145
    assert after(moves, settings).volatility == pytest.approx(2 / 3.145)
    assert after(moves, settings).regime is Regime.VOLATILE


def test_momentum_is_the_share_of_random_walks_that_moved_less() -> None:
    """Net 2r over 2 bars at σ = r·√0.75 is erf(1/√0.75)."""
    assert after([R, -R, R, R]).momentum == pytest.approx(math.erf(1 / math.sqrt(0.75)))
    assert after(alternating(R, 20)).momentum == pytest.approx(0.0, abs=1e-9)


def test_momentum_needs_its_own_window() -> None:
    """With a momentum window longer than what is there it is 0."""
    settings = SMALL.model_copy(update={"momentum_window": 6})
    assert after([R, -R, R, R, R], settings).momentum == 0.0
    assert after([R, -R, R, R, R, R, -R], settings).momentum > 0.0


def test_regime_change_when_moves_grow_fourfold() -> None:
    """σ is four times that of the window before: 1 − 1/4; and the same when it falls to a quarter."""
    grown = [*alternating(R, 8), *alternating(4 * R, 4)]
    shrunk = [*alternating(4 * R, 8), *alternating(R, 4)]
    assert after(grown).regime_change == pytest.approx(0.75)
    assert after(shrunk).regime_change == pytest.approx(0.75)
    assert after([*grown, *alternating(4 * R, 4)]).regime_change == pytest.approx(0.0, abs=1e-9)


def test_regime_change_out_of_stillness() -> None:
    """A market that begins to move after none is another market altogether; one that never moves is the same."""
    assert after([*[0.0] * 8, *alternating(R, 4)]).regime_change == 1.0
    assert after([*alternating(R, 8), *[0.0] * 4]).regime_change == 1.0


def both(first: Sequence[float], second: Sequence[float], settings: ComplexitySettings = SMALL) -> list[Complexity]:
    """Complexity of AAA and BBB at their last common bar; AAA is always asked first."""
    detector = ComplexityDetector(settings, ScheduledEvents())
    last: list[Complexity] = []
    for one, two in zip(bars_of(first), bars_of(second, "BBB", price=2000.0), strict=True):
        last = [detector.on_bar(one), detector.on_bar(two)]
    return last


def test_no_breakdown_while_instruments_move_together() -> None:
    """Equal or always opposite moves are no breakdown, nor is one instrument alone, nor one that stands still."""
    moves = [R, -2 * R, R, 3 * R, -R, -R, 2 * R, R] * 3
    assert [found.correlation_breakdown for found in both(moves, moves)] == pytest.approx([0.0, 0.0], abs=1e-9)
    opposite = [-move for move in moves]
    assert [found.correlation_breakdown for found in both(moves, opposite)] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert [found.correlation_breakdown for found in both(moves, [0.0] * 24)] == [0.0, 0.0]
    assert after(moves).correlation_breakdown == 0.0


def test_rounding_noise_is_no_correlation() -> None:
    """Two steady trends have returns that differ by rounding alone: nothing breaks down."""
    assert [found.correlation_breakdown for found in both([R] * 40, [R / 3] * 40)] == [0.0, 0.0]


def test_correlation_breakdown_when_instruments_separate() -> None:
    """Four opposite moves after four equal ones: ρ is −1 over the short window and 0 over the long one, so 1/2.

    The instrument that is asked second sees its partner's newest bar; the first one sees it one bar later.
    """
    first, second = alternating(R, 20), [*alternating(R, 16), *alternating(-R, 4)]
    assert both(first, second)[1].correlation_breakdown == pytest.approx(0.5)
    assert both([*first, R], [*second, -R])[0].correlation_breakdown == pytest.approx(0.5)


def test_breakdown_waits_for_common_bars() -> None:
    """With fewer common bars than the long window nothing is said."""
    first, second = alternating(R, 7), alternating(-R, 7)
    assert [found.correlation_breakdown for found in both(first, second)] == [0.0, 0.0]
    elsewhere = [bar for n, bar in enumerate(bars_of(alternating(R, 40), "BBB")) if n % 2]
    detector = ComplexityDetector(SMALL, ScheduledEvents())
    for bar in sorted([*bars_of(alternating(R, 40)), *elsewhere], key=lambda bar: bar.ts_close):
        assert detector.on_bar(bar).correlation_breakdown == 0.0  # half of the bars have no partner


def test_breakdown_is_the_mean_over_the_others() -> None:
    """One partner that separated and one that did not make half of it."""
    moves, parted = alternating(R, 20), [*alternating(R, 16), *alternating(-R, 4)]
    detector = ComplexityDetector(SMALL, ScheduledEvents())
    rows = zip(bars_of(moves, "AAA"), bars_of(moves, "BBB"), bars_of(parted, "CCC"), strict=True)
    found = [[detector.on_bar(bar) for bar in row] for row in rows][-1]
    assert found[2].correlation_breakdown == pytest.approx(0.5)  # parted from both
    again = ComplexityDetector(SMALL, ScheduledEvents())
    rows = zip(bars_of(parted, "CCC"), bars_of(moves, "AAA"), bars_of(moves, "BBB"), strict=True)
    found = [[again.on_bar(bar) for bar in row] for row in rows][-1]
    assert found[2].correlation_breakdown == pytest.approx(0.25)  # from one of two


def test_an_event_has_impact_and_adds_to_the_score() -> None:
    """At the event's own minute the impact is whole, and the score rises by uplift times impact."""
    event = ScheduledEvent(at=dt.datetime.fromtimestamp((OPEN_NS + 300 * MINUTE) / 1e9, dt.UTC), impact=0.5)
    calm, near = after([0.0] * 60), after([0.0] * 60, events=ScheduledEvents((event,)))
    assert near.event_impact == pytest.approx(0.5)
    assert near.score == pytest.approx(calm.score + 0.2 * 0.5)


def test_an_overnight_jump_is_not_volatility() -> None:
    """A gap between two days changes nothing: the first bar of a day counts from its own open."""
    detector = ComplexityDetector(SMALL, ScheduledEvents())
    moves = alternating(R, 20)
    quiet = [detector.on_bar(bar) for bar in (*bars_of(moves), *bars_of(moves, start=OPEN_NS + DAY, price=100.0))]
    jumped = ComplexityDetector(SMALL, ScheduledEvents())
    gap = [jumped.on_bar(bar) for bar in (*bars_of(moves), *bars_of(moves, start=OPEN_NS + DAY, price=150.0))]
    for calm, found in zip(quiet, gap, strict=True):
        for name in ("volatility", "trend_strength", "momentum", "regime_change", "score"):
            assert getattr(found, name) == pytest.approx(getattr(calm, name), abs=1e-9)


def test_a_gap_inside_the_day_is_volatility() -> None:
    """The same jump between two bars of one day counts."""
    moves = alternating(R, 20)
    first, second = bars_of(moves), bars_of(moves, start=OPEN_NS + 100 * MINUTE, price=150.0)
    detector = ComplexityDetector(SMALL, ScheduledEvents())
    found = [detector.on_bar(bar) for bar in (*first, *second)][len(first)]
    assert found.volatility > 0.8
    assert found.regime is Regime.VOLATILE


@pytest.mark.parametrize(
    ("weights", "name"),
    [((1.0, 0.0, 0.0), "volatility"), ((0.0, 1.0, 0.0), "trend_strength"), ((0.0, 0.0, 1.0), "momentum")],
)
def test_weights_choose_among_the_main_components(weights: tuple[float, float, float], name: str) -> None:
    """With all the weight on one component and no uplift the score is that component."""
    volatility, trend, momentum = weights
    settings = SMALL.model_copy(
        update={
            "weights": ComplexityWeights(volatility=volatility, trend_strength=trend, momentum=momentum),
            "uplift": ComplexityUplift(regime_change=0, correlation_breakdown=0, event_impact=0),
        }
    )
    found = after([R, -R, 2 * R, R, -R, 3 * R, R, R, -R, 2 * R], settings)
    assert 0 < getattr(found, name) < 1
    assert found.score == getattr(found, name)


def test_the_score_is_the_documented_sum() -> None:
    """0.4, 0.3 and 0.3 of the main components, plus the uplifts of the others."""
    found = after([*alternating(R, 8), R, 2 * R, -R, 3 * R], ComplexitySettings(
        volatility_window=4, trend_window=4, momentum_window=2, baseline_window=19, correlation_window=8
    ))  # fmt: skip
    main = 0.4 * found.volatility + 0.3 * found.trend_strength + 0.3 * found.momentum
    assert found.regime_change > 0
    assert found.score == pytest.approx(main + 0.1 * found.regime_change)


def test_the_score_is_at_most_one() -> None:
    """Uplifts that would carry it beyond are cut."""
    settings = SMALL.model_copy(update={"uplift": ComplexityUplift(regime_change=5.0)})
    assert after([*alternating(R, 8), *[9 * R, 8 * R, 9 * R, 5 * R]], settings).score == 1.0


async def test_the_actor_answers_bars_of_its_interval_only() -> None:
    """One complexity for every bar of the decision interval, none for the others."""
    bus, heard = Bus(), list[Complexity]()
    bus.tap((Complexity,), heard.append)
    actor = ComplexityActor(bus, ComplexityDetector(SMALL, ScheduledEvents()), "5m")
    task = asyncio.create_task(actor.run())
    for bar in bars_of([R, -R]):
        bus.publish(bar)
        bus.publish(Bar(**{name: getattr(bar, name) for name in bar.__struct_fields__} | {"interval": "1m"}))
    async with asyncio.timeout(5):
        await bus.idle()
    assert [found.ts for found in heard] == [OPEN_NS + 5 * MINUTE, OPEN_NS + 10 * MINUTE]
    task.cancel()


def test_after_a_jump_it_begins_anew() -> None:
    """As if there had been nothing before; and a price of another size is no other market."""
    detector = ComplexityDetector(SMALL, ScheduledEvents())
    for bar in bars_of(alternating(R, 40)):
        detector.on_bar(bar)
    actor = ComplexityActor(Bus(), detector, "5m")
    actor.handle(PriceJumped(ts=OPEN_NS + DAY, symbol="AAA", before=100.0, after=20.0))
    again = bars_of(alternating(3 * R, 40), start=OPEN_NS + DAY, price=20.0)
    fresh = ComplexityDetector(SMALL, ScheduledEvents())
    assert [detector.on_bar(bar) for bar in again] == [fresh.on_bar(bar) for bar in again]
