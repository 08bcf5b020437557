"""Days of India's calendar in UTC nanoseconds."""

from __future__ import annotations

from typing import Final

DAY_NS: Final = 86_400_000_000_000
MUMBAI_NS: Final = 19_800_000_000_000
"""How far India's clock is ahead of UTC; it knows no daylight saving."""
