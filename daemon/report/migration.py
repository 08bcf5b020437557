"""A migration as others see it: the JSON of `GET /migration`, a table for a terminal, the report that a person signs.

Basis points are of the starting cash. Invariant: the report says nothing that the view doesn't hold.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.table import Table
from rich.text import Text

from daemon.core.events import GateReading, MigrationStage
from daemon.report.tables import facts, table
from daemon.report.text import ABSENT, MINUS, ist_minute, percent

STAGES = tuple(MigrationStage)
SIGNED = 'hrmd ctl migration advance --sign NAME --reason "…"'
BACK = 'hrmd ctl migration rollback --sign NAME --reason "…"'


class MigrationStep(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the stage: who signed, why, and how the gates stood."""

    ts: int
    before: MigrationStage
    stage: MigrationStage
    candidate: str
    who: str
    reason: str
    gates: tuple[GateReading, ...]


class MigrationSession(msgspec.Struct, frozen=True, kw_only=True):
    """One whole session that counted in a stage; of the candidate in `parallel` and `full`, None elsewhere."""

    session: str
    stage: MigrationStage
    in_charge_bp: float | None
    candidate_bp: float | None
    difference_bp: float | None
    decisions: int
    failed: int
    trades: int
    agreement: float | None
    latency_p99_ms: float


class MigrationView(msgspec.Struct, frozen=True, kw_only=True):
    """Where a migration stands. `ready`: every gate is passed, and it trades, so that a person may advance it."""

    ts: int
    stage: MigrationStage
    since_ts: int | None
    next: MigrationStage
    ready: bool
    halted: str
    """Why nothing is advanced now, "" where it trades."""
    in_charge: str
    """A strategy and the beginning of its model's hash, as are `former` and `decider`."""
    former: str
    """Who was in charge when the baseline began, "" before."""
    candidate: str
    """The shadow agent, "" where the settings name none and none was signed."""
    decider: str
    canary: str
    """How the candidate does on its share, "" where it never began."""
    trouble: str
    gates: tuple[GateReading, ...]
    changes: str
    """What the next step changes."""
    back: str
    """What a rollback would do now."""
    sessions: list[MigrationSession]
    history: list[MigrationStep]


class MigrationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a command: the stage it came to, or the `reason` why it stayed; and the gates of `before`."""

    moved: bool
    stage: MigrationStage
    before: MigrationStage
    who: str
    reason: str
    gates: tuple[GateReading, ...]
    ts: int


def view_tables(view: MigrationView) -> list[Table | Text]:
    """For a terminal."""
    head = facts()
    way = Text()
    for number, stage in enumerate(STAGES):
        way.append(" → " if number else "")
        way.append(stage.value, "bold" if stage is view.stage else "dim")
    head.add_row("stage", way)
    rows = (
        ("since", "" if view.since_ts is None else f"{ist_minute(view.since_ts)} IST"), ("in charge", view.in_charge),
        ("before", view.former), ("candidate", f"{view.candidate} ({view.decider})" if view.candidate else "none"),
        ("canary", view.canary), ("halted", view.halted), ("look at", view.trouble),
    )  # fmt: skip
    for name, value in rows:
        if value:
            head.add_row(name, Text(value, "bold yellow" if name in ("halted", "look at") else ""))
    shown = table("=gate", "=passed", "reading")
    for gate in view.gates:
        shown.add_row(gate.name, Text("yes", "green") if gate.passed else Text("no", "bold red"), Text(gate.text))
    end = f"ready: {SIGNED}" if view.ready else "not ready: every gate has to be passed, and it has to trade"
    return [head, Text(""), shown, Text(end, "green" if view.ready else "yellow")]


def markdown(view: MigrationView) -> str:
    """The report."""
    passed = sum(gate.passed for gate in view.gates)
    candidate = f"{view.candidate} ({view.decider})" if view.candidate else "none yet"
    lines = [
        f"# Migration report: stage {view.stage.value}", "",
        f"Written {ist_minute(view.ts)} IST (market time).", "",
        f"- In charge: {_cell(view.in_charge)}", f"- In charge when the baseline began: {_cell(view.former or ABSENT)}",
        f"- Candidate: {_cell(candidate)}", f"- Canary: {_cell(view.canary or 'never began')}",
        f"- To look at: {_cell(view.trouble or 'nothing')}", "",
        f"## Gates of stage {view.stage.value}: {passed} of {len(view.gates)} passed", "", *_gates(view.gates), "",
        "## How it came here", "", *_history(view.history),
        "## Session by session", "", *_sessions(view.sessions), "",
        f"## What the next step changes: {view.stage.value} → {view.next.value}", "", view.changes, "",
        "## How to go back", "", view.back, "",
        "## Signature", "",
        "Every gate is passed." if view.ready else "**Not ready**: nobody can advance it as it stands.",
        "", f"`{SIGNED}`", "", "Name: ______________________  Date: ______________  Signature: ______________________",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _gates(gates: Sequence[GateReading]) -> list[str]:
    rows = [
        [gate.name, "yes" if gate.passed else "**no**", _number(gate.value), _number(gate.limit), gate.text]
        for gate in gates
    ]
    return _markdown_table(["gate", "passed", "value", "limit", "reading"], rows)


def _history(history: Sequence[MigrationStep]) -> list[str]:
    if not history:
        return ["Nothing has been signed yet.", ""]
    lines: list[str] = []
    for step in history:
        who = f"{_cell(step.who)}: {_cell(step.reason)}"
        lines += [f"### {ist_minute(step.ts)} IST: {step.before.value} → {step.stage.value}", "", f"By {who}", ""]
        lines += [*_gates(step.gates), ""]
    return lines


def _sessions(sessions: Sequence[MigrationSession]) -> list[str]:
    if not sessions:
        return ["No whole session has counted yet."]
    rows = [
        [one.session, one.stage.value, _bp(one.in_charge_bp), _bp(one.candidate_bp), _bp(one.difference_bp),
         f"{one.decisions:,}", f"{one.failed:,}", f"{one.trades:,}", percent(one.agreement, 1),
         f"{one.latency_p99_ms:.1f}"]
        for one in sessions
    ]  # fmt: skip
    return _markdown_table(
        ["session", "stage", "in charge, bp", "candidate, bp", "difference", "decisions", "failed", "trades", "agrees",
         "p99 ms"], rows,
    )  # fmt: skip


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}",
        *(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows),
    ]  # fmt: skip


def _cell(text: str) -> str:
    """What a person wrote is read as it was written, and can't break the table."""
    for mark in ("\\", "|", "[", "`"):
        text = text.replace(mark, f"\\{mark}")
    return text.replace("<", "&lt;")


def _number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:,.6g}".replace("-", MINUS)


def _bp(value: float | None) -> str:
    return ABSENT if value is None else f"{value:+.2f}".replace("-", MINUS)
