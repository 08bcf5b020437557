"""The two entry points: settings and a data set → a saved model; a saved model and a data set → an evaluation.

Invariant: what a model is validated or evaluated on is never among what it was trained on: later in time with a
session day purged at the border, or drawn from another seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.checkpoint import describe, load_model, save_model
from models.config import HRMSettings
from models.hrm import HRM
from models.manifest import VALIDATED, Manifest, Origin, TrainingSpan
from models.novelty import NoveltyStatistics
from models.training.calibrating import calibrate
from models.training.checkpointing import progress
from models.training.distributed import Group
from models.training.errors import ResumeError
from models.training.evaluate import EvaluationData
from models.training.family import Family, FamilySource
from models.training.files import FileData, data_words, day_of, divided, load, span_words
from models.training.finishing import finish, halting_words
from models.training.learned import also_knowing, inheriting, refuse_known
from models.training.markets import MarketName, market
from models.training.member_shares import FamilyFacts, join_facts
from models.training.progress import Observer, note
from models.training.provenance import data_sha256, git_revision, package_version
from models.training.sessions import Sessions, join, newest_of_each
from models.training.settings import FEWEST, CostStep, DeepSupervisionSettings, TrainingSettings
from models.training.source import FreshSource, Source, StoredSource, TakingTurns
from models.training.trainer import Trainer, TrainResult, Validation

VALIDATION_SEED = 900_001
EVALUATION_SEED = 900_002
MODEL = "model.safetensors"
LOOKING_BACK = (
    "the model sees its training sessions again: what is usual there, when to stop thinking, what values come to"
)


@dataclass(frozen=True)
class SimulatedData:
    """Sessions of a simulated market: fresh ones at every step, or a fixed number of them."""

    name: MarketName
    sessions: int | None = None


Data = SimulatedData | FileData


def judged_on(data: Data, sessions: Sessions, seeds: Sequence[int]) -> str:
    """In words what ``sessions`` are of; ``seeds`` drew them where a program did."""
    if isinstance(data, FileData):
        return f"{data_words(data)}, {span_words(sessions)}"
    drawn = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    return f"the simulated market {data.name.value}, {drawn}"


@dataclass(frozen=True)
class Trained:
    """A finished run: the result, and the artifact where the run was not stopped early."""

    result: TrainResult
    artifact: Path | None
    manifest: Manifest | None


def train(
    hrm: HRMSettings,
    supervision: DeepSupervisionSettings,
    training: TrainingSettings,
    data: Data,
    folder: Path,
    *,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    group: Group | None = None,
    device: str = "cpu",
    memory_limit_gb: float | None = None,
) -> Trained:
    """Train a model in ``folder`` (``checkpoints/`` and ``model.safetensors``).

    On a CPU as many rows go together as fit into `memory_limit_gb`. Raises DataError, ResumeError (for an unfinished
    run in the folder, too, where it isn't to be gone on with), DivergedError, or CheckpointError for a teacher or a
    start, each with one clear line.
    """
    group = group or Group()
    if group.rank == 0 and not resume:
        _refuse_unfinished(folder)
    watching = observers if group.rank == 0 else ()
    if isinstance(data, FileData):
        refuse_known(training, data.border.isoformat(), f"a training to {data.option} {data.border}")
    made = inheriting(origin(data, supervision, training), training)
    source, validation = sources(data, training, watching)
    if isinstance(data, FileData):
        made = made.model_copy(update={"settings": {**made.settings, VALIDATED: list(days_of(validation.sessions))}})
    trainer = Trainer(
        hrm,
        supervision,
        training,
        source,
        validation,
        folder / "checkpoints",
        observers=observers,
        group=group,
        device=device,
        memory_limit_gb=memory_limit_gb,
        teacher=model_of(training.teacher.artifact),
        start=model_of(training.start_from),
    )
    result = trainer.run(resume=resume)
    if result.step < training.steps:
        return Trained(result, None, None)
    path = folder / MODEL
    keep = group.rank == 0
    if training.novelty_sessions:
        note(watching, result.step, "finishing", LOOKING_BACK)
    manifest = write_model(
        path, result.model, source, data, hrm, supervision, training, _metrics(result), made, keep=keep
    )
    if said := halting_words(manifest.metrics):
        note(watching, result.step, "depth", said)
    return Trained(result, path, manifest)


def _refuse_unfinished(folder: Path) -> None:
    """Raise ResumeError where a new run would end an earlier one that has come some way and left no model yet."""
    step, steps = progress(folder / "checkpoints")
    if 0 < step < steps or (step and not (folder / MODEL).exists()):
        raise ResumeError(
            f"--out {folder}: an earlier training ended there after step {step:,} of {steps:,}; --resume goes on with "
            f"it, and for a new one give another folder, or delete {folder / 'checkpoints'}"
        )


def write_model(
    path: Path,
    model: HRM,
    source: Source,
    data: Data,
    hrm: HRMSettings,
    supervision: DeepSupervisionSettings,
    training: TrainingSettings,
    metrics: Mapping[str, float],
    made: Origin,
    *,
    keep: bool = True,
) -> Manifest:
    """Write a trained model with all that it says about itself; where it isn't to be kept only say it.

    ``made``: what it was made of, as that was when training began; a file may be another one by now.
    """
    segments = supervision.segments
    finished = finish(model.cpu(), source, hrm, training, segments, supervision.halt_regret)
    manifest = describe(
        model,
        trained=True,
        training_span=TrainingSpan(first=day_of(source.span_ns[0]), last=day_of(source.span_ns[1])),
        metrics={**metrics, **finished.metrics},
        git_revision=git_revision(),
        origin=made,
        novelty=usual(data, source, hrm, training),
        segments=segments,
        values=finished.values,
    )
    if keep:
        save_model(path, model, manifest)
    return manifest


def origin(data: Data, supervision: DeepSupervisionSettings, training: TrainingSettings) -> Origin:
    """What a model's manifest says of what it was made of."""
    settings = {
        "deep_supervision": supervision.model_dump(mode="json"),
        "training_params": training.model_dump(mode="json"),
    }
    if isinstance(data, SimulatedData):
        drawn = {"sessions": data.sessions, "validation_seed": VALIDATION_SEED}
        return Origin(version=package_version(), data=(data.name.value,), settings=settings | drawn)
    return Origin(
        version=package_version(),
        data=tuple(path.name for path in data.files),
        data_sha256=data_sha256(data.files),
        settings=settings | {"intervals_s": list(data.intervals_s), "border": data.border.isoformat()},
    )


def days_of(sessions: Sessions) -> tuple[str, str]:
    """First and last day of sessions, ISO."""
    start = sessions.start_ns()
    return day_of(int(start.min())), day_of(int(start.max()))


def usual(data: Data, source: Source, hrm: HRMSettings, training: TrainingSettings) -> NoveltyStatistics | None:
    """Return what the training market's windows look like; None where it isn't wanted or sessions are too few."""
    if not training.novelty_sessions:
        return None
    parts = source.samples(training.seed, training.novelty_sessions)
    if min(map(len, parts)) < FEWEST:
        return None
    return calibrate(parts, hrm.features, market_name(data), training.novelty_sessions)


def market_name(data: Data) -> str:
    """Return what the data is called where a model says what it knows."""
    if isinstance(data, SimulatedData):
        return f"simulated {data.name.value}"
    return ", ".join(path.name for path in data.files)


def calibrated(
    artifact: Path, data: Data, hrm: HRMSettings, supervision: DeepSupervisionSettings, training: TrainingSettings,
    out: Path,
) -> Manifest:  # fmt: skip
    """Write the same model with what `data`'s training sessions tell of it, and return its manifest.

    Statistics of its windows, a Q head that knows when more thinking changes nothing, and what the value head's figures
    came to. Raises CheckpointError, or DataError where there are too few sessions.
    """
    model, manifest = load_model(artifact)
    source, _ = sources(data, training)
    parts = source.samples(training.seed, training.novelty_sessions)
    novelty = calibrate(parts, model.config.features, market_name(data), training.novelty_sessions)
    own = hrm.of(model.config)
    segments = manifest.trained_segments or own.max_segments
    made = manifest.origin
    if made is not None and isinstance(data, FileData):
        first, last = source.span_ns
        made = also_knowing(made, [TrainingSpan(first=day_of(first), last=day_of(last))])
    finished = finish(model, source, own, training, segments, supervision.halt_regret)
    fresh = describe(
        model,
        trained=manifest.trained,
        dtype=manifest.dtype,
        training_span=manifest.training_span,
        metrics={**manifest.metrics, **finished.metrics},
        git_revision=manifest.git_revision,
        origin=made,
        novelty=novelty,
        segments=manifest.segments,
        values=finished.values,
    )
    save_model(out, model, fresh)
    return fresh


def model_of(artifact: Path | None) -> HRM | None:
    """The model of a file, None of none."""
    return None if artifact is None else load_model(artifact)[0]


def sources(data: Data, training: TrainingSettings, observers: Sequence[Observer] = ()) -> tuple[Source, Validation]:
    """Return where training sessions come from and what is validated on; observers are told of faults of files."""
    count = training.validation_sessions
    if isinstance(data, SimulatedData):
        simulated = market(data.name)
        source: Source = FamilySource() if isinstance(simulated, Family) else FreshSource(simulated.sessions)
        if data.sessions is not None:
            source = StoredSource(simulated.sessions(data.sessions, training.seed), training.min_sessions)
        best = simulated.best_bp(count, VALIDATION_SEED)
        return source, Validation(simulated.sessions(count, VALIDATION_SEED), best)
    parts = [divided(data, told(data, interval_s, observers), data.border) for interval_s in data.intervals_s]
    newest = newest_of_each(parts[0][1], count)
    stored = [StoredSource(before, training.min_sessions) for before, _ in parts]
    return (stored[0] if len(stored) == 1 else TakingTurns(stored)), Validation(newest)


def told(data: FileData, interval_s: int, observers: Sequence[Observer]) -> Sessions:
    """The sessions of the files; observers get a line a file about its bars, faults among them."""
    sessions, reports = load(data, interval_s)
    for report in reports:
        note(observers, 0, "data", report.words)
    return sessions


def _facts(family: Family, counts: Sequence[int], seeds: Sequence[int]) -> FamilyFacts:
    return join_facts([family.facts(count, seed) for count, seed in zip(counts, seeds, strict=True)])


def evaluation_data(
    data: Data, sessions: int, costs: tuple[CostStep, ...], seeds: Sequence[int] = (EVALUATION_SEED,),
    observers: Sequence[Observer] = (),
) -> EvaluationData:  # fmt: skip
    """Return sessions to evaluate on: fresh ones of a simulated market, or those of the files from the border on.

    Simulated ones are drawn in as many sets as there are ``seeds``, so that a figure has a spread; observers are told
    of faults of files, by which sessions are missing.
    """
    if isinstance(data, SimulatedData):
        simulated = market(data.name)
        counts = [len(part) for part in np.array_split(np.arange(sessions), len(seeds))]
        drawn = tuple(simulated.sessions(count, seed) for count, seed in zip(counts, seeds, strict=True))
        best = [simulated.best_bp(count, seed) for count, seed in zip(counts, seeds, strict=True)]
        regimes = [simulated.regimes(count, seed) for count, seed in zip(counts, seeds, strict=True)]
        return EvaluationData(
            sessions=drawn[0] if len(drawn) == 1 else join(drawn),
            history=simulated.sessions(data.sessions or 3_000, 1),
            best_bp=np.concatenate(best),
            regimes=np.concatenate(regimes),
            costs=costs,
            family=_facts(simulated, counts, seeds) if isinstance(simulated, Family) else None,
            parts=drawn,
        )
    before, after = divided(data, told(data, data.intervals_s[0], observers), data.border)
    return EvaluationData(sessions=after, history=before, best_bp=None, regimes=None, costs=costs)


def _metrics(result: TrainResult) -> dict[str, float]:
    """Return the last validation by depth, as the artifact's manifest keeps it."""
    report = result.validation
    if report is None:
        return {}
    metrics = {f"validation_bp_depth_{i + 1}": value for i, value in enumerate(report.pnl_bp)}
    for i, value in enumerate(report.share or ()):
        metrics[f"rb_share_depth_{i + 1}"] = value
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
