"""Whole sessions of the strategy in charge beside those of a shadow agent → whether it earns less, and how surely.

Two things have to hold together before anything is said. **Proof**: the betting process of
`daemon.supervision.comparison` on the differences (in charge less baseline, bp of the starting cash, cut at the bound)
has multiplied its stake by 1/α. That may be looked at after every session: of strategies that earn no less than the
baseline at most a share α is ever said to. **Size**: the mean session is `percent` below the baseline's, as a share of
the baseline's mean session without its sign; where that is less than the floor, of the floor, for a share of next to
nothing is no measure. A loss of 10 bp against a baseline that loses 8 is 25 % less, 1 bp against 0 is 20 % of a floor
of 5.

Each model that was in charge has evidence of its own; after a trip it is used up. Pure. Invariant: a session counts
once, and a session in which another one decided, too, or a person, says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from daemon.core.clock import india_day
from daemon.core.events import BaselineWeighed, ShadowResult
from daemon.settings.run import TriggerSettings
from daemon.supervision.comparison import Bet
from daemon.supervision.triggers import Finding, Trigger

BP = 10_000
FAIR = 0.5
"""No difference, where ±bound is [0, 1]."""


class Rival(msgspec.Struct, frozen=True):
    """The baseline: a shadow agent as it is built now, and how it is compared."""

    agent: str
    strategy: str
    model_hash: str
    alpha: float
    bound_bp: float
    starting_cash: Decimal


class Standing(msgspec.Struct, frozen=True):
    """Where the strategy in charge stands; `percent` is how much less it earned, negative where it was more."""

    sessions: int
    percent: float
    proof: float
    """What the stake of 1 on "worse" has become."""
    needed: float
    """From where on that is proof."""
    warns: bool
    trips: bool


class _Record:
    """The sessions of one model."""

    def __init__(self, alpha: float) -> None:
        self.bet = Bet(alpha, FAIR)
        self.day = 0
        """Newest one."""
        self.ours_bp = 0.0
        self.baseline_bp = 0.0


class Baseline:
    """Against `rival`; without one nothing is ever said."""

    def __init__(self, settings: TriggerSettings, rival: Rival | None) -> None:
        self.rival = rival
        self._settings = settings
        self._records: dict[tuple[str, str], _Record] = {}

    def see(self, result: ShadowResult) -> BaselineWeighed | None:
        """One session more, and what is to be journaled of it; None for one that says nothing."""
        rival = self.rival
        if rival is None or not result.whole or not result.real_strategy:
            return None
        if (result.agent, result.strategy, result.model_hash) != (rival.agent, rival.strategy, rival.model_hash):
            return None
        record = self._of(result.real_strategy, result.real_model_hash)
        if result.day <= record.day:
            return None
        ours, baseline = (float(net / rival.starting_cash) * BP for net in (result.real_net_pnl, result.net_pnl))
        cut = max(-rival.bound_bp, min(rival.bound_bp, ours - baseline))
        record.bet.see((rival.bound_bp - cut) / (2.0 * rival.bound_bp))
        record.day = result.day
        record.ours_bp += ours
        record.baseline_bp += baseline
        return self._weighed(result.ts, result.real_strategy, result.real_model_hash, record)

    def restore(self, weighed: Iterable[BaselineWeighed], results: Iterable[ShadowResult]) -> None:
        """What earlier processes knew, oldest first, and sessions that they had no time to weigh."""
        rival = self.rival
        if rival is None:
            return
        for one in weighed:
            same = (one.agent, one.agent_strategy, one.agent_model_hash, one.bound_bp) == (
                rival.agent, rival.strategy, rival.model_hash, rival.bound_bp,
            )  # fmt: skip
            if same:
                record = self._records[one.strategy, one.model_hash] = _Record(rival.alpha)
                record.bet.restore(one.sessions, one.total, one.squares, one.log_capital)
                record.day, record.ours_bp, record.baseline_bp = one.day, one.ours_bp, one.baseline_bp
        for result in results:
            self.see(result)

    def weighed(self, ts: int) -> list[BaselineWeighed]:
        """All that is known, for a journal that may forget what came before."""
        return [self._weighed(ts, *whom, record) for whom, record in self._records.items()]

    def use_up(self, strategy: str, ts: int) -> list[BaselineWeighed]:
        """Something was done about `strategy` on this evidence: it begins anew with the sessions after this."""
        used = [whom for whom in self._records if whom[0] == strategy]
        for whom in used:
            del self._records[whom]
            self._of(*whom).day = india_day(ts)
        return [self._weighed(ts, *whom, self._records[whom]) for whom in used]

    def standing(self, strategy: str, model_hash: str) -> Standing | None:
        """Of who is in charge; None where no baseline is named."""
        rival, settings = self.rival, self._settings
        if rival is None:
            return None
        record = self._records.get((strategy, model_hash))
        sessions = record.bet.count if record is not None else 0
        needed = 1.0 / rival.alpha
        if record is None or not sessions:
            return Standing(0, 0.0, 1.0, needed, warns=False, trips=False)
        ours, baseline = record.ours_bp / sessions, record.baseline_bp / sessions
        percent = 100.0 * (baseline - ours) / max(abs(baseline), settings.baseline_floor_bp)
        proven = record.bet.capital >= needed
        return Standing(
            sessions, percent, record.bet.capital, needed, warns=proven and percent >= settings.baseline_warn_percent,
            trips=proven and percent >= settings.baseline_trip_percent,
        )  # fmt: skip

    def finding(self, strategy: str, model_hash: str) -> Finding | None:
        """Why something is to be done about who is in charge, None where nothing is; a warning is a line in health."""
        found = self.standing(strategy, model_hash)
        if found is None or not found.trips or self.rival is None:
            return None
        return Finding(Trigger.BASELINE, f"{say(found, self.rival.agent)}, proven at α = {self.rival.alpha:g}")

    def _of(self, strategy: str, model_hash: str) -> _Record:
        assert self.rival is not None
        return self._records.setdefault((strategy, model_hash), _Record(self.rival.alpha))

    def _weighed(self, ts: int, strategy: str, model_hash: str, record: _Record) -> BaselineWeighed:
        rival, bet = self.rival, record.bet
        assert rival is not None
        return BaselineWeighed(
            ts=ts, agent=rival.agent, agent_strategy=rival.strategy, agent_model_hash=rival.model_hash,
            bound_bp=rival.bound_bp, strategy=strategy, model_hash=model_hash, day=record.day, sessions=bet.count,
            ours_bp=record.ours_bp, baseline_bp=record.baseline_bp, total=bet.total, squares=bet.squares,
            log_capital=bet.log_capital,
        )  # fmt: skip


def say(found: Standing, agent: str) -> str:
    """In words."""
    side = "less" if found.percent > 0 else "more"
    many = f"{found.sessions} session{'' if found.sessions == 1 else 's'}"
    return f"{abs(found.percent):.0f} % {side} than {agent} earned on paper, in {many}"
