"""Runs an exported PPO policy: features in, action probabilities out, with numpy alone.

The policy is the plain network that proximal policy optimisation trained: linear layers with tanh between. Invariant:
what runs here is what was trained, layer for layer; a file that was cut, changed or made for other features is refused.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from models.actions import VALID_ACTIONS
from models.config import FeatureSettings
from models.errors import CheckpointError, InvalidOutput
from models.features import Features, FeatureSchema, Observation, encode
from models.vocabulary import Vocabularies

FORMAT: Final = "hrmd-ppo/1"

Floats = NDArray[np.float32]


class PPOManifest(BaseModel):
    """What an exported policy says about itself; ``sha256`` covers the rest and every weight."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: FeatureSettings
    feature_schema: FeatureSchema
    interval: str
    metrics: Mapping[str, FiniteFloat] = {}
    sha256: str = ""


def is_policy(path: Path) -> bool:
    """Whether a file calls itself a policy, of whatever version; whole or not."""
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="np") as file:
            return str((file.metadata() or {}).get("format", "")).startswith(FORMAT.partition("/")[0] + "/")
    except (OSError, SafetensorError):
        return False


def observation_vector(features: Features, side: NDArray[np.int64]) -> Floats:
    """Lay features side by side with the position (rows of the policy head: flat, long, short): (B, K)."""
    batch = len(features)
    position = np.eye(3, dtype=np.float32)[side]
    flat = features.patches.reshape(batch, -1)
    return np.concatenate([flat, features.coarse, features.calendar, position], axis=1).astype(np.float32)


def observation_width(settings: FeatureSettings) -> int:
    """Return K of `observation_vector`."""
    schema = FeatureSchema.of(settings)
    per_bar, calendar = len(schema.bar), len(schema.calendar)
    return (settings.window + settings.coarse_window) * per_bar + calendar + 3


class PPOPolicy:
    """A policy network: ``layers`` are (weight, bias) pairs in order, tanh between them, five logits at the end."""

    def __init__(self, layers: Sequence[tuple[Floats, Floats]], manifest: PPOManifest) -> None:
        self._layers = [(np.array(weight, np.float32), np.array(bias, np.float32)) for weight, bias in layers]
        self.manifest = manifest

    @property
    def widths(self) -> list[int]:
        """Numbers in, after each layer, and out."""
        return [self._layers[0][0].shape[1], *(weight.shape[0] for weight, _ in self._layers)]

    @property
    def parameters(self) -> int:
        """Numbers that were learned."""
        return sum(weight.size + bias.size for weight, bias in self._layers)

    def with_metrics(self, metrics: Mapping[str, float]) -> PPOPolicy:
        """The same policy, with what it scored in its manifest."""
        return PPOPolicy(self._layers, self.manifest.model_copy(update={"metrics": dict(metrics)}))

    def probabilities(self, features: Features, side: NDArray[np.int64]) -> Floats:
        """Return probabilities of the five actions, invalid ones zero, (B, 5); ``side`` (B,) rows of the head."""
        valid = np.array(VALID_ACTIONS)[side]
        x = observation_vector(features, side)
        with np.errstate(over="ignore", invalid="ignore"):  # what isn't finite is for `decide` to refuse
            for weight, bias in self._layers[:-1]:
                x = np.tanh(x @ weight.T + bias)
            weight, bias = self._layers[-1]
            logits = np.where(valid, x @ weight.T + bias, np.float32(-np.inf))
            powers = np.exp(logits - logits.max(-1, keepdims=True))
            probabilities: Floats = powers / powers.sum(-1, keepdims=True)
        return probabilities

    def decide(self, observation: Observation) -> tuple[int, float]:
        """Return the most probable valid action and its probability. Raises InvalidObservation, InvalidOutput."""
        features = encode([observation], Vocabularies(), self.manifest.features)
        probabilities = self.probabilities(features, features.side)[0]
        if not np.isfinite(probabilities).all():
            raise InvalidOutput("a probability of the policy is not finite")
        action = int(probabilities.argmax())
        return action, float(probabilities[action])

    def save(self, path: Path) -> str:
        """Write the policy atomically; return its sha256."""
        tensors = self._tensors()
        manifest = self.manifest.model_copy(update={"sha256": _sha256(self.manifest, tensors)})
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        save_file(tensors, partial, metadata={"format": FORMAT, "manifest": manifest.model_dump_json()})
        os.replace(partial, path)
        return manifest.sha256

    @classmethod
    def load(cls, path: Path) -> PPOPolicy:
        """Read a policy. Raises CheckpointError, one line, for a file that is not one or does not fit this code."""
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path}: not a readable policy (it is no regular file)")
        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise CheckpointError(f"{path}: format is {metadata.get('format')}, expected {FORMAT}")
                manifest = PPOManifest.model_validate_json(metadata.get("manifest", ""))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (OSError, SafetensorError, TypeError) as error:  # TypeError: tensors that numpy has no type for
            raise CheckpointError(f"{path}: not a readable policy ({error})") from error
        except ValidationError as error:
            raise CheckpointError(f"{path}: manifest is not valid: {error.errors()[0]['msg']}") from error
        if _sha256(manifest, tensors) != manifest.sha256:
            raise CheckpointError(f"{path}: the hash does not match; the file was changed")
        if manifest.feature_schema != FeatureSchema.of(manifest.features):
            raise CheckpointError(f"{path}: made for feature schema {manifest.feature_schema.version}")
        return cls(_layers(path, tensors, observation_width(manifest.features)), manifest)

    def _tensors(self) -> dict[str, Floats]:
        out: dict[str, Floats] = {}
        for i, (weight, bias) in enumerate(self._layers):
            out[f"layer{i}.weight"], out[f"layer{i}.bias"] = weight, bias
        return out


def _layers(path: Path, tensors: Mapping[str, Floats], inputs: int) -> list[tuple[Floats, Floats]]:
    """Weights and biases in order, where one layer hands on what the next one reads and every value is finite."""
    names = [f"layer{i}.{part}" for i in range(max(len(tensors) // 2, 1)) for part in ("weight", "bias")]
    if odd := sorted(tensors.keys() ^ set(names)):
        raise CheckpointError(f"{path}: tensors missing or not asked for: {', '.join(odd[:4])} ({len(odd)} in all)")
    for name in names:
        if tensors[name].dtype != np.float32:
            raise CheckpointError(f"{path}: {name} is of type {tensors[name].dtype}, expected float32")
        if not np.isfinite(tensors[name]).all():
            raise CheckpointError(f"{path}: {name} holds a value that is not finite")
    layers = [(tensors[weight], tensors[bias]) for weight, bias in zip(names[::2], names[1::2], strict=True)]
    width = inputs
    for index, (weight, bias) in enumerate(layers):
        outputs = len(VALID_ACTIONS[0]) if index == len(layers) - 1 else bias.size
        if weight.shape != (outputs, width) or bias.shape != (outputs,):
            shapes = f"{weight.shape} and {bias.shape}"
            raise CheckpointError(
                f"{path}: layer{index}'s weight and bias are {shapes}, expected {(outputs, width)} and {(outputs,)}"
            )
        width = outputs
    return layers


def _sha256(manifest: PPOManifest, tensors: Mapping[str, Floats]) -> str:
    digest = hashlib.sha256(manifest.model_dump_json(exclude={"sha256"}).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(str(tuple(tensors[name].shape)).encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()
