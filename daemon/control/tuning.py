"""A wish for other settings → checked by the settings' own rules, on the bus and on disk, and in force.

Invariant: what is answered is in force and in the journal (`SettingChanged`, who, before, after and why), no limit is
ever wider than the settings file's, and one wish is done with before the next is begun.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Annotated, Any, Final, Protocol

import msgspec

from daemon.control.manual_desk import ManualDesk
from daemon.control.view import BY_THE_OPERATOR, NotDurableError, NotTradingError, Reason
from daemon.core.aside import Aside
from daemon.core.clock import Clock
from daemon.core.events import SettingChanged
from daemon.settings.changing import CHANGEABLE, LOG_LEVEL, Value, changed, differing, value_of
from daemon.settings.tree import Settings

READ_S: Final = 3.0
"""How long the disk of the settings may take: whoever asks over HTTP waits for a little longer."""


class ConfigTicket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings to change while running, all of them or none."""

    changes: Annotated[dict[str, str | int | float | None], msgspec.Meta(min_length=1, max_length=20)]
    """Values by dotted key; money is exact as text."""
    reason: Reason = BY_THE_OPERATOR


class Changeable(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that may change while running; a limit at most to the file's value."""

    key: str
    """Dotted, as for `--set`."""
    value: str | int | float | None
    """What holds now."""
    file: str | int | float | None
    """What the settings file says."""
    says: str
    """What it bounds."""


class ConfigDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What may change while running, and all that holds."""

    changeable: list[Changeable]
    """What PUT /api/config takes."""
    settings: dict[str, Any]
    """All of them by section, as they hold; they carry no secrets, only the files that do."""
    changed: list[str] = []
    """What the request changed."""
    needs_restart: list[str] = []
    """What a reload found different in the file, and only a restart takes."""


class SettingsDesk(Protocol):
    """Where settings are shown and changed."""

    def config(self) -> ConfigDocument:
        """What holds now."""

    async def change(self, ticket: ConfigTicket, who: str) -> ConfigDocument:
        """What holds after it; raises `SettingsError`, `NotTradingError` or `NotDurableError`."""

    async def reload(self, reason: str, who: str) -> ConfigDocument:
        """Take over what the file says now; raises as `change` does."""

    def settings_json(self) -> str:
        """All settings as they hold, for a process of its own."""


class Tuning:
    """Implements `SettingsDesk`; `set_level` and `load` are the process' own."""

    def __init__(
        self,
        file: Settings,
        now: Settings,
        desk: ManualDesk,
        clock: Clock,
        set_level: Callable[[str], None],
        load: Callable[[], Settings] | None,
        disk: Aside | None = None,
    ) -> None:
        """`file`: the settings of the start, `now`: these, with the limits that an earlier process was told.

        `disk`: of the files that `load` reads; they may hang.
        """
        self._file = file
        self._now = now
        self._desk = desk
        self._clock = clock
        self._set_level = set_level
        self._load = load
        self._disk = disk if disk is not None else Aside("settings")
        self._turn = asyncio.Lock()
        self._owed: set[str] = set()
        """What holds and may not be on disk: it is written again before anything is answered as done."""

    def config(self) -> ConfigDocument:
        """What holds now."""
        return self._document()

    def settings_json(self) -> str:
        """All settings as they hold."""
        return self._now.model_dump_json()

    async def change(self, ticket: ConfigTicket, who: str) -> ConfigDocument:
        """Change some, or none: raises `SettingsError` before anything is changed."""
        async with self._in_turn():
            after = changed(self._now, self._file, ticket.changes)
            return self._document(changed=await self._take(after, ticket.changes, who, ticket.reason))

    async def reload(self, reason: str, who: str) -> ConfigDocument:
        """Read the file anew; what may change while running is as it says, limits tightened by hand included."""
        if self._load is None:
            raise NotTradingError("this process was not started from a settings file")
        try:
            file = await self._disk.ask(self._load, READ_S)
        except TimeoutError as error:
            raise NotTradingError(f"the settings can't be read ({error.strerror})") from None
        wishes: dict[str, Value] = {key: _plain(value_of(file, key)) for key in CHANGEABLE}
        async with self._in_turn():
            after = changed(self._now, file, wishes)
            waiting = [key for key in differing(file, self._file) if key not in CHANGEABLE]
            for key in CHANGEABLE:
                self._file = _with(self._file, key, value_of(file, key))
            return self._document(changed=await self._take(after, wishes, who, reason), needs_restart=waiting)

    @contextlib.asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        """Nobody else changes anything meanwhile, so what was put on the bus last holds. Raises `NotTradingError`."""
        try:
            async with asyncio.timeout(READ_S):
                await self._turn.acquire()
        except TimeoutError:
            raise NotTradingError("another change of settings waits for the disk") from None
        try:
            yield
        finally:
            self._turn.release()

    async def _take(self, after: Settings, changes: dict[str, Value], who: str, reason: str) -> list[str]:
        before, taken = self._now, []
        for key in {**changes, **dict.fromkeys(sorted(self._owed))}:
            was, now = value_of(before, key), value_of(after, key)
            if was == now and key not in self._owed:
                continue
            event = SettingChanged(
                ts=self._clock.now_ns(), who=who, key=key, before=_text(was), after=_text(now), reason=reason,
                as_in_file=now == value_of(self._file, key),
            )  # fmt: skip
            try:
                await self._desk.command(event)
            except NotDurableError:
                self._hold(key, now)
                self._owed.add(key)
                raise
            self._hold(key, now)
            self._owed.discard(key)
            taken.append(key)
        return taken

    def _hold(self, key: str, value: Any) -> None:
        self._now = _with(self._now, key, value)
        if key == LOG_LEVEL:
            self._set_level(str(value))

    def _document(self, **more: Any) -> ConfigDocument:
        rows = [
            Changeable(
                key=key, value=_plain(value_of(self._now, key)), file=_plain(value_of(self._file, key)), says=says
            )
            for key, says in CHANGEABLE.items()
        ]  # fmt: skip
        return ConfigDocument(changeable=rows, settings=self._now.model_dump(mode="json"), **more)


def _with(settings: Settings, key: str, value: Any) -> Settings:
    """The settings with one value replaced, which was checked before."""
    section, _, name = key.partition(".")
    return settings.model_copy(update={section: getattr(settings, section).model_copy(update={name: value})})


def _plain(value: Any) -> Value:
    return str(value) if isinstance(value, Decimal) else value


def _text(value: Any) -> str:
    """As JSON."""
    return msgspec.json.encode(_plain(value)).decode()
