"""How fast others play the same tape, and how many times as fast hrmd is, in one run.

Makes a tape of a million ticks of one symbol (ten sessions) and lets each, in a process of its own and in turn, run an
EMA cross (8, 34) on 1-minute bars: hrmd with its whole daemon; nautilus_trader and hftbacktest on the ticks;
backtesting.py and vectorbt on minute bars that numpy makes; and columns alone (Arrow and numpy, no strategy), which is
the limit. Reading the tape counts; imports and compilation don't. The peers live in environments of their own under
`var/bench-peers`, in the versions below; one that can't be installed or run is said to be missing, and the others go
on. Run: `make bench-peers`, or `.venv/bin/python benchmarks/peers.py --rounds 5`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.replay import CROSS, MINUTES, bench_command, simulate_dense

HOME = Path(__file__).parents[1] / "var" / "bench-peers"
RUNS = Path(__file__).parent / "peer_runs"
TOGETHER = ["nautilus_trader==1.221.0", "hftbacktest==2.4.4", "backtesting==0.6.5", "numpy==2.2.6", "pandas==2.3.3",
            "pyarrow"]  # fmt: skip
ENVIRONMENTS = {
    "nautilus": TOGETHER,
    "hftbacktest": TOGETHER[1:],
    "backtesting": TOGETHER[2:],
    "vectorbt": ["vectorbt==1.2.0", "pyarrow"],
}
"""By peer what its environment holds: they don't all get on with each other's versions."""
SPANS = ["strategy.rules.fast=8", "strategy.rules.slow=34", "strategy.rules.quantity=1",
         "strategy.rules.trade_in=[trending, ranging, volatile]"]  # fmt: skip


def installed(peer: str) -> Path | None:
    """The interpreter of a peer's environment, made now where it isn't there; None where it can't be made."""
    home = HOME / peer
    python, made = home / "bin" / "python", home / ".made"
    wanted = "\n".join(ENVIRONMENTS[peer])
    if made.exists() and made.read_text() == wanted:
        return python
    print(f"installing {peer} into {home}", file=sys.stderr)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for step in ([sys.executable, "-m", "venv", str(home)], [*pip, *ENVIRONMENTS[peer]]):
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{peer} can't be installed: {_last_line(done.stderr)}", file=sys.stderr)
            return None
    made.write_text(wanted)
    return python


def measured(command: list[str]) -> dict[str, float] | None:
    """What a run says of itself in the last line it prints; None where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=RUNS)
    if done.returncode:
        print(f"{command[1]} failed ({done.returncode}): {_last_line(done.stderr)}", file=sys.stderr)
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def commands(tape: Path) -> dict[str, list[str]]:
    """How each is run; those that can't be installed are left out."""
    found = {
        "hrmd": bench_command(tape, [*CROSS, *MINUTES, *SPANS]),
        "columns alone": [sys.executable, str(RUNS / "on_columns.py"), str(tape)],
    }
    for peer in ENVIRONMENTS:
        python = installed(peer)
        if python is not None:
            found[peer] = [str(python), str(RUNS / f"on_{peer}.py"), str(tape)]
    return found


def compare(rounds: int) -> dict[str, Any]:
    """The best run of each by processor time, all of them in every round, and the machine's load before and after."""
    with tempfile.TemporaryDirectory() as name:
        tape = simulate_dense(Path(name), 1, 10, 100_000)
        lines = commands(tape)
        before = os.getloadavg()[0]
        runs: dict[str, list[dict[str, float]]] = {peer: [] for peer in lines}
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            for peer, line in lines.items():
                run = measured(line)
                if run is not None:
                    runs[peer].append(run)
    best = {peer: min(found, key=lambda run: run["cpu_s"]) for peer, found in runs.items() if found}
    missing = [peer for peer in ("hrmd", "columns alone", *ENVIRONMENTS) if peer not in best]
    return {"runs": best, "missing": missing, "load": [before, os.getloadavg()[0]]}


def table(found: dict[str, Any]) -> list[str]:
    """A line a peer: M ticks a second by processor and wall time, and how many times as fast hrmd is."""
    runs, lines = found["runs"], [f"{'':14} {'M ticks/s (cpu)':>16} {'(wall)':>8} {'fills':>7} {'hrmd is':>10}"]
    own = runs.get("hrmd")
    for peer, run in runs.items():
        times = f"{run['cpu_s'] / own['cpu_s']:.2f} x" if own is not None else "-"
        million = run["ticks"] / 1e6
        lines.append(
            f"{peer:14} {million / run['cpu_s']:16.2f} {million / run['wall_s']:8.2f} {run['fills']:7.0f} {times:>10}"
        )
    lines += [f"{peer:14} {'missing':>16}" for peer in found["missing"]]
    return [*lines, f"load of the machine {found['load'][0]:.1f} before, {found['load'][1]:.1f} after"]


def main() -> None:
    """Print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = compare(arguments.rounds)
    print(json.dumps(found) if arguments.json else "\n".join(table(found)))


if __name__ == "__main__":
    main()
