"""A class of the user's own → a strategy like any other: it is asked, and what it answers becomes a `Decision`.

It decides on the inference thread, so that nothing it does holds up the loop. Invariant: a decision is a function of
the observation and the parameters alone (an attribute that is set while it decides is refused), and whatever goes wrong
in it is a failed decision that names its file and line.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import threading
from collections.abc import Set
from pathlib import Path
from typing import Any

import msgspec
import structlog
from pydantic import BaseModel

from daemon.core.errors import SettingsError
from daemon.core.events import Action, Decision
from daemon.core.ids import decision_id
from daemon.core.own_code import OwnCodeFailed, attempt_own, placed, where
from daemon.settings.own import OwnClass, as_written
from daemon.settings.own_parameters import own_class, parameters_again
from daemon.settings.tree import Settings
from strategies.base import RAISED, Moment, decision, hold, unthought
from strategies.own import Act, Answer, Observation, assembled, checked, observed

log = structlog.get_logger("strategy")


class OwnStrategy:
    """Decides by an instance of a user's class."""

    in_thread = True

    def __init__(self, found: OwnClass, parameters: BaseModel | None) -> None:
        """Raises `SettingsError` where the class can't be made."""
        self.name = found.name
        self.found = found
        self.artifact = found.file
        self.source = found.source
        written = as_written(parameters) if parameters is not None else {}
        self._parameters = parameters
        self._own = self._made()
        body = found.source.encode() + msgspec.json.encode(written, order="sorted") + self._files()
        self.model_hash = hashlib.sha256(body).hexdigest()
        self.description = f"{found.file.name} ({self.model_hash[:12]})"
        self._thread = 0
        """The thread that is in the user's code, 0 while none is."""

    def _made(self) -> Any:
        kind = _frozen(self.found.kind)
        try:
            made = attempt_own(lambda: assembled(kind, self._parameters), self.found.folder)
        except OwnCodeFailed as error:
            raise SettingsError(f"strategy {self.name} can't be made: {error}") from None
        object.__setattr__(made, _DECIDES, True)
        return made

    def _files(self) -> bytes:
        """The hashes of the files that it decides with, by its attribute `files`."""
        found = b""
        for file in self._named():
            try:
                found += hashlib.sha256(Path(file).read_bytes()).digest()
            except (OSError, TypeError) as error:
                raise SettingsError(f"strategy {self.name}: its file {file} can't be read ({error})") from None
        return found

    def _named(self) -> list[Any]:
        """What its attribute `files` holds, which may be own code."""
        said = f"strategy {self.name}: files: expected a list of paths such as [self.parameters.path]"
        try:
            named = attempt_own(lambda: getattr(self._own, "files", ()), self.found.folder)
            if isinstance(named, str | bytes):
                raise SettingsError(f"{said}, got {named!r}")
            return attempt_own(
                lambda: sorted(named, key=str) if isinstance(named, Set) else list(named), self.found.folder
            )
        except OwnCodeFailed as error:
            raise SettingsError(f"{said} ({error})") from None

    def decide(self, moment: Moment) -> Decision:
        """Ask it; what goes wrong is a decision that failed."""
        self._thread = threading.get_ident()
        try:
            seen = observed(moment)
            answer = attempt_own(lambda: self._asked(seen), self.found.folder)
        except OwnCodeFailed as error:
            log.error(
                "own strategy failed", strategy=self.name, decision=decision_id(moment.symbol, moment.ts),
                symbol=moment.symbol, reason=str(error),
            )  # fmt: skip
            return unthought(moment, self.name, RAISED, str(error), failed=True, model_hash=self.model_hash)
        finally:
            self._thread = 0
        decided = self._decided(moment, answer)
        return msgspec.structs.replace(
            decided, cost_bp=seen.cost_bp, limit_price=answer.limit or 0.0,
            stop_price=answer.stop or 0.0, target_price=answer.target or 0.0,
        )  # fmt: skip

    def where(self) -> str:
        """The line of the user's code that is being done, "" where none is."""
        return where(self._thread, self.found.folder)

    def left(self) -> str:
        """Its thread is left: the line that it was at. It is asked to end, or it would work for nobody for ever."""
        place, thread = self.where(), self._thread
        if thread:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))
        return place

    def renewed(self) -> OwnStrategy:
        """Another instance of the class."""
        return OwnStrategy(self.found, self._parameters)

    def _asked(self, seen: Observation) -> Answer:
        """Its answer. Raises `OwnCodeFailed` for one that is none."""
        answer = self._own.decide(seen)
        try:
            return checked(answer, seen.price)
        except (TypeError, ValueError) as error:
            code = inspect.unwrap(self.found.kind.decide).__code__
            raise OwnCodeFailed(placed(str(error), code.co_filename, code.co_firstlineno, self.found.folder)) from None

    def _decided(self, moment: Moment, answer: Answer) -> Decision:
        held = moment.position
        match answer.act:
            case Act.BUY:
                action, quantity = Action.BUY_LONG, answer.quantity
            case Act.SELL:
                action, quantity = Action.SELL_SHORT, answer.quantity
            case Act.CLOSE if held:
                action, quantity = (Action.CLOSE_LONG if held > 0 else Action.CLOSE_SHORT), abs(held)
            case _:
                return hold(moment, self.name, answer.reason, model_hash=self.model_hash)
        return decision(
            moment, self.name, action, quantity, answer.confidence, answer.reason, model_hash=self.model_hash
        )


_DECIDES = "_hrmd_decides"
"""On an instance: it was made, and nothing is set on it any more."""


def _frozen(kind: type[Any]) -> type[Any]:
    """The class, but that nothing can be set on its instances once they decide: no bar may depend on an earlier one."""

    def refuse(self: Any, name: str, *value: Any) -> None:
        if getattr(self, _DECIDES, False):
            raise AttributeError(
                f"self.{name} can't change between bars: a decision is made of what is seen alone, so that a restart "
                "and hrmd verify make the same"
            )
        (object.__setattr__ if value else object.__delattr__)(self, name, *value)

    return type(kind.__name__, (kind,), {"__setattr__": refuse, "__delattr__": refuse, "__module__": kind.__module__})


def changed_since(strategy: object, model_hash: str) -> str:
    """That the source of a user's class isn't what decided under `model_hash`, in a line; "" where it is."""
    if not isinstance(strategy, OwnStrategy) or model_hash in ("", strategy.model_hash):
        return ""
    return (
        f"{strategy.found.file}, or what it imports from its folder or decides with, has changed since it decided "
        f"(it was {model_hash[:12]}, it is {strategy.model_hash[:12]}): put back what it was"
    )


def build_own(settings: Settings) -> OwnStrategy:
    """The strategy in charge of loaded settings. Raises `SettingsError` for what can't be had."""
    found = own_class(settings)
    return OwnStrategy(found, parameters_again(found, settings.strategy.parameters))
