"""One canary run, from its beginning to its end: which symbols, how it does, and what is to become of it.

What it is judged by: of every whole session that two virtual accounts lived through side by side, the candidate's and
that of the one in charge, the difference. Both are filled by the simulated venue under the same limits, and neither is
touched by what the candidate does for real, so the difference is what it would be without a canary.

Pure. Invariant: it ends once, and what `changed` says of it is all that a restart needs to go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from decimal import Decimal

from daemon.core.errors import UsageError
from daemon.core.events import CANDIDATE, CanaryChanged, CanaryState, Decision, ShadowResult
from daemon.settings.canary import CanarySettings
from daemon.supervision.comparison import Comparison, Verdict
from daemon.supervision.supervisor import Ladder
from strategies.base import INVALID, NOT_FINITE

BP = 10_000
"""Hundredths of a per cent in one."""

CHAMPION = "in charge"
"""Under which name the virtual account of the one in charge reports; no agent can be called so."""

AT_ONCE = (NOT_FINITE, INVALID)
"""Halt reasons after which it isn't asked again: figures that are none."""


def share_of(settings: CanarySettings, symbols: Sequence[str]) -> tuple[str, ...]:
    """The symbols of `symbols` that a canary decides on, the same ones whatever their order. Raises `UsageError`."""
    if settings.symbols:
        strangers = [symbol for symbol in settings.symbols if symbol not in symbols]
        if strangers:
            raise UsageError(f"canary.symbols: expected some of {', '.join(symbols)}, got {strangers[0]!r}")
        chosen = set(settings.symbols)
    else:
        count = max(1, int(settings.instruments * len(symbols)))
        chosen = set(sorted(symbols, key=lambda symbol: hashlib.sha256(symbol.encode()).digest())[:count])
    if len(chosen) == len(symbols) and settings.size >= 1:
        raise UsageError("canary.size: expected below 1, for it would decide on every instrument")
    return tuple(symbol for symbol in symbols if symbol in chosen)


class Canary:
    """See the module; `began` is how it stands when it begins or goes on, `cash` the rupees that profits are of."""

    def __init__(self, settings: CanarySettings, began: CanaryChanged, max_failed: int, cash: Decimal) -> None:
        self.agent = began.agent
        self.strategy = f"{CANDIDATE}{began.agent}"
        self.symbols = began.symbols
        self.state = CanaryState.RUNNING
        self._settings = settings
        self._began = began
        self._cash = cash
        self._record = Ladder([self.strategy], self.strategy, max_failed)
        self._comparison = Comparison(settings)
        self._judged = dict(began.judged)
        self._comparison.see_all(self._judged.values())
        self._waiting: dict[int, dict[str, Decimal]] = {}

    @property
    def verdict(self) -> Verdict:
        """What the sessions so far say."""
        return self._comparison.evidence.verdict

    @property
    def sessions(self) -> int:
        """How many it was judged by."""
        return len(self._judged)

    @property
    def words(self) -> str:
        """Why the sessions so far say so, "" before they do."""
        return self._comparison.evidence.reason

    def on_decision(self, decision: Decision) -> str:
        """Why it is to end after this decision, "" where it isn't; those of others say nothing."""
        if decision.strategy != self.strategy:
            return ""
        if decision.failed and decision.halt_reason in AT_ONCE:
            return f"{decision.symbol}: {decision.reason}"
        return self._record.on_decision(decision) or ""

    def loss(self, pnl: Decimal) -> str:
        """Why it is to end where its symbols have come to `pnl` rupees in all, "" where it isn't."""
        lost = self._began.base_pnl - pnl
        limit_bp = self._settings.max_loss_bp
        if lost * BP < Decimal(str(limit_bp)) * self._cash:
            return ""
        lost_bp = float(lost / self._cash) * BP
        limit = f"the limit (canary.max_loss_bp) is {limit_bp:g}"
        return f"lost {lost:,.2f} rupees ({lost_bp:.1f} bp) on its instruments, {limit}"

    def earned(self, pnl: Decimal) -> Decimal:
        """What its symbols have come to since it began, rupees."""
        return pnl - self._began.base_pnl

    def on_result(self, result: ShadowResult) -> bool:
        """Whether a session was judged with it: the second of the two accounts that are compared."""
        if not self._counts(result):
            return False
        day = self._waiting.setdefault(result.day, {})
        day[result.agent] = result.net_pnl
        if len(day) < 2:
            return False
        del self._waiting[result.day]
        difference = float((day[self.agent] - day[CHAMPION]) / self._cash) * BP
        self._judged[result.day] = difference
        self._comparison.see(difference)
        return True

    def remember(self, results: Iterable[ShadowResult]) -> None:
        """Sessions that an earlier process ended with, and may not have judged."""
        for result in results:
            self.on_result(result)

    def _counts(self, result: ShadowResult) -> bool:
        """Whole sessions since it began, each once, of these two and with these weights, until there is a verdict."""
        candidate = (result.agent, result.model_hash) == (self.agent, self._began.model_hash)
        champion = (result.agent, f"{result.strategy} {result.model_hash}".strip()) == (CHAMPION, self._began.against)
        return (
            (candidate or champion)
            and self.verdict is Verdict.CONTINUE
            and result.whole
            and result.since_ts >= self._began.began_ts
            and result.day not in self._judged
        )

    def changed(self, ts: int, who: str, reason: str, closes: tuple[str, ...] = ()) -> CanaryChanged:
        """How it stands."""
        began, found = self._began, self._comparison.evidence
        return CanaryChanged(
            ts=ts, agent=began.agent, strategy=began.strategy, model_hash=began.model_hash, state=self.state,
            symbols=began.symbols, size=began.size, sessions=found.sessions, mean_bp=found.mean_bp,
            better=found.better, worse=found.worse, who=who, reason=reason, against=began.against,
            began_ts=began.began_ts, runtime=began.runtime, base_pnl=began.base_pnl,
            judged=tuple(self._judged.items()), closes=closes,
        )  # fmt: skip

    def end(self, state: CanaryState) -> None:
        """It is over; the first word counts."""
        if self.state is CanaryState.RUNNING:
            self.state = state
