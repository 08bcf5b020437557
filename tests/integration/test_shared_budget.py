"""Two daemons, each on an exchange of its own, and the budget that they share: what one has the other can't have.

The whole rehearsal takes minutes; `tests/unit/budget` has the same with two risk stages in one process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon.core.events import BudgetChanged, OrderDenied
from tests.integration.daemons import MAIN, PATIENCE_S, ROOT, Daemon, hrmd, running
from tests.integration.exchanges import exchange
from tests.samples import RELIANCE, SBIN, journaled, wave, write_tape

pytestmark = pytest.mark.nightly


class Lender:
    """`hrmd budget` in a process of its own, on a port that it keeps."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = 0
        self.start()

    def start(self) -> None:
        """Begin, or begin again."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN, "budget", "run", *self._settings()], cwd=ROOT, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        self.port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait(PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def members(self) -> dict[str, dict[str, Any]]:
        """What the service says of each daemon."""
        token = (self._directory / "budget.token").read_text().strip()
        asked = urllib.request.Request(f"{self.url}/budget", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            return {row["name"]: row for row in json.loads(answer.read())["members"]}

    def release(self, name: str, holding: int) -> subprocess.CompletedProcess[str]:
        """What a person says."""
        words = (name, "--holding", str(holding), "--why", "looked at the broker's book")
        return hrmd("budget", "release", *words, *self._settings())

    def changes(self, name: str) -> tuple[str, ...]:
        """Settings of a daemon that shares it."""
        token = self._directory / "budget.token"
        return (f"risk.budget.url={self.url}", f"risk.budget.name={name}", f"risk.budget.token_file={token}")

    def _settings(self) -> list[str]:
        changes = (
            "budget.max_gross_notional=100000", f"budget.port={self.port}",
            f"budget.token_file={self._directory / 'budget.token'}", f"budget.books_file={self._directory / 'b.json'}",
            f"control.tokens_file={self._directory / 'tokens'}",
        )  # fmt: skip
        return [part for change in changes for part in ("--set", change)]


def buys(daemon: Daemon, quantity: int, symbol: str, side: str = "buy") -> str:
    """What is said to an order by hand."""
    to = ("--url", daemon.url(), "--token-file", str(daemon.token_file))
    done = hrmd("ctl", "order", side, str(quantity), symbol, *to)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def until(what: str, true: Callable[[], Any]) -> None:
    """Look again and again."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.1)


@contextmanager
def rehearsal(directory: Path) -> Iterator[tuple[Lender, Daemon, Daemon, Callable[[], Daemon]]]:
    """The service, a daemon of banks and one of oil; and how to begin the first again."""
    with ExitStack() as stack:
        lender = Lender(directory)
        stack.callback(lambda: lender.kill())
        places = {}
        for name, symbol in (("banks", SBIN), ("oil", RELIANCE)):
            at = directory / name
            at.mkdir()
            venue = stack.enter_context(exchange(write_tape(at / "t.parquet", *wave(every_s=1), symbol), 1))
            changes = (
                *venue.changes(at, symbol),
                *lender.changes(name),
                "strategy.name=rules",
                "risk.stale_after_s=1000",
            )
            places[name] = (at, at / "t.parquet", changes)

        def start(name: str) -> Daemon:
            at, tape, changes = places[name]
            (at / "notify").unlink(missing_ok=True)
            daemon = stack.enter_context(running(at, tape, *changes))
            daemon.until("ACTIVE", lambda: daemon.status()["trading_state"] == "ACTIVE")
            return daemon

        yield lender, start("banks"), start("oil"), lambda: start("banks")


def test_what_one_has_the_other_can_not_have(tmp_path: Path) -> None:
    """Over a killed service and a killed daemon, too; exits are asked of nobody."""
    pytest.importorskip("fyers_apiv3", reason="the Fyers SDK is not installed")
    with rehearsal(tmp_path) as (lender, banks, oil, again):
        until("both have a half", lambda: [it["charged"] for it in lender.members().values()] == ["50000", "50000"])
        assert "approved" in buys(banks, 60, SBIN), "48,000 of 50,000"
        until("more for who uses it", lambda: int(lender.members()["banks"]["charged"]) > 70_000)
        assert "approved" in buys(banks, 30, SBIN)
        until("less for the other", lambda: int(lender.members()["oil"]["charged"]) < 16_000)
        assert "budget" in buys(oil, 20, RELIANCE), "16,000 of less"

        lender.kill()
        until("no lease", lambda: "no lease since" in buys(banks, 1, SBIN))
        assert "approved" in buys(banks, 10, SBIN, "sell")
        oil.until("health says so", lambda: "budget" in str(oil.get("/health")[1]["checks"]))
        lender.start()
        until("leases again", lambda: all(it["lease_left_s"] for it in lender.members().values()))
        assert "budget" in buys(oil, 30, RELIANCE), "24,000: what banks has counts after the restart"

        banks.process.kill()
        banks.process.wait(PATIENCE_S)
        assert lender.release("banks", 0).returncode == 2, "it may still open something"
        until("its lease is over", lambda: not lender.members()["banks"]["lease_left_s"])
        assert int(lender.members()["banks"]["charged"]) > 63_000
        assert "budget" in buys(oil, 40, RELIANCE), "32,000: a dead daemon holds what it holds"
        banks = again()
        until("it says what it has", lambda: lender.members()["banks"]["used"].startswith("6"))
        held = sum(int(row["quantity"]) for row in banks.get("/positions")[1])
        until("it is sold, once there is a tick", lambda: "approved" in buys(banks, held, SBIN, "sell"))
        until("the rest is the other's", lambda: int(lender.members()["oil"]["charged"]) >= 49_000)
        assert "approved" in buys(oil, 40, RELIANCE)
        assert (banks.terminate(), oil.terminate()) == (0, 0)
        left = lender.members()
        assert float(left["banks"]["charged"]) == 0
        assert float(left["oil"]["charged"]) == float(left["oil"]["used"]) > 30_000
    denied = [it for it in journaled(oil.journal, OrderDenied) if it.check == "budget"]
    assert len(denied) >= 3
    assert journaled(oil.journal, BudgetChanged)[-1].leased is None
    for daemon in (banks, oil):
        assert hrmd("verify", str(daemon.journal)).returncode == 0
