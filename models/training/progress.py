"""Reports of a training run → metrics lines in a file and a live view on the terminal.

Invariant: a report changes nothing in training, and the metrics file holds one JSON object a line, each written whole.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from models.training.errors import TrainingError
from models.training.step import SegmentReport


@dataclass(frozen=True)
class StepReport:
    """One step: reports of its segments, learning rate, mean depth of a row, resident memory, sessions seen so far."""

    step: int
    steps: int
    segments: Sequence[SegmentReport]
    learning_rate: float
    depth: float
    memory_mb: float
    sessions: int


@dataclass(frozen=True)
class ValidationReport:
    """Profit of the greedy policy in bp a session, by depth 1…n; ``share`` of the best trader, where one is known."""

    step: int
    pnl_bp: Sequence[float]
    share: Sequence[float] | None
    best: bool


@dataclass(frozen=True)
class NoteReport:
    """Something a person should know: a rollback, slow convergence, a checkpoint."""

    step: int
    kind: str
    text: str


Report = StepReport | ValidationReport | NoteReport


class Observer(Protocol):
    """Whoever wants to watch."""

    def __call__(self, report: Report) -> None:
        """Take one report."""


def note(observers: Iterable[Observer], step: int, kind: str, text: str) -> None:
    """Tell all of them what a person should know."""
    for observer in observers:
        observer(NoteReport(step, kind, text))


class MetricsFile:
    """Appends every report to a JSONL file; ``kind`` is step, validation or the note's own.

    What is told before the first step waits for it, or for ``begin``: what is refused until then leaves no file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begun = False
        self._held: list[Report] = []

    def __call__(self, report: Report) -> None:
        """Write one line."""
        self._held.append(report)
        if self._begun or not isinstance(report, NoteReport) or report.step:
            self.begin()

    def begin(self) -> None:
        """Write what waits, and from now on each report as it comes."""
        self._begun = True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            for report in self._held:
                fields = asdict(report)
                kind = {StepReport: "step", ValidationReport: "validation"}.get(type(report), fields.get("kind"))
                file.write(json.dumps({**fields, "kind": kind}) + "\n")
        self._held.clear()


class TensorBoardFiles:
    """Writes loss, profit, gradient norm and ‖Δz‖ by segment, and validation by depth, as TensorBoard reads them.

    Raises TrainingError where the package tensorboardX is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise TrainingError("--tensorboard: tensorboardX is not installed; install hrmd[tensorboard]") from error
        self._open = partial(SummaryWriter, str(folder))  # it makes files at once: not before there is a figure

    @cached_property
    def _writer(self) -> Any:
        return self._open()

    def close(self) -> None:
        """Write what is still in memory."""
        if "_writer" in vars(self):
            self._writer.close()

    def __call__(self, report: Report) -> None:
        """Write one report's figures at its step."""
        figures: dict[str, float] = {}
        if isinstance(report, StepReport):
            figures = {"depth": report.depth, "learning_rate": report.learning_rate, "memory_MB": report.memory_mb}
            for number, segment in enumerate(report.segments, 1):
                for name in ("loss", "pnl_bp", "q_loss", "gradient_norm", "change"):
                    figures[f"{name}/segment_{number}"] = getattr(segment, name)
        elif isinstance(report, ValidationReport):
            figures = {f"validation_bp/depth_{number}": value for number, value in enumerate(report.pnl_bp, 1)}
            figures |= {
                f"share_of_the_best/depth_{number}": value for number, value in enumerate(report.share or (), 1)
            }
        for name, value in figures.items():
            self._writer.add_scalar(name, value, report.step)


class LiveView:
    """A progress bar with loss by segment, depth, ‖Δz‖, validation and memory; a context manager."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("[bold]train"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            console=console,
            expand=True,  # the figures have the room that is left, whatever the terminal's
        )
        self._task = self._progress.add_task("train", total=None, figures="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What never took a step, as one that was refused, leaves nothing behind."""
        self._progress.live.transient = not self._progress.tasks[0].completed
        self._progress.stop()

    def __call__(self, report: Report) -> None:
        """Show one report."""
        if isinstance(report, StepReport):
            losses = " ".join(f"{segment.loss:+.3f}" for segment in report.segments)
            figures = (
                f"loss {losses} · depth {report.depth:.2f} · ‖Δz‖ {report.segments[-1].change:.3f} "
                f"· {report.memory_mb:.0f} MB"
            )
            self._progress.update(self._task, total=report.steps, completed=report.step, figures=figures)
        else:
            self._progress.console.print(_line(report), soft_wrap=True, markup=False)


class Lines:
    """The same as whole lines, for where nobody watches: a validation or a note each, steps by every tenth part."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0

    def __enter__(self) -> Self:
        """Nothing is to be prepared."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held back."""

    def __call__(self, report: Report) -> None:
        """Write one line, or none."""
        if not isinstance(report, StepReport):
            self._console.print(_line(report), soft_wrap=True, markup=False, highlight=False)
        elif 10 * report.step // report.steps != self._told:
            self._told = 10 * report.step // report.steps
            losses = " ".join(f"{segment.loss:+.3f}" for segment in report.segments)
            line = f"step {report.step} of {report.steps}: loss {losses}, depth {report.depth:.2f}"
            self._console.print(f"{line}, {report.memory_mb:.0f} MB", soft_wrap=True, markup=False, highlight=False)


def watching(console: Console) -> AbstractContextManager[Observer]:
    """A bar where there is a terminal to draw it on, else lines."""
    return LiveView(console) if console.is_terminal else Lines(console)


def _line(report: ValidationReport | NoteReport) -> str:
    if isinstance(report, NoteReport):
        return (
            f"{report.kind}: {report.text}" if not report.step else f"step {report.step}: {report.kind}: {report.text}"
        )
    by_depth = ", ".join(f"{value:.2f}" for value in report.pnl_bp)
    share = "" if report.share is None else f" = {', '.join(f'{100 * x:.1f} %' for x in report.share)} of the best"
    depths = "depth 1" if len(report.pnl_bp) == 1 else f"depth 1 to {len(report.pnl_bp)}"
    best = ", the best so far" if report.best else ""
    return f"step {report.step}: validation at {depths}: {by_depth} bp a session{share}{best}"


def resident_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
