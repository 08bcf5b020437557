"""Models that go wrong in a running daemon, and what it lives on: seen how soon, said where, who decides, what is lost.

    python benchmarks/chaos_model.py           # the table of docs/operations.md, about four minutes
    python benchmarks/chaos_model.py --json

Each case of `fault_cases.py` is a daemon in a process of its own at a hundred times real time, with one of
`faulty_models.py` (or a real model) in the HRM's place: on a tape and the simulated venue where the fault is the
model's, else on an exchange (`hrmd sandbox`, a process too) for ticks and orders. Exit code 1 where a fault wasn't
seen within the stated number of decisions, `hrmd ctl health --json` said it of another check or not as long as it
lasted, the wrong rung was reached, an order went beyond the limits or opened something in the dark, journal and venue
hold different positions, the service was gone, or it wasn't well again in the stated time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.fault_cases import (  # noqa: E402
    ARTIFACTS,
    BEFORE,
    CASES,
    COMMON,
    LIMIT_UNITS,
    ON_EXCHANGE,
    SPEED,
    Case,
    Scene,
)
from daemon.cli.ctl import ctl_app  # noqa: E402
from daemon.core.errors import Fault as HrmdFault  # noqa: E402
from daemon.core.events import (  # noqa: E402
    Decision,
    Fill,
    MitigationTaken,
    OrderApproved,
    OrderIntent,
    PositionChanged,
)
from tests.integration.daemons import Daemon, running  # noqa: E402
from tests.integration.exchanges import exchange  # noqa: E402
from tests.samples import SBIN, journaled, wave, write_tape  # noqa: E402

SEEN_S = 45.0
LASTS_S = 2.0
"""How long a fault that ends goes on after it was seen: a few bars."""
TURN_S = 20.0
"""The well model buys anew within so long."""


class Row(msgspec.Struct, frozen=True):
    """What became of a case."""

    fault: str
    decisions: int
    """From the first faulty one, or the fault's beginning, until health said it."""
    within: int
    steps: list[str]
    rung: str
    health: str
    """The line of `hrmd ctl health --json`, as long as the fault lasted; "" where it wasn't there."""
    beyond_limits: int
    """Orders and positions; where the fault lasts, orders that opened something meanwhile, too."""
    positions: str
    """Those of the journal, and of the exchange where it plays on one."""
    agree: bool
    up: bool
    """The process lived, answered, and ended in order when it was told to."""
    recovered_s: float | None
    """None: not within the stated time."""
    right: bool


class Told(msgspec.Struct):
    """What was seen of a running case."""

    line: str = ""
    decisions: int = 0
    dark: tuple[int, int] = (0, 0)
    """From when to when the fault was known and lasted, UTC ns."""
    recovered_s: float | None = None
    up: bool = False
    rung: str = "none"
    held: int | None = None
    """What the exchange holds."""
    trades: int | None = None


def health(daemon: Daemon) -> dict[str, Any]:
    """What `hrmd ctl health --json` says; while the loop stands still it answers nobody, and is asked again."""
    where = ("--url", daemon.url(), "--token-file", str(daemon.token_file))
    for more in (True, True, False):
        try:
            said = CliRunner().invoke(ctl_app, ["health", "--json", *where], catch_exceptions=False)
            break
        except HrmdFault:
            if not more:
                raise
    document: dict[str, Any] = json.loads(said.stdout)
    return document


def until(look: Callable[[], Any], patience_s: float) -> Any:
    """What is found in time, else what was last."""
    deadline = time.monotonic() + patience_s
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def decisions(scene: Scene) -> int:
    """How many the daemon has made."""
    return int(scene.daemon.status()["decisions"])


def play(case: Case, scene: Scene) -> Told:
    """Let the fault begin, be seen, last and end; then end the daemon in order."""
    told, daemon, before = Told(), scene.daemon, case.good_before
    if case.begin is not None:
        scene.daemon.until("good decisions", lambda: decisions(scene) >= BEFORE)
        case.begin(scene)
        before = decisions(scene)
    told.line = until(lambda: case.line(health(daemon)), SEEN_S)
    status, seen = daemon.status(), time.monotonic()
    told.decisions, known = status["decisions"] - before, int(status["ts"])
    if case.end is not None:
        time.sleep(LASTS_S)
        told.line = told.line and case.line(health(daemon))  # as long as it lasts
        told.dark = (known, int(daemon.status()["ts"]))
        case.end(scene)
        seen = time.monotonic()
    if until(lambda: well(case, scene, status["decisions"]), case.recovers_s):
        told.recovered_s = time.monotonic() - seen
    if told.recovered_s is not None and case.on_exchange and not trades_again(scene):
        told.recovered_s = None
    told.rung = daemon.status()["strategy"]
    told.up = daemon.process.poll() is None and daemon.terminate() == 0
    if scene.exchange is not None:
        state = scene.exchange.admin("GET", "state")
        told.held, told.trades = scene.exchange.held(SBIN), len(state["trades"])
    return told


def well(case: Case, scene: Scene, decided: int) -> bool:
    """New decisions come, none of them failed; what has ended isn't said any more, and a person's part is done."""
    daemon, found = scene.daemon, health(scene.daemon)
    status = {one["name"]: one["status"] for one in found["checks"]}
    if status["decisions"] != "ok" or (case.end is not None and (not found["healthy"] or status[case.check] != "ok")):
        return False
    if case.resumes and daemon.status()["trading_state"] != "ACTIVE":
        daemon.ctl("resume", "--reason", "mended")
    now = daemon.status()
    return bool(now["trading_state"] == "ACTIVE" and now["decisions"] > decided)


def trades_again(scene: Scene) -> bool:
    """An order is filled on the exchange."""
    trades = len(scene.venue.admin("GET", "state")["trades"])
    return bool(until(lambda: len(scene.venue.admin("GET", "state")["trades"]) > trades, TURN_S))


def run(case: Case, tape: Path, directory: Path) -> Row:
    """One daemon, and what its journal tells afterwards."""
    shutil.copy(ARTIFACTS / "tiny.safetensors", directory / "model.safetensors")
    (directory / "damaged.safetensors").write_bytes(b"nothing")
    changes = [change.replace("DIR", str(directory)) for change in (*COMMON, *case.changes)]
    with ExitStack() as stack:
        venue = None
        if case.on_exchange:
            venue = stack.enter_context(exchange(tape, SPEED))
            changes += [*venue.changes(directory, SBIN), *ON_EXCHANGE]
        daemon = stack.enter_context(running(directory, tape, *changes, program=case.program))
        daemon.url()
        told = play(case, Scene(daemon, directory, venue))
    return judged(case, told, daemon.journal, str(directory))


def judged(case: Case, told: Told, journal: Path, directory: str) -> Row:
    """The row of the table."""
    fills, own = journaled(journal, Fill), [one for one in journaled(journal, Decision) if one.strategy == "hrm"]
    booked = journaled(journal, PositionChanged)
    held = sum(fill.side.sign * fill.quantity for fill in fills)
    agree = held == (booked[-1].quantity if booked else 0)
    if told.held is not None:
        agree = agree and (held, len(fills)) == (told.held, told.trades)
    needed = max(0, min(told.decisions, len(own) - case.good_before))
    beyond = beyond_limits(journal, told.dark)
    in_time = told.line and needed <= case.within and told.recovered_s is not None
    return Row(
        fault=case.name, decisions=needed, within=case.within,
        steps=[str(one.step) for one in journaled(journal, MitigationTaken)], rung=told.rung,
        health=told.line.replace(f"{directory}/", ""), beyond_limits=beyond,
        positions=str(held) if told.held is None else f"{held} = {told.held}", agree=agree, up=told.up,
        recovered_s=told.recovered_s,
        right=bool(in_time and told.up and told.rung == case.rung and not beyond and agree),
    )  # fmt: skip


def beyond_limits(journal: Path, dark: tuple[int, int]) -> int:
    """Approved orders above the limit or, in the dark, that open something; positions above the limit."""
    approved = {one.order_id: one.ts for one in journaled(journal, OrderApproved)}
    intents = [one for one in journaled(journal, OrderIntent) if one.order_id in approved]
    since, to = dark
    opened = sum(not one.reduces and since < approved[one.order_id] < to for one in intents)
    positions = sum(abs(one.quantity) > LIMIT_UNITS for one in journaled(journal, PositionChanged))
    return opened + positions + sum(one.quantity > LIMIT_UNITS for one in intents)


def show(rows: list[Row]) -> None:
    """The table of docs/operations.md."""
    print("| fault | seen after decisions (limit) | steps | then decides | health says | orders beyond limits "
          "| positions, journal = venue | up | well again after |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        steps = " → ".join(row.steps) or "–"
        again = "no" if row.recovered_s is None else f"{row.recovered_s:.1f} s"
        positions = row.positions if row.agree else f"DIFFER {row.positions}"
        print(f"| {row.fault} | {row.decisions} ({row.within}) | {steps} | {row.rung} "
              f"| {row.health[:150] or 'nothing'} | {row.beyond_limits} | {positions} "
              f"| {'yes' if row.up else 'no'} | {again} |")  # fmt: skip


def main() -> int:
    """Every case, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="", help="a part of the names of the cases to run")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        tape = write_tape(Path(place) / "wave.parquet", *wave(150, every_s=1))
        for number, case in enumerate(one for one in CASES if arguments.only in one.name):
            directory = Path(place) / str(number)
            directory.mkdir()
            rows.append(run(case, tape, directory))
            print(f"{'right' if rows[-1].right else 'WRONG'}  {case.name}", file=sys.stderr)
    if arguments.json:
        print(msgspec.json.encode(rows).decode())
    else:
        show(rows)
    return 0 if all(row.right for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
