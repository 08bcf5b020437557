"""The native kernel against torch: the same numbers, whatever the shape, the mask, the batch or the reset."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.act import HeadValues, one_cycle
from models.errors import RuntimeUnavailable
from models.native.build import VARIANTS, load_kernel
from models.runtime import TorchRunner
from models.runtimes.native import NativeRunner
from tests.depth import examples
from tests.unit.models.runtimes.conftest import Network, Observed, make_features, make_network

TOLERANCE = {"fp32": 1e-4, "int16": 0.005, "bf16": 0.06, "int8": 0.2}
"""Mean error of a head after two segments; heads are of order 1 and errors grow with depth."""
ROWS = 24
"""Enough that the mean says something: a single row on an edge may be ten times as far off as the others."""


def differences(own: HeadValues, reference: HeadValues) -> list[NDArray[np.float32]]:
    """Absolute differences of each reading; a mask must be the same mask."""
    found = []
    for name in HeadValues.__slots__:
        one, two = getattr(own, name), getattr(reference, name)
        assert one.shape == two.shape
        assert (np.isfinite(one) == np.isfinite(two)).all()
        found.append(np.abs(one[np.isfinite(one)] - two[np.isfinite(two)]))
    return found


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"l_dim": 32, "input_layers": 0},
        {"l_reset": "hard"},
        {"l_reset": "soft", "soft_reset_keep": 0.3},
        {"l_reset": "learned", "gradient": "last_cycle"},
        {"h_dim": 96, "h_heads": 1, "l_dim": 20, "l_heads": 5},
    ],
    ids=["crossing", "equal", "hard", "soft", "learned", "odd"],
)
def test_it_answers_what_torch_answers(
    shape: dict[str, object], precision: str, kernels: Path, variant: str, network: Network, observed: Observed
) -> None:
    """Heads, changes and state of two segments, with missing tokens, within what the precision allows."""
    model = network(shape)
    features = observed(model, ROWS)
    native, reference = (
        NativeRunner(model.weights(), precision=precision, cache=kernels, variants=[variant]),
        TorchRunner(model),
    )
    x, y = native.embed(features), reference.embed(features)
    state, other = native.start(features, 4, None), reference.start(features, 4, None)
    for _ in range(2):
        values, state = native.segment(x, state)
        wanted, other = reference.segment(y, other)
        assert max(found.mean() for found in differences(values, wanted)) < TOLERANCE[precision]
    assert (state.segments.tolist(), state.cycles.tolist()) == ([2] * ROWS, other.cycles.tolist())
    assert state.budget.tolist() == [2] * ROWS


@pytest.mark.parametrize("variant", list(VARIANTS))
@given(
    h_heads=st.integers(1, 3),
    h_half=st.integers(1, 20),
    l_heads=st.integers(1, 3),
    l_half=st.integers(1, 20),
    layers=st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(1, 2)),
    steps=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    patches=st.integers(1, 30),
    rows=st.integers(1, 5),
    masked=st.booleans(),
)
@hypothesis_settings(max_examples=examples(40), suppress_health_check=[HealthCheck.too_slow])
def test_any_shape_is_right(
    h_heads: int,
    h_half: int,
    l_heads: int,
    l_half: int,
    layers: tuple[int, int, int],
    steps: tuple[int, int],
    patches: int,
    rows: int,
    masked: bool,
    variant: str,
    kernels: Path,
) -> None:
    """Widths, heads, tokens and batches that fill no vector are computed like those that do (fp32, one segment)."""
    try:
        load_kernel("fp32", kernels, variants=[variant])
    except RuntimeUnavailable as error:
        pytest.skip(str(error))
    shape: dict[str, object] = {
        "h_dim": 2 * h_half * h_heads, "h_heads": h_heads, "h_layers": layers[1],
        "l_dim": 2 * l_half * l_heads, "l_heads": l_heads, "l_layers": layers[2],
        "input_layers": layers[0], "h_cycles": steps[0], "l_steps": steps[1],
    }  # fmt: skip
    model = make_network(shape, window=5 * patches, min_bars=2)
    features = make_features(model, rows, masked=masked and patches > 2)
    native, reference = (
        NativeRunner(model.weights(), precision="fp32", cache=kernels, variants=[variant]),
        TorchRunner(model),
    )
    values, _ = native.segment(native.embed(features), native.start(features, 1, None))
    wanted, _ = reference.segment(reference.embed(features), reference.start(features, 1, None))
    assert max(found.max() for found in differences(values, wanted)) < 1e-3


def test_a_row_is_independent_of_its_batch(
    precision: str, kernels: Path, variant: str, network: Network, observed: Observed
) -> None:
    """Alone or among others, with or without others' masks: the same bits."""
    model = network()
    features = observed(model, 7)
    runner = NativeRunner(model.weights(), precision=precision, cache=kernels, variants=[variant], settled_below=0.3)
    together, state = runner.segment(runner.embed(features), runner.start(features, 1, None))
    for row in range(7):
        one = features.take(np.array([row]))
        alone, own = runner.segment(runner.embed(one), runner.start(one, 1, None))
        for name in HeadValues.__slots__:
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(together, name)[row])
        np.testing.assert_array_equal(own.z_h[0], state.z_h[row])
        assert own.cycles[0] == state.cycles[row]


@pytest.mark.parametrize("shape", [{}, {"h_dim": 96, "h_heads": 1, "l_dim": 20, "l_heads": 5}], ids=["even", "odd"])
def test_without_masked_tokens_the_answers_are_the_same_bits(
    shape: dict[str, object], precision: str, kernels: Path, variant: str, network: Network, observed: Observed
) -> None:
    """Two segments, and whatever an observation that was no number has left in the place of a masked token."""
    model = network(shape)
    features, broken = observed(model, 7), observed(model, 7, masked=False)
    broken.patches[:] = np.nan
    runner = NativeRunner(model.weights(), precision=precision, cache=kernels, variants=[variant], settled_below=0.3)
    found = []
    for one in (runner, runner.briefly()):
        one.segment(one.embed(broken), one.start(broken, 1, None))
        x, state = one.embed(features), one.start(features, 4, None)
        first, state = one.segment(x, state)
        second, state = one.segment(x, state)
        found.append((first, second, state))
    (*whole, full), (*brief, short) = found
    for one, other in zip(whole, brief, strict=True):
        for name in HeadValues.__slots__:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(full.z_h[features.valid], short.z_h[features.valid])
    assert not np.array_equal(full.z_h, short.z_h)
    assert full.cycles.tolist() == short.cycles.tolist()


def test_a_settled_row_stops_alone(
    kernels: Path, variant: str, network: Network, observed: Observed, precision: str
) -> None:
    """Rows settle at their own cycle, keep their state from there, and repeat their last change, as in torch."""
    model = network({"h_cycles": 6})
    features = observed(model, 16, masked=False)
    settled_below = 0.35
    native = NativeRunner(
        model.weights(), precision=precision, cache=kernels, variants=[variant], settled_below=settled_below
    )
    values, state = native.segment(native.embed(features), native.start(features, 1, None))
    ran = state.cycles
    assert len(set(ran.tolist())) > 1
    for row, cycles in enumerate(ran):
        changes = np.maximum(values.change_h[row], values.change_l[row])
        assert (changes[: cycles - 1] >= settled_below).all()
        assert cycles == 6 or changes[cycles - 1] < settled_below
        assert (values.change_h[row, cycles - 1 :] == values.change_h[row, -1]).all()
    if precision == "fp32":
        reference = TorchRunner(model, settled_below=settled_below)
        _, other = reference.segment(reference.embed(features), reference.start(features, 1, None))
        assert ran.tolist() == other.cycles.tolist()


def test_a_single_cycle_is_one_cycle(
    kernels: Path, variant: str, network: Network, observed: Observed, precision: str
) -> None:
    """The simplified runner shares the weights, runs one cycle, and leaves the other as it was."""
    model = network()
    features = observed(model)
    runner = NativeRunner(model.weights(), precision=precision, cache=kernels, variants=[variant])
    simple = one_cycle(runner)
    _, state = simple.segment(simple.embed(features), simple.start(features, 1, None))
    assert state.cycles.tolist() == [1, 1, 1]
    assert (runner.settled_below, simple.settled_below) == (0.0, math.inf)
    del runner
    _, again = simple.segment(simple.embed(features), simple.start(features, 1, None))
    np.testing.assert_array_equal(again.z_h, state.z_h)


def test_what_is_not_finite_is_seen(
    kernels: Path, variant: str, network: Network, observed: Observed, precision: str
) -> None:
    """A weight that is not a number reaches the heads, where it is refused; it is not quantised away."""
    model = network()
    with torch.no_grad():
        model.core.get_parameter("H_level.layers.0.mlp.down_proj.weight")[3] = torch.nan
    features = observed(model, 1)
    runner = NativeRunner(model.weights(), precision=precision, cache=kernels, variants=[variant])
    values, _ = runner.segment(runner.embed(features), runner.start(features, 1, None))
    assert np.isnan(values.value).all()


def test_an_old_state_is_not_written_to(
    kernels: Path, variant: str, network: Network, observed: Observed, precision: str
) -> None:
    """A halted row is taken from the state that it halted in."""
    model = network()
    features = observed(model)
    runner = NativeRunner(model.weights(), precision=precision, cache=kernels, variants=[variant])
    x = runner.embed(features)
    _, first = runner.segment(x, runner.start(features, 4, None))
    kept = first.z_h.copy()
    _, second = runner.segment(x, first)
    np.testing.assert_array_equal(first.z_h, kept)
    frozen = runner.freeze(np.array([True, False, True]), second, first)
    np.testing.assert_array_equal(frozen.z_l[1], first.z_l[1])
    np.testing.assert_array_equal(frozen.z_l[2], second.z_l[2])
    assert frozen.segments.tolist() == [2, 1, 2]


def test_a_carried_state_is_gone_on_from(
    kernels: Path, variant: str, network: Network, observed: Observed, precision: str
) -> None:
    """Fresh counts, the old z_H and z_L."""
    model = network()
    features = observed(model)
    runner = NativeRunner(model.weights(), precision=precision, cache=kernels, variants=[variant])
    _, state = runner.segment(runner.embed(features), runner.start(features, 4, None))
    carried = runner.start(features, 2, state)
    np.testing.assert_array_equal(carried.z_h, state.z_h)
    assert (carried.segments.tolist(), carried.budget.tolist()) == ([0, 0, 0], [2, 2, 2])
