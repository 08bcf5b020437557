"""A whole daemon on an exchange that misbehaves: who is told what, each once, and his address is nowhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.fault_cases import COMMON, FAULTY, ON_EXCHANGE, SPEED, Scene, break_the_broker, cut_the_feed, mend
from daemon.core.events import AlertChanged, AlertSent
from tests.integration.daemons import Daemon, running
from tests.integration.exchanges import ExchangeProcess, exchange
from tests.integration.test_run import CALM
from tests.samples import SBIN, journaled, wave, write_tape
from tests.unit.alerting.services import SECRET, Service, service, urls_file


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session, a tick each second."""
    return write_tape(tmp_path_factory.mktemp("tape") / "wave.parquet", *wave(375, every_s=1))


def titles(hook: Service) -> list[str]:
    """Of every alert; those that came in one piece are told apart."""
    found = []
    for one in list(hook.got):
        many = one["message"].splitlines() if "alerts, " in one["title"] else [one["title"].removeprefix("hrmd: ")]
        found += [":".join(line.split(":")[:2]) for line in many]
    return found


def raised(daemon: Daemon) -> Counter[str]:
    """How often each key was, by the journal."""
    return Counter(event.key for event in journaled(daemon.journal, AlertChanged) if event.raised)


def nothing_is_given_away(directory: Path) -> None:
    """Neither in the log nor in the journal."""
    for path in directory.iterdir():
        if path.is_file() and path.name != "alerts.urls":
            assert SECRET.encode() not in path.read_bytes(), path


FAULTS: dict[str, tuple[Callable[[Scene], object], Callable[[Scene], object], str]] = {
    "halt": (lambda scene: scene.daemon.ctl("halt", "--reason", "a test"), lambda scene: scene.daemon.ctl("resume"),
             "CRITICAL: halt"),
    "feed": (cut_the_feed, mend, "CRITICAL: feed"),
    "broker": (break_the_broker, mend, "CRITICAL: broker"),
    "ladder": (lambda scene: scene.daemon.ctl("strategy", "rules"), lambda scene: scene.daemon.ctl("strategy", "hrm"),
               "WARNING: ladder"),
    "orders": (
        lambda scene: scene.venue.admin("POST", "faults", [{"kind": "drop", "on": "place", "times": 1}]), mend,
        "CRITICAL: orders",
    ),
}  # fmt: skip
"""How each begins and ends, and what somebody is told."""


def split(venue: ExchangeProcess) -> bool:
    """Make five shares of each that is held, where something is; whether the broker shows more than before."""
    before = venue.held(SBIN)
    if before:
        venue.admin("POST", "corporate_action", {"symbol": SBIN, "numerator": 1, "denominator": 5})
    return abs(venue.held(SBIN)) > abs(before)


def test_each_fault_on_the_exchange_is_told_once_and_then_that_it_is_over(tape: Path, tmp_path: Path) -> None:
    """Halt, feed, broker, step-down, UNKNOWN, positions, token; cash from the start on, for the account has less.

    Each is in the journal, too, and the address is nowhere.
    """
    pytest.importorskip("fyers_apiv3", reason="the Fyers SDK is not installed")
    with ExitStack() as stack:
        hook = stack.enter_context(service())
        venue = stack.enter_context(exchange(tape, SPEED))
        changes = (*COMMON, *venue.changes(tmp_path, SBIN), *ON_EXCHANGE, "broker.live.unknown_settle_s=0.2",
                   "broker.live.starting_cash=1100000", "broker.live.reconcile_s=0.2",
                   f"alerts.urls_file={urls_file(tmp_path, hook.url)}", "alerts.clear_after_s=1")  # fmt: skip
        daemon = stack.enter_context(running(tmp_path, tape, *changes, program=(FAULTY, "well")))
        scene = Scene(daemon, tmp_path, venue)
        daemon.until("decisions", lambda: daemon.status()["decisions"] >= 3)
        for kind, (begin, end, title) in FAULTS.items():
            begin(scene)
            daemon.until(f"{kind} is told", lambda title=title: title in titles(hook))
            end(scene)
            daemon.until(f"{kind} is over", lambda kind=kind: f"cleared: {kind}" in titles(hook))
        daemon.until("the account is known", lambda: "CRITICAL: cash" in titles(hook))
        daemon.until("it holds more than was bought", lambda: split(venue))
        daemon.until("positions are told", lambda: "CRITICAL: positions" in titles(hook))
        told = Counter(titles(hook))
        venue.admin("POST", "token", {})  # it takes the feed along, and halts
        daemon.until("the token is told", lambda: "CRITICAL: token" in titles(hook))
        daemon.terminate()
    assert Counter(titles(hook))["CRITICAL: token"] == 1
    wanted = [*(title for *_, title in FAULTS.values()), "CRITICAL: cash", "CRITICAL: positions"]
    assert {title: told[title] for title in wanted} == dict.fromkeys(wanted, 1)
    assert set(raised(daemon)) >= {*FAULTS, "cash", "positions"}
    sent = {key for event in journaled(daemon.journal, AlertSent) for key in event.keys}
    assert sent >= set(FAULTS)
    nothing_is_given_away(tmp_path)


LIMITS = (
    "supervisor.health.disk_warn_gb=1000000000", "performance.memory_warn_gb=0.01", "risk.max_daily_loss=0.01",
    "supervisor.health.calendar_warn_days=36500", "strategy.name=hrm", "supervisor.ladder=[hrm, rules, flat]",
    "supervisor.health.min_decisions=5", "supervisor.triggers.error_trip_percent=100", "alerts.muted=[decisions]",
    "hierarchical_reasoning_model.act.deadline_ms=0.001", "supervisor.triggers.latency_warn_ms=0.001",
    "supervisor.triggers.latency_trip_ms=100000",
)  # fmt: skip


def test_limits_are_told_once_over_restarts_and_a_kill_is_told(tape: Path, tmp_path: Path) -> None:
    """Disk, memory, calendar, the loss limit: each once, over a process that was killed and two that ended in order.

    In the first one decisions fail, too, two of three; with the others that is over. None is quick enough.
    """
    with service() as hook:
        changes = (*CALM, *LIMITS, "feed.speed=200", f"alerts.urls_file={urls_file(tmp_path, hook.url)}")
        wanted = {"WARNING: disk", "WARNING: memory", "CRITICAL: loss limit", "WARNING: calendar"}
        with running(tmp_path, tape, *changes, program=(FAULTY, "raises often")) as daemon:
            daemon.until("all of it", lambda: wanted | {"WARNING: errors", "WARNING: latency"} <= set(titles(hook)))
            daemon.until("on record", lambda: raised_and_sent(daemon))
            daemon.process.kill()
            daemon.process.wait()
        first = Counter(titles(hook))
        (tmp_path / "notify").unlink()
        with running(tmp_path, tape, *changes, program=(FAULTY, "well")) as daemon:
            daemon.until("told of the kill", lambda: "CRITICAL: broken off" in titles(hook))
            assert daemon.terminate() == 0
        (tmp_path / "notify").unlink()
        with running(tmp_path, tape, *changes, program=(FAULTY, "well")) as daemon:
            daemon.until("decisions", lambda: daemon.status()["decisions"] >= 3)
            assert daemon.terminate() == 0
    told = Counter(titles(hook))
    assert {title: told[title] for title in wanted} == dict.fromkeys(wanted, 1)
    assert told["CRITICAL: broken off"] == first["WARNING: errors"] == first["WARNING: latency"] == 1
    assert "CRITICAL: broken off" not in first
    nothing_is_given_away(tmp_path)


def raised_and_sent(daemon: Daemon) -> bool:
    """Whether the journal has it that all of the limits were told of."""
    sent = {key for event in journaled(daemon.journal, AlertSent) for key in event.keys}
    return sent >= {"disk", "memory", "loss_limit", "calendar"}


@pytest.mark.nightly
def test_a_strategy_that_earns_less_than_the_baseline_is_told_once(tmp_path: Path) -> None:
    """By two sessions, one of them proof enough, of a model that turns round at every bar beside the rules on paper."""
    days = write_tape(tmp_path / "days.parquet", *wave(375, 12, 30))
    changes = (
        *CALM, "feed.speed=6000", "strategy.name=hrm", "strategy.interval=5m", "market.symbol_master.use=never",
        "shadow.agents=[{name: rules, strategy: rules}]", "supervisor.triggers.baseline=rules",
        "supervisor.triggers.baseline_warn_percent=30", "supervisor.triggers.baseline_trip_percent=1000000",
        "canary.alpha=0.49", "canary.bound_bp=1", "supervisor.triggers.latency_trip_ms=100000",
    )  # fmt: skip
    with service() as hook:
        told = f"alerts.urls_file={urls_file(tmp_path, hook.url)}"
        with running(tmp_path, days, *changes, told, program=(FAULTY, "flaps")) as daemon:
            daemon.until("told", lambda: "WARNING: baseline" in titles(hook))
            (check,) = [one for one in daemon.get("/health")[1]["checks"] if one["name"] == "baseline"]
            assert daemon.terminate() == 0
    assert Counter(titles(hook))["WARNING: baseline"] == 1
    assert check["status"] == "warn"
    assert check["value"] >= 30
    assert raised(daemon)["baseline"] == 1


def test_a_service_that_is_away_is_said_in_health_and_told_later(tape: Path, tmp_path: Path) -> None:
    """Trading goes on meanwhile; when the service is back it gets what has waited."""
    with service() as hook:
        hook.code = 500
        changes = (*CALM, "feed.speed=60", f"alerts.urls_file={urls_file(tmp_path, hook.url)}")
        with running(tmp_path, tape, *changes) as daemon:
            daemon.ctl("reduce", "--reason", "a test")
            said = daemon.until("said", lambda: next((it for it in alerts(daemon) if it["status"] == "fail"), None))
            assert said["text"].startswith("alerts can't be sent: 3: JSON 127.0.0.1: it answered 500; waiting: ")
            decided = daemon.status()["decisions"]
            daemon.until("decisions go on", lambda: daemon.status()["decisions"] > decided)
            hook.code = 200
            daemon.until("well again", lambda: next((it for it in alerts(daemon) if it["status"] == "ok"), None))
            assert daemon.terminate() == 0
    assert "WARNING: halt" in titles(hook)
    nothing_is_given_away(tmp_path)


def alerts(daemon: Daemon) -> list[dict[str, str]]:
    """The check of health."""
    return [check for check in daemon.get("/health")[1]["checks"] if check["name"] == "alerts"]
