"""Turns a model into one file and back: safetensors, with a JSON manifest in its metadata and a hash over both.

The sha256 covers the manifest and every tensor's name, dtype, shape and bytes, in name order. Under `int8` the matrices
of the blocks are stored as int8 with one fp32 scale an output (largest magnitude / 127), the rest as bf16; that is what
the int8 runtimes compute with, so they lose nothing by it. Invariant: `load_model` either returns exactly the model
that was saved or raises `CheckpointError` with one line; nothing in a file is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from models.config import HRMConfig
from models.errors import CheckpointError
from models.features import FeatureSchema
from models.hrm import HRM
from models.novelty import NoveltyStatistics
from models.values import ValueCalibration
from models.vocabulary import Vocabularies, Vocabulary

FORMAT: Final = "hrmd-model/1"
DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.bfloat16}
"""Of every tensor, but for the matrices of an int8 artifact."""
Precision = Literal["float32", "bfloat16", "int8"]
QUANTISED: Final = ("_proj.weight", "core.h_to_l.weight", "core.l_to_h.weight", "core.reset_gate.weight")
"""How the names of matrices end that an int8 artifact stores as int8."""
SCALE: Final = ".scale"
_LENGTH: Final = 8
"""Bytes that hold the length of a file's header, and that the header is a multiple of."""


class TrainingSpan(BaseModel):
    """First and last day of the data that a model was trained on, ISO dates, both inclusive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: str
    last: str


class Origin(BaseModel):
    """What a model was made by and of: hrmd's version, a hash of the data's bytes, the settings of training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    data: tuple[str, ...]
    """Names of the files, or of the simulated market."""
    data_sha256: str | None = None
    """None where the sessions were drawn, not read."""
    settings: Mapping[str, Any] = {}


ADDED: Final = ("origin", "novelty", "segments", "values")
"""Fields that earlier artifacts lack: where one is None it is no part of what is hashed."""


SIMULATED: Final = "SIM"
"""The instrument of the simulated markets that models are trained in."""
FAMILY: Final = "family"
"""The market of `models.training.family`, each of whose members has a cost of its own."""
FAMILY_COSTS_BP: Final = (0.5, 8.0)
"""What a trade costs a side there, as training draws it."""
_BY_DEPTH: Final = "validation_bp_depth_"
"""How the metric of a validation at a depth begins; training validates at every depth that it teaches."""


class Manifest(BaseModel):
    """What an artifact says about itself. `sha256` is checked on loading and is empty only before saving."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: HRMConfig
    features: FeatureSchema
    instruments: tuple[str, ...]
    timeframes: tuple[str, ...]
    dtype: Precision
    parameters: int
    trained: bool
    training_span: TrainingSpan | None = None
    metrics: Mapping[str, FiniteFloat] = {}
    git_revision: str | None = None
    origin: Origin | None = None
    novelty: NoveltyStatistics | None = None
    """What the training market's windows look like; None in artifacts from before there were any."""
    segments: int | None = Field(None, ge=1)
    """Segments that a decision was trained with at most; None in artifacts from before it was kept."""
    values: ValueCalibration | None = None
    """What the value head's figures came to in training; None: they are taken as they are."""
    sha256: str = ""

    @property
    def simulated_only(self) -> bool:
        """Whether it has learned from simulated sessions alone: they were drawn, and it has no instrument's name."""
        drawn = self.origin is None or self.origin.data_sha256 is None
        return self.trained and drawn and set(self.instruments) <= {SIMULATED}

    @property
    def dearest_bp(self) -> float:
        """What a trade cost at most in training, bp a side; infinite where nothing in the artifact says it."""
        if self.origin is None:
            return math.inf
        if self.origin.data == (FAMILY,):
            return FAMILY_COSTS_BP[1]
        training = self.origin.settings.get("training_params")
        objective = training.get("objective") if isinstance(training, Mapping) else None
        costs = objective.get("costs") if isinstance(objective, Mapping) else None
        found = [one.get("cost_bp") for one in costs or () if isinstance(one, Mapping)]
        return max((float(cost) for cost in found if isinstance(cost, int | float)), default=math.inf)

    @property
    def trained_segments(self) -> int | None:
        """Segments that a decision was trained with at most; None where nothing in the artifact says it.

        Earlier artifacts have it among the settings of their training, or by the deepest validation.
        """
        if self.segments is not None:
            return self.segments
        supervision = self.origin.settings.get("deep_supervision") if self.origin is not None else None
        said = supervision.get("segments") if isinstance(supervision, Mapping) else None
        if isinstance(said, int) and said >= 1:
            return said
        depths = [name.removeprefix(_BY_DEPTH) for name in self.metrics if name.startswith(_BY_DEPTH)]
        return max((int(depth) for depth in depths if depth.isdecimal() and int(depth) >= 1), default=None)


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
    return manifest.model_copy(update={"sha256": _sha256(manifest, _tensors(model, dtype))})


def save_model(path: Path, model: HRM, manifest: Manifest) -> str:
    """Write the model atomically in the manifest's precision and return the sha256.

    `manifest` comes from `describe` on the same weights; a manifest of another model raises CheckpointError.
    """
    tensors = _tensors(model, manifest.dtype)
    sha256 = _sha256(manifest, tensors)
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
    """Read a model, in fp32 and in eval mode, and its manifest.

    `expected` is the configuration that settings ask for. Raises CheckpointError for a file that is missing, truncated,
    foreign, of another feature schema or configuration, with another hash, or holding tensors that don't fit.
    """
    manifest, tensors = _read(path)
    _checked(path, manifest, tensors)
    schema = FeatureSchema.of(manifest.config.features)
    if manifest.features != schema:
        raise CheckpointError(
            f"{path}: feature schema {manifest.features.version} differs from this code's {schema.version}"
        )
    if expected is not None and (differences := manifest.config.differences(expected)):
        raise CheckpointError(f"{path}: configuration differs from settings: {'; '.join(differences)}")
    try:
        vocabularies = Vocabularies(Vocabulary(manifest.instruments), Vocabulary(manifest.timeframes))
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    with torch.random.fork_rng(devices=[]):
        model = HRM(manifest.config, vocabularies)
    _fill(path, model, tensors)
    return model.eval(), manifest


def read_hash(path: Path) -> str:
    """The sha256 of the model in a file, which its manifest has to agree with; no network is built.

    Raises CheckpointError for a file that is missing, truncated, foreign, or with another hash.
    """
    manifest, tensors = _read(path)
    return _checked(path, manifest, tensors)


def _checked(path: Path, manifest: Manifest, tensors: Mapping[str, Tensor]) -> str:
    found = _sha256(manifest, tensors)
    if found != manifest.sha256:
        raise CheckpointError(f"{path}: sha256 is {found}, its manifest says {manifest.sha256 or 'none'}")
    return found


def read_manifest(path: Path) -> Manifest:
    """What a file says about itself, unchecked, without its weights. Raises CheckpointError where it says nothing."""
    return _read(path, weights=False)[0]


def _read(path: Path, *, weights: bool = True) -> tuple[Manifest, dict[str, Tensor]]:
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path}: not a readable safetensors file: it is no regular file")
    try:
        with safe_open(path, framework="pt") as artifact:
            metadata = artifact.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(f"{path}: format is {metadata.get('format')}, expected {FORMAT}")
            manifest = Manifest.model_validate_json(metadata.get("manifest", ""))
            names = artifact.keys() if weights else ()
            return manifest, {name: artifact.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise CheckpointError(f"{path}: manifest is not valid: {where}: {first['msg']}") from error


def _fill(path: Path, model: HRM, tensors: Mapping[str, Tensor]) -> None:
    """Copy the tensors into the model; every name and shape must fit and every value be finite."""
    wanted = model.state_dict()
    tensors = _dequantised(path, tensors)
    if odd := sorted(wanted.keys() ^ tensors.keys()):
        raise CheckpointError(f"{path}: tensors missing or not asked for: {', '.join(odd[:4])} ({len(odd)} in all)")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise CheckpointError(f"{path}: {name} is {tuple(tensor.shape)}, expected {tuple(wanted[name].shape)}")
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{path}: {name} holds a value that is not finite")
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})


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


def _dequantised(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every int8 matrix times its scales; tensors of other types as they are."""
    whole: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in tensors:
            continue
        if tensor.dtype == torch.int8:
            scale = tensors.get(name + SCALE)
            if scale is None or scale.shape != tensor.shape[:1]:
                raise CheckpointError(f"{path}: {name} is int8 and has no scale for each of its outputs")
            tensor = tensor.float() * scale.float()[:, None]
        whole[name] = tensor
    return whole


def _sha256(manifest: Manifest, tensors: Mapping[str, Tensor]) -> str:
    absent = {name for name in ADDED if getattr(manifest, name) is None}
    digest = hashlib.sha256(manifest.model_dump_json(exclude={"sha256", *absent}).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
