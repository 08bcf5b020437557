"""Turns an observation into a decision: encode, think as long as it pays, read the heads, check what they say.

`HRMAgent` is the interface that agents share: `select_action`, `decide`, `learn`, `save_model`, `load_model`.
Invariant: what leaves it is finite, in bounds and allowed in the present position, or it is an exception that means
HOLD; and the same model, observation and depth give the same decision, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.act import AdaptiveComputationTime, HaltReason, HeadValues, Reasoning, Runner, one_cycle
from models.actions import VALID_ACTIONS
from models.artifact import read_weights
from models.config import CarryState, HRMConfig, HRMSettings, OutputHeadSettings
from models.decision_cache import DecisionCache
from models.errors import CheckpointError, InvalidOutput
from models.explaining import Part, explain, lead
from models.features import Features, Observation, encode, forget_identities
from models.manifest import Manifest, Precision, TrainingSpan
from models.novelty import Novelty
from models.vocabulary import Vocabularies
from models.weights import Network, Weights

if TYPE_CHECKING:
    import torch

    from models.hrm import HRM
    from models.supervision import SegmentReport

NS_PER_MINUTE: Final = 60_000_000_000
NS_PER_MS: Final = 1_000_000


class AgentDecision(msgspec.Struct, frozen=True, gc=False):
    """One decision and how it came about."""

    action: int
    quantity: int
    confidence: float
    """Probability of `action` among those that the position allows."""
    value: float
    """Expected outcome from the present position, in the units that the model was trained in."""
    segments: int
    min_segments: int
    halt_reason: str
    h_confidence: float
    """How settled z_H is, 1 − its last relative change, 0..1."""
    l_confidence: float
    """How settled z_L is."""
    convergence: tuple[float, float]
    """Last relative change ‖Δz‖ / ‖z‖ of z_H and z_L."""
    q_halt: float
    q_continue: float
    probabilities: tuple[float, float, float, float, float]
    novelty: float = 0.0
    """How unlike those that the model was trained in the market is: over 1 it is; 0 where not measured."""
    furthest: str = ""
    """What of the market is furthest from those."""


@dataclass(frozen=True, slots=True)
class _Carried:
    session_start_ns: int
    state: Any
    """The runner's own."""


class HRMAgent:
    """A model with its settings, its clock and, where asked for, its memory from bar to bar.

    `now_ns` is the clock of the deadline; without one decisions have none. One thread at a time. torch is imported
    where it thinks (until it is told to `use` another runtime) and where it learns. Raises CheckpointError where
    settings ask for what the model can't do.
    """

    def __init__(
        self,
        source: Network | Weights | HRM,
        settings: HRMSettings,
        manifest: Manifest,
        *,
        seed: int = 0,
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        self.network = source if isinstance(source, Network) else Network(source)
        self.trained_segments = manifest.trained_segments
        """Segments that the weights were trained with at most: no decision takes more. None: nobody knows."""
        self.dearest_bp = manifest.dearest_bp if self.config.features.past_sessions else math.inf
        """What a trade cost at most in training, bp a side; infinite where the network isn't told what one costs."""
        self.settings = settings = settings.within(self.trained_segments)
        self.features = self.config.features
        """What this network reads; `past_sessions` may be another than the settings'."""
        if untold := settings.untold(self.features):
            raise CheckpointError(untold)
        self.act = AdaptiveComputationTime(settings, now_ns)
        self._reasons = AdaptiveComputationTime(settings)
        """Asks again what a part was worth, without a clock: what a segment costs is learned from decisions alone."""
        self._manifest: Manifest | None = manifest
        self._trained = manifest.trained
        self._known = manifest.novelty
        self._values = manifest.values
        self.novelty = None
        if self._known is not None and settings.novelty.enabled:
            self.novelty = Novelty(self._known, settings.novelty.scale)
        self._now_ns = now_ns
        self.settled_below = settings.convergence.threshold if settings.convergence.early_stop else 0.0
        self.cache: DecisionCache[AgentDecision] = DecisionCache(0)
        self._runner: Runner[Any, Any] | None = None
        self.use(None)
        self._rng = np.random.default_rng(seed)
        self._optimizer: torch.optim.Optimizer | None = None

    @classmethod
    def untrained(
        cls,
        settings: HRMSettings,
        seed: int,
        *,
        instruments: Sequence[str] = (),
        timeframes: Sequence[str] = (),
        now_ns: Callable[[], int] | None = None,
    ) -> HRMAgent:
        """Return an agent with fresh weights; one seed always draws the same ones."""
        import torch

        from models.checkpoint import describe
        from models.hrm import HRM

        vocabularies = Vocabularies().grow(instruments, (*timeframes, settings.features.coarse_interval))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = HRM(settings.network(), vocabularies)
        return cls(model, settings, describe(model, trained=False, dtype="float32"), seed=seed, now_ns=now_ns)

    @classmethod
    def load_model(
        cls, path: Path, settings: HRMSettings, *, seed: int = 0, now_ns: Callable[[], int] | None = None
    ) -> HRMAgent:
        """Return an agent on a saved model. Raises CheckpointError where the file does not fit the settings."""
        weights, manifest = read_weights(path, expected=settings.network())
        return cls(weights, settings, manifest, seed=seed, now_ns=now_ns)

    def save_model(
        self,
        path: Path,
        *,
        dtype: Precision = "bfloat16",
        training_span: TrainingSpan | None = None,
        metrics: Mapping[str, float] | None = None,
        git_revision: str | None = None,
    ) -> str:
        """Write the model and return its hash; under bf16 the file's weights are rounded and its hash is its own."""
        from models.checkpoint import describe, save_model

        manifest = describe(
            self.model,
            trained=self.trained,
            dtype=dtype,
            training_span=training_span,
            metrics=metrics,
            git_revision=git_revision,
            novelty=self._known,
            segments=self.trained_segments,
            values=self._values,
        )
        return save_model(path, self.model, manifest)

    @property
    def config(self) -> HRMConfig:
        """What its network is built from."""
        return self.network.config

    @property
    def vocabularies(self) -> Vocabularies:
        """The names that its network has rows for."""
        return self.network.vocabularies

    @property
    def model(self) -> HRM:
        """Its network as a module of torch."""
        return self.network.model

    @property
    def manifest(self) -> Manifest:
        """What the model says about itself; worked out again, in fp32, after the weights have changed."""
        if self._manifest is None:
            from models.checkpoint import describe

            self._manifest = describe(
                self.model, trained=self._trained, dtype="float32", novelty=self._known,
                segments=self.trained_segments, values=self._values,
            )  # fmt: skip
        return self._manifest

    @property
    def model_hash(self) -> str:
        """sha256 of weights, configuration, vocabularies and history."""
        return self.manifest.sha256

    @property
    def trained(self) -> bool:
        """Whether the weights have ever been learned."""
        return self._trained

    @property
    def runner(self) -> Runner[Any, Any]:
        """What it thinks with."""
        if self._runner is None:
            from models.runtime import TorchRunner

            self._runner = TorchRunner(self.model, settled_below=self.settled_below)
        return self._runner

    def renewed(self, runner: Runner[Any, Any] | None = None) -> HRMAgent:
        """Return an agent on the same weights that shares nothing else, for a thread of its own; both only decide."""
        other = HRMAgent(self.network, self.settings, self.manifest, now_ns=self._now_ns)
        if runner is not None:
            other.use(runner)
        other.keep_decisions(self.cache.size)
        return other

    def use(self, runner: Runner[Any, Any] | None) -> None:
        """Think with this runner of the present weights from now on; None: with torch, eagerly."""
        self._runner = runner
        self._carried: dict[tuple[str, str], _Carried] = {}
        self.cache = DecisionCache(self.cache.size)

    def keep_decisions(self, size: int) -> None:
        """Keep the newest decisions by what they were made from; only decisions without memory can be kept."""
        self.cache = DecisionCache(size if self.settings.carry_state is CarryState.NONE else 0)

    def select_action(self, observation: Observation) -> tuple[int, int]:
        """Return (action, quantity). Raises InvalidObservation or InvalidOutput, both of which mean HOLD."""
        decision = self.decide(observation)
        return decision.action, decision.quantity

    def decide(
        self,
        observation: Observation,
        *,
        deadline_ns: int | None = None,
        segments: int | None = None,
        single_cycle: bool = False,
        most_segments: int | None = None,
    ) -> AgentDecision:
        """Think about one observation.

        `deadline_ns` is on the agent's clock and defaults to `act.deadline_ms` from now; `segments` fixes the depth, to
        run a recorded decision again; `single_cycle` runs one cycle and nothing more, for when there is no time;
        `most_segments` ends thinking there. Raises InvalidObservation or InvalidOutput, both of which mean HOLD.
        """
        if deadline_ns is None and self._now_ns is not None:
            deadline_ns = self._now_ns() + round(self.settings.act.deadline_ms * NS_PER_MS)
        features = self.encoded([observation])
        kept = b""
        if self.cache.size and segments is None:
            kept = DecisionCache.key(features, self.model_hash, self.act.max_segments)
            if (known := self.cache.get(kept)) is not None:
                return known
        key = (observation.symbol, observation.interval)
        session_start_ns = observation.ts - round(observation.minute_of_session * NS_PER_MINUTE)
        carried = self._carried_state(key, session_start_ns)
        if single_cycle:
            reasoning, state = self.act.glance(one_cycle(self.runner), features, carried=carried)
        else:
            reasoning, state = self.act.run(
                self.runner, features, carried=carried, deadline_ns=deadline_ns, segments=segments,
                most_segments=most_segments,
            )  # fmt: skip
        side = int(features.side[0])
        decision = self.calibrated(read_decision(reasoning, side, self.settings.output_heads), side)
        if self.novelty is not None:
            novelty, furthest = self.novelty.of_one(features)
            decision = msgspec.structs.replace(decision, novelty=novelty, furthest=furthest)
        if self.settings.carry_state is CarryState.SESSION:
            self._carried[key] = _Carried(session_start_ns, state)
        if kept and reasoning.reasons[0] not in (HaltReason.DEADLINE, HaltReason.SINGLE_CYCLE, HaltReason.LIMITED):
            self.cache.put(kept, decision)
        return decision

    def encoded(self, observations: Sequence[Observation]) -> Features:
        """What the network reads of them: that a trade costs `entries.caution_bp` more than it does.

        Raises InvalidObservation.
        """
        if more := self.settings.entries.caution_bp:
            observations = [replace(one, cost_bp=one.cost_bp + more) for one in observations]
        return encode(observations, self.vocabularies, self.features)

    def calibrated(self, decision: AgentDecision, side: int) -> AgentDecision:
        """With what its value came to in training, for the position row `side`; as it is where nobody looked."""
        if self._values is None:
            return decision
        return msgspec.structs.replace(decision, value=self._values.of_one(decision.value, side))

    def explain(
        self, observation: Observation, action: int, segments: int, *, briefly: bool = False
    ) -> tuple[Part, ...]:
        """What spoke for and against `action` at that depth, the largest effect first.

        Nothing where states are carried from bar to bar: what they hold is not seen. Raises InvalidObservation.
        """
        if self.settings.carry_state is CarryState.SESSION:
            return ()
        features = self.encoded([observation])
        side = int(features.side[0])

        def score(rows: Features) -> NDArray[np.float64]:
            reasoning, _ = self._reasons.run(self.runner, rows, segments=max(segments, 1))
            return lead(reasoning.values.policy[:, side], action)

        return explain(features, self.features, score, briefly=briefly)

    def _carried_state(self, key: tuple[str, str], session_start_ns: int) -> Any:
        """Take the state that this symbol left in this session, None where there is none."""
        carried = self._carried.pop(key, None)
        same = carried is not None and abs(session_start_ns - carried.session_start_ns) < NS_PER_MINUTE
        return carried.state if carried is not None and same else None

    def reset(self) -> None:
        """Forget every carried state, as at the start of a session, and every decision that was remembered."""
        self._carried.clear()
        self.cache = DecisionCache(self.cache.size)

    def learn(
        self,
        observations: Sequence[Observation],
        actions: Sequence[int],
        *,
        values: Sequence[float] | None = None,
        quantities: Sequence[int] | None = None,
        learning_rate: float = 1e-4,
        clip_norm: float = 1.0,
    ) -> tuple[SegmentReport, ...]:
        """Learn from one batch: up to `max_segments` supervised segments, a step of AdamW after each.

        `actions` are right for the position each observation is in, `values` what they came to, `quantities` units to
        trade. Raises InvalidObservation, ValueError for an action that a position does not allow, InvalidOutput where
        the loss is not finite. Carried states and the model hash are renewed.
        """
        from torch.optim import AdamW

        from models.supervision import ActionTargets, supervise

        features = encode(observations, self.vocabularies, self.features)
        features = forget_identities(features, self.settings.embeddings.unknown_dropout, self._rng)
        targets = ActionTargets(
            side=features.side,
            actions=np.asarray(actions, np.int64),
            values=None if values is None else np.asarray(values, np.float64),
            quantities=None if quantities is None else quantity_share(quantities, self.settings.output_heads),
        )
        if self._optimizer is None:
            self._optimizer = AdamW(self.model.parameters(), lr=learning_rate)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self.model.train()
        try:
            reports = supervise(
                self.model,
                features,
                targets,
                self._optimizer,
                segments=self.act.max_segments,
                minimum=self.act.exploration_minimum(len(features), self._rng),
                clip_norm=clip_norm,
            )
        finally:
            self.model.eval()
        self._trained, self.trained_segments, self._values = True, self.act.max_segments, None
        self._weights_changed()
        return reports

    def grow(self, *, instruments: Sequence[str] = (), timeframes: Sequence[str] = ()) -> None:
        """Add rows for new names without touching trained ones; a new row reads as "unknown" until it is trained."""
        self.model.grow(self.vocabularies.grow(instruments, timeframes))
        self._optimizer = None  # it holds the old tables
        self._weights_changed()

    def _weights_changed(self) -> None:
        """Forget what was said and thought under the old weights, and a runner that was made of them."""
        self.network = Network(self.model)
        self.use(None)
        self._manifest = None


def read_decision(reasoning: Reasoning, side: int, heads: OutputHeadSettings) -> AgentDecision:
    """Read row 0 of a reasoning as a decision of the position row `side`. Raises InvalidOutput."""
    validate(reasoning.values, heads.logit_cap)
    return read_row(reasoning, 0, side, heads)


def read_row(
    reasoning: Reasoning, row: int, side: int, heads: OutputHeadSettings, novelty: float = 0.0, furthest: str = ""
) -> AgentDecision:
    """Read one row, which has been validated."""
    values = reasoning.values
    probabilities = policy_probabilities(values.policy[row, side])
    action = int(probabilities.argmax())
    change_h, change_l = float(values.change_h[row, -1]), float(values.change_l[row, -1])
    one, two, three, four, five = probabilities.tolist()
    return AgentDecision(
        action=action,
        quantity=quantity_units(float(values.quantity[row]), heads),
        confidence=float(probabilities[action]),
        value=float(values.value[row, side]),
        segments=reasoning.segments[row],
        min_segments=reasoning.minimum[row],
        halt_reason=reasoning.reasons[row].value,
        h_confidence=max(0.0, 1.0 - change_h),
        l_confidence=max(0.0, 1.0 - change_l),
        convergence=(change_h, change_l),
        q_halt=float(values.q_halt[row]),
        q_continue=float(values.q_continue[row]),
        probabilities=(one, two, three, four, five),
        novelty=novelty,
        furthest=furthest,
    )


def validate(values: HeadValues, logit_cap: float) -> None:
    """Raise InvalidOutput unless all is finite, in bounds and masked exactly where a position forbids an action."""
    allowed = np.broadcast_to(np.array(VALID_ACTIONS), values.policy.shape)
    for name in ("quantity", "value", "q_halt", "q_continue", "change_h", "change_l"):
        if not np.isfinite(getattr(values, name)).all():
            raise InvalidOutput(f"{name} is not finite")
    if not (np.abs(values.policy[allowed]) <= logit_cap * (1 + 1e-6)).all():
        raise InvalidOutput(f"a policy logit is not a number inside ±{logit_cap}")
    if not np.isneginf(values.policy[~allowed]).all():
        raise InvalidOutput("an action that the position forbids is not masked")
    if (values.quantity < 0).any() or (values.quantity > 1).any():
        raise InvalidOutput("quantity leaves 0..1")


def policy_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax over one row of the policy head, (5,); a masked action gets exactly 0."""
    powers = np.exp(logits.astype(np.float64) - float(logits.max()))
    probabilities: NDArray[np.float64] = powers / powers.sum()
    return probabilities


def quantity_units(share: float, heads: OutputHeadSettings) -> int:
    """Units of a share 0..1 of the quantity range, linear: 0.5 of 1…100000 is 50000. Training sizes positions so."""
    units = heads.quantity_min + share * (heads.quantity_max - heads.quantity_min)
    return min(max(round(units), heads.quantity_min), heads.quantity_max)


def share_of(units: int, heads: OutputHeadSettings) -> float:
    """`quantity_share` of one quantity that `quantity_units` gave."""
    return (units - heads.quantity_min) / max(heads.quantity_max - heads.quantity_min, 1)


def quantity_share(units: Sequence[int], heads: OutputHeadSettings) -> NDArray[np.float64]:
    """Inverse of `quantity_units`. Raises ValueError for a quantity outside its bounds."""
    if not all(heads.quantity_min <= unit <= heads.quantity_max for unit in units):
        raise ValueError(f"quantities must be from {heads.quantity_min} to {heads.quantity_max}: {list(units)}")
    span = max(heads.quantity_max - heads.quantity_min, 1)
    shares: NDArray[np.float64] = (np.asarray(units, np.float64) - heads.quantity_min) / span
    return shares
