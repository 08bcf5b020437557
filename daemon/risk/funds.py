"""The venue's cash and ours → whether they differ by more than what the broker's later booking explains.

Invariant: while orders are under way a difference counts only when two readings in a row show it, for fills travel
while the money is read.
"""

from __future__ import annotations

from decimal import Decimal

from daemon.settings.orders import LiveBrokerSettings


class FundsCheck:
    """Compares cash; `differs` says whether the last two readings did."""

    def __init__(self, offset: Decimal, tolerance: Decimal, *, halts: bool) -> None:
        """`offset`: rupees paid in (or out) since the journal began."""
        self.differs = False
        self.halts = halts
        self._offset = offset
        self._tolerance = tolerance
        self._suspect = False

    @classmethod
    def of(cls, settings: LiveBrokerSettings, journal_starting_cash: Decimal) -> FundsCheck:
        """By the settings; what `starting_cash` says more than the journal began with was paid in since."""
        return cls(
            settings.starting_cash - journal_starting_cash, Decimal(str(settings.funds_tolerance)),
            halts=settings.funds_difference == "halt",
        )  # fmt: skip

    def compare(self, broker: Decimal, journal: Decimal, *, settled: bool) -> str | None:
        """The difference in words when it begins, "" when it ends, None while nothing changes."""
        expected = journal + self._offset
        apart = abs(broker - expected) > self._tolerance
        suspected, self._suspect = self._suspect, apart
        if apart and (suspected or settled) and not self.differs:
            self.differs = True
            return (
                f"cash: the broker says {broker:.2f}, the journal {expected:.2f} rupees; tolerance {self._tolerance:f} "
                "(broker.live.funds_tolerance; money paid in or out belongs into broker.live.starting_cash)"
            )
        if self.differs and not apart:
            self.differs = False
            return ""
        return None
