"""The newest lines of the log, as `GET /logs` shows them.

Invariant: a line is kept after secrets were taken out of it, and what is kept is bounded.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from daemon.control.rows import LogRow
from daemon.run.log import redact

KEPT = 1000
MAX_FIELD_CHARS = 4000
"""Of a value of a line that is kept; a trace is longer."""


class LogTail:
    """The newest lines, as they were written, for whoever asks; `open` and `close` as the process lives."""

    def __init__(self, kept: int = KEPT) -> None:
        self._lines: deque[LogRow] = deque(maxlen=kept)

    def lines(self) -> list[LogRow]:
        """Oldest first; from any thread."""
        return list(self._lines.copy())

    def open(self) -> None:
        """Hear of every line from now on, once secrets are out of it."""
        *before, render = structlog.get_config()["processors"]
        structlog.configure(processors=[*before, self, render])
        for handler in _formatted():
            handler.processors = (*handler.processors[:-1], self, handler.processors[-1])

    def close(self) -> None:
        """Hear of none any more."""
        processors = structlog.get_config()["processors"]
        structlog.configure(processors=[one for one in processors if one is not self])
        for handler in _formatted():
            handler.processors = tuple(one for one in handler.processors if one is not self)

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """A structlog processor that keeps a copy."""
        rest = {key: value for key, value in event.items() if key not in ("timestamp", "level", "event")}
        rest.pop("_record", None)
        rest.pop("_from_structlog", None)
        self._lines.append(
            LogRow(
                timestamp=str(event.get("timestamp", "")), level=str(event.get("level", method)),
                event=str(event.get("event", "")),
                fields={str(key): _short(value) for key, value in redact(logger, method, rest).items()},
            )
        )  # fmt: skip
        return event


def _short(value: Any) -> Any:
    return value if isinstance(value, (int, float, bool, type(None))) else str(value)[:MAX_FIELD_CHARS]


def _formatted() -> list[Any]:
    """What the standard library's records are written by."""
    formatters = (handler.formatter for handler in logging.getLogger().handlers)
    return [one for one in formatters if isinstance(one, structlog.stdlib.ProcessorFormatter)]
