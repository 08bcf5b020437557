"""Turns a model into one file and back: safetensors, with a JSON manifest in its metadata and a hash over both.

`models.artifact` says what is in the file, and reads it. Invariant: `load_model` either returns exactly the model that
was saved or raises `CheckpointError` with one line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save
from torch import Tensor

from models.artifact import FORMAT, SCALE, Stored, hash_of, read_weights
from models.config import HRMConfig
from models.errors import CheckpointError
from models.features import FeatureSchema
from models.hrm import HRM
from models.manifest import Manifest, Origin, Precision, TrainingSpan
from models.novelty import NoveltyStatistics
from models.values import ValueCalibration

DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.bfloat16}
"""Of every tensor, but for the matrices of an int8 artifact."""
QUANTISED: Final = ("_proj.weight", "core.h_to_l.weight", "core.l_to_h.weight", "core.reset_gate.weight")
"""How the names of matrices end that an int8 artifact stores as int8."""
_STORED: Final = {torch.bfloat16: "BF16", torch.float32: "F32", torch.int8: "I8"}
_LENGTH: Final = 8
"""Bytes that hold the length of a file's header, and that the header is a multiple of."""


def describe(
    model: HRM,
    *,
    trained: bool,
    dtype: Precision = "bfloat16",
    training_span: TrainingSpan | None = None,
    metrics: Mapping[str, float] | None = None,
    git_revision: str | None = None,
    origin: Origin | None = None,
    novelty: NoveltyStatistics | None = None,
    segments: int | None = None,
    values: ValueCalibration | None = None,
) -> Manifest:
    """Return the manifest that `model` would be saved with; its `sha256` is that of the saved file."""
    manifest = Manifest(
        config=model.config,
        features=FeatureSchema.of(model.config.features),
        instruments=model.vocabularies.instruments.names,
        timeframes=model.vocabularies.timeframes.names,
        dtype=dtype,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trained=trained,
        training_span=training_span,
        metrics=dict(metrics or {}),
        git_revision=git_revision,
        origin=origin,
        novelty=novelty,
        segments=segments,
        values=values,
    )
    return manifest.model_copy(update={"sha256": _hash(manifest, _tensors(model, dtype))})


def save_model(path: Path, model: HRM, manifest: Manifest) -> str:
    """Write the model atomically in the manifest's precision and return the sha256.

    `manifest` comes from `describe` on the same weights; a manifest of another model raises CheckpointError.
    """
    tensors = _tensors(model, manifest.dtype)
    sha256 = _hash(manifest, tensors)
    if sha256 != manifest.sha256:
        raise CheckpointError(
            f"{path}: the manifest describes other weights ({manifest.sha256[:12]}, not {sha256[:12]})"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(_whole(tensors, {"format": FORMAT, "manifest": manifest.model_dump_json()}))
    os.replace(partial, path)
    return sha256


def _whole(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file whose bytes follow from what is in it: the library writes metadata in random order."""
    written = save(dict(tensors), metadata=dict(metadata))
    ends = _LENGTH + int.from_bytes(written[:_LENGTH], "little")
    header = json.loads(written[_LENGTH:ends])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(dict(sorted(header.items())), separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH)
    return len(text).to_bytes(_LENGTH, "little") + text + written[ends:]


def load_model(path: Path, *, expected: HRMConfig | None = None) -> tuple[HRM, Manifest]:
    """Read a model, in fp32 and in eval mode, and its manifest; raises CheckpointError as `read_weights` does."""
    weights, manifest = read_weights(path, expected=expected)
    return HRM.of(weights), manifest


def _tensors(model: HRM, dtype: Precision) -> dict[str, Tensor]:
    """Every weight and buffer in its stored precision, on the CPU, contiguous."""
    stored: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        weight = tensor.detach().cpu()
        if dtype == "int8" and _quantised(name):
            scale = (weight.float().abs().amax(1) / 127).clamp_min(torch.finfo(torch.float32).tiny)  # (outputs,)
            stored[name] = (weight.float() / scale[:, None]).round().to(torch.int8).contiguous()
            stored[name + SCALE] = scale
        else:
            stored[name] = weight.to(DTYPES[dtype]).contiguous()
    return stored


def _quantised(name: str) -> bool:
    return name.startswith(("core.", "input.encoder.")) and name.endswith(QUANTISED)


def _hash(manifest: Manifest, tensors: Mapping[str, Tensor]) -> str:
    stored = {
        name: Stored(_STORED[one.dtype], tuple(one.shape), one.contiguous().view(torch.uint8).numpy().tobytes())
        for name, one in tensors.items()
    }
    return hash_of(manifest, stored)
