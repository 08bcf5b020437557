"""Turns a model into an ONNX graph of one cycle: reset, T steps of L, one of H, the changes, and the heads' readings.

A segment is that graph run N times, so that a row that has settled can stop between cycles. Sizes of batch are free,
widths and tokens are fixed. The `onnx` package is needed only here, to write a graph, and never to run one. Invariant:
the graph's metadata holds the sha256 of the weights it was made from.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from models.config import LReset
from models.errors import NotInstalled
from models.hrm import HRM
from models.layers import RMS_EPS, Stack
from models.weights import HEADS

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPSET: Final = 17
IR_VERSION: Final = 9
RUNTIME_DOMAIN: Final = "com.microsoft"
"""ONNX Runtime's own operators, documented in its ContribOperators.md."""
FORMAT: Final = "hrmd-cycle/1"
INPUTS: Final = ("x", "z_H", "z_L", "bias", "weight")
"""x, z_H, z_L; `bias` (B, 1, 1, S) is added to scores, `weight` (B, S, 1) is 1 at valid tokens."""
OUTPUTS: Final = ("new_z_H", "new_z_L", "change_H", "change_L", "readings")


def write_graph(model: HRM, sha256: str, path: Path, precision: str) -> None:
    """Write the cycle of `model` as fp32 or, with dynamic quantisation, int8.

    Raises NotInstalled without the package `onnx`.
    """
    try:
        onnx = importlib.import_module("onnx")
    except ImportError as error:
        raise NotInstalled(f"onnxruntime: writing a graph needs the package {error.name} (extra `onnx`)") from None
    graph = _Graph(onnx, model, quantised=precision == "int8").build()
    onnx.helper.set_model_props(graph, {"format": FORMAT, "sha256": sha256, "precision": precision})
    partial = path.with_name(path.name + ".partial")
    onnx.save(graph, partial)
    os.replace(partial, path)


class _Graph:
    """Nodes and constants as they are added; every method returns the name of a value."""

    def __init__(self, onnx: Any, model: HRM, *, quantised: bool) -> None:
        self._onnx = onnx
        self._model = model
        self._weights = model.state_dict()
        self._quantised = quantised
        self._nodes: list[Any] = []
        self._constants: dict[str, NDArray[Any]] = {}

    def build(self) -> Any:
        """Return the ONNX model."""
        config, core = self._model.config, self._model.core
        shape, tokens = config.architecture, config.features.tokens
        helper, real = self._onnx.helper, self._onnx.TensorProto.FLOAT
        z_l = self._reset()
        drive = self._op("Add", self._cross("z_H", "h_to_l"), "x")
        for _ in range(shape.l_steps):
            z_l = self._stack(self._op("Add", z_l, drive), core.L_level, "L_level")
        z_h = self._stack(self._op("Add", "z_H", self._cross(z_l, "l_to_h")), core.H_level, "H_level")
        self._op("Identity", z_h, output="new_z_H")
        self._op("Identity", z_l, output="new_z_L")
        self._change(z_h, "z_H", "change_H")
        self._change(z_l, "z_L", "change_L")
        self._readings(z_h)
        dims = {
            "x": ["B", tokens, shape.l_dim], "z_H": ["B", tokens, shape.h_dim], "z_L": ["B", tokens, shape.l_dim],
            "bias": ["B", 1, 1, tokens], "weight": ["B", tokens, 1],
        }  # fmt: skip
        graph = helper.make_graph(
            self._nodes,
            "cycle",
            [helper.make_tensor_value_info(name, real, dims[name]) for name in INPUTS],
            [helper.make_tensor_value_info(name, real, None) for name in OUTPUTS],
            [self._onnx.numpy_helper.from_array(value, name) for name, value in self._constants.items()],
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(RUNTIME_DOMAIN, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def _reset(self) -> str:
        shape = self._model.config.architecture
        if shape.l_reset is LReset.NONE:
            return "z_L"
        start = self._constant("L_init", self._weights["core.L_init"])
        if shape.l_reset is LReset.HARD:
            return self._op("Expand", start, self._op("Shape", "z_L"))
        if shape.l_reset is LReset.SOFT:
            keep = self._constant("soft_keep", np.float32(shape.soft_reset_keep))
        else:
            bias = self._constant("reset_bias", self._weights["core.reset_gate.bias"])
            keep = self._op("Sigmoid", self._op("Add", self._layer("z_H", "core.reset_gate"), bias))
        return self._op("Add", start, self._op("Mul", keep, self._op("Sub", "z_L", start)))

    def _cross(self, value: str, name: str) -> str:
        return self._layer(value, f"core.{name}") if f"core.{name}.weight" in self._weights else value

    def _stack(self, x: str, stack: Stack, name: str) -> str:
        shape = self._model.config.architecture
        dim, heads = (shape.h_dim, shape.h_heads) if name == "H_level" else (shape.l_dim, shape.l_heads)
        for index in range(len(stack.layers)):
            block = f"core.{name}.layers.{index}"
            mixed = self._attention(self._layer(x, f"{block}.self_attn.qkv_proj"), stack, name, heads)
            x = self._norm(self._op("Add", x, self._layer(mixed, f"{block}.self_attn.o_proj")), dim)
            gate, up = self._split(self._layer(x, f"{block}.mlp.gate_up_proj"), 2)
            gated = self._op("Mul", self._op("Mul", gate, self._op("Sigmoid", gate)), up)
            x = self._norm(self._op("Add", x, self._layer(gated, f"{block}.mlp.down_proj")), dim)
        return x

    def _attention(self, qkv: str, stack: Stack, name: str, heads: int) -> str:
        tokens, head = stack.rope.cos.shape
        parted = self._constant(f"{name}_parted", np.array([0, tokens, heads, head], np.int64))
        joined = self._constant(f"{name}_joined", np.array([0, tokens, heads * head], np.int64))
        query, key, value = (
            self._op("Transpose", self._op("Reshape", part, parted), perm=[0, 2, 1, 3]) for part in self._split(qkv, 3)
        )
        query, key = self._rotate(query, stack, name, head**-0.5), self._rotate(key, stack, name, 1.0)
        scores = self._op("MatMul", query, self._op("Transpose", key, perm=[0, 1, 3, 2]))
        shares = self._op("Softmax", self._op("Add", scores, "bias"), axis=-1)
        return self._op("Reshape", self._op("Transpose", self._op("MatMul", shares, value), perm=[0, 2, 1, 3]), joined)

    def _rotate(self, value: str, stack: Stack, name: str, scale: float) -> str:
        cos = self._constant(f"{name}_cos_{scale:.4f}", stack.rope.cos * scale)
        half = stack.rope.sin.shape[1] // 2
        signed = torch.cat([-stack.rope.sin[:, :half], stack.rope.sin[:, half:]], dim=1) * scale
        first, second = self._split(value, 2)
        turned = self._op("Concat", second, first, axis=-1)
        sin = self._constant(f"{name}_sin_{scale:.4f}", signed)
        return self._op("Add", self._op("Mul", value, cos), self._op("Mul", turned, sin))

    def _norm(self, x: str, dim: int) -> str:
        ones = self._constant(f"ones_{dim}", np.ones(dim, np.float32))
        return self._op("SimplifiedLayerNormalization", x, ones, axis=-1, epsilon=RMS_EPS, stash_type=1)

    def _change(self, new: str, old: str, output: str) -> None:
        moved = self._op("Mul", self._op("Sub", new, old), "weight")
        size = self._op("Mul", new, "weight")
        norms = [self._op("ReduceL2", value, axes=[1, 2], keepdims=0) for value in (moved, size)]
        self._op("Div", *norms, output=output)

    def _readings(self, z_h: str) -> None:
        first = self._op("Gather", z_h, self._constant("decision_token", np.array(0, np.int64)), axis=1)
        weight, bias = (
            torch.cat([self._weights[f"heads.{head}.{part}"] for head in HEADS]) for part in ("weight", "bias")
        )
        product = self._op("MatMul", first, self._constant("heads", weight.T))
        self._op("Add", product, self._constant("heads_bias", bias), output="readings")

    def _layer(self, value: str, name: str) -> str:
        """Value times a layer's transposed weight; int8: per tensor on the left, per output on the right."""
        weight = self._weights[f"{name}.weight"]
        if not self._quantised:
            return self._op("MatMul", value, self._constant(name, weight.T))
        scale = (weight.abs().amax(1) / 127).clamp_min(1e-30)  # (outputs,)
        rounded = (weight / scale[:, None]).round().to(torch.int8).T.numpy()
        matrix, scales = self._constant(name, rounded), self._constant(f"{name}.scale", scale)
        return self._op("DynamicQuantizeMatMul", value, matrix, scales, domain=RUNTIME_DOMAIN)

    def _split(self, value: str, parts: int) -> list[str]:
        outputs = [f"v{len(self._nodes)}_{part}" for part in range(parts)]
        self._nodes.append(self._onnx.helper.make_node("Split", [value], outputs, axis=-1))
        return outputs

    def _op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or f"v{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _constant(self, name: str, value: torch.Tensor | NDArray[Any] | np.generic) -> str:
        if name not in self._constants:
            array = value.detach().float().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
            self._constants[name] = np.array(array, order="C")
        return name
