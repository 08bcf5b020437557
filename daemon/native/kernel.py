"""The C++ beside this module as functions of numpy arrays; built once for a machine, by the models' own builder.

Invariant: a call that refuses its arguments has changed nothing, and raises.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog

from models.errors import RuntimeUnavailable
from models.native.build import COMMON, build, default_cache, open_library

log = structlog.get_logger("replay")

SOURCES: Final = Path(__file__).parent
FLAGS: Final = (*COMMON, "-ffp-contract=off")
"""No product is rounded together with a sum: Python rounds each by itself."""

STREAM: Final = np.dtype(
    [("max_jump", "f8"), ("few_ticks", "f8"), ("price", "f8"), ("level", "f8"), ("ts", "i8"), ("day", "i8"),
     ("agreeing", "i8"), ("since", "i8"), ("kept", "i8"), ("has_row", "i8"), ("newest", "i8"), ("row", "i8", (9,)),
     ("volume_day", "i8"), ("top", "i8"), ("falling", "i8"), ("first", "i8"), ("latest", "i8"),
     ("falling_since", "i8")]
)  # fmt: skip
"""What is remembered of a symbol's ticks, `Stream` of filter.cpp."""
LIMITS: Final = np.dtype(
    [(name, "i8") for name in (
        "first_valid", "last_valid", "max_skew", "ist_offset", "day_ns", "max_quantity", "believed_after",
        "believed_after_ns", "believed_after_silence", "silence_ns",
    )] + [("min_price", "f8"), ("max_price", "f8")]
)  # fmt: skip
"""`Limits` of filter.cpp."""
PART: Final = np.dtype(
    [("code", "i8"), ("bucket", "i8"), ("volume", "i8"), ("ticks", "i8"), ("open", "f8"), ("high", "f8"), ("low", "f8"),
     ("close", "f8")]
)  # fmt: skip
"""What one stretch of ticks brings to a base bar, `Part` of bars.cpp."""

STATE: Final = np.dtype(
    [(name, "i8") for name in (
        "times", "returns", "counts", "deviations", "squares", "about", "known_at", "known", "answer", "symbols",
        "length", "volatility", "trend", "momentum", "correlation",
    )] + [("noise", "f8")]
)  # fmt: skip
"""`State` of complexity.cpp: first the addresses of its arrays."""

_OBJECT, _WHOLE = ctypes.py_object, ctypes.c_int64


class Kernel:
    """The loaded library."""

    def __init__(self, cache: Path) -> None:
        """Build it into `cache` where it isn't there. Raises `RuntimeUnavailable`, one line."""
        sources, headers = ("filter.cpp", "bars.cpp", "complexity.cpp"), ("columns.hpp",)
        path = build(cache, "hrmd-columns", sources, headers, FLAGS, folder=SOURCES)
        library = open_library(path, ctypes.PyDLL)  # it asks Python for buffers, so it keeps Python's lock
        self.filter: Any = library.hrmd_filter
        self.filter.argtypes, self.filter.restype = [_WHOLE, *[_OBJECT] * 19], _WHOLE
        self.bars: Any = library.hrmd_bars
        self.bars.argtypes = [_WHOLE, *[_OBJECT] * 5, *[_WHOLE] * 6, *[ctypes.c_void_p] * 3, _WHOLE]
        self.bars.restype = _WHOLE
        address, number = ctypes.c_void_p, ctypes.c_double
        self.returns: Any = library.hrmd_returns
        self.returns.argtypes, self.returns.restype = [address, _WHOLE, _WHOLE, number], None
        self.breakdown: Any = library.hrmd_breakdown
        self.breakdown.argtypes, self.breakdown.restype = [address, _WHOLE, address], number


def column_kernel(cache: Path | None) -> Kernel | None:
    """The library in `cache` (None: the machine's own), None where this machine can't have it, which is said."""
    try:
        return Kernel(cache or default_cache())
    except RuntimeUnavailable as error:
        log.info("ticks are gone through in Python, several times as slow", reason=str(error))
        return None


def refused(answer: int) -> ValueError:
    """What is raised where a call refuses its arguments: a fault of ours."""
    return ValueError(f"the column kernel refused its arguments ({answer})")
