"""How many later values that agree it takes to give up a level by which everything after it is judged."""

from __future__ import annotations

from typing import Final

from daemon.core.clock import NS_PER_S

BELIEVED_AFTER: Final = 20
"""So many in a row, while something is heard all the time."""
BELIEVED_AFTER_NS: Final = 60 * NS_PER_S
"""Over so long, once the level is settled: no burst of false values is what the rest of a day is judged by."""
SILENCE_NS: Final = 300 * NS_PER_S
BELIEVED_AFTER_SILENCE: Final = 3
"""When nothing good came for `SILENCE_NS`, so many are enough: the market may have moved meanwhile."""
