"""Logs of the tests of this folder go nowhere: the server logs from its own thread while a command's stdout is read."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _silent_logs() -> Iterator[None]:
    """Log into a buffer that nobody reads."""
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=io.StringIO()))
    yield
    structlog.reset_defaults()
