"""A policy as an ONNX graph, and weights that a class of a user's own reads: both are part of the strategy's hash."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from daemon.core.errors import SettingsError
from daemon.core.events import Action
from daemon.strategy.own import build_own, changed_since
from strategies.onnx_policy import STATE, inputs
from strategies.own import seen
from tests.own_classes import EVERY_MINUTE, own, write_class
from tests.samples import settings_of
from tests.unit.strategies.moments import moment_of, rising

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
PAGE = (Path(__file__).parents[3] / "docs" / "own-strategies.md").read_text(encoding="utf-8")


def graph(path: Path, bias: tuple[float, float, float], output: str = "scores") -> Path:
    """A policy whose scores are `bias` whatever it sees: the state times nothing, and a constant."""
    helper: Any = onnx.helper
    floats = onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("MatMul", ["state", "nothing"], ["none"]),
        helper.make_node("Add", ["none", "bias"], ["sum"]),
        helper.make_node("ReduceSum", ["bars"], ["all"], keepdims=0),
        helper.make_node("Mul", ["all", "zero"], ["silent"]),
        helper.make_node("Add", ["sum", "silent"], [output]),
    ]
    made = helper.make_graph(
        nodes,
        "policy",
        [
            helper.make_tensor_value_info("bars", floats, [1, 5, 5]),
            helper.make_tensor_value_info("state", floats, [1, STATE]),
        ],
        [helper.make_tensor_value_info(output, floats, [1, 3])],
        [
            helper.make_tensor("nothing", floats, [STATE, 3], [0.0] * 3 * STATE),
            helper.make_tensor("bias", floats, [3], bias),
            helper.make_tensor("zero", floats, [], [0.0]),
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def policy(path: Path, *more: str) -> Any:
    """The strategy on a graph."""
    parameters = f"strategy.parameters={{path: {path}, window: 5, quantity: 7}}"
    return build_own(settings_of(*EVERY_MINUTE, "strategy.name=onnx", parameters, *more))


@pytest.mark.parametrize(
    ("bias", "position", "action", "quantity"),
    [
        ((0.0, 0.0, 1.0), 0, Action.BUY_LONG, 7),
        ((1.0, 0.0, 0.0), 0, Action.SELL_SHORT, 7),
        ((1.0, 0.0, 0.0), 30, Action.CLOSE_LONG, 30),
        ((0.0, 1.0, 0.0), -30, Action.CLOSE_SHORT, 30),
        ((0.0, 0.0, 1.0), 30, Action.HOLD, 1),
        ((0.0, 1.0, 0.0), 0, Action.HOLD, 1),
    ],
)
def test_the_highest_score_is_what_it_wants_to_be(
    tmp_path: Path, bias: tuple[float, float, float], position: int, action: Action, quantity: int
) -> None:
    """From what is held: out first, then in."""
    decision = policy(graph(tmp_path / "p.onnx", bias)).decide(moment_of(rising(60), position=position))
    assert (decision.action, decision.quantity, decision.failed) == (action, quantity, False)


def test_a_margin_keeps_it_where_it_is(tmp_path: Path) -> None:
    """A score that is hardly higher is no reason to trade."""
    path = graph(tmp_path / "p.onnx", (0.0, 0.9, 1.0))
    assert policy(path).decide(moment_of(rising(60))).action is Action.BUY_LONG
    assert policy(path, "strategy.parameters.margin=0.2").decide(moment_of(rising(60))).action is Action.HOLD


def test_scores_that_are_no_numbers_are_a_failed_decision(tmp_path: Path) -> None:
    """Whatever the graph makes of them."""
    decision = policy(graph(tmp_path / "p.onnx", (float("nan"), 0.0, 0.0))).decide(moment_of(rising(60)))
    assert decision.failed
    assert "expected three finite scores, got [nan, 0.0, 0.0]" in decision.reason


def test_another_file_is_another_strategy(tmp_path: Path) -> None:
    """Its content is in the hash, and a decision of the one before is told apart."""
    path = graph(tmp_path / "p.onnx", (0.0, 0.0, 1.0))
    before = policy(path).model_hash
    assert policy(path).model_hash == before
    graph(path, (1.0, 0.0, 0.0))
    assert "decides with, has changed since it decided" in changed_since(policy(path), before)


def test_a_file_that_is_no_such_policy_refuses_the_start(tmp_path: Path) -> None:
    """In a line that says what was expected."""
    with pytest.raises(SettingsError, match=r"none\.onnx: no such file"):
        policy(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(SettingsError, match=r"text\.onnx: is no ONNX graph that can be run"):
        policy(tmp_path / "text.onnx")
    with pytest.raises(SettingsError, match="expected a graph of bars and state that gives scores, it has"):
        policy(graph(tmp_path / "other.onnx", (0.0, 0.0, 1.0), "logits"))
    with pytest.raises(SettingsError, match=r"strategy\.parameters\.path: is not set and has no default"):
        settings_of("strategy.name=onnx")


def test_what_the_graph_is_given() -> None:
    """Relative prices, volume about its mean, eight figures of state."""
    given = inputs(seen([100.0, 110.0, 121.0], position=-5, minutes_to_close=90.0), 2)
    assert given["bars"].shape == (1, 2, 5)
    np.testing.assert_allclose(given["bars"][0, :, 3], [110 / 121 - 1, 0.0], rtol=1e-6)
    np.testing.assert_array_equal(given["bars"][0, :, 4], [0.0, 0.0])
    assert given["state"][0, [0, 4, 7]].tolist() == [-1.0, 90.0, 1.0]


def test_a_class_of_ones_own_reads_weights(tmp_path: Path) -> None:
    """The page's own example; other weights, another hash."""
    text = next(block for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S) if "class Linear" in block)
    write_class(tmp_path, text)
    weights = tmp_path / "w.safetensors"
    hashes = []
    for sign in (-1.0, 1.0):
        save_file({"weights": np.full(4, sign)}, weights)
        settings = settings_of(*own(tmp_path, "my_folder.module:Linear", f"strategy.parameters={{path: {weights}}}"))
        strategy = build_own(settings)
        hashes.append(strategy.model_hash)
        action = strategy.decide(moment_of(rising(60))).action
        assert action is (Action.BUY_LONG if sign < 0 else Action.HOLD)
    assert hashes[0] != hashes[1]
