"""Small networks of any shape and observations for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.config import HRMSettings
from models.errors import RuntimeUnavailable
from models.features import Features
from models.hrm import HRM
from models.native.build import VARIANTS, load_kernel
from models.runtimes.choice import blank_features
from models.vocabulary import Vocabularies

SMALL: dict[str, object] = {
    "h_dim": 32, "h_layers": 2, "h_heads": 2, "l_dim": 24, "l_layers": 1, "l_heads": 2, "input_layers": 1,
    "h_cycles": 3, "l_steps": 2,
}  # fmt: skip
Network = Callable[..., HRM]
Observed = Callable[..., Features]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Models are tested as they run: on one intra-op thread."""
    torch.set_num_threads(1)


@pytest.fixture(params=list(VARIANTS))
def variant(request: pytest.FixtureRequest) -> str:
    """Each kind of processor that the kernel is built for."""
    return str(request.param)


@pytest.fixture(params=["fp32", "int16", "bf16", "int8"])
def precision(request: pytest.FixtureRequest, kernels: Path, variant: str) -> str:
    """Each precision that this machine has the variant of the kernel for; the others are skipped with the reason."""
    try:
        load_kernel(request.param, kernels, variants=[variant])
    except RuntimeUnavailable as error:
        pytest.skip(str(error))
    return str(request.param)


@pytest.fixture(scope="session")
def network() -> Network:
    """Draw a network with decided heads: untrained ones answer close to zero, which would hide any error."""
    return make_network


@pytest.fixture(scope="session")
def observed() -> Observed:
    """Draw features for a network."""
    return make_features


def make_settings(shape: dict[str, object] | None = None, **features: int) -> HRMSettings:
    """Settings of a small network."""
    window = {"window": 20, "patch": 5, "min_bars": 6, "coarse_window": 4}
    return HRMSettings.model_validate(
        {"profile": "small", "architecture": {"small": SMALL | (shape or {})}, "features": window | features}
    )


def make_network(shape: dict[str, object] | None = None, **features: int) -> HRM:
    """A seeded network whose heads and position weights are as large as trained ones."""
    vocabularies = Vocabularies().grow(["AAA", "BBB"], ["5m", "30m"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = HRM(make_settings(shape, **features).network(), vocabularies).eval()
        with torch.no_grad():
            heads = model.heads
            for head in (heads.policy, heads.quantity, heads.value, heads.q, model.input.position):
                head.weight.normal_(0, head.in_features**-0.5)
    return model


def make_features(model: HRM, rows: int = 3, *, masked: bool = True, seed: int = 0) -> Features:
    """Random features; with `masked` half of the rows miss their oldest patches or the coarse token."""
    rng = np.random.default_rng(seed)
    blank = blank_features(model.config, rows)
    valid = blank.valid.copy()
    if masked:
        valid[::2, 1:3] = False
        valid[1::2, -3] = False
    return Features(
        patches=rng.normal(0, 1, blank.patches.shape).astype(np.float32),
        coarse=rng.normal(0, 1, blank.coarse.shape).astype(np.float32),
        calendar=rng.normal(0, 1, blank.calendar.shape).astype(np.float32),
        position=rng.normal(0, 1, blank.position.shape).astype(np.float32),
        instrument=rng.integers(0, 3, rows),
        timeframe=rng.integers(0, 3, rows),
        coarse_timeframe=rng.integers(0, 3, rows),
        valid=valid,
        side=rng.integers(0, 3, rows),
        complexity=rng.random(rows),
    )
