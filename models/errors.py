"""Turns every way a model can refuse into one exception tree.

    ModelError
    ├── InvalidObservation   the input can't be decided on; the strategy answers HOLD
    ├── InvalidOutput        the network said something not finite or out of bounds; the strategy answers HOLD
    ├── CheckpointError      an artifact is damaged, foreign or of another shape; nothing was loaded
    └── RuntimeUnavailable   a runtime's library, compiler or instructions are not here; the next one is taken
        └── NotInstalled     an optional package is not here; no reason to complain unless it was asked for

Invariant: the message names what is at fault (symbol, field, file or key) and what would be accepted.
"""

from __future__ import annotations


class ModelError(Exception):
    """Base of everything `models` raises on purpose."""


class InvalidObservation(ModelError):  # noqa: N818 - read as a fact about the input
    """An observation that must not be decided on; `reason` is one line, the message says `where` before it."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.reason = reason


class InvalidOutput(ModelError):  # noqa: N818 - read as a fact about the output
    """A network output that is not finite or leaves its bounds; `reason` is one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CheckpointError(ModelError):
    """A model artifact that was refused."""


class RuntimeUnavailable(ModelError):  # noqa: N818 - read as a fact about the machine
    """A runtime that can't be used here; the message is one line that names what is missing."""


class NotInstalled(RuntimeUnavailable):
    """The optional packages of a runtime are not installed."""
