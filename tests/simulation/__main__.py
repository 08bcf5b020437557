"""`python -m tests.simulation`: simulated sessions of the whole system, by seeds; exit 1 where a promise was broken."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import msgspec

from tests.simulation.minimise import minimise
from tests.simulation.plan import Plan, plan_of
from tests.simulation.plants import PLANTS
from tests.simulation.runner import Part, Tally, apart, run_many
from tests.simulation.session import Result

LOG_LINES = 60


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="one session of this seed; with --sessions, the first")
    parser.add_argument("--aim", default="", help="the pair that the session was made to see, as it was printed")
    parser.add_argument("--plan", type=Path, default=None, help="one session of this plan (JSON)")
    parser.add_argument("--sessions", type=int, default=0, help="so many sessions, of seeds that follow each other")
    parser.add_argument("--part", type=Path, default=None,
                        help="a file of a long run: it goes on where the file says, and is added up there")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so many minutes")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--plant", default="", choices=["", *PLANTS], help="plant a bug, which must then be found")
    parser.add_argument("--failures", type=int, default=1, help="stop after so many sessions that broke a promise")
    parser.add_argument("--no-minimise", action="store_true", help="print a failing plan as it is")
    return parser.parse_args()


def main() -> int:
    """Run, and say what was seen."""
    wanted = arguments()
    if wanted.plan is not None or (wanted.seed is not None and not wanted.sessions and not wanted.minutes):
        read = wanted.plan is not None
        plan = msgspec.json.decode(wanted.plan.read_bytes(), type=Plan) if read else plan_of(wanted.seed, wanted.aim)
        return one(plan, wanted.plant)
    return many(wanted)


def one(plan: Plan, plant: str) -> int:
    """A session with its whole story, twice: both must be the same."""
    result, again = apart(plan, plant), apart(plan, plant)
    print(msgspec.json.format(msgspec.json.encode(plan)).decode())
    print("\n".join(result.log))
    print(f"{result.lives} lives, {result.counts}")
    print(f"digest {result.digest}, {'the same' if again.digest == result.digest else 'ANOTHER'} in a second run")
    for broken in result.broken:
        print(f"BROKEN  {broken}")
    return 1 if result.broken or again.digest != result.digest else 0


def many(wanted: argparse.Namespace) -> int:
    """Sessions until there are enough, the time is over or something broke."""
    ends = time.monotonic() + 60 * wanted.minutes if wanted.minutes else float("inf")
    told = time.monotonic()
    first, sessions = wanted.seed or 1, wanted.sessions or sys.maxsize - 10**6 if wanted.minutes else wanted.sessions
    sessions, before, begins = sessions or 200, None, first
    if wanted.part is not None and wanted.part.exists():
        part = msgspec.json.decode(wanted.part.read_bytes(), type=Part)
        before, begins, sessions = part.tally(), part.next_seed, sessions - part.sessions

    def keep(tally: Tally) -> None:
        if wanted.part is not None:
            fresh = wanted.part.with_name(f"{wanted.part.name}.fresh")
            fresh.write_bytes(msgspec.json.encode(Part.of(first, tally)))
            fresh.replace(wanted.part)

    def tell(result: Result, tally: Tally) -> bool:
        nonlocal told
        if time.monotonic() - told > 10:
            told = time.monotonic()
            seen = len(tally.coverage.seen)
            keep(tally)
            print(f"{tally.sessions} sessions, {tally.rate:.0f} a minute, {seen} pairs, {len(tally.broken)} broken",
                  flush=True)  # fmt: skip
        if result.broken:
            report(result, wanted.plant, shorten=not wanted.no_minimise)
        return len(tally.broken) < wanted.failures and time.monotonic() < ends

    tally = run_many(begins, max(0, sessions), wanted.workers, plant=wanted.plant, tally=before, tell=tell)
    keep(tally)
    print(tally.coverage.text())
    print("events: " + ", ".join(f"{name} {count}" for name, count in sorted(tally.counts.items())))
    print(
        f"{tally.sessions} sessions in {tally.wall_s:.0f} s on {wanted.workers} processes: {tally.rate:.0f} a minute, "
        f"{tally.cpu_s / max(1, tally.sessions):.2f} s of a core each; "
        f"{len(tally.broken)} broke a promise; the slowest traded again {tally.slowest_s:.0f} s after the last fault"
    )
    return 1 if tally.broken else 0


def report(result: Result, plant: str, *, shorten: bool) -> None:
    """How to see it again, and the least that it takes."""
    plan = result.plan
    again = f"python -m tests.simulation --seed {plan.seed}"
    again += (f" --aim {plan.aim}" if plan.aim else "") + (f" --plant {plant}" if plant else "")
    print(f"\nBROKEN by seed {plan.seed}; again, bit for bit: {again}")
    for broken in result.broken[:5]:
        print(f"  {broken}")
    if not shorten:
        return
    promises = {broken.promise for broken in result.broken}
    least = minimise(plan, lambda tried: any(it.promise in promises for it in apart(tried, plant).broken))
    final = apart(least, plant)
    print(f"the least that it takes ({len(least.actions)} of {len(plan.actions)} actions; --plan FILE runs it):")
    print(f"  {msgspec.json.encode(least).decode()}")
    print("\n".join(f"  {line}" for line in final.log[-LOG_LINES:]))
    for broken in final.broken[:5]:
        print(f"  {broken}")
    sys.stdout.flush()


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of texts are in another order in every process otherwise
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
                  os.environ | {"PYTHONHASHSEED": "0"})  # fmt: skip
    sys.exit(main())
