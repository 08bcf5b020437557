"""Tests of optimizers, schedules, checkpoints, reports and distributed gradients."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from rich.console import Console
from torch import nn

from models.training import checkpointing as ck
from models.training.distributed import Group, join_group
from models.training.errors import ResumeError
from models.training.loss import Weights, improvement_bp, segment_loss, session_costs
from models.training.optim import AdamATan2, MovingAverage, learning_rate, make_optimizer
from models.training.progress import LiveView, MetricsFile, NoteReport, StepReport, TensorBoardFiles, ValidationReport
from models.training.settings import CostStep, ObjectiveSettings, Optimizer, OptimizerSettings, TrainingSettings
from models.training.step import SegmentReport


def test_atan2_does_not_feel_the_gradient_scale() -> None:
    """Gradients a thousand times larger give the same steps, which AdamW's epsilon would change near zero."""
    ends = []
    for scale in (1e-9, 1e-6):
        weight = nn.Parameter(torch.tensor([[1.0, -2.0]]))
        optimizer = AdamATan2([weight], 0.1, (0.9, 0.95), 0.0)
        for _ in range(5):
            weight.grad = scale * torch.tensor([[1.0, -3.0]])
            optimizer.step()
        ends.append(weight.detach().clone())
    assert torch.allclose(ends[0], ends[1])
    assert ends[0][0, 0] < 1.0 - 0.4
    assert ends[0][0, 1] > -2.0 + 0.4


def test_atan2_first_step_is_the_learning_rate_and_skips_what_has_no_gradient() -> None:
    """With one gradient atan2(1, 1)·1.27 is about 1; a weight without gradient stays; the closure's loss comes back."""
    moved, still = nn.Parameter(torch.ones(1, 1)), nn.Parameter(torch.ones(1, 1))
    optimizer = AdamATan2([moved, still], 0.01, (0.9, 0.95), 0.5)

    def closure() -> float:
        moved.grad = torch.ones(1, 1)
        return 7.0

    assert optimizer.step(closure) == 7.0
    assert float(moved.detach()) == pytest.approx(1 - 0.01 * 0.5 - 0.01, abs=1e-4)
    assert float(still.detach()) == 1.0


@pytest.mark.parametrize("name", list(Optimizer))
def test_vectors_are_not_decayed(name: Optimizer) -> None:
    """Weight decay is set for matrices and not for biases."""
    settings = OptimizerSettings(name=name, weight_decay=0.3)
    groups = make_optimizer(nn.Linear(2, 2), settings).param_groups
    assert [(group["weight_decay"], group["params"][0].ndim) for group in groups] == [(0.3, 2), (0.0, 1)]


def test_rate_warms_up_and_falls() -> None:
    """A tenth at the first of ten warm-up steps, near the peak after it, the final share at the end."""
    settings = OptimizerSettings(learning_rate=1.0, warmup_steps=10, final_rate=0.1)
    rates = [learning_rate(step, 1_000, settings) for step in range(1_000)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[-1] == pytest.approx(0.1)
    assert all(one >= other for one, other in itertools.pairwise(rates[10:]))


def test_moving_average_forgets_the_start() -> None:
    """After the weights jump from 0 to 1 and stay, the average nears 1, early updates counting more."""
    layer = nn.Linear(1, 1)
    nn.init.zeros_(layer.weight)
    average = MovingAverage(layer, 0.99)
    nn.init.ones_(layer.weight)
    average.update(layer, 0)
    assert float(average.weights["weight"]) == pytest.approx(0.9)
    for i in range(1, 200):
        average.update(layer, i)
    assert float(average.weights["weight"]) > 0.99


def state(step: int, **fingerprint: str) -> ck.TrainingState:
    """Return a small training state."""
    weights = {"w": torch.arange(4.0)}
    return ck.TrainingState(
        step, step, weights, {}, weights, {}, {"state": {}, "param_groups": []}, 1.0, 1.0, 0, 2.0, 0, 0, fingerprint
    )


def test_checkpoints_come_back_and_old_ones_go(tmp_path: Path) -> None:
    """The newest is read back with its values; only as many as asked for are kept; no partial file stays."""
    for step in (1, 2, 3):
        ck.save_state(tmp_path, state(step, a="1"), keep=2)
    newest = ck.newest_state(tmp_path)
    assert newest is not None
    assert (newest.step, newest.best, newest.fingerprint) == (3, 2.0, {"a": "1"})
    assert torch.equal(newest.model["w"], torch.arange(4.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000002.ckpt", "step_00000003.ckpt"]


def test_every_torn_byte_is_noticed(tmp_path: Path) -> None:
    """A flipped byte, a cut end and an unreadable file are refused; with nothing whole left that is said."""
    path = ck.save_state(tmp_path, state(1), keep=1)
    whole = path.read_bytes()
    for broken in (whole[:-1], whole[: len(whole) // 2], b"", bytes([whole[0] ^ 1]) + whole[1:]):
        path.write_bytes(broken)
        with pytest.raises(ResumeError, match="torn or was changed"):
            ck.newest_state(tmp_path)
    with pytest.raises(ResumeError, match="can't be read"):
        ck.load_state(tmp_path / "none.ckpt")
    assert ck.newest_state(tmp_path / "empty") is None


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    """One whose fields are not today's: one line, not a fault."""
    buffer = io.BytesIO()
    torch.save({"step": 1}, buffer)
    path = tmp_path / "step_00000001.ckpt"
    path.write_bytes(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())
    with pytest.raises(ResumeError, match=r"step_00000001\.ckpt: the checkpoint was written by another version"):
        ck.newest_state(tmp_path)


def test_changed_settings_are_named() -> None:
    """The first three changed keys are named with both values, the rest counted."""
    one = ck.fingerprint(a={"x": {"y": 1}, "z": (1, 2)}, b={"p": 1, "q": 1, "r": 1})
    assert one["a.x.y"] == "1"
    ck.check_fingerprint(one, dict(one))
    other = ck.fingerprint(a={"x": {"y": 2}, "z": (1, 2)}, b={"p": 2, "q": 2, "s": 1})
    with pytest.raises(ResumeError, match=r"a\.x\.y was 1, is 2; .* and 2 more"):
        ck.check_fingerprint(one, other)


SEGMENT = SegmentReport(loss=-0.5, pnl_bp=3.0, q_loss=0.1, gradient_norm=1.0, active=1.0, change=0.2)
STEP = StepReport(7, 10, [SEGMENT, SEGMENT], 1e-3, 2.0, 512.0, 112)
VALIDATION = ValidationReport(7, [3.0, 4.0], [0.4, 0.5], True)
NOTE = NoteReport(7, "rollback", "back")


def test_metrics_are_one_json_object_a_line(tmp_path: Path) -> None:
    """Each report becomes a line with its kind and figures."""
    metrics = MetricsFile(tmp_path / "deep" / "metrics.jsonl")
    for report in (STEP, VALIDATION, NOTE):
        metrics(report)
    lines = [json.loads(line) for line in (tmp_path / "deep" / "metrics.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["step", "validation", "rollback"]
    assert lines[0]["segments"][1]["pnl_bp"] == 3.0
    assert lines[1]["share"] == [0.4, 0.5]


def test_what_never_took_a_step_leaves_no_metrics(tmp_path: Path) -> None:
    """What was told of its files is written with the first step, before it."""
    metrics = MetricsFile(tmp_path / "deep" / "metrics.jsonl")
    metrics(NoteReport(0, "data", "x: two bars"))
    assert not (tmp_path / "deep").exists()
    metrics(STEP)
    lines = [json.loads(line) for line in (tmp_path / "deep" / "metrics.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["data", "step"]


def test_tensorboard_files_hold_the_figures(tmp_path: Path) -> None:
    """Every segment and depth under its name at its step; a note has no figure."""
    pb = pytest.importorskip("tensorboardX.proto.event_pb2")
    files = TensorBoardFiles(tmp_path)
    for report in (STEP, VALIDATION, NOTE, ValidationReport(8, [1.0], None, False)):
        files(report)
    files.close()
    (path,) = tmp_path.glob("events.*")
    left, found = path.read_bytes(), {}
    while left:  # records of length, its checksum, an event, its checksum
        size = int.from_bytes(left[:8], "little")
        event = pb.Event.FromString(left[12 : 12 + size])
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        left = left[16 + size :]
    assert found["loss/segment_2", 7] == found["loss/segment_1", 7] == -0.5
    assert (found["depth", 7], found["memory_MB", 7]) == (2.0, 512.0)
    assert (found["validation_bp/depth_2", 7], found["validation_bp/depth_1", 8]) == (4.0, 1.0)
    assert found["share_of_the_best/depth_2", 7] == 0.5
    assert ("share_of_the_best/depth_1", 8) not in found


def test_live_view_shows_the_figures() -> None:
    """Loss by segment, depth, memory, validation with its share and notes all appear on the terminal."""
    text = io.StringIO()
    with LiveView(Console(file=text, width=200, force_terminal=True, color_system=None)) as view:
        for report in (STEP, VALIDATION, NOTE, ValidationReport(8, [1.0], None, False)):
            view(report)
    shown = text.getvalue()
    for piece in (
        "-0.500 -0.500",
        "depth 2.00",
        "512 MB",
        "40.0 %, 50.0 %",
        "rollback: back",
        "validation at depth 1: 1.00 bp",
    ):
        assert piece in shown


def test_costs_follow_their_dates() -> None:
    """Before, between and after the entries the right cost holds."""
    steps = (CostStep(since=date(2020, 1, 1), cost_bp=2.0), CostStep(since=date(2026, 4, 1), cost_bp=3.0))
    days = np.array(["2012-01-01", "2020-01-01", "2026-03-31", "2026-04-01"], dtype="datetime64[ns]").astype(np.int64)
    assert session_costs(days, steps).tolist() == [2.0, 2.0, 2.0, 3.0]


def test_settings_refuse_what_contradicts_itself() -> None:
    """Unknown keys, unordered costs and none at all are refused."""
    with pytest.raises(ValidationError, match="extra"):
        TrainingSettings(stepz=3)  # type: ignore[call-arg]
    backwards = (CostStep(since=date(2026, 1, 1), cost_bp=3.0), CostStep(since=date(2020, 1, 1), cost_bp=2.0))
    for costs in (backwards, ()):
        with pytest.raises(ValidationError, match="costs: at least one entry"):
            ObjectiveSettings(costs=costs)


def test_costs_ramp_and_entropy_fades() -> None:
    """Half-way up the ramp half the cost; without a ramp all of it from the start."""
    settings = ObjectiveSettings(cost_ramp=0.5, entropy_bp=0.4, warm_start_steps=3)
    assert Weights.at(25, 100, settings) == Weights(0.5, pytest.approx(0.3), False)
    assert Weights.at(99, 100, settings).cost_scale == 1.0
    assert Weights.at(2, 100, settings).labels
    assert Weights.at(0, 100, settings.model_copy(update={"cost_ramp": 0.0})).cost_scale == 1.0


def test_improvement_is_the_exact_effect_of_one_changed_decision() -> None:
    """Changing one decision's logits changes expected profit by what `improvement_bp` says."""
    from models.training.loss import Targets

    generator = torch.Generator().manual_seed(1)
    policy = torch.randn(2, 6, 3, 5, generator=generator)
    changed = policy.clone()
    changed[0, 3] += torch.randn(3, 5, generator=generator)
    returns = 10 * torch.randn(2, 6, generator=generator)
    targets = Targets(returns, returns.square(), torch.ones(2, 6, dtype=torch.bool), torch.full((2,), 1.0))
    settings, now = ObjectiveSettings(), Weights(1.0, 0.0, False)
    size, value = torch.ones(2, 6), torch.zeros(2, 6, 3)
    before, after = (segment_loss(logits, size, value, targets, settings, now) for logits in (policy, changed))
    gain = improvement_bp(before, after)
    assert float(gain.sum()) == pytest.approx(2 * (after.pnl_bp - before.pnl_bp), abs=1e-4)
    assert int((gain.abs() > 1e-6).sum()) == 1


def test_one_process_communicates_nothing() -> None:
    """A group of one leaves gradients and flags as they are, and is what comes without torchrun."""
    assert join_group() == (Group(0, 1), "cpu")
    layer = nn.Linear(2, 1)
    layer.weight.grad = torch.ones(1, 2)
    Group().average_gradients(layer)
    assert torch.equal(layer.weight.grad, torch.ones(1, 2))
    assert Group().any(True)
    assert not Group().any(False)


RANKS = """
import torch
from torch import nn
from models.training.distributed import join_group
group, _ = join_group()
assert (group, "cpu") == join_group()
layer = nn.Linear(2, 1)
if group.rank == 0:
    layer.weight.grad = torch.full((1, 2), 4.0)
group.average_gradients(layer)
assert torch.equal(layer.weight.grad, torch.full((1, 2), 2.0)), layer.weight.grad
assert torch.equal(layer.bias.grad, torch.zeros(1))
assert group.any(group.rank == 1)
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_average_their_gradients(tmp_path: Path) -> None:
    """Under torchrun's environment two ranks end with the mean gradient, absent ones counted as zero."""
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    root = Path(__file__).parents[4]
    base = {
        **os.environ,
        "PYTHONPATH": str(root),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29517",
    }
    ranks = [
        subprocess.Popen([sys.executable, str(script)], env={**base, "RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in (0, 1)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
