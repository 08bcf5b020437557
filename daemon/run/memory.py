"""Lets go of memory that nobody needs, when there is little left, and keeps the collector off what lasts.

Invariant: nothing of it changes a decision in charge, an order or the record.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

import pyarrow as pa

from daemon.app import App
from daemon.run.process import memory_in_use


def set_aside() -> None:
    """Once, before trading: whatever is there now lasts as long as the process, and is never looked through again.

    Else the interpreter looks through a quarter of a million objects every minute or so, decisions standing still.
    """
    gc.collect()
    gc.freeze()


def free_memory(app: App) -> int:
    """Drop shadow agents that are far behind, give unused memory back to the system; bytes in use then."""
    for desk in app.shadows.desks:
        desk.shed()
    gc.unfreeze()  # an agent that was let go may have been set aside
    set_aside()
    pa.default_memory_pool().release_unused()  # what reading and writing tapes keeps for next time
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
    return memory_in_use()
