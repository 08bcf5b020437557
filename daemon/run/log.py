"""Turns log calls into lines on stderr: JSON for machines, colours on a terminal.

Invariant: no value that looks like a secret leaves the process in a log line, and no log call raises: not
for its values, and not because whoever read the lines is gone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from daemon.core.clock import NS_PER_S, wall_ns
from daemon.settings.run import LogSettings

REDACTED = "***"

_SECRET_WORDS = frozenset(
    {"token", "tokens", "secret", "secrets", "password", "passwd", "passphrase", "authorization", "authorisation",
     "credential", "credentials", "cookie", "apikey", "pin", "totp", "otp", "jwt", "bearer"}
)  # fmt: skip
_SECRET_PAIRS = frozenset({("api", "key"), ("private", "key"), ("auth", "code")})
_NOT_THE_SECRET = frozenset({"file", "path", "type"})
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_IN_TEXT = re.compile(
    r"(?i)(\bbearer\s+|\b(?:access_?token|auth_?code|api_?key|secret(?:_?key)?|password|token)[\"']?\s*[=:]\s*[\"']?)"
    r"[^\s\"'&,;}]+"
)
_MAX_DEPTH = 6


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging to write to `stream` (stderr unless told), as set.

    Call once, before the first log line; a later call replaces the set-up.
    """
    stream = stream if stream is not None else sys.stderr
    as_json = settings.format == "json" or (settings.format == "auto" and not stream.isatty())
    colours, stream = stream.isatty(), cast(TextIO, _Surviving(stream))
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _timestamp,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    console = structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)
    render: list[Processor] = [redact, _render_json if as_json else console]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    _adopt_stdlib(stream, level, shared, render)


def set_level(level: str) -> None:
    """Write lines of this level and above from now on; debug, info, warning or error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    logging.getLogger().setLevel(max(number, logging.INFO))


class _Surviving:
    """A stream whose other end may go away (a terminal that closes, a pipe): what can't be written is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or don't."""
        with contextlib.suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on, or don't."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """A structlog processor: values under secret-looking keys, and tokens inside texts, become `***`."""
    return {key: _clean(key, value, _MAX_DEPTH) for key, value in event.items()}


def is_secret_name(name: str) -> bool:
    """Whether a key such as `access_token`, `Authorization` or `apiKey` names a secret (`token_file` does not)."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _NOT_THE_SECRET:
        return False
    return bool(_SECRET_WORDS.intersection(words) or _SECRET_PAIRS.intersection(pairwise(words)))


def _clean(key: str, value: Any, depth: int) -> Any:
    if is_secret_name(key) and value is not None and not isinstance(value, bool):
        return REDACTED
    if isinstance(value, str):
        return _IN_TEXT.sub(rf"\g<1>{REDACTED}", value)
    if depth == 0:
        return _clean("", repr(value), 1)
    if isinstance(value, Mapping):
        return {str(name): _clean(str(name), item, depth - 1) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean("", item, depth - 1) for item in value]
    if isinstance(value, (int, float, bool, type(None))):
        return value
    return _clean("", str(value), depth - 1)


def _timestamp(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    seconds, rest_ns = divmod(wall_ns(), NS_PER_S)
    event["timestamp"] = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns // 1000:06d}Z"
    return event


def _render_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    first = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    line = {**first, **event}
    try:
        return orjson.dumps(line).decode()
    except TypeError:  # an integer beyond 64 bits, a lone surrogate: rare, and a log line must never be the fault
        return json.dumps(line)


def _adopt_stdlib(stream: TextIO, level: int, shared: list[Processor], render: list[Processor]) -> None:
    """Libraries (aiohttp, asyncio) log through `logging`: give their records the same look and the same redaction."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
