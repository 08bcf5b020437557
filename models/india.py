"""Days of India's calendar in UTC nanoseconds."""

from __future__ import annotations

import datetime as dt
from typing import Final

import numpy as np
from numpy.typing import NDArray

DAY_NS: Final = 86_400_000_000_000
MUMBAI_NS: Final = 19_800_000_000_000
"""How far India's clock is ahead of UTC; it knows no daylight saving."""
_MUMBAI: Final = dt.timezone(dt.timedelta(microseconds=MUMBAI_NS // 1000))


def in_india(ns: int) -> dt.datetime:
    """UTC nanoseconds as India's clock shows them, to the second."""
    return dt.datetime.fromtimestamp(int(ns) // 1_000_000_000, _MUMBAI)


def days_in_india(ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """UTC nanoseconds (N,) → the days of India's calendar that they lie in, (N,), 1970-01-01 being 0."""
    return np.asarray((ns + MUMBAI_NS) // DAY_NS)
