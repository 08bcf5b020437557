"""`hrmd replay --against`: a recorded day again, and the first event that differs."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from daemon.cli.options import INTERRUPTED, print_json, run_loop

if TYPE_CHECKING:
    from daemon.run.against import Parity
    from daemon.run.replaying import ReplayOutputs


def replay_against(
    journal: Path,
    run: int | None,
    changes: Sequence[str],
    chosen: Callable[[object], Sequence[str]],
    tapes: list[Path],
    symbols: list[str],
    latency: str | None,
    outputs: ReplayOutputs,
    *,
    as_json: bool,
) -> int:
    """Replay and compare; 0 where all is equal, 1 where something isn't.

    `changes` lie over the recorded settings; `chosen` is all that lies over them, by the strategy that is named then.
    """
    import msgspec

    from daemon.cli.replay import interruptible
    from daemon.core.errors import UsageError
    from daemon.run import log
    from daemon.run.against import RecordedDay
    from daemon.run.latency import parse_latency
    from daemon.run.replaying import Replay
    from daemon.settings.run import LogSettings
    from daemon.strategy.switching import RUNG
    from strategies.base import model_hash_of

    log.configure(LogSettings(), sys.stderr)
    if outputs.journal is not None and outputs.journal.resolve() == journal.resolve():
        raise UsageError(f"--journal {journal}: is what is compared with; name another place for the replay's")
    day = RecordedDay(journal, run)
    day.prepare(chosen(day.changed(changes).strategy.name))
    tapes = tapes or day.tapes()
    late = parse_latency(latency) if latency is not None else day.latency()
    with tempfile.TemporaryDirectory(prefix="hrmd-against-") as place:
        again = outputs.journal or Path(place) / "replayed.sqlite"
        session = Replay(
            day.settings, tapes, symbols or day.symbols, late, msgspec.structs.replace(outputs, journal=again)
        )
        run_loop(interruptible(session))
        if session.interrupted:
            return INTERRUPTED
        decided = session.app.strategy.strategies.get(RUNG)
        parity = day.compare(again, model_hash_of(decided), tapes, late.name)
    if as_json:
        print_json(parity)
    else:
        _show(parity)
    return 0 if parity.equal else 1


def _show(parity: Parity) -> None:
    from daemon.report.tables import facts, show
    from daemon.report.text import ist_minute

    rows = facts()
    counts = ", ".join(f"{count:,} {kind}" for kind, count in parity.events.items())
    rows.add_row("journal", f"{parity.journal}, run {', '.join(map(str, parity.runs))}")
    rows.add_row("tapes", ", ".join(parity.tapes))
    rows.add_row("equal", counts or "nothing")
    for note in parity.notes:
        rows.add_row("note", note)
    if parity.difference is not None:
        rows.add_row("differs", f"{ist_minute(parity.difference.ts)}: {parity.difference.words}")
        for cause in parity.causes:
            rows.add_row(f"why: {cause.what}", cause.text)
    show(rows)
    typer.echo("the recorded day came out again, all equal" if parity.equal else "the recorded day came out otherwise")
