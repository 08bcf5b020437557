"""`hrmd model`: what an artifact is, what it can be turned into, and whether it is whole.

Invariant: with `--json` stdout holds exactly one JSON document; everything else goes to stderr.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli import store
from daemon.cli.options import AsJson, Config, Overrides, print_json, settings_and_logs
from daemon.cli.train import Border, Files, Market, training_data
from daemon.core.errors import ArtifactError, CheckFailed, UsageError
from daemon.report.tables import facts, show

if TYPE_CHECKING:
    from models.manifest import Manifest

model_app = typer.Typer(help="Look at, convert or check a model artifact; keep a store of them.", no_args_is_help=True)
model_app.command("install")(store.install)
model_app.command("list")(store.releases)
model_app.command("rollback")(store.rollback)
model_app.command("archive")(store.archive)

Artifact = Annotated[Path, typer.Argument(help="Model artifact (.safetensors).", show_default=False)]
FORMATS = ("onnx", "float32", "bfloat16", "int8")


@model_app.command("info")
def info(artifact: Artifact, config: Config = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show what a model is and was trained on, and which runtime it gets on this machine, and why."""
    from daemon.strategy.inference import choose_runtime, runtime_plan
    from models.agent import HRMAgent
    from models.artifact import read_weights
    from models.errors import CheckpointError
    from models.export import exports
    from models.ppo import is_policy

    settings = settings_and_logs(config, overrides)
    if is_policy(artifact):
        return _policy_info(artifact, as_json)
    try:
        weights, manifest = read_weights(artifact)
    except CheckpointError as error:
        raise ArtifactError(str(error)) from None
    agent = HRMAgent(weights, settings.hierarchical_reasoning_model, manifest)
    choice = choose_runtime(agent, artifact, runtime_plan(settings))
    said: dict[str, Any] = {
        "artifact": str(artifact),
        "bytes": artifact.stat().st_size,
        **manifest.model_dump(mode="json", exclude={"novelty"}),
        "novelty": _novelty(manifest),
        "segments": manifest.trained_segments,
        "depth": agent.act.max_segments,
        "simulated_only": manifest.simulated_only,
        "exports": [str(path) for path in exports(artifact)],
        "runtime": choice.name,
        "segment_ms": choice.measured_ms,
        "not_available": list(choice.refused),
    }
    if as_json:
        print_json(said)
        return
    _print(said)


@model_app.command("export")
def export(
    artifact: Artifact,
    form: Annotated[
        str, typer.Option("--format", help="onnx (graphs beside the artifact), float32, bfloat16 or int8.")
    ] = "onnx",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The artifact to write; not for onnx.")] = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Write the graphs that ONNX Runtime runs beside an artifact, or the same model in another precision."""
    import torch

    from models.checkpoint import load_model
    from models.errors import CheckpointError, RuntimeUnavailable
    from models.export import convert, export_graphs
    from models.runtimes.choice import OFFERED, Runtime

    if form not in FORMATS:
        raise UsageError(f"--format {form}: expected one of {', '.join(FORMATS)}")
    if (form == "onnx") is not (out is None):
        raise UsageError("--out: expected with --format float32, bfloat16 or int8, and only there")
    torch.set_num_threads(settings_and_logs(config, overrides).performance.torch_threads)
    try:
        model, manifest = load_model(artifact)
        if out is None:
            written = export_graphs(artifact, model, manifest, OFFERED[Runtime.ONNXRUNTIME])
        else:
            convert(model, manifest, out, form)  # type: ignore[arg-type]  # one of FORMATS but onnx
            written = [out]
    except (CheckpointError, RuntimeUnavailable) as error:
        raise ArtifactError(str(error)) from None
    if as_json:
        files = [{"file": str(path), "bytes": path.stat().st_size} for path in written]
        return print_json({"artifact": str(artifact), "format": form, "files": files})
    for path in written:
        typer.echo(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


@model_app.command("calibrate")
def calibrate(
    artifact: Artifact,
    bars: Files = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The artifact to write.")] = Path("calibrated.safetensors"),
    config: Config = None,
    overrides: Overrides = None,
    market: Market = "hidden_regime",
    border: Border = "2020-01-01",
    as_json: AsJson = False,
) -> None:
    """Give a model the statistics of its training market, a Q head that knows when to stop, and values that hold."""
    from models.errors import ModelError
    from models.training.finishing import halting_words
    from models.training.run import calibrated
    from models.training.settings import FEWEST

    settings = settings_and_logs(config, overrides)
    if not settings.training_params.novelty_sessions:
        raise UsageError(f"training_params.novelty_sessions: expected {FEWEST} or more to calibrate on, is 0")
    data = training_data(settings, bars or [], market, None, border)
    try:
        hrm, supervision = settings.hierarchical_reasoning_model, settings.deep_supervision
        manifest = calibrated(artifact, data, hrm, supervision, settings.training_params, out)
    except ModelError as error:
        raise ArtifactError(str(error)) from None
    if as_json:
        answer = {"artifact": str(artifact), "file": str(out), "sha256": manifest.sha256}
        halting = {name: value for name, value in manifest.metrics.items() if name.startswith("halting_")}
        return print_json({**answer, "novelty": _novelty(manifest), "halting": halting})
    typer.echo(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB); it knows {_knows(_novelty(manifest))}")
    if said := halting_words(manifest.metrics):
        typer.echo(said)


@model_app.command("verify")
def verify(artifact: Artifact, config: Config = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check an artifact's hash and that the exports beside it were made from it; exit 1 where one was not."""
    from models.errors import CheckpointError
    from models.export import exports, mismatches
    from models.ppo import PPOPolicy, is_policy

    settings_and_logs(config, overrides)
    try:
        if is_policy(artifact):
            PPOPolicy.load(artifact)
            wrong = []
        else:
            wrong = mismatches(artifact)
    except CheckpointError as error:
        raise ArtifactError(str(error)) from None
    beside = [str(path) for path in exports(artifact)]
    if as_json:
        print_json({"artifact": str(artifact), "whole": not wrong, "wrong": wrong, "exports": beside})
    if wrong:
        raise CheckFailed("; ".join(wrong))
    if as_json:
        return
    count = len(beside)
    typer.echo(f"{artifact}: whole{f', and so are its {count} exports' if count else ''}")


def _policy_info(artifact: Path, as_json: bool) -> None:
    """What a PPO policy says of itself."""
    from models.errors import CheckpointError
    from models.ppo import PPOPolicy

    try:
        policy = PPOPolicy.load(artifact)
    except CheckpointError as error:
        raise ArtifactError(str(error)) from None
    said: dict[str, Any] = {
        "artifact": str(artifact),
        "bytes": artifact.stat().st_size,
        "kind": "ppo",
        "simulated_only": True,
        **policy.manifest.model_dump(mode="json"),
        "parameters": policy.parameters,
        "layers": policy.widths,
    }
    if as_json:
        return print_json(said)
    table = facts()
    table.add_row("artifact", f"{artifact} ({said['bytes'] / 1e6:.1f} MB, float32)")
    table.add_row("kind", "PPO policy, a rung of the ladder")
    table.add_row("sha256", said["sha256"])
    table.add_row("parameters", f"{policy.parameters:,}")
    table.add_row("layers", " → ".join(str(width) for width in policy.widths))
    table.add_row("interval", said["interval"])
    table.add_row("markets", "simulated only: what it earns in a real one is unknown")
    if said["metrics"]:
        table.add_row("metrics", ", ".join(f"{key} {value:.4g}" for key, value in said["metrics"].items()))
    show(table)


def _novelty(manifest: Manifest) -> dict[str, Any] | None:
    """What a model knows of the market it was trained in, without the numbers."""
    known = manifest.novelty
    return None if known is None else {"market": known.market, "sessions": known.sessions, "quantile": known.quantile}


def _knows(novelty: dict[str, Any] | None) -> str:
    if novelty is None:
        return "no novelty statistics: it takes every market for its own"
    return f"{novelty['market']} by {novelty['sessions']:,} sessions"


def _came_to(values: dict[str, Any] | None) -> str:
    """By what the value head's figures are multiplied."""
    if values is None:
        return "as the head says them, not calibrated"
    return f"{' / '.join(f'× {factor:.2f}' for factor in values['factor'])} (flat, long, short)"


def _depth(said: dict[str, Any]) -> str:
    """How deep it was trained, and how deep decisions go here."""
    trained = said["segments"]
    how = f"trained with {trained} segments" if trained else "nothing says with how many segments it was trained"
    return f"{how}; a decision takes at most {said['depth']}"


def _print(said: dict[str, Any]) -> None:
    """Two columns, one line a fact."""
    from models.training.finishing import halting_words

    table = facts()
    shape = said["config"]["architecture"]
    span = None if said["simulated_only"] else said["training_span"]  # days that a program made up tell nothing
    trained = "no" if not said["trained"] else "yes" if span is None else f"{span['first']} to {span['last']}"
    for name, text in (
        ("artifact", f"{said['artifact']} ({said['bytes'] / 1e6:.1f} MB, {said['dtype']})"),
        ("sha256", said["sha256"]),
        ("parameters", f"{said['parameters']:,}"),
        ("trained", trained),
        ("H", f"{shape['h_dim']} × {shape['h_layers']} layers, N = {shape['h_cycles']} cycles"),
        ("L", f"{shape['l_dim']} × {shape['l_layers']} layers, T = {shape['l_steps']} steps"),
        ("instruments", ", ".join(said["instruments"])),
        ("timeframes", ", ".join(said["timeframes"])),
        ("depth", _depth(said)),
        ("halting", halting_words(said["metrics"])),
        ("knows", _knows(said["novelty"])),
        ("values", _came_to(said["values"])),
        ("markets", "simulated only: what it earns in a real one is unknown" if said["simulated_only"] else ""),
        ("metrics", ", ".join(f"{key} {value:.4g}" for key, value in said["metrics"].items())),
        ("exports", ", ".join(said["exports"])),
        ("runtime", said["runtime"]),
        ("measured", ", ".join(f"{key} {ms:.3g} ms" for key, ms in said["segment_ms"].items())),
        *(("not available", reason) for reason in said["not_available"]),
    ):
        if text:
            table.add_row(name, text)
    show(table)
