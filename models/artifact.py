"""An artifact → the numbers in it, as plain arrays, and its manifest; checked, and without torch.

The sha256 covers the manifest and every tensor's name, dtype, shape and bytes, in name order. Under `int8` the matrices
of the blocks are stored as int8 with one fp32 scale an output (largest magnitude / 127), the rest as bf16. Invariant:
what is returned is exactly what was saved, or it is a `CheckpointError` of one line; nothing in a file is executed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError, deserialize, safe_open

from models.config import HRMConfig
from models.errors import CheckpointError
from models.features import FeatureSchema
from models.manifest import ADDED, Manifest
from models.vocabulary import Vocabularies, Vocabulary
from models.weights import Floats, Weights, weight_shapes

FORMAT: Final = "hrmd-model/1"
SCALE: Final = ".scale"
"""How the names of an int8 matrix's scales end."""
STORED: Final = {"BF16": "<u2", "F32": "<f4", "I8": "i1"}
"""Types of tensors in an artifact, as safetensors calls them, and what numpy reads their bytes as."""
NAMES: Final = {"BF16": "torch.bfloat16", "F32": "torch.float32", "I8": "torch.int8"}
"""The same as they are hashed."""


class Stored(NamedTuple):
    """A tensor as it lies in a file."""

    dtype: str
    """Of `STORED`."""
    shape: tuple[int, ...]
    data: bytes | bytearray

    def values(self) -> Floats:
        """Its numbers in fp32: bf16 is the upper half of one."""
        raw = np.frombuffer(self.data, STORED[self.dtype]).reshape(self.shape)
        if self.dtype == "BF16":
            return np.asarray((raw.astype("<u4") << 16).view("<f4"))
        return raw.astype(np.float32)


def read_weights(path: Path, *, expected: HRMConfig | None = None) -> tuple[Weights, Manifest]:
    """Read the numbers of a model and its manifest.

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
    arrays = _fitting(path, _dequantised(path, tensors), weight_shapes(manifest.config, vocabularies))
    return Weights(manifest.config, vocabularies, arrays), manifest


def read_hash(path: Path) -> str:
    """The sha256 of the model in a file, which its manifest has to agree with; no network is built.

    Raises CheckpointError for a file that is missing, truncated, foreign, or with another hash.
    """
    manifest, tensors = _read(path)
    return _checked(path, manifest, tensors)


def read_manifest(path: Path) -> Manifest:
    """What a file says about itself, unchecked, without its weights. Raises CheckpointError where it says nothing."""
    return _read(path, weights=False)[0]


def hash_of(manifest: Manifest, tensors: Mapping[str, Stored]) -> str:
    """The sha256 of a model: of all its manifest says but that, and of its tensors."""
    absent = {name for name in ADDED if getattr(manifest, name) is None}
    digest = hashlib.sha256(manifest.model_dump_json(exclude={"sha256", *absent}).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}:{NAMES[tensor.dtype]}:{tensor.shape}".encode())
        digest.update(tensor.data)
    return digest.hexdigest()


def _checked(path: Path, manifest: Manifest, tensors: Mapping[str, Stored]) -> str:
    found = hash_of(manifest, tensors)
    if found != manifest.sha256:
        raise CheckpointError(f"{path}: sha256 is {found}, its manifest says {manifest.sha256 or 'none'}")
    return found


def _read(path: Path, *, weights: bool = True) -> tuple[Manifest, dict[str, Stored]]:
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path}: not a readable safetensors file: it is no regular file")
    try:
        with safe_open(path, framework="np") as artifact:
            metadata = artifact.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise CheckpointError(f"{path}: format is {metadata.get('format')}, expected {FORMAT}")
        manifest = Manifest.model_validate_json(metadata.get("manifest", ""))
        found = deserialize(path.read_bytes()) if weights else []  # type: ignore[no-untyped-call]
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise CheckpointError(f"{path}: manifest is not valid: {where}: {first['msg']}") from error
    for name, tensor in found:
        if tensor["dtype"] not in STORED:
            raise CheckpointError(f"{path}: {name} is of type {tensor['dtype']}, expected one of {', '.join(STORED)}")
    return manifest, {name: Stored(one["dtype"], tuple(one["shape"]), one["data"]) for name, one in found}


def _fitting(path: Path, arrays: Mapping[str, Floats], wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Floats]:
    """The arrays, where every name and shape fits and every value is finite."""
    if odd := sorted(wanted.keys() ^ arrays.keys()):
        raise CheckpointError(f"{path}: tensors missing or not asked for: {', '.join(odd[:4])} ({len(odd)} in all)")
    for name, array in arrays.items():
        if array.shape != wanted[name]:
            raise CheckpointError(f"{path}: {name} is {array.shape}, expected {wanted[name]}")
        if not np.isfinite(array).all():
            raise CheckpointError(f"{path}: {name} holds a value that is not finite")
    return dict(arrays)


def _dequantised(path: Path, tensors: Mapping[str, Stored]) -> dict[str, Floats]:
    """Every int8 matrix times its scales; tensors of other types as they are."""
    whole: dict[str, Floats] = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in tensors:
            continue
        values = tensor.values()
        if tensor.dtype == "I8":
            scale = tensors.get(name + SCALE)
            if scale is None or scale.shape != tensor.shape[:1]:
                raise CheckpointError(f"{path}: {name} is int8 and has no scale for each of its outputs")
            with np.errstate(over="ignore"):  # what isn't finite is refused with all that isn't
                values = values * scale.values()[:, None]
        whole[name] = values
    return whole
