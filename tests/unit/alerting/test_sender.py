from __future__ import annotations

import threading
from pathlib import Path

from structlog.testing import capture_logs

from daemon.alerting.messages import Message
from daemon.alerting.sender import Sender
from daemon.alerting.targets import read_targets
from daemon.core.events import Severity
from daemon.settings.alerts import AlertSettings
from tests.unit.alerting.services import PATIENCE_S, SECRET, service, urls_file


def settings(path: Path, **changes: object) -> AlertSettings:
    """Impatient ones."""
    return AlertSettings.model_validate({"urls_file": path, "send_s": 0.2, "retry_longest_s": 1, **changes})


def message(number: int, severity: Severity = Severity.WARNING) -> Message:
    """One of many."""
    return Message(f"hrmd: alert {number}", f"text {number}", severity, (f"key {number}",))


def until(look: object) -> None:
    """Wait for something that another thread does."""
    assert callable(look)
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if look():
            return
        pause.wait(0.01)
    raise AssertionError("never came")


class Stuck:
    """A target that waits for ever, until a test lets it go."""

    name = "stuck"

    def __init__(self) -> None:
        self.entered, self.released = threading.Event(), threading.Event()

    def deliver(self, _: Message) -> str:
        """Never, while stuck."""
        self.entered.set()
        self.released.wait(PATIENCE_S)
        return ""


def test_what_is_sent_comes_and_is_said_to_have(tmp_path: Path) -> None:
    """Keys of what was told, by whom, each once."""
    with service() as hook:
        path = urls_file(tmp_path, hook.url)
        sender = Sender(read_targets(settings(path), {}), settings(path))
        sender.send(message(1))
        hook.wait_for(1)
        sender.close(PATIENCE_S)
        assert sender.taken() == [(("key 1",), "3: JSON 127.0.0.1")]
        assert sender.taken() == []
        assert hook.texts() == ["hrmd: alert 1 | text 1"]


def test_a_service_that_fails_is_told_later_and_in_one_piece(tmp_path: Path) -> None:
    """What came meanwhile is one message; nothing is lost; log and reading say that it failed, without its address."""
    with service() as hook, capture_logs() as logs:
        hook.code = 500
        path = urls_file(tmp_path, hook.url)
        sender = Sender(read_targets(settings(path), {}), settings(path))
        sender.send(message(1))
        hook.wait_for(1)
        until(lambda: sender.lanes[0].trouble)
        assert sender.reading().failing == {"3: JSON 127.0.0.1": "it answered 500"}
        assert sender.reading().waiting == 1
        sender.send(message(2, Severity.CRITICAL))
        sender.send(message(3))
        hook.code = 200
        until(lambda: not sender.reading().waiting)
        assert hook.texts()[-1] == "hrmd: 3 alerts, critical | alert 1: text 1\nalert 2: text 2\nalert 3: text 3"
        assert sender.reading().failing == {}
        assert [keys for keys, _ in sender.taken()] == [("key 1", "key 2", "key 3")]
        sender.close(PATIENCE_S)
    told = [line["event"] for line in logs]
    assert told == ["alerts can't be sent", "alerts are sent again"]
    assert SECRET not in str(logs)


def test_a_service_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    """Neither who sends nor another service; health says it; what it never took is said at the end."""
    stuck = Stuck()
    with service() as hook, capture_logs() as logs:
        path = urls_file(tmp_path, hook.url)
        few = settings(path, waiting=3, send_s=0.1)
        sender = Sender([stuck, *read_targets(few, {})], few)
        sender.send(message(0))
        assert stuck.entered.wait(PATIENCE_S)
        hook.wait_for(1)
        for number in range(1, 6):
            sender.send(message(number))
            hook.wait_for(number + 1)
        until(lambda: sender.lanes[0].trouble)
        reading = sender.reading()
        assert reading.failing == {"stuck": "it hangs"}
        assert (sender.lanes[0].waiting, reading.lost) == (4, 2)
        until(lambda: not sender.lanes[1].waiting)
        sender.close(0)
        stuck.released.set()
    lost = [line["title"] for line in logs if line["event"] == "an alert was lost"]
    left = [line["title"] for line in logs if line["event"] == "an alert was not sent"]
    assert lost == ["hrmd: alert 1", "hrmd: alert 2"]
    assert left == ["hrmd: alert 0", "hrmd: alert 3", "hrmd: alert 4", "hrmd: alert 5"]


def test_what_waits_at_the_end_is_tried_once_more(tmp_path: Path) -> None:
    """However long the pause would have been."""
    with service() as hook:
        hook.code = 500
        path = urls_file(tmp_path, hook.url)
        sender = Sender(read_targets(settings(path), {}), settings(path))
        sender.send(message(1))
        until(lambda: sender.lanes[0].trouble)
        hook.code = 200
        sender.close(PATIENCE_S)
        assert sender.reading().waiting == 0
        assert hook.texts()[-1] == "hrmd: alert 1 | text 1"


def test_without_services_nothing_waits() -> None:
    """And nothing is said to be wrong."""
    sender = Sender([], AlertSettings())
    sender.send(message(1))
    assert (sender.reading().targets, sender.reading().waiting, sender.taken()) == (0, 0, [])
    sender.close(0)
