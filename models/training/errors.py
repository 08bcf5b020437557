"""Turns every way training can refuse into one exception tree under `models.errors.ModelError`.

    TrainingError
    ├── DataError        the data can't be trained on: absent, too few, damaged, of the wrong interval
    ├── ResumeError      a checkpoint can't be continued: torn, absent, or made with other settings
    └── DivergedError    training blew up more often than the settings allow

Invariant: the message is one line that names the file, key or figure at fault.
"""

from __future__ import annotations

from models.errors import ModelError


class TrainingError(ModelError):
    """Base of everything that training raises on purpose."""


class DataError(TrainingError):
    """Data that can't be trained on."""


class ResumeError(TrainingError):
    """A checkpoint that can't be continued."""


class DivergedError(TrainingError):
    """Training blew up too often."""
