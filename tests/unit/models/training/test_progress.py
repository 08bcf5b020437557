"""Progress into a pipe is whole lines; on a terminal it is a bar in one line."""

from __future__ import annotations

import io

from rich.console import Console

from models.training.progress import Lines, NoteReport, StepReport, ValidationReport, watching
from models.training.step import SegmentReport

SEGMENT = SegmentReport(0.5, 0.0, 0.0, 1.0, 1.0, 0.1)


def test_a_pipe_gets_lines_however_long_they_are() -> None:
    """A note of 300 characters is one line; of a hundred steps ten are told, and no bar is drawn."""
    out = io.StringIO()
    with watching(Console(file=out)) as view:
        assert isinstance(view, Lines)
        view(NoteReport(0, "data", "AAA.parquet: [1/2] " + "x" * 300))
        for step in range(1, 101):
            view(StepReport(step, 100, [SEGMENT], 0.1, 1.0, 100.0, step))
        view(ValidationReport(100, [1.0, 2.0], [0.1, 0.2], best=True))
    lines = out.getvalue().splitlines()
    assert lines[0] == "data: AAA.parquet: [1/2] " + "x" * 300
    assert [line.split(":")[0] for line in lines[1:11]] == [f"step {step} of 100" for step in range(10, 101, 10)]
    assert lines[11:] == [
        "step 100: validation at depth 1 to 2: 1.00, 2.00 bp a session = 10.0 %, 20.0 % of the best, the best so far"
    ]
    assert "\x1b" not in out.getvalue()


def test_a_narrow_terminal_has_how_far_it_is() -> None:
    """Steps and times are whole; of the figures there is as much as there is room for."""
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    with watching(console) as view:
        view(StepReport(7, 100, [SEGMENT] * 16, 0.1, 1.0, 100.0, 7))
    last = out.getvalue().split("\r")[-1]
    assert "7/100" in last
    assert "loss +0.500" in last
    assert "…" in last


def test_what_never_took_a_step_leaves_no_bar() -> None:
    """A training that is refused is one line of its own; one that got on keeps its bar."""
    erased = "\x1b[1A\x1b[2K"
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    with watching(console):
        pass
    assert out.getvalue().endswith(erased)
    with watching(console) as view:
        view(StepReport(7, 100, [SEGMENT], 0.1, 1.0, 100.0, 7))
    assert not out.getvalue().endswith(erased)
