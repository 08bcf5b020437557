"""Models that go wrong in a running daemon: after how many decisions it is seen, who decides then, what health says.

    python benchmarks/chaos_model.py           # the table of docs/operations.md, about six minutes
    python benchmarks/chaos_model.py --json

Each case is a daemon in a process of its own on a tape at a hundred times real time, with one of `faulty_models.py` (or
a real model in a bad way) in the HRM's place. Exit code 1 where a fault wasn't seen within the stated number of
decisions, the wrong rung was reached, an order went beyond the limits, or the service was gone.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from daemon.core.events import Decision, MitigationTaken, OrderApproved, OrderIntent, StrategySwapped  # noqa: E402
from tests.integration.daemons import RUN, Daemon, running  # noqa: E402
from tests.samples import LIVELY, journaled, wave, write_tape  # noqa: E402

FAULTY = str(ROOT / "benchmarks" / "faulty_models.py")
TINY = ROOT / "models" / "artifacts" / "tiny.safetensors"
LIMIT_UNITS = 500
SPEED = "feed.speed=100"
BEFORE = 3
"""Good decisions before a fault of `faulty_models.py`."""
COMMON = (
    *LIVELY, SPEED, "strategy.name=hrm", "supervisor.ladder=[hrm, rules, flat]", "risk.stale_after_s=100000",
    f"risk.max_order_quantity={LIMIT_UNITS}", f"risk.max_position_quantity={LIMIT_UNITS}",
    "hierarchical_reasoning_model.act.deadline_ms=50", "supervisor.hang_grace_s=0.2", "supervisor.max_hangs_per_day=2",
    "supervisor.triggers.flaps_per_hour=1000", "supervisor.health.min_decisions=5",
)  # fmt: skip


class Case(msgspec.Struct, frozen=True):
    """A fault; seen when `seen` says so of `/status` and `/health`, within so many decisions, with `rung` in charge."""

    name: str
    seen: Callable[[dict[str, Any], dict[str, Any]], bool]
    rung: str
    within: int
    changes: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    meanwhile: Callable[[Daemon, Path], None] | None = None


class Row(msgspec.Struct, frozen=True):
    """What became of it."""

    fault: str
    decisions: int
    """From the first faulty one until it was seen."""
    steps: list[str]
    rung: str
    beyond_limits: int
    up: bool
    health: str
    right: bool


def left(status: dict[str, Any], health: dict[str, Any]) -> bool:
    """The rules decide."""
    return bool(status["strategy"] == "rules")


def check(*names: str) -> Callable[[dict[str, Any], dict[str, Any]], bool]:
    """One of these checks of health isn't ok."""

    def seen(status: dict[str, Any], health: dict[str, Any]) -> bool:
        return any(one["name"] in names and one["status"] != "ok" for one in health["checks"])

    return seen


def swap(daemon: Daemon, directory: Path) -> None:
    """Another model lies where the loaded one was read from."""
    daemon.until("decisions", lambda: daemon.status()["decisions"])
    model = directory / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)


CASES = (
    Case("weights are NaN", left, "rules", 4, program=(FAULTY, "not finite")),
    Case("raises every time", left, "rules", 4, program=(FAULTY, "raises")),
    Case("two of three fail, never three in a row", left, "rules", 30, program=(FAULTY, "raises often")),
    Case("ten times slower", left, "rules", 45, program=(FAULTY, "slow")),
    Case("hangs once", check("decisions", "owed", "errors"), "hrm", 2, program=(FAULTY, "hangs once")),
    Case("hangs for ever", left, "rules", 4, program=(FAULTY, "hangs")),
    Case("leaks 40 MB a decision", left, "rules", 30,
         ("performance.memory_warn_gb=0.5", "performance.memory_limit_gb=0.8", "supervisor.triggers.memory_rest_s=1",
          "supervisor.triggers.latency_trip_ms=5000"), (FAULTY, "leaks")),
    Case("blocks the loop for 2 s, at the 12th", check("loop"), "hrm", 15, program=(FAULTY, "blocks the loop")),
    Case("changes sides every bar", left, "rules", 12, ("supervisor.triggers.flaps_per_hour=10",), (FAULTY, "flaps")),
    Case("a damaged artifact at the start", check("ladder"), "rules", 0,
         ("model_management.artifact=DIR/damaged.safetensors",), RUN),
    Case("the artifact is damaged on disk", check("model"), "hrm", 15,
         ("model_management.artifact=DIR/model.safetensors", "supervisor.health.model_check_minutes=0.02"), RUN, swap),
    Case("a market that it doesn't know", left, "rules", 30,
         ("model_management.artifact=DIR/model.safetensors", "supervisor.triggers.novel_bars=10"), RUN),
)  # fmt: skip


def run(case: Case, tape: Path, directory: Path) -> Row:
    """One daemon, until the fault is seen or its decisions are over, and a moment longer."""
    shutil.copy(TINY, directory / "model.safetensors")
    (directory / "damaged.safetensors").write_bytes(b"nothing")
    changes = [change.replace("DIR", str(directory)) for change in (*COMMON, *case.changes)]
    with running(directory, tape, *changes, program=case.program) as daemon:
        daemon.url()
        if case.meanwhile is not None:
            case.meanwhile(daemon, directory)
        status, health, seen, deadline = {}, {}, False, time.monotonic() + 45
        while not seen and time.monotonic() < deadline:
            status, health = daemon.status(), daemon.get("/health")[1]
            seen = case.seen(status, health)
            time.sleep(0.05)
        time.sleep(1.5)
        up = daemon.process.poll() is None
        rung = daemon.status()["strategy"] if up else "none"
    said = [one["text"] for one in health["checks"] if one["status"] != "ok"]
    decisions = journaled(daemon.journal, Decision)
    swaps = journaled(daemon.journal, MitigationTaken, StrategySwapped)
    steps = [str(one.step) for one in swaps if isinstance(one, MitigationTaken)]
    own = [one for one in decisions if one.strategy == "hrm"]
    from_start = case.program is RUN
    needed = min(status.get("decisions", 0), len(own)) - (0 if from_start else BEFORE)
    approved = {one.order_id for one in journaled(daemon.journal, OrderApproved)}
    beyond = sum(
        one.quantity > LIMIT_UNITS for one in journaled(daemon.journal, OrderIntent) if one.order_id in approved
    )
    right = seen and up and rung == case.rung and beyond == 0 and needed <= case.within
    return Row(case.name, max(0, needed), steps, rung, beyond, up, "; ".join(said)[:150], right)


def main() -> int:
    """Every case, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="", help="a part of the names of the cases to run")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        tape = write_tape(Path(place) / "wave.parquet", *wave(75))
        for number, case in enumerate(one for one in CASES if arguments.only in one.name):
            directory = Path(place) / str(number)
            directory.mkdir()
            rows.append(run(case, tape, directory))
            print(f"{'right' if rows[-1].right else 'WRONG'}  {case.name}", file=sys.stderr)
    if arguments.json:
        print(msgspec.json.encode(rows).decode())
    else:
        print("| fault | seen after decisions | steps | then decides | orders beyond limits | up | health |")
        print("|---|---|---|---|---|---|---|")
        for row in rows:
            steps = " → ".join(row.steps) or "–"
            print(f"| {row.fault} | {row.decisions} | {steps} | {row.rung} | {row.beyond_limits} | "
                  f"{'yes' if row.up else 'no'} | {row.health} |")  # fmt: skip
    return 0 if all(row.right for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
