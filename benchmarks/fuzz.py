"""Damages files of every kind that hrmd reads and gives them to the command line, for so many minutes.

    python benchmarks/fuzz.py --minutes 10            (make fuzz)

Good samples are made on the fly and damaged by flipped bits, cut ends, spliced pieces, huge numbers, deep nesting and
random bytes. A worker process runs the real commands; an exit code outside 0 to 3, a traceback, a `fault:` line, output
after the one line of an error, a process that died or one that says nothing for 20 s is a finding, and its input is
kept under --keep. Prints a count a kind, and exits 1 where there was a finding.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

from daemon.cli import main
from daemon.settings.layers import DEFAULT_PATH

PATIENCE_S = 20.0
ROOT = Path(__file__).resolve().parents[1]
RULES = ["--set", "strategy.name=rules", "--set", "supervisor.ladder=[rules, flat]"]
NUMBERS = [b"9" * 400, b"-1", b"1e999", b"0", b"nan", b".inf", b"0x7fffffffffffffff", b"18446744073709551616", b"1_0"]
WORDS = [b"{", b"[", b'"', b"\n", b"\r", b"\0", b": ", b"- ", b",", b"&a ", b"*a ", b"!!int ", b"\xff\xfe"]

CALENDAR = b"holidays: {2027-01-26: Republic Day}\nsessions:\n- {date: 2027-10-29, parts: [[18:00, 19:00]]}\n"
EVENTS = b"- {at: 2026-02-06T10:00:00+05:30, impact: 0.8, before_minutes: 20, symbols: [A], name: policy}\n"

Arguments = list[str]


def commands(kind: str, file: str) -> list[Arguments]:
    """What is run on a damaged file of a kind; all in an empty directory of their own."""
    match kind:
        case "settings.yaml":
            return [["check", "--show", "--json", "-c", file]]
        case "t.csv" | "t.jsonl":
            return [["tape", "import", file, "--out", "o.parquet", "--force"]]
        case "bars.csv":
            return [["tape", "import", file, "--bars", "1m", "--out", "o.parquet", "--force"]]
        case "t.parquet":
            return [["tape", "info", file, "--json"], ["replay", file, "--json", *RULES]]
        case "m.safetensors":
            return [["model", "info", file, "--json"], ["model", "verify", file]]
        case "token":
            return [["ctl", "status", "--url", "http://127.0.0.1:9", "--token-file", file]]
        case "j.sqlite":
            return [["verify", file, "--json"], ["replay", "good.parquet", "--journal", file, "--json", *RULES]]
        case "calendar.yaml":
            return [["calendar", "show", "--set", f"market.calendar_file={file}"]]
        case "events.yaml":
            return [["replay", "good.parquet", "--json", *RULES, "--set", f"complexity_detection.events_file={file}"]]
        case _:
            return [["tape", "seal", "reels", "--json"]]


def make_samples(folder: Path) -> dict[str, bytes]:
    """A good file of each kind."""
    here = os.getcwd()
    os.chdir(folder)
    try:
        quiet(["tape", "simulate", "--out", "good.parquet", "--sessions", "1", "--seed", "7", "--force"])
        quiet(["replay", "good.parquet", "--journal", "j.sqlite", *RULES])
        reel = _reel(folder / "reels")
    finally:
        os.chdir(here)
    rows = [(1_767_584_700 + n, 800 + n % 9, n) for n in range(300)]
    samples = {
        "settings.yaml": DEFAULT_PATH.read_bytes(),
        "t.csv": ("ts_event,symbol,ltp,volume\n" + "".join(
            f"{t}000000000,NSE:SBIN-EQ,{p},{v}\n" for t, p, v in rows)).encode(),
        "bars.csv": ("date,open,high,low,close,volume\n" + "".join(
            f"2026-01-05 09:{n + 15}:00,800,802,799,801,{n}\n" for n in range(40))).encode(),
        "t.jsonl": "".join(
            f'{{"symbol":"NSE:SBIN-EQ","ltp":{p},"exch_feed_time":{t},"vol_traded_today":{v}}}\n' for t, p, v in rows
        ).encode(),
        "t.parquet": (folder / "good.parquet").read_bytes(),
        "m.safetensors": (ROOT / "tests" / "fixtures" / "hrm_small.safetensors").read_bytes(),
        "token": b"abcdefghijklmnopqrstuvwxyz0123456789\n",
        "j.sqlite": (folder / "j.sqlite").read_bytes(),
        "calendar.yaml": CALENDAR,
        "events.yaml": EVENTS,
        "reel": reel,
    }  # fmt: skip
    assert all(samples.values())
    return samples


def _reel(directory: Path) -> bytes:
    """What a recorder that was killed leaves."""
    from daemon.core.clock import NS_PER_S
    from daemon.tape.reel import ReelWriter
    from tests.samples import OPEN, ticks

    directory.mkdir()
    writer = ReelWriter(directory / "2026-01-05.0000000000000000001.ticks")
    for minute in range(20):
        stamps = [OPEN + (60 * minute + n) * NS_PER_S for n in range(50)]
        writer.append([ticks(stamps, [800.0 + n % 7 for n in range(50)])])
    writer.finish()
    (file,) = directory.glob("*.ticks")
    return file.read_bytes()


def damaged(good: bytes, dice: random.Random) -> bytes:
    """One to four damages, one after the other."""
    content = bytearray(good)
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        place = dice.randrange(len(content) + 1)
        match dice.randrange(8):
            case 0:  # flipped bits
                for _ in range(dice.choice([1, 3, 20])):
                    if content:
                        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
            case 1:
                del content[place:]
            case 2:  # a piece from elsewhere
                start = dice.randrange(len(good))
                content[place : place + dice.choice([0, 5, 500])] = good[start : start + dice.choice([3, 40, 4000])]
            case 3:
                _replace_number(content, dice)
            case 4:
                opened = dice.choice([b"[", b"{", b'{"a":', b"- ", b"a: {", b"("])
                content[place:place] = opened * dice.choice([3, 70, 20_000])
            case 5:
                content[place : place + dice.choice([0, 8])] = dice.randbytes(dice.choice([1, 8, 300]))
            case 6:
                content[place:place] = dice.choice(WORDS)
            case 7:  # the last page, the footer, the header
                edge = dice.choice([0, max(0, len(content) - 60)])
                for n in range(edge, min(len(content), edge + 60)):
                    if dice.random() < 0.05:
                        content[n] = dice.randrange(256)
    return bytes(content)


def _replace_number(content: bytearray, dice: random.Random) -> None:
    """Some run of digits becomes another number."""
    start = dice.randrange(len(content) + 1)
    while start < len(content) and not chr(content[start]).isdigit():
        start += 1
    end = start
    while end < len(content) and chr(content[end]).isdigit():
        end += 1
    content[start:end] = dice.choice(NUMBERS)


def quiet(arguments: Arguments) -> tuple[int, str]:
    """The exit code of a command in this process, and what it wrote to stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, err.getvalue()


def worker(pipe: Connection, folder: str) -> None:
    """Run what comes, one command at a time, in `folder`."""
    os.chdir(folder)
    while True:
        pipe.send(quiet(pipe.recv()))


class Runner:
    """A worker, made anew where it died or hung."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=worker, args=(theirs, str(self._folder)), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.send(["--version"])  # what is imported at the start isn't a case's
        self._pipe.poll(120)
        self._pipe.recv()

    def why(self, arguments: Arguments) -> str:
        """What is wrong with how a command ended, "" where nothing is."""
        self._pipe.send(arguments)
        if not self._pipe.poll(PATIENCE_S):
            self.close()
            self._start()
            return f"nothing for {PATIENCE_S:g} s"
        try:
            code, said = self._pipe.recv()
        except EOFError:
            self._process.join()
            ended = self._process.exitcode
            self._start()
            return f"the process died ({ended})"
        if code not in (0, 1, 2, 3):
            return f"exit code {code}"
        found = next((word for word in ("Traceback", "fault:") if word in said), "")
        return f"{found} {said.strip().splitlines()[-1][:200]}" if found else ""

    def close(self) -> None:
        """End the worker."""
        self._process.kill()
        self._process.join()


def run(minutes: float, seed: int, keep: Path, kinds: list[str], say: Callable[[str], None]) -> int:
    """Findings."""
    dice, runs, findings = random.Random(seed), Counter[str](), 0
    with TemporaryDirectory() as name:
        folder = Path(name)
        samples = make_samples(folder)
        runner, end = Runner(folder), time.monotonic() + minutes * 60
        while time.monotonic() < end:
            kind = dice.choice(kinds or list(samples))
            content = damaged(samples[kind], dice)
            for number, arguments in enumerate(commands(kind, kind)):
                _lay(folder, kind, content)
                runs[kind] += 1
                why = runner.why(arguments)
                if why:
                    findings += 1
                    keep.mkdir(parents=True, exist_ok=True)
                    place = keep / f"{findings:03d}-{number}-{kind}"
                    place.write_bytes(content)
                    say(f"{place}: hrmd {' '.join(arguments)}: {why}")
        runner.close()
    counts = ", ".join(f"{kind} {count}" for kind, count in sorted(runs.items()))
    say(f"{runs.total()} runs, {findings} findings: {counts}")
    return findings


def _lay(folder: Path, kind: str, content: bytes) -> None:
    """Put the damaged file where its command looks for it, and nothing beside it."""
    if kind == "reel":
        shutil.rmtree(folder / "reels", ignore_errors=True)
        (folder / "reels").mkdir()
        (folder / "reels" / "2026-01-05.0000000000000000001.ticks").write_bytes(content)
        return
    for path in folder.glob(f"{kind}*"):
        path.unlink()
    (folder / kind).write_bytes(content)
    (folder / kind).chmod(0o600)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="*", default=[], help="only these")
    parser.add_argument("--keep", type=Path, default=Path("var/fuzz"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    given = _arguments()
    sys.exit(run(given.minutes, given.seed, given.keep.resolve(), given.kinds, print) > 0)
