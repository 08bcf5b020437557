from __future__ import annotations

import pytest

from daemon.alerting.book import AlertBook
from daemon.alerting.conditions import Condition, condition, of_checks
from daemon.alerting.kinds import KINDS
from daemon.core.clock import NS_PER_S
from daemon.core.events import AlertChanged, AlertSent, Severity
from daemon.settings.alerts import AlertKind
from daemon.supervision.health import bad

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
T0 = 1_617_594_300 * NS_PER_S
HOUR = 3600


def at(seconds: float) -> int:
    """So long after the beginning."""
    return T0 + int(seconds * NS_PER_S)


def feed(severity: Severity = CRITICAL, text: str = "the feed is stale") -> Condition:
    """A cause."""
    return condition(AlertKind.FEED, severity, text)


def told(changes: list[AlertChanged]) -> list[tuple[str, str, bool]]:
    """Of each its key, severity, and whether it was raised."""
    return [(it.key, it.severity.value, it.raised) for it in changes]


@pytest.mark.parametrize("kind", [kind for kind, sort in KINDS.items() if not sort.news])
def test_each_kind_is_told_once_until_it_clears(kind: AlertKind) -> None:
    """However often it is looked at, and once more when it comes again."""
    book, cause = AlertBook(60), condition(kind, CRITICAL, "x")
    raised = [change for second in range(100) for change in book.look(at(second), [cause])]
    assert told(raised) == [(kind.value, "critical", True)]
    cleared = [change for second in range(100, 300) for change in book.look(at(second), [])]
    assert told(cleared) == [(kind.value, "critical", False)]
    assert cleared[0].ts == at(160)
    assert told(book.look(at(301), [cause])) == [(kind.value, "critical", True)]


def test_causes_do_not_meet() -> None:
    """Two at a time are two alerts; one that clears leaves the other."""
    book = AlertBook(0)
    disk = condition(AlertKind.DISK, WARNING, "4 GB free")
    assert len(book.look(at(0), [feed(), disk])) == 2
    assert told(book.look(at(1), [disk])) == [("feed", "critical", False)]
    assert list(book.standing) == ["disk"]


def test_what_gets_graver_is_told_again_and_what_gets_milder_is_not() -> None:
    """50 ms, then 100 ms; back at 50 ms and again at 100 ms nothing is new."""
    book = AlertBook(60)
    assert told(book.look(at(0), [feed(WARNING)])) == [("feed", "warning", True)]
    assert told(book.look(at(1), [feed(CRITICAL)])) == [("feed", "critical", True)]
    assert book.look(at(2), [feed(WARNING)]) == []
    assert book.look(at(3), [feed(CRITICAL)]) == []


def test_a_text_that_changes_is_remembered_and_not_told() -> None:
    """It is the same cause; when it clears the newest is said."""
    book = AlertBook(1)
    book.look(at(0), [feed(text="stale symbols: 1")])
    assert book.look(at(1), [feed(text="stale symbols: 2")]) == []
    book.look(at(2), [])
    assert [change.text for change in book.look(at(3), [])] == ["stale symbols: 2"]


def test_what_is_over_needs_nothing_done() -> None:
    """The advice is gone; a stage that was left stays in its news."""
    book, (full,) = AlertBook(0), of_checks([bad("disk", "4 GB free", "make room")])
    moved = condition(AlertKind.MIGRATION, WARNING, "a: parallel → gradual (by asha): it is proven")
    assert [change.text for change in book.look(at(0), [full, moved])] == ["4 GB free → make room", moved.text]
    assert [change.text for change in book.look(at(1), [])] == ["4 GB free", moved.text]


def test_flapping_is_damped() -> None:
    """A cause that comes and goes every two minutes for eight hours: a handful of alerts an hour, and never none."""
    book, raised = AlertBook(60), []
    for second in range(8 * HOUR):
        found = [feed()] if second % 240 < 120 else []
        raised += [change for change in book.look(at(second), found) if change.raised]
    assert 1 <= len(raised) <= 4
    assert [change.times for change in raised] == list(range(1, len(raised) + 1))


def test_a_cause_that_stayed_away_for_an_hour_counts_anew() -> None:
    """What is long ago damps nothing."""
    book, times = AlertBook(60), []
    for start in (0, 2 * HOUR, 4 * HOUR):
        times += [change.times for change in book.look(at(start), [feed()])]
        book.look(at(start + 1), [])
        assert len(book.look(at(start + 62), [])) == 1
    assert times == [1, 1, 1]


def test_an_event_and_its_check_are_one_alert() -> None:
    """The event comes first and is told; the check that says the same adds nothing, and clears it."""
    book = AlertBook(10)
    assert told(book.note(at(0), feed())) == [("feed", "critical", True)]
    assert book.look(at(1), [feed(text="as health has it")]) == []
    book.look(at(2), [])
    assert told(book.look(at(12), [])) == [("feed", "critical", False)]


def test_an_event_without_a_check_clears_by_itself() -> None:
    """What happened and is over by the next look is told once, and can be told again later."""
    book = AlertBook(10)
    news = condition(AlertKind.CANARY, WARNING, "rolled back", "fast rolled back")
    assert len(book.note(at(0), news)) == 1
    assert book.note(at(1), news) == []
    book.look(at(2), [])
    assert len(book.look(at(12), [])) == 1
    assert len(book.note(at(13), news)) == 1


def test_an_alert_that_lasts_is_told_again_where_that_is_wanted() -> None:
    """Every hour; without the setting never."""
    book = AlertBook(60, repeat_hours=1)
    raised = [change for minute in range(181) for change in book.look(at(60 * minute), [feed()])]
    assert [change.ts for change in raised] == [at(0), at(HOUR), at(2 * HOUR), at(3 * HOUR)]


def test_a_restart_tells_nothing_again() -> None:
    """Restarts without end, each for ten seconds: one alert."""
    journal: list[AlertChanged | AlertSent] = []
    raised = 0
    for restart in range(50):
        book = AlertBook(60)
        book.restore(journal)
        for second in range(10):
            changes = book.look(at(restart * 10 + second), [feed()])
            raised += len(changes)
            journal += changes
            journal += [AlertSent(ts=it.ts, keys=(it.key,), target="x") for it in changes]
    assert raised == 1


def test_a_restart_knows_what_has_cleared_and_how_often() -> None:
    """What stood and is gone clears after the restart; the damping goes on."""
    first = AlertBook(60)
    journal = first.look(at(0), [feed()])
    second = AlertBook(60)
    second.restore(journal)
    second.look(at(5), [])
    journal += second.look(at(65), [])
    assert told(journal) == [("feed", "critical", True), ("feed", "critical", False)]
    third = AlertBook(60)
    third.restore(journal)
    assert [change.times for change in third.look(at(70), [feed()])] == [2]


def test_what_nobody_took_is_told_by_the_next_process() -> None:
    """Raised and not sent: told once more, where it still is so; sent: not."""
    journal = AlertBook(60).look(at(0), [feed()])
    book = AlertBook(60)
    book.restore(journal)
    assert told(book.look(at(5), [feed()])) == [("feed", "critical", True)]
    assert book.look(at(6), [feed()]) == []
    book = AlertBook(60)
    book.restore([*journal, AlertSent(ts=at(1), keys=("feed",), target="x")])
    assert book.look(at(5), [feed()]) == []


def test_a_journal_of_another_version_is_no_fault() -> None:
    """A kind that isn't known any more is passed over."""
    book = AlertBook(60)
    book.restore([AlertChanged(ts=at(0), key="old", kind="old", severity=WARNING, raised=True, text="x")])
    assert book.standing == {}


def test_time_that_begins_anew_holds_nothing_up() -> None:
    """A tape that is played again: what is gone clears, counted from then."""
    book = AlertBook(60)
    book.look(at(5000), [feed()])
    book.look(at(5001), [])
    book.look(at(0), [])
    assert len(book.look(at(60), [])) == 1


def test_a_warning_that_is_over_in_a_blink_is_not_told() -> None:
    """One that lasts is, after ten seconds; what is critical, or gets so, at once, and so are events."""
    book = AlertBook(60, warn_after_s=10)
    assert book.look(at(0), [feed(WARNING)]) == []
    assert book.look(at(9), []) == []
    assert book.look(at(10), [feed(WARNING)]) == []
    assert book.look(at(19), [feed(WARNING)]) == []
    assert told(book.look(at(20), [feed(WARNING)])) == [("feed", "warning", True)]
    disk = condition(AlertKind.DISK, CRITICAL, "full")
    assert told(book.look(at(21), [feed(WARNING), disk])) == [("disk", "critical", True)]
    canary = condition(AlertKind.CANARY, WARNING, "rolled back")
    assert len(book.note(at(22), canary)) == 1
