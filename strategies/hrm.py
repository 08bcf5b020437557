"""The HRM strategy: a moment becomes an observation, the agent reasons about it, and its answer a decision.

A decision that has waited is given the time that is left, shared with those that wait behind it: fewer segments, then a
single cycle, then a HOLD. Invariant: whatever goes wrong with the input or the output of the model becomes a HOLD that
says so; only the output counts as a failure of the model (`failed=True`), a market that can't be read yet and a turn
that came too late do not. In a market unlike those that the model was trained in no position is opened; exits go on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from daemon.core.clock import NS_PER_MS, Clock
from daemon.core.events import Action, Decision
from models.act import HaltReason, Runner
from models.agent import AgentDecision, HRMAgent, share_of
from models.ahead import Foresight, refusal
from models.config import CarryState, History, HRMSettings
from models.conformal import bound
from models.errors import InvalidObservation, InvalidOutput
from models.explaining import Part, in_words
from models.features import NOTHING_KNOWN, USUAL_COST_BP, Observation
from strategies.base import LATE, SINGLE_CYCLE, Moment, hold, unthought, unusable

ENTRIES = (Action.BUY_LONG, Action.SELL_SHORT)
TOO_DEAR = 2.0
"""So many times what a trade cost at most in training: a model that never saw it says anything there."""
EXPLAINED_AT_ONCE = 1_000_000
"""Parameters of the largest network whose trades say at once what mattered: eight questions, a millisecond or two.
Of larger ones, and of holds, `hrmd explain` tells."""
MomentSource = Callable[[int, int], Sequence[Moment]]
"""`source(count, ts)`: about the next `count` moments from `ts` (UTC ns) on; none at the end."""


class HRMStrategy:
    """See the module. One instance lives on one inference thread; `renewed` makes another for another thread."""

    name = "hrm"
    in_thread = True

    def __init__(self, agent: HRMAgent, settings: HRMSettings, clock: Clock, source: str) -> None:
        self.agent = agent
        self._settings = settings
        self._clock = clock
        self._source = source
        self._history = settings.features.history
        self._past_sessions = agent.features.past_sessions
        self.runtime = "torch fp32"
        self.make_runner: Callable[[], Runner[Any, Any]] | None = None
        """Makes another runner of the present runtime; None where it is torch eager."""
        self.artifact: Path | None = None
        """The file that it was loaded from; None where its weights are seeded."""
        self._deadline_ns = int(settings.act.deadline_ms * NS_PER_MS)
        self._most_segments: int | None = None
        self._single_cycle = False
        self._foresight: Foresight | None = None
        self._explains = agent.manifest.parameters <= EXPLAINED_AT_ONCE
        self.description = f"{source} ({agent.model_hash[:12]})" if agent.trained else f"untrained ({source})"

    @classmethod
    def load(cls, artifact: Path | None, seed: int, settings: HRMSettings, clock: Clock) -> HRMStrategy:
        """The agent of `artifact`, or a seeded untrained one. Raises `CheckpointError` for a bad artifact."""
        if artifact is None:
            agent = HRMAgent.untrained(settings, seed, now_ns=clock.monotonic_ns)
            return cls(agent, settings, clock, f"{settings.profile}, seed {seed}")
        agent = HRMAgent.load_model(artifact, settings, now_ns=clock.monotonic_ns)
        strategy = cls(agent, settings, clock, artifact.name)
        strategy.artifact = artifact
        return strategy

    @property
    def model_hash(self) -> str:
        """Of the weights, configuration and vocabularies that decide."""
        return self.agent.model_hash

    @property
    def cache_hits(self) -> int:
        """Decisions that were remembered."""
        return self.agent.cache.hits

    @property
    def cache_misses(self) -> int:
        """Decisions that were asked for and not remembered; 0 where none are kept."""
        return self.agent.cache.misses

    def renewed(self) -> HRMStrategy:
        """The same strategy on the same weights, which nothing writes, with a runner, cache and memory of its own."""
        agent = self.agent.renewed(self.make_runner() if self.make_runner is not None else None)
        fresh = HRMStrategy(agent, self._settings, self._clock, self._source)
        fresh.runtime, fresh.make_runner, fresh.artifact = self.runtime, self.make_runner, self.artifact
        fresh.ease(most_segments=self._most_segments, single_cycle=self._single_cycle)
        return fresh

    @property
    def trained_to(self) -> str:
        """The newest day that it was trained on, an ISO date, "" where nobody knows."""
        span = self.agent.manifest.training_span
        return span.last if span is not None else ""

    @property
    def learned(self) -> tuple[str, str] | None:
        """First and last recorded day (ISO) that its model learned from; None where its sessions were drawn."""
        span = self.agent.manifest.learned
        return None if span is None else (span.first, span.last)

    @property
    def simulated_only(self) -> bool:
        """Whether it has learned from the simulated market and no other."""
        return self.agent.manifest.simulated_only

    @property
    def intervals(self) -> tuple[str, ...]:
        """Of the bars that it was made for, `5m` say; none where nobody knows."""
        coarse = self.agent.settings.features.coarse_interval
        return tuple(name for name in self.agent.vocabularies.timeframes.names if name != coarse)

    @property
    def depth(self) -> int:
        """Segments that a decision may take when nothing is eased: no more than its model was trained with."""
        return self.agent.act.max_segments

    def ease(self, *, most_segments: int | None, single_cycle: bool) -> None:
        """Take at most so many segments (None: as many as it likes), or one cycle, from the next decision on."""
        self._most_segments, self._single_cycle = most_segments, single_cycle

    @property
    def _eased(self) -> bool:
        return self._most_segments is not None or self._single_cycle

    def forget(self) -> None:
        """Let go of decisions that were remembered and of what is carried from bar to bar."""
        self.agent.reset()

    def decide(self, moment: Moment) -> Decision:
        """Reason within the deadline, which starts now."""
        return self._decide(moment, self._clock.monotonic_ns() + self._deadline_ns, None, self._single_cycle)

    def decide_since(self, moment: Moment, asked_ns: int, waiting: int) -> Decision:
        """Reason within the deadline that started at `asked_ns`; `waiting` decisions, this one included, share it."""
        now_ns = self._clock.monotonic_ns()
        left_ns = asked_ns + self._deadline_ns - now_ns
        if left_ns <= 0:
            reason = f"asked {(now_ns - asked_ns) / NS_PER_MS:.0f} ms ago, no time is left"
            return unthought(moment, self.name, LATE, reason, model_hash=self.agent.model_hash)
        share_ns = left_ns // waiting
        single_cycle = self._single_cycle or self.agent.act.cost.expected_ns > share_ns
        return self._decide(moment, now_ns + share_ns, None, single_cycle)

    def decide_at(self, moment: Moment, segments: int, *, single_cycle: bool = False) -> Decision:
        """Reason to a recorded depth, whatever the clock says: for verification."""
        return self._decide(moment, None, segments or None, single_cycle)

    def decide_within(self, moment: Moment, segments: int, why: str) -> Decision:
        """Reason as deep as a recorded decision that the clock ended, whatever this one says; `why` it was ended."""
        single_cycle = why == SINGLE_CYCLE
        return self._decide(moment, None, None, single_cycle, most=segments, why=why)

    def _decide(
        self, moment: Moment, deadline_ns: int | None, segments: int | None, single_cycle: bool = False,
        most: int | None = None, why: str = "",
    ) -> Decision:  # fmt: skip
        try:
            seen = observation(moment, self._history, self._past_sessions)
            most_segments = None if segments else most or self._most_segments
            decide = partial(
                self.agent.decide, deadline_ns=deadline_ns, segments=segments, single_cycle=single_cycle,
                most_segments=most_segments,
            )  # fmt: skip
            answer = decide(seen)
            if answer.action in ENTRIES and (dearer := self._dearer(moment, seen, answer)) is not None:
                seen, answer = dearer, decide(dearer)
            if why and answer.halt_reason == HaltReason.LIMITED:
                answer = msgspec.structs.replace(answer, halt_reason=why)
        except InvalidObservation as error:
            return hold(moment, self.name, error.reason, model_hash=self.agent.model_hash)
        except InvalidOutput as error:
            return unusable(moment, self.name, str(error), self.agent.model_hash)
        if single_cycle:
            return self._decision(moment, answer, self._cost_bp(moment, seen))
        return self._told(moment, seen, answer)

    def _told(self, moment: Moment, seen: Observation, answer: AgentDecision) -> Decision:
        """The decision, and of a small network's trades what mattered."""
        decision = self._decision(moment, answer, self._cost_bp(moment, seen))
        if decision.action is Action.HOLD or not self._explains:
            return decision
        parts = self.agent.explain(seen, answer.action, answer.segments, briefly=True)
        return msgspec.structs.replace(decision, why=in_words(parts))

    def _cost_bp(self, moment: Moment, seen: Observation) -> float:
        """What a trade costs, where anybody asks: the network, or who looks at what its entries come to."""
        if self._past_sessions:
            return seen.cost_bp
        return moment.cost_bp if self._settings.entries.adaptive else 0.0

    def _too_little(self, moment: Moment) -> str:
        """Why an entry isn't worth making by what recent ones came to, "" where it is or where nobody asks."""
        entries, rule = moment.entries, self._settings.entries
        if entries is None or entries.model != self.agent.model_hash:
            return ""
        low = bound(entries, rule)
        if low is None or low > 0.0:
            return ""
        by = "" if math.isinf(low) else f" ({low:+.2f} moves)"
        return f"too few of its {len(entries.earned)} newest entries, made or not, earned anything{by}"

    def _dearer(self, moment: Moment, seen: Observation, answer: AgentDecision) -> Observation | None:
        """What was seen with the cost of the order that the answer asks for, where a smaller one costs more.

        None where it doesn't, where the network isn't told of costs, and where states are carried from bar to bar: a
        second thought would carry them on twice.
        """
        if not self._past_sessions or self.agent.settings.carry_state is CarryState.SESSION:
            return None
        cost_bp = moment.cost_of(self._share(answer))
        return replace(seen, cost_bp=cost_bp) if cost_bp > seen.cost_bp else None

    def _share(self, answer: AgentDecision) -> float:
        return share_of(answer.quantity, self._settings.output_heads)

    def foresee(self, source: MomentSource, size: int, now_ns: Callable[[], int]) -> str:
        """Think ahead of the moments that `source` will bring, at most `size` in a batch; why not, "" where it does."""
        if why := refusal(self.agent):
            return why

        def observations(count: int, ts: int) -> list[Observation]:
            return [observation(moment, self._history, self._past_sessions) for moment in source(count, ts)]

        self._foresight = Foresight(self.agent, observations, size, now_ns)
        return ""

    @property
    def known_ahead(self) -> int:
        """Decisions that were known before they were asked for."""
        return self._foresight.known if self._foresight is not None else 0

    def is_ahead_due(self, moment: Moment) -> bool:
        """Whether it has come to the end of what it has thought ahead of."""
        return self._foresight is not None and not self._eased and self._foresight.is_due(moment.ts)

    def look_ahead(self, moment: Moment) -> int:
        """Think ahead from `moment` on, and say of how many. May take long."""
        assert self._foresight is not None
        return self._foresight.look_ahead(moment.ts)

    def foreseen(self, moment: Moment) -> tuple[Decision, int] | None:
        """What `decide` comes to, and what thinking it took, ns; None where that isn't known ahead."""
        if self._foresight is None or self._eased:
            return None
        seen = observation(moment, self._history, self._past_sessions)
        try:
            found = self._foresight.decision(seen)
        except InvalidOutput as error:
            return unusable(moment, self.name, str(error), self.agent.model_hash), 0
        if found is None or (found[0].action in ENTRIES and self._dearer(moment, seen, found[0]) is not None):
            return None  # an entry at another cost is thought about once more
        return self._told(moment, seen, found[0]), found[1]

    def explain(self, moment: Moment, decision: Decision) -> tuple[Part, ...]:
        """What spoke for and against a decision that was made at `moment`. Raises InvalidObservation."""
        seen = observation(moment, self._history, self._past_sessions)
        if decision.cost_bp:
            seen = replace(seen, cost_bp=decision.cost_bp)
        return self.agent.explain(seen, int(decision.action), decision.segments)

    def _decision(self, moment: Moment, answer: AgentDecision, cost_bp: float) -> Decision:
        action, wanted = Action(answer.action), None
        reason = f"{answer.segments} segment{'s' * (answer.segments != 1)}, {answer.halt_reason}"
        if action in ENTRIES and not moment.may_enter:
            action, reason = Action.HOLD, f"no entries this late ({reason})"
        elif action in ENTRIES and answer.novelty > 1.0:
            unlike = f"market unlike those the model knows: {answer.novelty:.1f} × the limit ({answer.furthest})"
            action, reason = Action.HOLD, f"{unlike}; {reason}"
        elif action in ENTRIES and cost_bp > TOO_DEAR * self.agent.dearest_bp:
            dear = f"a trade costs {cost_bp:.1f} bp a side, at most {self.agent.dearest_bp:g} where the model learned"
            action, reason = Action.HOLD, f"{dear}; {reason}"
        elif action in ENTRIES and self._settings.entries.adaptive:
            wanted = action
            if why := self._too_little(moment):
                action, reason = Action.HOLD, f"{why}; {reason}"
        return Decision(
            ts=moment.ts,
            ts_bar=moment.ts,
            symbol=moment.symbol,
            interval=moment.interval,
            strategy=self.name,
            action=action,
            quantity=answer.quantity,
            confidence=answer.confidence,
            reason=reason,
            price=moment.price,
            value=answer.value,
            segments=answer.segments,
            min_segments=answer.min_segments,
            halt_reason=answer.halt_reason,
            h_confidence=answer.h_confidence,
            l_confidence=answer.l_confidence,
            convergence=answer.convergence[0],
            q_halt=answer.q_halt,
            q_continue=answer.q_continue,
            complexity=moment.complexity.score,
            regime=moment.complexity.regime.value,
            model_hash=self.agent.model_hash,
            novelty=answer.novelty,
            cost_bp=cost_bp,
            share=self._share(answer),
            wanted=wanted,
        )


def observation(moment: Moment, history: History, past_sessions: int = 0) -> Observation:
    """The moment in the words of the model, with the bars that it was trained on.

    The spread is not known at a bar's close and left neutral. Costs and what earlier sessions tell are looked up only
    where the model asks for `past_sessions` of them.
    """
    bars, coarse = moment.bars, moment.coarse
    if history is History.SESSION:
        bars = bars[len(bars) - moment.session_bars :]
        coarse = coarse[len(coarse) - moment.session_coarse :]
    return Observation(
        symbol=moment.symbol,
        interval=moment.interval,
        ts=moment.ts,
        bars=bars,
        coarse=coarse,
        position_side=(moment.position > 0) - (moment.position < 0),
        position_size=moment.position_share,
        unrealised_atr=moment.unrealised_atr,
        bars_held=moment.bars_held,
        minute_of_session=moment.minute_of_session,
        minutes_to_close=moment.minutes_to_close,
        weekday=moment.weekday,
        spread_bp=0.0,
        complexity=moment.complexity.score,
        cost_bp=moment.cost_bp if past_sessions else USUAL_COST_BP,
        past=moment.known(past_sessions) if past_sessions else NOTHING_KNOWN,
    )
