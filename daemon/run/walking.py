"""Rounds of a walk forward and the thinking of an evaluation → a fleet, and back.

What crosses to another process is plain bytes. A round that is trained in a process of this machine leaves its model,
checkpoints and metrics where one trained alone does; from a cluster the model comes back and is put there. Invariant:
models and figures are the same bits whoever did the work, for all of it is done with the same threads.
"""

from __future__ import annotations

import datetime as dt
import os
import pickle
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from daemon.core.errors import ArtifactError, UsageError
from daemon.run.files_of_bars import file_data
from daemon.run.fleet import Fleet
from daemon.run.process import ended_in_order
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from models.checkpoint import load_model
from models.config import HRMSettings
from models.errors import ModelError
from models.hrm import HRM
from models.training.batches import BatchSettings
from models.training.errors import TrainingError
from models.training.evaluate import Thought, think
from models.training.files import divided, load
from models.training.progress import MetricsFile, NoteReport, Report
from models.training.run import MODEL
from models.training.sessions import Sessions
from models.training.settings import CostStep
from models.training.trainer import threads
from models.training.walking import (
    METRICS,
    Recipe,
    Round,
    changed_since,
    facts_of,
    is_done,
    keep,
    train_round,
)


class RoundJob(msgspec.Struct, frozen=True, kw_only=True):
    """One round. `settings` are JSON; `files` are paths that the process can read; `folder` is "" on a cluster."""

    settings: str
    files: list[str]
    columns: str
    border: dt.date
    facts: dict[str, str]
    folder: str


class RoundTold(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: the model's bytes where there was no folder for it, and why there is none."""

    model: bytes
    notes: list[str]
    refused: str


def recipe_of(settings: Settings, device: str = "cpu") -> Recipe:
    """How the rounds of these settings train."""
    return Recipe(
        settings.hierarchical_reasoning_model, settings.deep_supervision, settings.training_params, device,
        settings.performance.memory_limit_gb,
    )  # fmt: skip


def train_all(
    settings: Settings, rounds: Sequence[Round], columns: str, folder: Path, fleet: Fleet, told: Callable[[str], None],
    *, shared: bool,
) -> None:  # fmt: skip
    """Have every round that isn't done trained by the fleet; `told` is given a line when one is.

    `shared`: whether the fleet writes into `folder` itself. Raises `ArtifactError` where a round can't be trained;
    those that are done by then are kept.
    """
    recipe = recipe_of(settings)
    jobs: list[RoundJob] = []
    for one in rounds:
        facts, place = facts_of(one, recipe), folder / one.name
        if is_done(place, facts):
            continue
        if changed := changed_since(place, facts):
            told(f"{one.name}: trained anew, for {changed} changed")
        jobs.append(
            RoundJob(
                settings=settings.model_dump_json(), files=[str(path.resolve()) for path in one.data.files],
                columns=columns, border=one.border, facts=facts, folder=str(place.resolve()) if shared else "",
            )
        )  # fmt: skip
    done = len(rounds) - len(jobs)
    if done:
        told(f"{done} of {len(rounds)} rounds were done before")
    work = fleet.finished(train_apart, map(msgspec.json.encode, jobs))
    with ended_in_order(told), closing(work) as finished:
        for number, came in finished:
            outcome, job = msgspec.msgpack.decode(came, type=RoundTold), jobs[number]
            for note in outcome.notes:
                told(f"{job.border}: {note}")
            if outcome.refused:
                raise ArtifactError(f"{job.border}: {outcome.refused}")
            if not shared:
                _put(outcome.model, folder / job.border.isoformat(), job.facts)
            done += 1
            told(f"{done} of {len(rounds)} rounds: {job.border}")


def train_apart(job: bytes) -> bytes:
    """Train one round, as its process was asked to."""
    wanted = msgspec.json.decode(job, type=RoundJob)
    notes: list[str] = []
    try:
        if wanted.folder:
            _train(wanted, Path(wanted.folder), notes)
            model = b""
        else:
            with tempfile.TemporaryDirectory(prefix="hrmd-round-") as folder:
                _train(wanted, Path(folder), notes)
                model = (Path(folder) / MODEL).read_bytes()
    except (ModelError, UsageError) as error:
        return msgspec.msgpack.encode(RoundTold(model=b"", notes=notes, refused=str(error)))
    return msgspec.msgpack.encode(RoundTold(model=model, notes=notes, refused=""))


def _train(wanted: RoundJob, folder: Path, notes: list[str]) -> None:
    settings = Settings(**msgspec.json.decode(wanted.settings))
    files = [Path(path) for path in wanted.files]
    for path in files:
        if not path.exists():
            raise TrainingError(f"{path}: no such file of bars where the round was to be trained")
    seconds = [INTERVALS[settings.strategy.interval]]
    data = file_data(settings, files, seconds, wanted.border, wanted.columns, "--border")
    before, after = divided(data, load(data, data.intervals_s[0])[0], wanted.border)
    one, recipe = Round(data, before, after), recipe_of(settings)
    here = facts_of(one, recipe)
    if differs := [key for key in sorted(here.keys() | wanted.facts.keys()) if here.get(key) != wanted.facts.get(key)]:
        raise TrainingError(
            f"{', '.join(differs[:3])}: not the same where the round was to be trained; every machine needs the same "
            "hrmd and the same files"
        )
    train_round(one, recipe, folder, [MetricsFile(folder / METRICS), _Notes(notes)])


def thoughts_of(
    models: Sequence[tuple[HRM, Sessions]], hrm: HRMSettings, settings: BatchSettings, costs: tuple[CostStep, ...],
    fleet: Fleet, count: int,
) -> list[Thought]:  # fmt: skip
    """What each model says about its sessions, by the fleet; `count`: torch's threads in each process."""
    jobs = (
        pickle.dumps((count, model, part.with_past(model.config.features.past_sessions), hrm, settings, costs))
        for model, part in models
    )
    with ended_in_order(), closing(fleet.finished(think_apart, jobs)) as finished:
        found = {place: pickle.loads(came) for place, came in finished}
    return [found[place] for place in range(len(models))]


def think_apart(job: bytes) -> bytes:
    """Think about one set of sessions, as its process was asked to; what comes in is of this program's own making."""
    count, model, sessions, hrm, settings, costs = pickle.loads(job)
    with threads(count):
        return pickle.dumps(think(model, sessions, hrm, settings, costs))


def _put(model: bytes, folder: Path, facts: dict[str, str]) -> None:
    """A model that was trained elsewhere, as if it had been trained here."""
    folder.mkdir(parents=True, exist_ok=True)
    pending = folder / f"{MODEL}.partial"
    pending.write_bytes(model)
    sha256 = load_model(pending)[1].sha256
    os.replace(pending, folder / MODEL)
    keep(folder, facts, sha256)


class _Notes:
    """Keeps what a person should know of a round, for whoever asked for it."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def __call__(self, report: Report) -> None:
        if isinstance(report, NoteReport):
            self._lines.append(f"{report.kind}: {report.text}")
