"""What goes wrong under `benchmarks/chaos_model.py`, how it begins and ends, and what is to be seen of it then."""

from __future__ import annotations

import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tests.integration.daemons import RUN, Daemon
from tests.integration.exchanges import ExchangeProcess
from tests.samples import LIVELY

ROOT = Path(__file__).resolve().parents[1]
FAULTY = str(ROOT / "benchmarks" / "faulty_models.py")
ARTIFACTS = ROOT / "models" / "artifacts"
LIMIT_UNITS = 500
SPEED = 100.0
BEFORE = 3
"""Good decisions before a fault."""
FOR_EVER = 1_000_000
COMMON = (
    *LIVELY, f"feed.speed={SPEED:g}", "strategy.name=hrm", "supervisor.ladder=[hrm, rules, flat]",
    "risk.stale_after_s=100000",
    f"risk.max_order_quantity={LIMIT_UNITS}", f"risk.max_position_quantity={LIMIT_UNITS}",
    "hierarchical_reasoning_model.act.deadline_ms=50", "supervisor.hang_grace_s=0.2", "supervisor.max_hangs_per_day=2",
    "supervisor.triggers.flaps_per_hour=1000", "supervisor.health.min_decisions=5",
)  # fmt: skip
ON_EXCHANGE = (
    "feed.live.start_s=6000", "feed.live.silence_s=200", "feed.live.stale_after_s=100000",
    "feed.live.restart_longest_s=0.5", "broker.fyers.calls_per_second=1000", "broker.fyers.calls_per_minute=10000",
    "broker.live.answer_s=0.5", "broker.live.reconcile_s=1", "broker.live.unknown_poll_s=0.2",
    "broker.live.unknown_settle_s=1", "hierarchical_reasoning_model.act.deadline_ms=1000",
)  # fmt: skip
"""The feed's times are of the market, the broker's of the machine; who decides is to stay so on a busy one."""


class Scene(msgspec.Struct, frozen=True):
    """Where a case plays: `exchange` is None where ticks come from a tape and orders go to the simulated venue."""

    daemon: Daemon
    directory: Path
    exchange: ExchangeProcess | None

    @property
    def venue(self) -> ExchangeProcess:
        """The exchange of a case that plays on one."""
        assert self.exchange is not None
        return self.exchange


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A fault: which check of health says what of it, within so many decisions, and who decides then."""

    name: str
    check: str
    status: str
    says: str
    """A pattern of the check's text."""
    within: int
    rung: str = "hrm"
    recovers_s: float = 10.0
    """In so many seconds all is well again: after the end of the fault where it has one, else after it was seen."""
    changes: tuple[str, ...] = ()
    program: tuple[str, ...] = (FAULTY, "well")
    begin: Callable[[Scene], None] | None = None
    """None: the model itself is faulty, after `BEFORE` decisions, or from the start where it is no `FAULTY` one."""
    end: Callable[[Scene], None] | None = None
    """None: it doesn't end, or by itself."""
    on_exchange: bool = False
    resumes: bool = False
    """Whether trading waits for a person afterwards."""

    @property
    def good_before(self) -> int:
        """Decisions that the faulty model makes well."""
        return BEFORE if self.begin is None and self.program is not RUN else 0

    def line(self, health: dict[str, Any]) -> str:
        """What health says of this fault; "" while it doesn't."""
        (found,) = (one for one in health["checks"] if one["name"] == self.check)
        is_it = found["status"] == self.status and re.search(self.says, found["text"])
        return f"{found['name']} {found['status']}: {found['text']}" if is_it else ""


# -- how faults begin and end -----------------------------------------------------------------------------------------


def damage(scene: Scene) -> None:
    """A byte of the file that the model was loaded from is another one."""
    model = scene.directory / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)


def swap(scene: Scene) -> None:
    """Another model lies where the loaded one was read from."""
    shutil.copy(ARTIFACTS / "base.safetensors", scene.directory / "model.safetensors")


def put_back(scene: Scene) -> None:
    """The right file is there again."""
    shutil.copy(ARTIFACTS / "tiny.safetensors", scene.directory / "model.safetensors")


def cut_the_feed(scene: Scene) -> None:
    """The link is closed, and so is every new one."""
    scene.venue.admin("POST", "faults", [{"kind": "cut", "on": "auth", "times": FOR_EVER}])
    scene.venue.admin("POST", "cut")


def mute_the_feed(scene: Scene) -> None:
    """Links stay open, and nothing comes over them."""
    scene.venue.admin("POST", "faults", [{"kind": "mute", "on": "frame", "times": FOR_EVER}])


def break_the_broker(scene: Scene) -> None:
    """Every call is answered by HTTP 502."""
    scene.venue.admin("POST", "faults", [{"kind": "broken", "on": "any", "times": FOR_EVER}])


def mend(scene: Scene) -> None:
    """The exchange does nothing wrong any more."""
    scene.venue.admin("DELETE", "faults")


def stand_still(scene: Scene) -> None:
    """The whole exchange answers nothing, feed and broker; what is sent to it waits there."""
    scene.venue.stand_still()


def go_on(scene: Scene) -> None:
    """It answers again, what waited included."""
    scene.venue.go_on()


def fill_the_disk(scene: Scene) -> None:
    """No file of the daemon can grow beyond what its journal has now."""
    size = scene.daemon.journal.with_name(scene.daemon.journal.name + "-wal").stat().st_size
    resource.prlimit(scene.daemon.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def make_room(scene: Scene) -> None:
    """Files may grow again."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(scene.daemon.process.pid, resource.RLIMIT_FSIZE, unlimited)


# -- the table --------------------------------------------------------------------------------------------------------

OWN_FILE = "model_management.artifact=DIR/model.safetensors"
LOOKED_AT = "supervisor.health.model_check_minutes=0.02"
HUNG = "rules decides instead of hrm: hung: no answer within"

CASES = (
    Case(name="weights are NaN", check="ladder", status="warn", rung="rules", within=4,
         says=r"3 failed decisions in a row: confidence is not finite", program=(FAULTY, "not finite")),
    Case(name="raises every time", check="ladder", status="warn", rung="rules", within=4,
         says=r"3 failed decisions in a row: ArithmeticError", program=(FAULTY, "raises")),
    Case(name="two of three fail, never three in a row", check="ladder", status="warn", rung="rules", within=30,
         says=r"\d+ of \d+ decisions failed", program=(FAULTY, "raises often")),
    Case(name="ten times slower than the deadline", check="ladder", status="warn", rung="rules", within=45, says=HUNG,
         program=(FAULTY, "slow")),
    Case(name="hangs once", check="decisions", status="fail", within=2, says="hrm hung: no answer",
         program=(FAULTY, "hangs once")),
    Case(name="hangs for ever", check="ladder", status="warn", rung="rules", within=4, says=HUNG,
         program=(FAULTY, "hangs")),
    Case(name="leaks 40 MB a decision", check="ladder", status="warn", rung="rules", within=30, says="GB",
         changes=("performance.memory_warn_gb=0.5", "performance.memory_limit_gb=0.8",
                  "supervisor.triggers.memory_rest_s=1", "supervisor.triggers.latency_trip_ms=5000",
                  "hierarchical_reasoning_model.act.deadline_ms=1000"), program=(FAULTY, "leaks")),
    Case(name="changes sides every bar", check="ladder", status="warn", rung="rules", within=12,
         says="changed sides 11 times", changes=("supervisor.triggers.flaps_per_hour=10",), program=(FAULTY, "flaps")),
    Case(name="a damaged artifact at the start", check="ladder", status="warn", rung="rules", within=0,
         says="hrm can't be built, rules is in charge", changes=("model_management.artifact=DIR/damaged.safetensors",),
         program=RUN),
    Case(name="the artifact is damaged on disk", check="model", status="warn", within=15, says="is damaged or gone",
         changes=(OWN_FILE, LOOKED_AT), program=RUN, begin=damage, end=put_back),
    Case(name="the artifact is swapped on disk", check="model", status="warn", within=15, says="holds another model",
         changes=(OWN_FILE, LOOKED_AT), program=RUN, begin=swap, end=put_back),
    Case(name="a market that it doesn't know", check="ladder", status="warn", rung="rules", within=30,
         says="unlike those the model knows", changes=(OWN_FILE, "supervisor.triggers.novel_bars=10"), program=RUN),
    Case(name="the event loop is blocked for 2 s", check="loop", status="warn", within=15,
         says=r"stood still for [12]\.", program=(FAULTY, "blocks the loop"), on_exchange=True),
    Case(name="the feed is cut", check="feed", status="fail", within=3, says="connection was closed",
         begin=cut_the_feed, end=mend, on_exchange=True),
    Case(name="the feed is silent, its link open", check="feed", status="fail", within=6, says="no ticks for",
         begin=mute_the_feed, end=mend, on_exchange=True),
    Case(name="the broker answers 502", check="broker", status="fail", within=12, says=r"have not been read for .* 502",
         begin=break_the_broker, end=mend, on_exchange=True),
    Case(name="the exchange stands still, broker and feed", check="broker", status="fail", within=12,
         says="have not been read for", begin=stand_still, end=go_on, on_exchange=True, recovers_s=15.0),
    Case(name="the journal's disk is full", check="journal", status="fail", within=3, says=r"I/O error|is full",
         begin=fill_the_disk, end=make_room, on_exchange=True, resumes=True),
)  # fmt: skip
