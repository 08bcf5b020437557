"""When our time is believed, and what moves it: clocks that the test turns, a venue that tells its own time."""

from __future__ import annotations

import pytest

from daemon.core.clock import DAY_NS, NS_PER_MS, NS_PER_S, LiveClock
from daemon.core.errors import StartAgain, Unavailable
from daemon.feed.live.clock_watch import UNCONFIRMED, UNDATED, ClockWatch, Stamps
from daemon.market.calendar import ist_date, ist_ns
from tests.samples import OPEN, ticks
from tests.unit.core.readings import FakeReadings

SYMBOLS = ("A", "B", "C")
HOUR = 3600
LIMIT_S = 2.0


class Bench:
    """A daemon's clock and its watch; `venue` is the true time, UTC ns."""

    def __init__(self, wrong_s: float = 0.0, symbols: tuple[str, ...] = SYMBOLS, limit_s: float = LIMIT_S) -> None:
        self.venue = OPEN + HOUR * NS_PER_S
        self.readings = FakeReadings(self.venue + round(wrong_s * NS_PER_S))
        self.clock = LiveClock(self.readings)
        self.symbols = symbols
        self.watch = ClockWatch(self.clock, len(symbols), limit_s)
        self.unit_ns = NS_PER_S
        self.moved = 0
        self.newest = 0

    @property
    def off_s(self) -> float:
        """How far our time is ahead of the venue's."""
        return (self.clock.now_ns() - self.venue) / NS_PER_S

    def look(self) -> None:
        """As the feed does; our time never goes back."""
        self.moved += self.watch.look()
        assert self.clock.now_ns() >= self.newest
        self.newest = self.clock.now_ns()

    def pass_by(self, seconds: float, *, asleep: bool = False, wall_s: float | None = None) -> None:
        """Time for everybody."""
        self.venue += round(seconds * NS_PER_S)
        self.readings.go(seconds, asleep=asleep, wall_s=wall_s)
        self.look()

    def tick(self, late_s: float = 0.2, lies: dict[str, float] | None = None) -> None:
        """One tick of each symbol, stamped in whole units a while ago; some symbols lie by so many seconds."""
        lies = lies or {}
        said = [self.venue - round((late_s - lies.get(symbol, 0.0)) * NS_PER_S) for symbol in self.symbols]
        stamps = [stamp // self.unit_ns * self.unit_ns for stamp in said]
        batch = ticks(stamps, [100.0] * len(stamps), self.symbols, list(range(len(stamps))))
        self.watch.on_ticks(batch)

    def trade(self, seconds: int, late_s: float = 0.2, lies: dict[str, float] | None = None) -> None:
        """Ticks each second, looked at four times a second."""
        for _ in range(seconds):
            self.tick(late_s, lies)
            for _ in range(4):
                self.pass_by(0.25)

    def answer(self, times: int = 1, off_s: float = 0.0, took_s: float = 0.1) -> None:
        """Answers by REST, each dated by the venue's clock."""
        for _ in range(times):
            date = int((self.venue / NS_PER_S + off_s) // 1) * NS_PER_S
            self.watch.on_date(date, round(took_s * NS_PER_S))
            self.pass_by(1.0)


def confirmed(wrong_s: float = 0.0) -> Bench:
    """A bench whose venue has confirmed the time."""
    bench = Bench(wrong_s)
    bench.trade(6)
    assert bench.watch.held == ""
    return bench


def test_new_risk_waits_until_the_venue_has_told_its_time() -> None:
    """By ticks within seconds, or by two answers; one of them says nothing, nor do snapshots."""
    by_ticks, by_answers, neither = Bench(), Bench(), Bench()
    by_ticks.trade(2)
    assert by_ticks.watch.held == UNCONFIRMED
    by_ticks.trade(4)
    assert by_ticks.watch.held == ""
    by_answers.answer()
    assert by_answers.watch.held == UNCONFIRMED
    by_answers.answer()
    assert by_answers.watch.held == ""
    for _ in range(20):
        neither.tick(late_s=HOUR + neither.venue / NS_PER_S % 1)  # the same old stamp again and again
        neither.readings.go(0.25)
        neither.look()
    assert neither.watch.held == UNCONFIRMED
    assert (by_ticks.moved, by_answers.moved, neither.moved) == (0, 0, 0)


@pytest.mark.parametrize("jump_s", [-HOUR, HOUR, -2.1, 30.0])
def test_a_jump_of_the_wall_clock_moves_nothing_and_holds_until_the_venue_has_spoken(jump_s: float) -> None:
    """Our time goes on as if nothing had been; what is wrong with the machine's clock is said as long as it is."""
    bench = confirmed()
    bench.readings.jump(jump_s)
    bench.pass_by(0.25)
    assert bench.watch.held == f"the machine's clock jumped by {jump_s:+.1f} s: new risk waits for the venue's time"
    assert abs(bench.off_s) < 0.01
    bench.trade(6)
    assert bench.watch.held == ""
    assert abs(bench.off_s) < 0.01
    assert bench.moved == 0
    side = "ahead of" if jump_s > 0 else "behind"
    assert bench.watch.trouble == f"the machine's clock is {abs(jump_s):.1f} s {side} the daemon's time"
    bench.readings.jump(-jump_s)
    bench.pass_by(0.25)
    assert bench.watch.trouble == ""
    assert bench.watch.held
    bench.answer(2)
    assert bench.watch.held == ""
    assert abs(bench.off_s) < 0.01


def test_without_the_venue_a_jump_holds_for_ever() -> None:
    """And event time goes on all the same."""
    bench = confirmed()
    bench.readings.jump(-HOUR)
    for _ in range(4 * HOUR):
        bench.pass_by(0.25)
    assert bench.watch.held
    assert abs(bench.off_s) < 0.01


def test_what_ntp_does_every_day_is_followed_without_a_word() -> None:
    """Steps of milliseconds and a clock that runs 50 millionths fast: never held, never more than a little apart."""
    bench = confirmed()
    for minute in range(120):
        bench.readings.jump(0.005 if minute % 2 else -0.003)
        for _ in range(60):
            bench.pass_by(1.0, wall_s=1.00005)
        bench.trade(6)
        assert bench.watch.held == ""
        assert abs(bench.readings.wall_ns() - bench.clock.now_ns()) < 10 * NS_PER_MS
    assert bench.moved == 0
    assert bench.watch.trouble == ""


def test_a_step_below_the_limit_is_made_up_for_slowly() -> None:
    """A second and a half back: our time runs on, a little slower, until both agree."""
    bench = confirmed()
    bench.readings.jump(-1.5)
    for _ in range(100):
        bench.pass_by(1.0)
    assert bench.watch.held == ""
    assert 1.39 < (bench.clock.now_ns() - bench.readings.wall_ns()) / NS_PER_S < 1.41
    for _ in range(1600):
        bench.pass_by(1.0)
    assert abs(bench.clock.now_ns() - bench.readings.wall_ns()) < 5 * NS_PER_MS


def test_a_wall_clock_that_creeps_away_is_not_followed_beyond_the_venue() -> None:
    """Each step is too small for a jump, but the venue's ticks and answers contradict it together."""
    for step_s in (0.0008, 0.002, -0.002):
        bench = confirmed()
        for second in range(6000):
            bench.tick()
            bench.pass_by(1.0)
            bench.readings.jump(step_s)
            if second % 30 == 0:
                bench.answer()
            assert abs(bench.off_s) < LIMIT_S + 1
        assert bench.watch.held == ""
        assert bench.watch.trouble


def test_a_start_with_a_wall_clock_that_was_slow_is_mended_by_ticks_and_answers() -> None:
    """An hour behind: nothing is dared, nothing moves by one source; two bring our time forward, confirmed."""
    bench = Bench(wrong_s=-HOUR)
    bench.trade(30)
    assert bench.moved == 0
    assert bench.watch.held.startswith("the venue's ticks are stamped 3599.")
    bench.answer(3)
    bench.trade(3)
    assert bench.moved == 1
    assert abs(bench.off_s) < LIMIT_S
    bench.trade(6)
    assert bench.watch.held == ""
    assert bench.watch.trouble.startswith("the machine's clock is 3600.")


@pytest.mark.parametrize(("wrong_s", "held"), [(-1.7, False), (-2.3, True)])
def test_stamps_that_are_finer_than_seconds_count_as_they_are(wrong_s: float, held: bool) -> None:
    """Those of an OpenAlgo server are of milliseconds: nothing is added for what whole seconds leave out."""
    bench = Bench(wrong_s)
    bench.unit_ns = NS_PER_MS
    bench.venue += 123 * NS_PER_MS
    bench.readings.go(0.123)
    bench.trade(8, late_s=0.05)
    assert bool(bench.watch.held) is held


def test_a_clock_that_is_further_behind_than_the_filter_bears_is_mended_whatever_the_limit() -> None:
    """By ten seconds one may be off, but of a clock 4.5 s behind the filter would take no tick: it is set forward.

    The machine's clock, which stays behind, is said and not followed back.
    """
    bench = Bench(-4.5, limit_s=10.0)
    bench.trade(3)
    bench.answer(2)
    bench.trade(6)
    assert bench.moved == 1
    assert abs(bench.off_s) <= 1.0
    assert bench.watch.held == ""
    before = bench.off_s
    bench.trade(120)
    assert abs(bench.off_s - before) < 0.01
    assert bench.watch.trouble.startswith("the machine's clock is ")
    ahead = Bench(4.5, limit_s=10.0)
    ahead.trade(6)
    ahead.answer(2)
    assert (ahead.moved, ahead.watch.held, ahead.watch.trouble) == (0, "", "")


def test_a_start_with_a_wall_clock_that_ntp_then_corrects_is_mended_by_ticks_alone() -> None:
    """The wall clock is the second source, and the better one: it knows milliseconds."""
    bench = Bench(wrong_s=-HOUR)
    bench.trade(5)
    bench.readings.jump(HOUR)
    bench.trade(6)
    assert bench.moved == 1
    assert abs(bench.off_s) < 0.01
    bench.trade(6)
    assert bench.watch.held == ""
    assert bench.watch.trouble == ""


def test_a_start_ahead_of_the_venue_waits_at_half_speed() -> None:
    """Time never goes back and never stands still; new risk waits until both agree."""
    bench = Bench(wrong_s=600)
    bench.trade(5)
    assert "stamped 600.5 s behind our time" in bench.watch.held  # which may be a late feed
    bench.answer(3)
    bench.trade(6)
    words = "ahead of the venue's: it runs at half speed until both agree"
    assert words in bench.watch.held
    before = bench.clock.now_ns()
    for _ in range(30):
        bench.trade(10)
        bench.answer()
    assert 150 < (bench.clock.now_ns() - before) / NS_PER_S < 181
    for _ in range(100):
        bench.trade(10)
        bench.answer()
    assert bench.watch.held == ""
    assert abs(bench.off_s) < LIMIT_S
    assert bench.moved == 0


def test_a_start_hours_ahead_ends_once_the_machine_s_clock_is_set_right() -> None:
    """As of a machine whose battery clock keeps local time, until NTP answers: waiting would take all day."""
    bench = Bench(wrong_s=19_800)
    bench.trade(5)
    bench.answer(3)
    bench.trade(60)
    assert (
        "ahead of the venue's: it runs at half speed" in bench.watch.held
    )  # the machine is wrong: so would a start be
    bench.pass_by(0.25, wall_s=0.25 - 19_800)
    with pytest.raises(StartAgain, match=r"time is 197\d\d s ahead of the venue's, .* 0\.\d s (ahead of|behind) it"):
        bench.trade(6)


@pytest.mark.parametrize("left_s", [7, -7, 4_000])
def test_a_start_hours_ahead_ends_where_the_machine_s_clock_is_set_nearer_to_the_venue_s(left_s: int) -> None:
    """And not where it still is hours off: a new start would be as well."""
    bench = Bench(wrong_s=19_800)
    bench.trade(5)
    bench.answer(3)
    bench.trade(60)
    bench.pass_by(0.25, wall_s=0.25 - 4_000)
    bench.trade(60)
    bench.answer(3)
    bench.trade(6)
    assert bench.watch.held
    bench.pass_by(0.25, wall_s=0.25 - 15_800 + left_s)

    def go_on() -> None:
        for _ in range(8):
            bench.trade(6)
            bench.answer()

    with pytest.raises(StartAgain, match=r"ahead of the venue's, as the machine's clock was when it started"):
        go_on()


def test_a_late_feed_alone_is_no_reason_to_hold_or_to_move() -> None:
    """Five seconds late, then a minute: how fresh ticks are is somebody else's business."""
    bench = confirmed()
    bench.trade(30, late_s=5.0)
    bench.trade(120, late_s=60.0)
    assert (bench.watch.held, bench.moved) == ("", 0)
    assert abs(bench.off_s) < 0.01


def test_false_stamps_move_nothing() -> None:
    """One tick of all symbols, then one symbol for minutes: an hour ahead, and nobody believes it."""
    bench = confirmed()
    bench.tick(lies=dict.fromkeys(SYMBOLS, float(HOUR)))
    bench.trade(10)
    assert (bench.watch.held, bench.moved) == ("", 0)
    bench.trade(300, lies={"B": float(HOUR)})
    assert (bench.watch.held, bench.moved) == ("", 0)
    assert abs(bench.off_s) < 0.01


def test_stamps_that_are_all_false_hold_and_don_t_move() -> None:
    """A feed gone mad says one thing, the machine and the venue's answers another: the answers confirm our time."""
    bench = confirmed()
    lies = dict.fromkeys(SYMBOLS, float(HOUR))
    bench.trade(20, lies=lies)
    assert bench.watch.held.startswith("the venue's ticks are stamped 3599.")
    assert bench.moved == 0
    bench.answer(3)
    bench.trade(2, lies=lies)
    assert (bench.watch.held, bench.moved) == ("", 0)


def test_one_false_date_and_slow_answers_say_nothing() -> None:
    """The middle of five counts, and an answer that took seconds is of nobody knows when."""
    bench = Bench()
    bench.answer(2)
    bench.answer(off_s=-HOUR)
    bench.answer(2)
    bench.answer(5, off_s=-5.0, took_s=4.0)
    assert (bench.watch.held, bench.moved) == ("", 0)


def test_dates_alone_hold_and_don_t_move() -> None:
    """The venue's answers, or a proxy's: another source has to say so too."""
    bench = Bench(wrong_s=-60)
    bench.answer(5)
    assert bench.watch.held
    assert (bench.moved, round(bench.off_s)) == (0, -60)
    bench.trade(6)
    bench.answer(3)
    bench.trade(6)
    assert (bench.watch.held, bench.moved) == ("", 1)


def test_a_machine_that_slept_wakes_at_the_right_time_and_waits_for_the_venue() -> None:
    """The steady clock counts the sleep."""
    bench = confirmed()
    bench.pass_by(HOUR, asleep=True)
    assert abs(bench.off_s) < 0.01
    assert bench.watch.held == "the machine slept for 3600 s: new risk waits for the venue's time"
    bench.trade(6)
    assert bench.watch.held == ""


def test_a_machine_that_was_stopped_without_knowing_is_set_forward() -> None:
    """All its clocks stood still; then somebody sets the wall clock, and the ticks say so too."""
    bench = confirmed()
    bench.venue += 90 * NS_PER_S
    bench.trade(6)
    assert bench.watch.held.startswith("the venue's ticks are stamped 89.")
    assert bench.moved == 0
    bench.readings.jump(90)
    bench.trade(12)
    assert (bench.watch.held, bench.moved) == ("", 1)
    assert abs(bench.off_s) < 0.01


def test_stamps_of_a_symbol_count_when_they_move() -> None:
    """The first may be a day old; a repeated one is no news; three make a word, for a minute."""
    stamps = Stamps(2)
    steady = 1000 * NS_PER_S

    def note(stamp_s: int, at_s: float) -> None:
        batch = ticks([stamp_s * NS_PER_S], [1.0], ("A", "B"), [1])
        stamps.note(batch.code, batch.ts_event, steady + round(at_s * NS_PER_S))

    for second in range(4):
        assert stamps.words(steady) == []
        note(5000 + second, second)
        note(5000 + second, second + 0.5)
    assert stamps.words(steady + 4 * NS_PER_S) == [4000.5 * NS_PER_S]
    assert stamps.words(steady + 70 * NS_PER_S) == []
    stamps.forget()
    assert stamps.words(steady + 4 * NS_PER_S) == []


def test_ticks_ahead_of_our_time_are_named_with_the_offset_and_what_to_do() -> None:
    """A clock 4 s behind rejects nearly all ticks; a minute after it was set nothing is said of it."""
    bench = Bench(wrong_s=-4.0)

    def hear(seconds: int, ahead: int) -> None:
        for _ in range(seconds):
            now = bench.clock.now_ns()
            stamps = [now + by * NS_PER_S for by in ([4] * ahead + [0] * (3 - ahead))]
            bench.watch.on_ticks(ticks(stamps, [100.0] * 3, SYMBOLS, [0, 1, 2], ts_recv=[now] * 3))
            bench.readings.go(1.0)

    hear(6, 3)
    assert "ahead of this machine's clock" not in bench.watch.trouble  # 18 ticks are no word
    hear(6, 3)
    assert bench.watch.trouble == (
        "100% of ticks are ahead of this machine's clock by 4.0 s and are rejected (bad_time): set the clock "
        "(chronyc tracking)"
    )
    hear(62, 1)
    assert bench.watch.trouble == ""  # one false symbol is no word either


@pytest.mark.parametrize("jump_s", [20 * HOUR, -20 * HOUR])
def test_a_wall_clock_that_is_set_over_midnight_and_back_costs_no_day(jump_s: float) -> None:
    """After the start our time has the venue's word, not the machine's: it waits for it twice, and goes on."""
    bench = confirmed()
    for by_s in (jump_s, -jump_s):
        bench.readings.jump(by_s)
        bench.look()
        assert "new risk waits for the venue's time" in bench.watch.held
        bench.trade(6)
        bench.answer(3)
        assert bench.watch.held == ""
        assert abs(bench.off_s) < LIMIT_S
    assert (bench.watch.trouble, bench.moved) == ("", 0)


@pytest.mark.parametrize("wrong_s", [24 * HOUR, -24 * HOUR, -20 * HOUR])
def test_a_start_on_another_day_than_the_venue_s_is_none(wrong_s: float) -> None:
    """By the venue's word alone; two answers are one, and a single one isn't."""
    bench = Bench(wrong_s=wrong_s)
    bench.watch.check_day()
    bench.answer(1)
    bench.watch.check_day()
    bench.answer(1)
    with pytest.raises(Unavailable, match=r"the machine's clock says .+, and the broker's answers are of 2026-01-05"):
        bench.watch.check_day()


def test_a_start_that_is_off_on_the_same_day_is_one() -> None:
    """Hours, or seconds around midnight: new risk waits for the venue's time, as ever."""
    for wrong_s in (HOUR, -0.5 * HOUR):
        bench = Bench(wrong_s=wrong_s)
        bench.answer(3)
        bench.watch.check_day()
    bench = Bench()
    bench.venue = (ist_ns(ist_date(OPEN), "00:00") + DAY_NS) - NS_PER_S
    bench.readings.jump((bench.venue + 30 * NS_PER_S - bench.readings.wall_ns()) / NS_PER_S)
    bench.clock = LiveClock(bench.readings)
    bench.watch = ClockWatch(bench.clock, len(SYMBOLS), LIMIT_S)
    for _ in range(2):
        bench.watch.on_date(bench.venue, 0)
    bench.watch.check_day()


@pytest.mark.parametrize("wrong_s", [24 * HOUR, -24 * HOUR, -20 * HOUR])
def test_a_day_is_known_when_the_venue_has_said_it(wrong_s: float) -> None:
    """By ticks or by answers; a clock of another day is named until it says otherwise, and new risk waits."""
    for right in (lambda bench: bench.trade(4), lambda bench: bench.answer(2)):
        bench = Bench()
        assert bench.watch.undated == UNDATED
        right(bench)
        assert bench.watch.undated == ""
        wrong = Bench(wrong_s=wrong_s)
        right(wrong)
        ours = ist_date(wrong.clock.now_ns())
        said = f"the machine's clock says {ours}, and the venue says 2026-01-05: set it right"
        assert said in wrong.watch.undated
        assert said in wrong.watch.held
        assert said in wrong.watch.trouble


def test_slow_answers_tell_a_day_as_well() -> None:
    """Too slow for the seconds; a start on another day is none all the same."""
    bench = Bench(wrong_s=24 * HOUR)
    bench.answer(2, took_s=5.0)
    with pytest.raises(Unavailable, match="the broker's answers are of 2026-01-05"):
        bench.watch.check_day()


def test_a_server_on_this_machine_is_no_witness_of_the_day() -> None:
    """Its answers are dated by the clock that is wrong: the ticks alone count, and they hold new risk."""
    bench = Bench(wrong_s=24 * HOUR)
    bench.watch = ClockWatch(bench.clock, len(SYMBOLS), LIMIT_S, dated_elsewhere=False)
    bench.answer(3, off_s=24 * HOUR)
    assert bench.watch.undated == UNDATED
    bench.trade(4)
    bench.answer(3, off_s=24 * HOUR)
    assert "set it right" in bench.watch.undated
    assert "set it right" in bench.watch.held


@pytest.mark.parametrize("wrong_s", [3 * HOUR, -3 * HOUR])
def test_answers_say_that_our_time_is_of_another_hour(wrong_s: float) -> None:
    """Slow ones, too, and before any tick; it is told, new risk waits, and what is said once stays said."""
    bench = Bench(wrong_s=wrong_s)
    assert (bench.watch.apart_ns, bench.watch.trouble) == (0, "")
    bench.answer(2, took_s=5.0)
    for _ in range(HOUR):
        bench.pass_by(1.0)
        assert abs(bench.watch.apart_ns / NS_PER_S + bench.off_s) < 1
    assert bench.watch.dated
    side = "ahead of" if wrong_s > 0 else "behind"
    assert f"s {side} the venue's answers: nothing is opened, and a session ends by" in bench.watch.trouble
    assert bench.watch.held


def test_ticks_alone_say_that_our_time_is_of_another_hour() -> None:
    """A clock that is behind, or far ahead: then a late feed looks the same, and new risk waits for either."""
    for wrong_s in (-3 * HOUR, 3 * HOUR):
        bench = Bench(wrong_s=wrong_s)
        bench.watch = ClockWatch(bench.clock, len(SYMBOLS), LIMIT_S, dated_elsewhere=False)
        bench.answer(3, off_s=wrong_s)
        assert bench.watch.apart_ns == 0
        bench.trade(6)
        assert abs(bench.watch.apart_ns / NS_PER_S + wrong_s) < LIMIT_S
        assert not bench.watch.dated
        assert "the venue's ticks are stamped" in bench.watch.held
    late = confirmed()
    late.trade(60, late_s=240.0)
    assert (late.watch.apart_ns, late.watch.held) == (0, "")


def test_a_time_that_is_set_right_is_apart_no_more() -> None:
    """Two say so, and time is set forward: sessions go by it again."""
    bench = Bench(wrong_s=-3 * HOUR)
    bench.answer(3)
    assert bench.watch.apart_ns > 2 * HOUR * NS_PER_S
    bench.trade(8)
    bench.answer(2)
    assert (bench.watch.apart_ns, bench.watch.held, bench.moved) == (0, "", 1)


def test_a_clock_that_is_set_right_is_of_the_day() -> None:
    """Yesterday's, set forward while it runs: two say so, time follows, and the day is known."""
    bench = Bench(wrong_s=-24 * HOUR)
    bench.trade(4)
    assert "set it right" in bench.watch.undated
    bench.readings.jump(24 * HOUR)
    bench.trade(8)
    assert (bench.watch.undated, bench.watch.held) == ("", "")
