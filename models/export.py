"""Turns an artifact into what runtimes read: ONNX graphs kept beside it, or the same weights in another precision.

Invariant: an export names the sha256 of the weights that it was made from, and is checked against the artifact it lies
beside before it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.checkpoint import describe, load_model, save_model
from models.errors import RuntimeUnavailable
from models.hrm import HRM
from models.manifest import Manifest, Precision
from models.runtimes.choice import OFFERED, Runtime, export_path
from models.runtimes.choice import Precision as RuntimePrecision
from models.runtimes.graph import write_graph
from models.runtimes.onnx import open_session


def export_graphs(artifact: Path, model: HRM, manifest: Manifest, precisions: Sequence[RuntimePrecision]) -> list[Path]:
    """Write the graphs of an artifact beside it. Raises RuntimeUnavailable without the package `onnx`."""
    paths = []
    for precision in precisions:
        path = export_path(artifact, precision)
        write_graph(model, manifest.sha256, path, precision)
        paths.append(path)
    return paths


def convert(model: HRM, manifest: Manifest, path: Path, dtype: Precision) -> Manifest:
    """Write the same model in another precision, with its history, and return the new manifest."""
    converted = describe(
        model,
        trained=manifest.trained,
        dtype=dtype,
        training_span=manifest.training_span,
        metrics=manifest.metrics,
        git_revision=manifest.git_revision,
        origin=manifest.origin,
        novelty=manifest.novelty,
        segments=manifest.segments,
        values=manifest.values,
    )
    save_model(path, model, converted)
    return converted


def mismatches(artifact: Path) -> list[str]:
    """One line for each export beside an artifact that it can't be run by. Raises CheckpointError for the artifact."""
    _, manifest = load_model(artifact)
    lines = []
    for precision in OFFERED[Runtime.ONNXRUNTIME]:
        path = export_path(artifact, precision)
        if path.exists():
            try:
                open_session(path, manifest.sha256, precision)
            except RuntimeUnavailable as error:
                lines.append(str(error))
    return lines


def exports(artifact: Path) -> list[Path]:
    """The exports that lie beside an artifact."""
    return [path for precision in OFFERED[Runtime.ONNXRUNTIME] if (path := export_path(artifact, precision)).exists()]
