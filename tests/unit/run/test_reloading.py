"""Settings that are read anew: what became of it is said, once each, and nothing of it ends the run."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from daemon.control.tuning import ConfigDocument, ConfigTicket
from daemon.control.view import NotDurableError
from daemon.core.errors import HrmdError, SettingsError
from daemon.run.notify import Notifier
from daemon.run.reloading import Reloading

WAITING = "settings that need a restart differ from the running ones"


class Settings:
    """A desk of settings whose answer to a reload is given."""

    def __init__(self, *answers: ConfigDocument | HrmdError) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.heard = asyncio.Event()

    async def reload(self, reason: str, who: str) -> ConfigDocument:
        """The next answer."""
        self.asked.append(who)
        answer = self.answers.pop(0)
        self.heard.set()
        if isinstance(answer, HrmdError):
            raise answer
        return answer

    async def change(self, ticket: ConfigTicket, who: str) -> ConfigDocument:
        """Nobody asks."""
        raise NotImplementedError

    def config(self) -> ConfigDocument:
        """Nobody asks."""
        raise NotImplementedError

    def settings_json(self) -> str:
        """Nobody asks."""
        raise NotImplementedError


def document(changed: list[str], waiting: list[str]) -> ConfigDocument:
    """What a reload found."""
    return ConfigDocument(changeable=[], settings={}, changed=changed, needs_restart=waiting)


@pytest.mark.parametrize(
    ("answer", "events"),
    [
        (document(["log.level"], []), ["settings reloaded"]),
        (document([], ["feed.speed"]), ["settings reloaded", WAITING]),
        (SettingsError("risk: no such thing"), ["settings were not reloaded: nothing has changed"]),
        (NotDurableError("the disk is full"), ["settings were reloaded, and the journal doesn't know"]),
    ],
)  # fmt: skip
async def test_each_outcome_is_said(answer: ConfigDocument | HrmdError, events: list[str]) -> None:
    """And the next hangup is heard all the same."""
    with capture_logs() as said:
        settings = Settings(answer, document([], []))
        reloading = Reloading(settings, Notifier(None, None))
        waiting = asyncio.ensure_future(reloading.run())
        reloading.ask()
        await settings.heard.wait()
        settings.heard.clear()
        reloading.ask()
        await settings.heard.wait()
        await asyncio.sleep(0)
        waiting.cancel()
    assert [line["event"] for line in said] == [*events, "settings reloaded"]
    assert settings.asked == ["SIGHUP", "SIGHUP"]
