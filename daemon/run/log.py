"""Turns log calls into lines on stderr: JSON for machines, colours on a terminal.

Invariant: no value that looks like a secret leaves the process in a log line, and no log call raises: not
for its values, and not because whoever read the lines is gone. Within `without_waiting` no log call waits, either: a
terminal that was stopped, a pager or a journal that takes no more lines must not hold up who trades.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import re
import select
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final, TextIO, cast

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
MOST_WAITING: Final = 10_000
"""Lines that wait for a reader; what is said beyond them is lost, and counted."""
PATIENCE_S: Final = 2.0
"""How long the end waits for the last lines to be taken."""
_PRIORITIES: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""Of syslog, by level."""


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging to write to `stream` (stderr unless told), as set.

    Call once, before the first log line; a later call replaces the set-up.
    """
    stream = stream if stream is not None else sys.stderr
    as_json = settings.format == "json" or (settings.format == "auto" and not stream.isatty())
    to_journald = goes_to_journald(stream, os.environ)
    global _LINES
    colours, _LINES = stream.isatty(), _Surviving(stream)
    stream = cast(TextIO, _LINES)
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _timestamp,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    console = structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)
    write: Processor = _render_json if as_json else console
    render: list[Processor] = [redact, _with_priority(write) if to_journald else write]
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


def goes_to_journald(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether `stream` is the one that systemd connected to its journal: `$JOURNAL_STREAM`, systemd.exec(5)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # a stream of this process' own
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _with_priority(write: Processor) -> Processor:
    """A line begins with its priority, sd-daemon(3), which journald takes off again: `journalctl -p warning`."""

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        priority = f"<{_PRIORITIES.get(str(event.get('level', method)), _PRIORITIES['info'])}>"
        return "\n".join(priority + line for line in str(write(logger, method, event)).splitlines())

    return render


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """Hand lines to a thread that writes them, in order; the end waits a moment for those that are left."""
    lines = _LINES
    if lines is None:
        yield
        return
    lines.begin()
    try:
        yield
    finally:
        lines.end()


class _Surviving:
    """A stream whose other end may go away (a terminal that closes, a pipe): what can't be written is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: queue.SimpleQueue[str | None] | None = None
        self._thread: threading.Thread | None = None
        self._lost = 0

    def write(self, text: str) -> int:
        """Write, or don't."""
        waiting = self._waiting
        if waiting is None:
            with contextlib.suppress(OSError):
                return self._stream.write(text)
        elif waiting.qsize() < MOST_WAITING:
            waiting.put(text)
        else:
            self._lost += 1
        return len(text)

    def flush(self) -> None:
        """Pass on, or don't."""
        if self._waiting is None:
            with contextlib.suppress(OSError):
                self._stream.flush()

    def begin(self) -> None:
        """From now on a thread writes."""
        self.flush()
        self._waiting = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, args=(self._waiting,), name="log", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Wait for what is left, but not for a reader that takes nothing."""
        waiting, thread, self._waiting = self._waiting, self._thread, None
        if waiting is not None and thread is not None:
            waiting.put(None)
            thread.join(PATIENCE_S)
            if thread.is_alive():
                self._let_go()

    def _let_go(self) -> None:
        """Nobody takes what the process still says (its last word, a result): it goes nowhere, and the process ends."""
        with contextlib.suppress(OSError, ValueError):
            stuck = os.fstat(self._stream.fileno())
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            for number in {self._stream.fileno(), 1, 2}:
                with contextlib.suppress(OSError):
                    if os.path.samestat(os.fstat(number), stuck):
                        os.dup2(nowhere, number)
            os.close(nowhere)

    def _write_all(self, waiting: queue.SimpleQueue[str | None]) -> None:
        while (text := waiting.get()) is not None:
            self._put(text)
            if self._lost and waiting.qsize() < MOST_WAITING // 2:  # which is a line as any other
                lost, self._lost = self._lost, 0
                structlog.get_logger("log").warning("log lines were lost, for nobody took them", count=lost)

    def _put(self, text: str) -> None:
        """Past the stream's own buffer, whose lock a thread that stands would hold at the end of the process."""
        with contextlib.suppress(OSError, ValueError):
            try:
                file = self._stream.fileno()
            except OSError:  # a stream of this process' own
                self._stream.write(text)
                return
            left = text.encode(errors="backslashreplace")
            while left:
                try:
                    left = left[os.write(file, left) :]
                except BlockingIOError:  # somebody else who has the terminal or pipe made it one that doesn't wait
                    room = select.poll()
                    room.register(file, select.POLLOUT)
                    room.poll()


_LINES: _Surviving | None = None
"""Of the newest `configure`."""


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
