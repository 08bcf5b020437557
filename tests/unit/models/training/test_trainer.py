"""Tests of the trainer: bit-identical runs, resume, signals, rollback, halting, pieces."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from models.config import CarryState, HRMSettings
from models.core import Latent
from models.hrm import HRM
from models.training.batches import Fill, Target
from models.training.errors import DataError, DivergedError, ResumeError, TrainingError
from models.training.flat import FlatNetwork
from models.training.loss import Targets, Weights, expected_profit
from models.training.market import HiddenRegimeMarket
from models.training.progress import NoteReport, Report, StepReport, ValidationReport
from models.training.reference import simulated_sessions
from models.training.sessions import Sessions
from models.training.settings import (
    CostStep,
    DeepSupervisionSettings,
    GuardSettings,
    HaltTarget,
    ObjectiveSettings,
    Optimizer,
    OptimizerSettings,
    Precision,
    Select,
    TrainingSettings,
)
from models.training.source import FreshSource, StoredSource
from models.training.step import ExplodedError, StepSettings, q_loss, train_step, zero_gradients
from models.training.trainer import Trainer, Validation


class Notes(list[Report]):
    """An observer that keeps what it is told."""

    def __call__(self, report: Report) -> None:
        """Keep one report."""
        self.append(report)


def make(
    hrm: HRMSettings,
    training: TrainingSettings,
    sessions: Sessions,
    folder: Path,
    *observers: object,
    supervision: DeepSupervisionSettings | None = None,
) -> Trainer:
    """Return a trainer on stored sessions, validated on the same."""
    return Trainer(
        hrm,
        supervision or DeepSupervisionSettings(segments=2, halting_from=0.0),
        training,
        StoredSource(sessions, training.min_sessions),
        Validation(sessions),
        folder,
        observers=observers,  # type: ignore[arg-type]
    )


def weights(model: HRM) -> bytes:
    """Return all weights of a model as bytes."""
    return b"".join(tensor.detach().numpy().tobytes() for tensor in model.state_dict().values())


@pytest.mark.parametrize(
    ("optimizer", "halt_target"),
    [
        (Optimizer.ADAMW, HaltTarget.IMPROVEMENT),
        (Optimizer.ADAM_ATAN2, HaltTarget.REFERENCE),
        pytest.param(Optimizer.ADAMW, HaltTarget.REFERENCE, marks=pytest.mark.nightly),
        pytest.param(Optimizer.ADAM_ATAN2, HaltTarget.IMPROVEMENT, marks=pytest.mark.nightly),
    ],
)
def test_same_settings_same_weights(
    hrm: HRMSettings,
    training: TrainingSettings,
    sessions: Sessions,
    tmp_path: Path,
    optimizer: Optimizer,
    halt_target: HaltTarget,
) -> None:
    """Two runs give the same bits; another seed gives others."""
    training = training.model_copy(update={"optimizer": OptimizerSettings(name=optimizer)})
    supervision = DeepSupervisionSettings(segments=2, halt_target=halt_target, halting_from=0.0)
    hrm = hrm.model_copy(update={"act": hrm.act.model_copy(update={"exploration": 0.5})})
    runs = [
        make(hrm, used, sessions, tmp_path / str(i), supervision=supervision).run().model
        for i, used in enumerate((training, training, training.model_copy(update={"seed": 9})))
    ]
    assert weights(runs[0]) == weights(runs[1])
    assert weights(runs[0]) != weights(runs[2])


def test_a_validation_of_sessions_without_drift_has_no_share(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """The best trader earns nothing there: what the model makes is told all the same."""
    notes = Notes()
    data, still = (
        StoredSource(sessions, training.min_sessions),
        simulated_sessions(HiddenRegimeMarket(drift_bp=0.0), 4, 3),
    )
    supervision = DeepSupervisionSettings(segments=2)
    Trainer(hrm, supervision, training, data, Validation(still, np.zeros(4)), tmp_path, observers=(notes,)).run()
    reports = [note for note in notes if isinstance(note, ValidationReport)]
    assert reports
    assert all(report.share is None and np.isfinite(report.pnl_bp).all() for report in reports)


@pytest.mark.parametrize(("cost_bp", "said"), [(0.0, False), (100.0, True)])
def test_a_model_that_earns_no_more_than_sitting_out_says_so(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path, cost_bp: float, *, said: bool
) -> None:
    """At its end, of the weights that are kept."""
    notes = Notes()
    objective = ObjectiveSettings(costs=(CostStep(since=date(1990, 1, 1), cost_bp=cost_bp),))
    dear = training.model_copy(update={"objective": objective, "guard": GuardSettings(explode_factor=1e6)})
    run = make(hrm, dear, sessions, tmp_path, notes).run()
    assert run.validation is not None
    assert (run.validation.pnl_bp[-1] <= 0) is said
    told = [note.text for note in notes if isinstance(note, NoteReport) and note.kind == "worthless"]
    earned = f"the model earned {run.validation.pnl_bp[-1]:.2f} bp a session after costs: no more than sitting out"
    assert told == [earned] * said


def test_watching_changes_nothing_and_sees_every_step(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """A watched run gives the same bits as one nobody watches, and reports steps, validations and depth."""
    notes = Notes()
    watched = make(hrm, training, sessions, tmp_path / "a", notes).run()
    alone = make(hrm, training, sessions, tmp_path / "b").run()
    assert weights(watched.model) == weights(alone.model)
    steps = [note for note in notes if isinstance(note, StepReport)]
    assert [note.step for note in steps] == [1, 2, 3, 4, 5, 6]
    assert all(1.0 <= note.depth <= 2.0 for note in steps)
    assert [note.step for note in notes if isinstance(note, ValidationReport)] == [3, 6]


class StopAfter:
    """An observer that sends this process a signal after a step."""

    def __init__(self, step: int, number: signal.Signals) -> None:
        self.step = step
        self.number = number

    def __call__(self, report: Report) -> None:
        """Send the signal once."""
        if isinstance(report, StepReport) and report.step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_stopped_and_resumed_equals_uninterrupted(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path, number: signal.Signals
) -> None:
    """SIGTERM and a hangup save and end the run; resuming gives the bits of a run that was never stopped."""
    whole = make(hrm, training, sessions, tmp_path / "whole").run()
    stopped = make(hrm, training, sessions, tmp_path / "cut", StopAfter(3, number)).run()
    assert stopped.stopped
    assert stopped.step == 3
    resumed = make(hrm, training, sessions, tmp_path / "cut").run(resume=True)
    assert not resumed.stopped
    assert weights(resumed.model) == weights(whole.model)


def test_resume_skips_a_torn_checkpoint(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """With the newest file cut short the one before it is used, and the end is the same."""
    whole = make(hrm, training, sessions, tmp_path).run()
    newest = sorted(tmp_path.glob("*.ckpt"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    assert weights(make(hrm, training, sessions, tmp_path).run(resume=True).model) == weights(whole.model)


def test_resume_refuses_changed_settings_and_empty_folders(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """The message names the key that changed; a folder without checkpoints is named too."""
    make(hrm, training, sessions, tmp_path / "run").run()
    changed = training.model_copy(update={"seed": 5})
    with pytest.raises(ResumeError, match=r"training_params\.seed was 1, is 5"):
        make(hrm, changed, sessions, tmp_path / "run").run(resume=True)
    with pytest.raises(ResumeError, match="no checkpoint"):
        make(hrm, training, sessions, tmp_path / "none").run(resume=True)


def test_resume_refuses_other_data(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """A checkpoint of one data set can't be continued on another."""
    make(hrm, training, sessions, tmp_path).run()
    with pytest.raises(ResumeError, match=r"data\.span_ns"):
        make(hrm, training, sessions.select(np.arange(10)), tmp_path).run(resume=True)
    with pytest.raises(ResumeError, match=r"data\.sessions"):  # the same days at other prices
        make(hrm, training, replace(sessions, bars=sessions.bars * 1.5), tmp_path).run(resume=True)


def test_what_was_killed_behind_its_last_step_is_the_same_as_what_was_not(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """All steps are done and no model is written: the model and its validation come again."""
    whole = make(hrm, training, sessions, tmp_path).run()
    again = make(hrm, training, sessions, tmp_path).run(resume=True)
    assert weights(again.model) == weights(whole.model)
    assert whole.validation is not None
    assert again.validation is not None
    assert (again.validation.step, again.validation.pnl_bp) == (whole.validation.step, whole.validation.pnl_bp)


def test_a_new_run_keeps_no_checkpoint_of_an_earlier_one(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """A longer run was here: the new one can be gone on with, and is never rolled back to the other's weights."""
    make(hrm, training, sessions, tmp_path).run()
    shorter = training.model_copy(update={"steps": 4, "seed": 9})
    whole = make(hrm, shorter, sessions, tmp_path / "alone").run()
    stopped = make(hrm, shorter, sessions, tmp_path, StopAfter(2, signal.SIGTERM)).run()
    assert stopped.step == 2
    assert weights(make(hrm, shorter, sessions, tmp_path).run(resume=True).model) == weights(whole.model)


class Poison:
    """A source whose sessions hold an infinite return from some step on, for a number of takes."""

    def __init__(self, source: StoredSource, step: int, times: int) -> None:
        self._source, self._step, self._times = source, step, times
        self.symbols, self.intervals, self.span_ns = source.symbols, source.intervals, source.span_ns
        self.content = source.content

    def take(self, seed: int, step: int, rank: int, world: int, count: int) -> tuple[Sessions, np.ndarray]:
        """Spoil the expectations, which the target reads."""
        sessions, rows = self._source.take(seed, step, rank, world, count)
        if step == self._step and self._times:
            self._times -= 1
            sessions = replace(sessions, expected_bp=np.full_like(sessions.expected_bp, np.inf))
        return sessions, rows


def poisoned(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, folder: Path, times: int, notes: Notes
) -> Trainer:
    """Return a trainer whose fifth step is spoilt ``times`` times."""
    training = training.model_copy(update={"target": Target.CONDITIONAL_MEAN, "guard": GuardSettings(max_rollbacks=2)})
    source = Poison(StoredSource(sessions, 4), 4, times)
    return Trainer(hrm, DeepSupervisionSettings(), training, source, None, folder, observers=(notes,))


def test_divergence_rolls_back_with_a_lower_rate(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """A step that blows up returns to the last checkpoint with half the rate, and training ends well."""
    notes = Notes()
    result = poisoned(hrm, training, sessions, tmp_path, 1, notes).run()
    rollbacks = [note for note in notes if isinstance(note, NoteReport)]
    assert [note.kind for note in rollbacks] == ["rollback"]
    assert "back to step 4, rate × 0.5" in rollbacks[0].text
    assert result.step == 6
    assert all(bool(tensor.isfinite().all()) for tensor in result.model.state_dict().values())


def test_divergence_stops_after_the_allowed_rollbacks(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """The third explosion in a row ends the run with one clear line."""
    with pytest.raises(DivergedError, match="after 2 rollbacks; lower training_params"):
        poisoned(hrm, training, sessions, tmp_path, 9, Notes()).run()


def test_a_jump_of_the_gradient_counts_as_divergence(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """A norm over the allowed multiple of the usual one is refused before the weights move."""
    guard = GuardSettings(explode_factor=1.0001, max_rollbacks=0)
    with pytest.raises(DivergedError, match="gradient norm"):
        make(hrm, training.model_copy(update={"guard": guard, "steps": 60}), sessions, tmp_path).run()


def test_the_best_weights_can_be_chosen_and_survive_a_stop(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """With `select` best a run ends with the weights of its best validation, stopped after it or not."""
    chosen = training.model_copy(update={"select": Select.BEST, "validate_every": 1, "seed": 4})
    notes = Notes()
    whole = make(hrm, chosen, sessions, tmp_path / "a", notes).run()
    best = [note.step for note in notes if isinstance(note, ValidationReport) and note.best][-1]
    assert best < 6, "the market is noise to a network this young: some earlier step validates better than the last"
    make(hrm, chosen, sessions, tmp_path / "b", StopAfter(best, signal.SIGTERM)).run()
    resumed = make(hrm, chosen, sessions, tmp_path / "b").run(resume=True)
    assert weights(resumed.model) == weights(whole.model)
    assert (resumed.best_step, resumed.best_bp) == (whole.best_step, whole.best_bp) == (best, whole.best_bp)
    worse = Notes()
    last = make(hrm, chosen.model_copy(update={"select": Select.LAST}), sessions, tmp_path / "c", worse).run()
    assert weights(last.model) != weights(whole.model)
    for told, ends in ((notes, f"the model is that of step {best}"), (worse, "the model is the last all the same")):
        (said,) = (note.text for note in told if isinstance(note, NoteReport) and note.kind == "worse")
        assert said.startswith(f"step {best} had ")
        assert ends in said


@pytest.mark.parametrize(("segments", "told"), [(3, 1), (4, 0)])
def test_a_depth_that_is_not_taught_is_told(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path, segments: int, told: int
) -> None:
    """Decisions may take four segments."""
    notes, short = Notes(), training.model_copy(update={"steps": 1, "checkpoint_every": 1})
    make(hrm, short, sessions, tmp_path, notes, supervision=DeepSupervisionSettings(segments=segments)).run()
    said = [note.text for note in notes if isinstance(note, NoteReport) and note.kind == "depth"]
    assert len(said) == told
    assert all(text.startswith("deep_supervision.segments 3: decisions of this model will ") for text in said)


def test_the_share_of_explored_rows_is_the_one_of_the_settings(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """`act.exploration`: none of the rows must think on, or all of them."""
    rng = np.random.default_rng(1)
    for share in (0.0, 1.0):
        own = hrm.model_copy(update={"act": hrm.act.model_copy(update={"exploration": share})})
        minimum = make(own, training, sessions, tmp_path / str(share))._minimum(100, rng)
        assert (minimum > 1).all() if share else (minimum == 1).all()


def test_slow_convergence_is_noticed(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """A run whose validation does not improve says so."""
    notes = Notes()
    slow = training.model_copy(
        update={
            "optimizer": OptimizerSettings(learning_rate=1e-12),
            "guard": GuardSettings(patience=1),
            "validate_every": 1,
        }
    )
    make(hrm, slow, sessions, tmp_path, notes).run()
    assert any(isinstance(note, NoteReport) and note.kind == "slow" for note in notes)


def test_unfit_settings_and_data_are_refused(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """Carried states, a filter target with late fills and too few sessions each give one line that names the key."""
    carrying = hrm.model_copy(update={"carry_state": CarryState.SESSION})
    with pytest.raises(TrainingError, match="carry_state"):
        make(carrying, training, sessions, tmp_path)
    late = training.model_copy(update={"target": Target.CONDITIONAL_MEAN, "fill": Fill.NEXT_CLOSE})
    with pytest.raises(TrainingError, match=r"training_params\.fill"):
        make(hrm, late, sessions, tmp_path)
    with pytest.raises(DataError, match="24 sessions to train on"):
        make(hrm, training.model_copy(update={"min_sessions": 25}), sessions, tmp_path)


def gradients(hrm: HRMSettings, sessions: Sessions, tmp_path: Path, training: TrainingSettings) -> list[torch.Tensor]:
    """Return the gradients of the first segment of a first step."""
    trainer = make(hrm, training, sessions, tmp_path)
    batch, cost = trainer.batch(0)
    kept: list[torch.Tensor] = []

    def update() -> float:
        kept.extend(p.grad.clone() for p in trainer.model.parameters() if p.grad is not None)
        return 0.0

    settings = StepSettings(DeepSupervisionSettings(segments=1), training.rows_at_once, training.precision, 10.0)
    targets = Targets.of(batch, cost, torch.device("cpu"))
    objective = expected_profit(targets, training.objective, Weights(1.0, 0.3, False))
    train_step(trainer.model, batch.features, objective, settings, update, None)
    return kept


def test_pieces_give_the_gradient_of_the_whole(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """Working through 7 rows at a time gives the gradients of all rows at once, to rounding."""
    whole = gradients(hrm, sessions, tmp_path, training)
    pieces = gradients(hrm, sessions, tmp_path, training.model_copy(update={"rows_at_once": 7}))
    assert len(whole) == len(pieces) > 0
    for one, other in zip(whole, pieces, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_bf16_trains(hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path) -> None:
    """Mixed precision gives finite weights that differ from fp32's, with piecewise passes and labels at the start."""
    objective = training.objective.model_copy(update={"warm_start_steps": 1})
    mixed = training.model_copy(
        update={"precision": Precision.BF16, "rows_at_once": 11, "objective": objective, "steps": 3}
    )
    result = make(hrm, mixed, sessions, tmp_path / "a").run()
    assert all(bool(tensor.isfinite().all()) for tensor in result.model.state_dict().values())
    plain = make(hrm, mixed.model_copy(update={"precision": Precision.FP32}), sessions, tmp_path / "b").run()
    assert weights(plain.model) != weights(result.model)


def test_a_loss_that_is_not_finite_stops_before_any_update(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """NaN returns raise before `update` is called."""
    trainer = make(hrm, training, sessions, tmp_path)
    batch, cost = trainer.batch(0)
    spoilt = replace(batch, returns_bp=np.full_like(batch.returns_bp, np.nan))
    settings = StepSettings(DeepSupervisionSettings(), 4096, Precision.FP32, 10.0)
    targets = Targets.of(spoilt, cost, torch.device("cpu"))
    objective = expected_profit(targets, training.objective, Weights(1.0, 0.0, False))
    with pytest.raises(ExplodedError):
        train_step(trainer.model, batch.features, objective, settings, pytest.fail, None)


def test_flat_baseline_has_the_same_weights_and_trains(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """The flat network has the HRM's number of core weights, trains reproducibly, and refuses unequal widths."""

    def flat(folder: str, settings: HRMSettings = hrm) -> Trainer:
        return Trainer(
            settings,
            DeepSupervisionSettings(segments=2),
            training,
            StoredSource(sessions, 4),
            Validation(sessions),
            tmp_path / folder,
            build=lambda used, names: FlatNetwork(used.network(), names),
        )

    one, other = flat("a").run().model, flat("b").run().model
    assert isinstance(one, FlatNetwork)
    assert weights(one) == weights(other)
    counts = [
        sum(p.numel() for p in model.core.parameters())
        for model in (one, make(hrm, training, sessions, tmp_path).model)
    ]
    assert counts[0] == counts[1]
    wide = hrm.shape.model_copy(update={"h_dim": 32})
    with pytest.raises(TrainingError, match="h_dim = l_dim"):
        flat("c", hrm.model_copy(update={"architecture": {"small": wide}}))


@pytest.mark.slow
def test_training_learns_a_market_without_noise(hrm: HRMSettings, tmp_path: Path) -> None:
    """Where the drift is plain to see a short run earns most of what the best trader earns."""
    easy = HiddenRegimeMarket(bars=16, drift_bp=8.0, stay_trend=0.97, stay_flat=0.9, vol_bp=(2.0, 2.5), cost_bp=1.0)
    training = TrainingSettings(
        steps=80,
        batch_sessions=12,
        target=Target.CONDITIONAL_MEAN,
        validate_every=80,
        checkpoint_every=80,
        estimate_sessions=200,
    )
    validation = simulated_sessions(easy, 50, seed=77)
    notes = Notes()
    best = np.maximum(np.abs(np.nan_to_num(validation.expected_bp)).reshape(50, 16).sum(axis=1) - 2.0, 0.0)
    Trainer(
        hrm,
        DeepSupervisionSettings(segments=1),
        training,
        FreshSource(lambda n, seed: simulated_sessions(easy, n, seed)),
        Validation(validation, best),
        tmp_path,
        observers=(notes,),
    ).run()
    report = next(note for note in notes if isinstance(note, ValidationReport))
    assert report.share is not None
    assert report.share[0] > 0.6


def test_the_q_head_learns_what_going_on_is_worth_on_average(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """A rare large gain outweighs many small costs, and a gain two segments ahead counts as one that comes next."""
    trainer = make(hrm, training, sessions, tmp_path)
    model, cost_bp = trainer.model, 0.5
    supervision = DeepSupervisionSettings(segments=3, segment_cost_bp=cost_bp)
    settings = StepSettings(supervision, 4096, Precision.FP32, 10.0)
    draw = torch.Generator().manual_seed(5)
    first, second, third = (Latent(torch.randn(8, 5, 16, generator=draw), torch.zeros(8, 5, 16)) for _ in range(3))
    nothing, rare = torch.zeros(8), torch.tensor([16.0, 0, 0, 0, 0, 0, 0, 0])
    optimizer = torch.optim.SGD(model.heads.q.parameters(), lr=0.02)

    def worth(z: Latent) -> float:
        q = model.heads.q(z.z_H[:, 0])
        return (q[:, 1] - q[:, 0]).mean().item()

    with torch.no_grad():
        for z in (first, second):
            z.z_H.copy_(z.z_H[:1].expand_as(z.z_H))  # rows alike: only the average can be learned
    for _ in range(300):
        optimizer.zero_grad()
        loss = q_loss(model, second, third, rare, settings, last=True)
        loss = loss + q_loss(model, first, second, nothing, settings, last=False)
        loss.backward()
        optimizer.step()
    assert worth(second) == pytest.approx((2.0 - cost_bp) / 10, abs=0.01)
    assert worth(first) == pytest.approx((2.0 - 2 * cost_bp) / 10, abs=0.01)


def test_a_process_that_is_done_still_votes_and_updates(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """Where other processes still think, one whose rows have all halted takes as many updates and votes as they do."""
    trainer = make(hrm, training, sessions, tmp_path)
    with torch.no_grad():
        trainer.model.heads.q.bias.copy_(torch.tensor([5.0, -5.0]))  # every row wants to halt at once
    batch, cost = trainer.batch(0)
    targets = Targets.of(batch, cost, torch.device("cpu"))
    settings = StepSettings(DeepSupervisionSettings(segments=3), 4096, Precision.FP32, 10.0)
    votes, updates = list[bool](), list[int]()

    def run(others: list[bool]) -> int:
        """Train with what other processes answer; return the segments that were run here."""
        votes.clear()
        updates.clear()
        answers = iter(others)

        def anyone(flag: bool) -> bool:
            votes.append(flag)
            return next(answers)

        def update() -> float:
            updates.append(1)
            zero_gradients(trainer.model)
            return 0.0

        objective = expected_profit(targets, training.objective, Weights(1.0, 0.0, False))
        first = np.ones(len(batch.features), np.int64)
        return len(train_step(trainer.model, batch.features, objective, settings, update, first, anyone))

    assert run([False, True, False, True, False, True]) == 1
    assert len(updates) == 3
    assert votes == [False] * 6
    assert run([False, True, False, False]) == 1
    assert len(updates) == 2
    with pytest.raises(ExplodedError, match="another process"):
        run([False, True, True])
