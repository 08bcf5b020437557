from __future__ import annotations

from daemon.alerting.messages import MAX_CHARS, Message, joined, told
from daemon.core.events import AlertChanged, Severity

CHANGE = AlertChanged(
    ts=1, key="loss_limit", kind="loss_limit", severity=Severity.CRITICAL, raised=True, text="₹20,000.00 lost"
)  # fmt: skip


def test_one_alert() -> None:
    """How grave, what, and the line; cleared it is good news."""
    message = told(CHANGE)
    assert (message.title, message.body) == ("hrmd: CRITICAL: loss limit", "₹20,000.00 lost")
    assert not message.over
    over = AlertChanged(ts=2, key="feed", kind="feed", severity=Severity.WARNING, raised=False, text="stale")
    assert told(over) == Message("hrmd: cleared: feed", "over: stale", Severity.WARNING, ("feed",), over=True)


def test_many_are_one_that_any_service_takes() -> None:
    """As grave as the gravest; what has no room is counted, its keys aren't lost."""
    many = [Message(f"hrmd: alert {n}", "x" * 400, Severity.INFO, (f"{n}",)) for n in range(20)] + [told(CHANGE)]
    one = joined(many)
    assert one.severity is Severity.CRITICAL
    assert len(one.body) < MAX_CHARS + 100
    assert one.body.endswith("… and 14 more: hrmd ctl health")
    assert one.keys == (*(f"{n}" for n in range(20)), "loss_limit")
    assert joined([many[0]]) is many[0]
