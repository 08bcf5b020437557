"""How fast and in how much memory `hrmd replay --strategy rules` plays a tape, as a user would call it.

Simulates tapes of one and of four million ticks, replays each in processes of their own, and prints ticks per second
(loading included), that as a multiple of a Python loop that makes bars of tick objects, and the peak resident memory,
which must not grow with the tape. Then denser tapes (100,000 ticks a session), on which an EMA cross decides every
minute and every five, and one of 50 symbols: ticks per second of wall time and of processor time (which other work on
the machine moves less), beside the limit that columns set: the tape read by Arrow and reduced to minute bars by numpy,
and nothing else. Run: `make bench`, or `.venv/bin/python benchmarks/replay.py --json`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HRMD = Path(sys.executable).with_name("hrmd")
SESSIONS = 50
MILLION = 1_000_000


CROSS = [
    "strategy.name=rules", "strategy.rules.min_trend=0", "strategy.rules.pays=0", "strategy.rules.once=false",
    "strategy.rules.not_before_minutes=0", "supervisor.triggers.flaps_per_hour=100000",
]  # fmt: skip
"""The EMA cross alone, to the end: changing sides often takes nobody out of charge, which would decide nothing."""
KEPT = ("ticks", "decisions", "fills", "wall_s", "cpu_s", "peak_memory_mb")
"""Of what a process says."""
MINUTES = ["strategy.interval=1m", "bars.intervals=[1m,5m,30m,1d]"]


def simulate(directory: Path, millions: int) -> Path:
    """A tape of one symbol over 50 sessions a million ticks, the same each time."""
    tape = directory / f"{millions}m.parquet"
    sessions = SESSIONS * millions
    command = [HRMD, "tape", "simulate", "--out", tape, "--symbol", "NSE:RELIANCE-EQ=1400", "--start", "2021-01-04"]
    command += ["--sessions", str(sessions), "--ticks", str(MILLION // SESSIONS), "--seed", "1", "--json"]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    return tape


def replay(tape: Path) -> dict[str, float]:
    """One replay in a fresh process: its own figures, and its peak memory in MB."""
    command = [str(HRMD), "replay", str(tape), "--strategy", "rules", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        summary = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"replay of {tape} failed with exit code {process.returncode}")
    return {
        "ticks": summary["ticks"],
        "bars": summary["bars"],
        "decisions": summary["decisions"],
        "fills": summary["fills"],
        "wall_s": summary["wall_s"],
        "ticks_per_s": summary["ticks_per_s"],
        "peak_mb": usage.ru_maxrss / 1024,
    }


def simulate_dense(directory: Path, symbols: int, sessions: int, ticks: int) -> Path:
    """A tape of so many ticks of each symbol in each session, the same each time."""
    tape = directory / f"dense-{symbols}.parquet"
    command = [HRMD, "tape", "simulate", "--out", tape, "--start", "2021-01-04", "--seed", "1", "--json"]
    command += ["--sessions", str(sessions), "--ticks", str(ticks)]
    for number in range(symbols):
        command += ["--symbol", f"NSE:SYM{number:02d}-EQ={1000 + 10 * number}"]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    return tape


COLUMNS = """
import json, sys, time
import numpy as np
import pyarrow.parquet as pq
wall, cpu = time.perf_counter(), time.process_time()
table = pq.read_table(sys.argv[1])
price, bucket = table["ltp"].to_numpy(), table["ts_event"].to_numpy() // 60_000_000_000
starts = np.concatenate(([0], np.flatnonzero(np.diff(bucket)) + 1))
np.maximum.reduceat(price, starts), np.minimum.reduceat(price, starts)
print(json.dumps({"ticks": len(price), "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}))
"""
"""All columns of the tape, and minute bars of one: what reading alone costs."""


def measured(command: Sequence[str]) -> dict[str, float]:
    """What a fresh process says of itself, and its ticks per second of both kinds."""
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    kept = {name: found[name] for name in KEPT if name in found}
    return kept | {name: found["ticks"] / found[f"{name}_s"] for name in ("wall", "cpu")}


def bench_command(tape: Path, settings: Sequence[str]) -> list[str]:
    """A replay in a process of its own, opening the tape included; the second one counts, for it imports no more."""
    command = [str(HRMD), "bench", "replay", str(tape), "--rounds", "1", "--json"]
    return command + [part for setting in settings for part in ("--set", setting)]


def dense(directory: Path, rounds: int) -> dict[str, dict[str, float]]:
    """The best of some rounds of each case, by processor time; all cases in each round."""
    one, fifty = simulate_dense(directory, 1, 10, 100_000), simulate_dense(directory, 50, 1, 50_000)
    cases = {
        "a decision a minute": bench_command(one, [*CROSS, *MINUTES]),
        "a decision every 5 minutes": bench_command(one, CROSS),
        "50 symbols, every 5 minutes": bench_command(fifty, CROSS),
        "columns alone": [sys.executable, "-c", COLUMNS, str(one)],
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    for number in range(rounds):
        print(f"dense tapes, round {number + 1} of {rounds}", file=sys.stderr)
        for name, case in cases.items():
            runs[name].append(measured(case))
    return {name: max(found, key=lambda run: run["cpu"]) for name, found in runs.items()}


PYTHON_LOOP = """
import sys, time
import pyarrow.parquet as pq
started = time.perf_counter()
rows = pq.read_table(sys.argv[1]).to_pylist()
bars = {}
for row in rows:
    price, key = row["ltp"], row["ts_event"] // 300_000_000_000
    bar = bars.get(key)
    if bar is None:
        bars[key] = [price, price, price, price]
    else:
        bar[1], bar[2], bar[3] = max(bar[1], price), min(bar[2], price), price
print(len(rows) / (time.perf_counter() - started))
"""
"""The plain way: a Python object a tick, 5-minute bars and nothing else; in a process of its own, since a child's peak
memory begins with its parent's."""


def python_loop(tape: Path) -> float:
    """Ticks per second of `PYTHON_LOOP`."""
    command = [sys.executable, "-c", PYTHON_LOOP, str(tape)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure in interleaved rounds and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        small, large = simulate(Path(name), 1), simulate(Path(name), 4)
        runs: list[dict[str, float]] = []
        loops: list[float] = []
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
            runs.append(replay(small))
            loops.append(python_loop(small))
        big = replay(large)
        by_case = dense(Path(name), arguments.rounds)
    speed = statistics.median(run["ticks_per_s"] for run in runs)
    result: dict[str, Any] = {
        "ticks_per_s": speed,
        "ticks_per_s_best": max(run["ticks_per_s"] for run in runs),
        "ticks_per_s_worst": min(run["ticks_per_s"] for run in runs),
        "times_python_loop": speed / statistics.median(loops),
        "peak_mb_1m": max(run["peak_mb"] for run in runs),
        "peak_mb_4m": big["peak_mb"],
        "bars": runs[0]["bars"],
        "decisions": runs[0]["decisions"],
        "fills": runs[0]["fills"],
        "dense": by_case,
    }
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"1 M ticks, {result['bars']:,} bars, {result['decisions']:,} decisions, {result['fills']:,} fills")
    print(
        f"  {speed / 1e6:.2f} M ticks/s median of {arguments.rounds}"
        f" ({result['ticks_per_s_worst'] / 1e6:.2f} to {result['ticks_per_s_best'] / 1e6:.2f})"
    )
    print(f"  {result['times_python_loop']:.1f} times a Python loop over tick objects that only makes 5-minute bars")
    print(f"  peak memory {result['peak_mb_1m']:.0f} MB; with 4 M ticks {result['peak_mb_4m']:.0f} MB")
    print("Best rounds, M ticks a second of wall time and of processor time:")
    for case, run in by_case.items():
        print(f"  {case:28} {run['wall'] / 1e6:6.2f} {run['cpu'] / 1e6:6.2f}")


if __name__ == "__main__":
    main()
