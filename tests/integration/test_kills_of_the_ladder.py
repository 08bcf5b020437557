"""Killed at any moment around step downs, commands and locks: who decides, why, and the lock are the same again."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.core.events import StrategySwapped
from daemon.supervision.supervisor import BEFORE
from tests.integration.daemons import PATIENCE_S, Daemon, running
from tests.integration.test_run import CALM
from tests.samples import journaled, wave, write_tape

pytestmark = pytest.mark.nightly

KILLS = 20
SEED = 14
LADDER = ("hrm", "rules", "flat")


class Care(msgspec.Struct, frozen=True):
    """Who decides and why, and why nothing is done by itself; "" where something may be."""

    rung: str = "hrm"
    reason: str = ""
    lock: str = ""

    def after(self, command: str, name: str, reason: str) -> Care:
        """What a command makes of it."""
        if command == "strategy":
            return self if name == self.rung else Care(name, reason, self.lock)
        return Care(self.rung, self.reason, reason if command == "lock" else "")

    @property
    def kept(self) -> Care:
        """What a restart keeps: of the settings' own strategy there is nothing to be said."""
        return Care(self.rung, "", self.lock) if self.rung == LADDER[0] else self


def care_of(daemon: Daemon) -> Care:
    """As the daemon says."""
    said = daemon.status()
    reason, lock = (str(said[key]).removeprefix(BEFORE) for key in ("strategy_reason", "strategy_lock"))
    return Care(said["strategy"], reason, lock)


class Order(threading.Thread):
    """A command on its way; `taken` once the daemon said that it is on disk."""

    def __init__(self, daemon: Daemon, command: str, body: dict[str, Any]) -> None:
        super().__init__()
        self.taken = False
        self._request = urllib.request.Request(
            f"{daemon.url()}/control/{command}", json.dumps(body).encode(), method="POST",
            headers={"Authorization": f"Bearer {daemon.token_file.read_text().strip()}",
                     "Content-Type": "application/json"},
        )  # fmt: skip

    def run(self) -> None:
        """Ask, and hear the answer if there is one."""
        try:
            with urllib.request.urlopen(self._request, timeout=PATIENCE_S) as answer:
                self.taken = answer.status == 202
        except OSError:  # killed before it answered
            return


def kill(daemon: Daemon) -> None:
    """At once."""
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait(PATIENCE_S)


def commanded(daemon: Daemon, rng: random.Random, number: int, now: Care) -> set[Care]:
    """A few commands, the last of them cut short by a kill; what may be true then."""
    for last in (False, False, True):
        command = rng.choice(("strategy", "strategy", "lock", "unlock"))
        name, reason = rng.choice(LADDER), f"word {number}.{rng.getrandbits(32):x}"
        order = Order(daemon, command, {"reason": reason} | ({"name": name} if command == "strategy" else {}))
        then = now.after(command, name, reason)
        order.start()
        if last:
            if rng.random() < 0.5:  # after the answer, at once
                order.join()
            else:
                time.sleep(rng.uniform(0, 0.02))
            taken = order.taken
            kill(daemon)
            order.join()
            return {then} if taken else {now, then}
        order.join()
        assert order.taken
        now = then
        daemon.until("the word", lambda wanted=now: care_of(daemon) == wanted)
    raise AssertionError("the last one kills")


def unwell(daemon: Daemon, rng: random.Random, now: Care) -> set[Care]:
    """A strategy that raises steps down by itself, sooner or later than the kill: where it is on disk, it is true."""
    time.sleep(rng.uniform(0, 2.5))
    kill(daemon)
    if now.rung != LADDER[0] or now.lock:
        return {now}
    swaps = [one for one in journaled(daemon.journal, StrategySwapped) if not one.reason.startswith(BEFORE)]
    return {Care(swaps[-1].new, swaps[-1].reason, now.lock) if swaps else now}


def test_twenty_kills_keep_rung_reason_and_lock(tmp_path: Path) -> None:
    """What was answered with 202 is kept; of what wasn't, either all or nothing."""
    day = write_tape(tmp_path / "wave.parquet", *wave(375, every_s=5))
    rng, maybe = random.Random(SEED), {Care()}
    for number in range(KILLS + 1):
        kind = ("content", "raising")[number % 2]
        program = ("-m", "tests.integration.own_strategies", kind)
        changes = (*CALM, "strategy.name=hrm", "supervisor.ladder=[hrm, rules, flat]", "feed.speed=100")
        (tmp_path / "notify").unlink(missing_ok=True)
        with running(tmp_path, day, *changes, program=program) as daemon:
            daemon.url()
            if number < KILLS and rng.random() < 0.2:  # while it recovers, or just after
                time.sleep(rng.uniform(0, 0.3))
                kill(daemon)
                continue
            allowed = {care.kept for care in maybe}
            daemon.until("running", lambda: daemon.get("/health")[1]["checks"][0]["status"] != "fail")
            now = care_of(daemon)
            assert now in allowed or (kind == "raising" and _stepped_down(daemon, now, allowed)), (number, allowed)
            if number == KILLS:
                break
            maybe = unwell(daemon, rng, now) if kind == "raising" else commanded(daemon, rng, number, now)


def _stepped_down(daemon: Daemon, now: Care, allowed: set[Care]) -> bool:
    """It had time to do so since the start."""
    swap = journaled(daemon.journal, StrategySwapped)[-1]
    return (swap.old, now) in {(care.rung, Care(swap.new, swap.reason, "")) for care in allowed if not care.lock}
