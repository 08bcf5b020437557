"""The newest lines of the log, as they were written."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from daemon.run import log
from daemon.run.log_tail import LogTail
from daemon.settings.run import LogSettings


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where lines go."""
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    stream = io.StringIO()
    log.configure(LogSettings(format="json"), stream)
    yield stream
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def test_lines_are_kept_without_their_secrets(stream: io.StringIO) -> None:
    """Ours and the libraries'; the newest, and none after the end."""
    tail = LogTail(3)
    tail.open()
    logger = structlog.get_logger("x")
    for number in range(4):
        logger.info("tick", number=number, access_token="very-secret", text="Bearer very-secret")
    logging.getLogger("lib").warning("password=very-secret %s", "late")
    lines = tail.lines()
    tail.close()
    logger.info("after the end")
    assert [line.event for line in lines[:2]] == ["tick", "tick"]
    assert [line.level for line in lines] == ["info", "info", "warning"]
    assert lines[1].fields["number"] == 3
    assert lines[1].timestamp.endswith("Z")
    assert "very-secret" not in str(lines)
    assert tail.lines() == lines
    assert stream.getvalue().count("\n") == 6


def test_the_level_changes_while_running(stream: io.StringIO) -> None:
    """For loggers that were there before, too."""
    logger = structlog.get_logger("x")
    logger.debug("no")
    log.set_level("debug")
    logger.debug("yes")
    log.set_level("error")
    logger.warning("no more")
    assert [line for line in stream.getvalue().splitlines() if "no" in line] == []
    assert "yes" in stream.getvalue()
