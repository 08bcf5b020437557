"""Settings and sessions → a trained network, deterministically, watched, and resumable at every checkpoint.

Invariant: the weights after step n are a function of settings, seed, data and machine; being stopped, resumed or
watched changes no bit of them.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.config import CarryState, HRMSettings
from models.features import forget_identities
from models.hrm import HRM
from models.training import checkpointing as ck
from models.training.batches import Batch, BatchSettings, Fill, Target, make_batch, returns_between_fills
from models.training.distributed import Group
from models.training.errors import DivergedError, ResumeError, TrainingError
from models.training.estimate import ReturnEstimate, fit_estimate
from models.training.growth import start_from
from models.training.loss import Targets, Weights, costs_of, expected_profit
from models.training.member_shares import share_of
from models.training.memory import check_memory, rows_within
from models.training.optim import MovingAverage, learning_rate, make_optimizer
from models.training.policy import follow, policies_by_depth
from models.training.progress import NoteReport, Observer, Report, StepReport, ValidationReport, resident_mb
from models.training.reference import pnl_bp
from models.training.sessions import Floats, Sessions
from models.training.settings import DeepSupervisionSettings, Select, TrainingSettings
from models.training.source import Source
from models.training.step import ExplodedError, StepSettings, train_step, zero_gradients
from models.training.teacher import imitation, lesson
from models.training.tokens import KINDS, TokenTargets
from models.vocabulary import Vocabularies

NORM_MEMORY = 0.98


@dataclass(frozen=True)
class Validation:
    """Sessions to validate on and what the best trader expects of each, bp (N,), where one is known."""

    sessions: Sessions
    best_bp: Floats | None = None


@dataclass(frozen=True)
class TrainResult:
    """A finished or stopped run: the averaged model, steps done, whether a signal stopped it, last validation.

    ``best_step`` had the best validation, ``best_bp`` at full depth; 0 and None where nothing was validated.
    """

    model: HRM
    step: int
    stopped: bool
    validation: ValidationReport | None
    best_step: int = 0
    best_bp: float | None = None


class Trainer:
    """One training run in ``folder`` (checkpoints and nothing else)."""

    def __init__(
        self,
        hrm: HRMSettings,
        supervision: DeepSupervisionSettings,
        training: TrainingSettings,
        source: Source,
        validation: Validation | None,
        folder: Path,
        *,
        observers: Sequence[Observer] = (),
        group: Group | None = None,
        device: str = "cpu",
        memory_limit_gb: float | None = None,
        build: Callable[[HRMSettings, Vocabularies], HRM] | None = None,
        teacher: HRM | None = None,
        start: HRM | None = None,
    ) -> None:
        if hrm.carry_state is CarryState.SESSION:
            raise TrainingError("hierarchical_reasoning_model.carry_state: session can't be trained, only none")
        if training.target is Target.CONDITIONAL_MEAN and training.fill is not Fill.NEXT_OPEN:
            raise TrainingError("training_params.fill: target conditional_mean is known for fill next_open only")
        self._hrm, self._supervision, self._training = hrm, supervision, training
        self._source, self._validation, self._folder = source, validation, folder
        self._observers, self._group, self._device = tuple(observers), group or Group(), torch.device(device)
        if training.target is Target.REALISED and training.objective.token_weight:
            raise TrainingError(
                "training_params.objective.token_weight: the window shows realised returns; needs target estimated or "
                "conditional_mean"
            )
        if teacher is not None and teacher.config.features != hrm.features:
            raise TrainingError(
                "training_params.teacher.artifact: it reads other features than the model to be trained"
            )
        self._teacher = None if teacher is None else teacher.to(device).eval()
        known = Vocabularies() if start is None else start.vocabularies
        vocabularies = known.grow(source.symbols, (*source.intervals, hrm.features.coarse_interval))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            make = build or (lambda settings, names: HRM(settings.network(), names))
            self.model = make(hrm, vocabularies).to(self._device)
            self._reading = nn.ModuleList()
            if training.objective.token_weight:
                self._reading.append(nn.Linear(hrm.shape.h_dim, KINDS).to(self._device))
        if start is not None:
            start.grow(vocabularies)
            start_from(self.model, start.to(self._device))
        self._learning = nn.ModuleList([self.model, *self._reading])
        q_head = {id(weight) for weight in self.model.heads.q.parameters()}
        # clipped apart, so that learning how long to think does not change what is thought
        self._thinking = [weight for weight in self._learning.parameters() if id(weight) not in q_head]
        self._batches = BatchSettings(hrm.features, training.fill, training.target)
        self._memory_limit_gb = memory_limit_gb if self._device.type == "cpu" else None
        rows = training.rows_at_once
        if self._memory_limit_gb is not None:
            parameters = sum(weight.numel() for weight in self._learning.parameters())
            rows = rows_within(self._memory_limit_gb, rows, hrm.shape, hrm.features.tokens, parameters)
        self._step_settings = StepSettings(supervision, rows, training.precision, training.objective.scale_bp)
        self._estimates: dict[int, ReturnEstimate] = {}
        if training.target is Target.ESTIMATED:
            many = "all" if source.stored else f"{training.estimate_sessions:,}"
            self._tell(NoteReport(0, "estimate", f"learning from {many} sessions what returns to expect, first"))
            self._estimates = {
                sample.interval_s: fit_estimate(sample, self._batches, vocabularies)
                for sample in source.samples(training.seed, training.estimate_sessions)
            }
        self._optimizer = make_optimizer(self._learning, training.optimizer)
        self._average = MovingAverage(self.model, training.optimizer.ema)
        self._step, self._updates, self._norm = 0, 0, math.nan
        self._rate_scale, self._rollbacks = 1.0, 0
        self._best, self._best_step, self._stale = -math.inf, 0, 0
        self._chosen: dict[str, torch.Tensor] = {}
        self._last_validation: ValidationReport | None = None
        self._fingerprint = ck.fingerprint(
            hierarchical_reasoning_model={
                **hrm.network().model_dump(mode="json"),
                "embeddings": hrm.embeddings.model_dump(),
            },
            deep_supervision=supervision.model_dump(mode="json", exclude={"halt_regret"}),  # no step depends on it
            training_params=training.model_dump(mode="json"),
            data={
                "symbols": source.symbols,
                "intervals": source.intervals,
                "span_ns": source.span_ns,
                "sessions": source.content,
            },
            run={"world": self._group.world, "device": self._device.type},
        )

    def run(self, *, resume: bool = False) -> TrainResult:
        """Train to the last step, from the newest whole checkpoint where ``resume`` is set.

        SIGTERM and SIGINT end the run after the present step, with a checkpoint. Raises ResumeError where there is
        nothing to resume, DivergedError where training blew up more often than ``guard.max_rollbacks``.
        """
        if resume:
            self._restore()
        stopping = False
        with threads(self._training.threads), _signals() as signalled:
            if self._step == 0:
                self._begin()
                self._tell_depth()
            while self._step < self._training.steps:
                if self._memory_limit_gb is not None:
                    check_memory(self._memory_limit_gb, self._step_settings.rows_at_once)
                try:
                    self._train_one()
                except ExplodedError as error:
                    self._roll_back(str(error))
                    continue
                done = self._step == self._training.steps
                if self._step % self._training.validate_every == 0 or done:
                    self._validate()
                stopping = self._group.any(signalled())
                if self._step % self._training.checkpoint_every == 0 or done or stopping:
                    self._save()
                if stopping and not done:
                    self._tell(NoteReport(self._step, "stopped", "a signal asked to stop; the state is saved"))
                    break
            if self._step == self._training.steps and self._last_validation is None:
                self._last_validation = self._validated()  # an earlier process ended between it and what came then
        best = self._best if math.isfinite(self._best) else None
        return TrainResult(
            self._averaged(self._chosen), self._step, stopping, self._last_validation, self._best_step, best
        )

    def batch(self, step: int) -> tuple[Batch, Floats]:
        """Return the batch of a step and each session's cost; all draws follow from seed, step and rank."""
        training, group = self._training, self._group
        sessions, rows = self._source.take(training.seed, step, group.rank, group.world, training.batch_sessions)
        rng = np.random.default_rng([training.seed, step, group.rank, 17])
        mirror = rng.random(len(rows)) < 0.5 if training.mirror else None
        cost_bp = costs_of(sessions, training.objective.costs)[rows]
        batch = make_batch(sessions, rows, self._batches, self.model.vocabularies, rng, mirror, cost_bp)
        start_ns = sessions.start_ns()[rows]
        if self._estimates:
            known = start_ns if self._source.stored else None
            batch = replace(batch, returns_bp=self._estimates[sessions.interval_s].returns_bp(batch, known))
        return batch, cost_bp

    def _train_one(self) -> None:
        training = self._training
        batch, cost_bp = self.batch(self._step)
        rng = np.random.default_rng([training.seed, self._step, self._group.rank, 19])
        features = forget_identities(batch.features, self._hrm.embeddings.unknown_dropout, rng)
        rate = self._rate_scale * learning_rate(self._step, training.steps, training.optimizer)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        halting = self._step >= self._supervision.halting_from * training.steps
        targets = Targets.of(batch, cost_bp, self._device, training.objective.profit_unit)
        asked: TokenTargets | None = None
        if self._reading:
            patch, weight = self._hrm.features.patch, training.objective.token_weight
            asked = TokenTargets.of(self._reading[0], features, targets.returns_bp, patch, weight)
        if self._teacher is None:
            objective = expected_profit(
                targets, training.objective, Weights.at(self._step, training.steps, training.objective)
            )
        else:
            taught = lesson(self._teacher, batch.features, targets, training.teacher.decisions, rng)
            features, objective = features.take(taught.rows), imitation(taught, training.objective)
            asked = None if asked is None else asked.take(taught.rows)
        reports = train_step(
            self.model.train(),
            features,
            objective,
            self._step_settings,
            self._update,
            self._minimum(len(features), rng) if halting else None,
            self._group.any,
            asked,
        )
        self._step += 1
        sessions = self._step * training.batch_sessions * self._group.world
        depth = sum(report.active for report in reports)
        self._tell(StepReport(self._step, training.steps, reports, rate, depth, resident_mb(), sessions))

    def _minimum(self, rows: int, rng: np.random.Generator) -> np.ndarray:
        """Draw segments before which a row may not halt: 1, or with the exploration's chance one from {2…segments}."""
        drawn = rng.integers(2, max(self._supervision.segments, 2) + 1, rows)
        return np.where(rng.random(rows) < self._hrm.act.exploration, drawn, 1)

    def _update(self) -> float:
        """Clip, check, step: what a segment does with its gradients."""
        self._group.average_gradients(self._learning)
        longest = self._training.optimizer.clip_norm
        norm = float(nn.utils.clip_grad_norm_(self._thinking, longest))
        q_norm = float(nn.utils.clip_grad_norm_(self.model.heads.q.parameters(), longest))
        limit = self._training.guard.explode_factor * self._norm
        if not math.isfinite(norm + q_norm) or norm > limit:
            zero_gradients(self._learning)
            raise ExplodedError(f"gradient norm is {norm:.3g}, usual is {self._norm:.3g}")
        self._norm = norm if math.isnan(self._norm) else NORM_MEMORY * self._norm + (1 - NORM_MEMORY) * norm
        self._optimizer.step()
        zero_gradients(self._learning)
        self._average.update(self.model, self._updates)
        self._updates += 1
        return norm

    def _validate(self) -> None:
        """Judge the present weights, and remember and tell what they came to."""
        report = self._validated()
        if report is None:
            return
        pnl = report.pnl_bp
        self._stale = 0 if report.best else self._stale + 1
        if report.best:
            self._best, self._best_step = pnl[-1], self._step
        if report.best and self._training.select is Select.BEST:
            self._chosen = {name: tensor.clone() for name, tensor in self._average.weights.items()}
        self._last_validation = report
        self._tell(report)
        if self._step == self._training.steps and pnl[-1] < self._best:
            self._tell(NoteReport(self._step, "worse", self._earlier_was_better(pnl[-1])))
        kept = self._best if self._training.select is Select.BEST else pnl[-1]
        if self._step == self._training.steps and kept <= 0:
            text = f"the model earned {kept:.2f} bp a session after costs: no more than sitting out"
            self._tell(NoteReport(self._step, "worthless", text))
        if self._stale == self._training.guard.patience:
            text = f"no better validation in the last {self._stale}; the best was {self._best:.2f} bp a session"
            self._tell(NoteReport(self._step, "slow", text))

    def _validated(self) -> ValidationReport | None:
        """Profit by depth of the averaged weights; realised, or as an exact filter expects it where one is known."""
        if self._validation is None:
            return None
        sessions, best = self._validation.sessions, self._validation.best_bp
        exact = best is not None
        target = Target.CONDITIONAL_MEAN if exact else Target.REALISED
        settings = BatchSettings(self._hrm.features, self._training.fill, target)
        model = self._averaged()
        returns = returns_between_fills(sessions, np.arange(len(sessions)), settings)
        cost = costs_of(sessions, self._training.objective.costs)
        earned = [
            pnl_bp(follow(policy.actions), returns, cost)
            for policy in policies_by_depth(model, sessions, settings, self._supervision.segments, cost)
        ]
        pnl = [float(np.mean(sessions_bp)) for sessions_bp in earned]
        shares = [] if best is None else [share_of(sessions_bp, best) for sessions_bp in earned]
        share = None if any(map(math.isnan, shares)) else shares or None  # where nothing drifts the best earns nothing
        return ValidationReport(self._step, pnl, share, best=pnl[-1] > self._best)

    def _tell_depth(self) -> None:
        """Say so where settings allow more segments than this run teaches: inference will not go beyond those."""
        trained, asked = self._supervision.segments, self._hrm.max_segments
        if trained < asked:
            text = (
                f"deep_supervision.segments {trained}: decisions of this model will take no more, whatever "
                f"hierarchical_reasoning_model.act.max_segments ({asked}) allows"
            )
            self._tell(NoteReport(self._step, "depth", text))

    def _earlier_was_better(self, last_bp: float) -> str:
        """What a run that ends under its best validation says of it."""
        better = f"step {self._best_step} had {self._best:.2f} bp a session where the last has {last_bp:.2f}"
        if self._training.select is Select.BEST:
            return f"{better}; the model is that of step {self._best_step} (training_params.select: best)"
        return f"{better}; the model is the last all the same (training_params.select: last; best takes the other)"

    def _averaged(self, weights: Mapping[str, torch.Tensor] | None = None) -> HRM:
        """Return a copy of the model with the averaged weights, or with ``weights`` where there are any."""
        with torch.random.fork_rng(devices=[]):
            model = type(self.model)(self.model.config, self.model.vocabularies).to(self._device)
        model.load_state_dict(weights or self._average.weights)
        return model.eval()

    def _begin(self) -> None:
        """Keep the start; no checkpoint of an earlier run stays, for this one would be rolled back to it."""
        if self._group.rank == 0:
            ck.forget(self._folder)
        self._save()

    def _save(self) -> None:
        if self._group.rank == 0:
            ck.save_state(self._folder, self._state(), self._training.keep_checkpoints)

    def _state(self) -> ck.TrainingState:
        return ck.TrainingState(
            step=self._step,
            updates=self._updates,
            model=self.model.state_dict(),
            reading=self._reading.state_dict(),
            average=self._average.weights,
            chosen=self._chosen,
            optimizer=self._optimizer.state_dict(),
            norm=self._norm,
            rate_scale=self._rate_scale,
            rollbacks=self._rollbacks,
            best=self._best,
            best_step=self._best_step,
            stale=self._stale,
            fingerprint=self._fingerprint,
        )

    def _restore(self) -> None:
        state = ck.newest_state(self._folder)
        if state is None:
            raise ResumeError(f"{self._folder}: there is no checkpoint to resume from")
        ck.check_fingerprint(state.fingerprint, self._fingerprint)
        self._load(state)
        self._rate_scale, self._rollbacks = state.rate_scale, state.rollbacks

    def _load(self, state: ck.TrainingState) -> None:
        self.model.load_state_dict(state.model)
        self._reading.load_state_dict(state.reading)
        self._optimizer.load_state_dict(dict(state.optimizer))
        self._average.load(state.average)
        self._step, self._updates, self._norm = state.step, state.updates, state.norm
        self._best, self._best_step, self._stale = state.best, state.best_step, state.stale
        self._chosen = dict(state.chosen)

    def _roll_back(self, reason: str) -> None:
        """Return to the last good checkpoint with a lower rate, or give up."""
        guard = self._training.guard
        if self._rollbacks >= guard.max_rollbacks:
            raise DivergedError(
                f"training diverged at step {self._step} ({reason}) after {self._rollbacks} rollbacks; lower "
                "training_params.optimizer.learning_rate"
            )
        state = ck.newest_state(self._folder)
        if state is None:
            raise ResumeError(f"{self._folder}: the checkpoints are gone, there is nothing to roll back to")
        failed = self._step
        self._load(state)
        self._rollbacks += 1
        self._rate_scale *= guard.rate_factor
        self._tell(
            NoteReport(
                failed, "rollback", f"{reason}; back to step {state.step}, rate × {self._rate_scale:g} from here"
            )
        )

    def _tell(self, report: Report) -> None:
        if self._group.rank == 0:
            for observer in self._observers:
                observer(report)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run with a fixed number of intra-op threads: the order of sums, and so the bits, depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Remember what asks for the end instead of dying of it; outside the main thread nothing is changed.

    A hangup that is ignored (nohup) is to be outlived.
    """
    seen: list[int] = []
    names = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    names = [name for name in names if name is signal.SIGTERM or signal.getsignal(name) is not signal.SIG_IGN]
    try:
        before = [signal.signal(name, lambda number, _: seen.append(number)) for name in names]
    except ValueError:  # signals belong to the main thread
        yield lambda: False
        return
    try:
        yield lambda: bool(seen)
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)
