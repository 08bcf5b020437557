"""A gateway process with the real SDK on the sandbox's data socket."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.cli.options import run_loop
from daemon.core.aside import Aside
from daemon.core.events import TickBatch
from daemon.core.threads import ThreadWorker, Worker
from daemon.feed.live.frames import Authenticated, Counts, Frame, Refused, Subscribed, Trouble, read_ticks
from daemon.fyers.gateway.assignment import Assignment, encode
from daemon.fyers.gateway.process import GatewayProcess, running
from daemon.sandbox.faults import FaultKind, Route
from daemon.sandbox.tokens import make_token
from daemon.tape.format import TapeWriter
from tests.unit.feed.ticks import make_batch
from tests.unit.sandbox.desk import TOKEN, Desk, opened, until

pytest.importorskip("fyers_apiv3", reason="the Fyers SDK is not installed")

NAMES = ("NSE:SBIN-EQ", "NSE:NIFTY50-INDEX")
ROUNDS = 30
PATIENCE_S = 60.0


def ticks() -> TickBatch:
    """Both once a second."""
    rows = [(second, code) for second in range(ROUNDS) for code in range(2)]
    return make_batch(
        NAMES,
        code=[code for _, code in rows], ts_event=[second for second, _ in rows],
        ltp=[100.0 * (code + 1) + 0.05 * second for second, code in rows],
        volume=[-1 if code else 1000 + second for second, code in rows],
        bid=[np.nan if code else 99.0 + 0.05 * second for second, code in rows],
        bid_qty=[-1 if code else 5 + second for second, code in rows],
        ask=[np.nan if code else 101.0 + 0.05 * second for second, code in rows],
    )  # fmt: skip


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A share and an index."""
    path = tmp_path_factory.mktemp("tape") / "two.parquet"
    with TapeWriter(path, columns=("volume", "bid", "bid_qty", "ask")) as writer:
        writer.write(ticks())
    return path


def assigned(desk: Desk, token: str = TOKEN, symbols: tuple[str, ...] = NAMES) -> Assignment:
    """To this sandbox."""
    server = desk.server
    return Assignment(
        token=token, symbols=symbols, socket_url=server.data_socket_url, symbol_token_url=server.symbol_tokens_url,
        index_map_url=server.index_names_url, conflate_above=4096,
    )  # fmt: skip


async def heard(gateway: GatewayProcess, enough: Callable[[list[Frame]], Any]) -> list[Frame]:
    """Frames until there are enough, or the end."""
    frames: list[Frame] = []
    async with asyncio.timeout(PATIENCE_S):
        async for frame in gateway.frames():
            frames.append(frame)
            if enough(frames):
                break
    return frames


def has(kind: type) -> Callable[[list[Frame]], bool]:
    """Whether the newest is of this kind."""
    return lambda frames: isinstance(frames[-1], kind)


async def test_ticks_arrive_as_the_tape_has_them(tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handshake, snapshot, every change; nothing written where we stand, nothing left behind."""
    monkeypatch.chdir(tmp_path)
    wanted = ticks()
    async with opened(tapes=[tape]) as desk:
        async with running(assigned(desk)) as gateway:
            shaken = await heard(gateway, has(Subscribed))
            assert [type(frame) for frame in shaken if not isinstance(frame, Counts)] == [Authenticated, Subscribed]
            await desk.admin("POST", "step", {"ticks": 1000})
            rows: list[TickBatch] = []

            def all_there(frames: list[Frame]) -> bool:
                if isinstance(frames[-1], bytes):
                    rows.append(read_ticks(frames[-1], NAMES, 1)[0])
                return sum(map(len, rows)) == len(wanted)

            await heard(gateway, all_there)
            counts = (await heard(gateway, has(Counts)))[-1]
            pid = gateway.pid
        assert not _alive(pid)
    for name in ("code", "ts_event", "ltp", "volume", "bid", "bid_qty", "ask"):
        got = np.concatenate([getattr(batch, name) for batch in rows])
        np.testing.assert_allclose(got, getattr(wanted, name), rtol=0, atol=1e-9)
    assert isinstance(counts, Counts)
    assert (counts.ticks, counts.conflated, counts.refused) == (len(wanted), 0, {})
    assert counts.peak_kb > 1000
    assert os.listdir(tmp_path) == []


def test_the_daemon_s_own_event_loop_runs_it_too(tape: Path) -> None:
    """uvloop, whose transports are not asyncio's."""

    async def handshake() -> list[Frame]:
        async with opened(tapes=[tape]) as desk, running(assigned(desk)) as gateway:
            return await heard(gateway, has(Subscribed))

    assert isinstance(run_loop(handshake())[-1], Subscribed)


async def test_a_cut_link_ends_the_process(tape: Path) -> None:
    """No reconnection of the SDK's own: it would forget its subscriptions."""
    async with opened(tapes=[tape]) as desk, running(assigned(desk)) as gateway:
        await heard(gateway, has(Subscribed))
        await desk.admin("POST", "cut")
        last = (await heard(gateway, has(Refused)))[-1]
        assert isinstance(last, Refused)
        assert last.reason.startswith("the connection was closed")
        assert not last.token
        assert await heard(gateway, lambda frames: False) == []


@pytest.mark.parametrize("token", [make_token(expires_s=1_000_000_000), "not-a-token"])
async def test_a_token_that_can_t_hold_is_told_as_such(tape: Path, token: str) -> None:
    """Expired or malformed: the SDK sees it before it connects."""
    async with opened(tapes=[tape]) as desk, running(assigned(desk, token)) as gateway:
        last = (await heard(gateway, has(Refused)))[-1]
        assert isinstance(last, Refused)
        assert last.token


async def test_a_token_that_the_venue_refuses_is_told_as_such(tape: Path) -> None:
    """`on_connect` would have come all the same. And so is one that ends while it is used."""
    async with opened(tapes=[tape]) as desk:
        async with running(assigned(desk)) as gateway:
            await heard(gateway, has(Subscribed))
            await desk.admin("POST", "token", {})
            last = (await heard(gateway, has(Refused)))[-1]
            assert isinstance(last, Refused)
            assert last.token
        async with running(assigned(desk)) as gateway:
            last = (await heard(gateway, has(Refused)))[-1]
            assert isinstance(last, Refused)
            assert last.token


async def test_what_the_sdk_swallows_is_counted(tape: Path) -> None:
    """A multiplier of 0 loses a snapshot; a symbol that nobody knows is named."""
    async with opened(tapes=[tape]) as desk:
        await desk.admin("POST", "step", {"ticks": 2})
        desk.trouble(FaultKind.ZERO_MULTIPLIER, Route.SNAPSHOT)
        async with running(assigned(desk, symbols=(*NAMES, "NSE:NOSUCH%%-EQ"))) as gateway:
            told = await heard(gateway, has(Subscribed))
            troubles = [frame.text for frame in told if isinstance(frame, Trouble)]
            assert ["NSE:NOSUCH%%-EQ" in text for text in troubles] == [True]
            counted = await heard(gateway, lambda frames: isinstance(frames[-1], Counts) and frames[-1].swallowed)
            assert isinstance(counted[-1], Counts)
            assert counted[-1].swallowed == {"ZeroDivisionError": 1}


@pytest.mark.parametrize(
    "kind",
    [FaultKind.TRUNCATE, FaultKind.STRANGE_RECORD, FaultKind.WRONG_LENGTH, FaultKind.WRONG_COUNT,
     FaultKind.DUPLICATE, FaultKind.REORDER, FaultKind.LOSE],
)  # fmt: skip
async def test_a_spoiled_frame_costs_at_most_itself(tape: Path, kind: FaultKind) -> None:
    """The link lives on, and says the newest price of both symbols afterwards."""
    async with opened(tapes=[tape]) as desk, running(assigned(desk)) as gateway:
        await heard(gateway, has(Subscribed))
        await desk.admin("POST", "step", {"ticks": 10})
        desk.trouble(kind, Route.FRAME)
        for _ in range(5):
            await desk.admin("POST", "step", {"ticks": 10})
        newest: dict[int, float] = {}

        def at_the_end(frames: list[Frame]) -> bool:
            if isinstance(frames[-1], bytes):
                batch = read_ticks(frames[-1], NAMES, 1)[0]
                newest.update(zip(batch.code.tolist(), batch.ltp.tolist(), strict=True))
            return newest == {0: pytest.approx(101.45), 1: pytest.approx(201.45)}

        await heard(gateway, at_the_end)
        assert desk.server.plan.suffered == {kind.value: 1}


async def test_a_frame_that_poisons_the_sdk_is_counted_as_damage(tape: Path) -> None:
    """A wrong number of fields writes over the names that the SDK keeps: from then on its ticks are nobody's."""
    async with opened(tapes=[tape]) as desk, running(assigned(desk)) as gateway:
        await heard(gateway, has(Subscribed))
        await desk.admin("POST", "step", {"ticks": 10})
        desk.trouble(FaultKind.WRONG_FIELDS, Route.FRAME)
        for _ in range(5):
            await desk.admin("POST", "step", {"ticks": 10})
        counted = await heard(gateway, lambda frames: isinstance(frames[-1], Counts) and frames[-1].damage)
        assert isinstance(counted[-1], Counts)


async def test_nobody_listens_there() -> None:
    """The SDK's own words for it."""
    async with opened() as desk:
        task = assigned(desk)
        await desk.server.stop()
        async with running(task) as gateway:
            last = (await heard(gateway, has(Refused)))[-1]
            assert isinstance(last, Refused)
            assert "refused" in last.reason.lower()


class Frozen:
    """A disk's worker that does its first job once the test says so."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()

    def worker(self, name: str) -> Worker:
        """Of a thread."""
        made = ThreadWorker(name)
        made.give(self._wait)
        return made

    def _wait(self) -> None:
        self.goes_on.wait()


async def test_a_program_on_a_disk_that_hangs_holds_up_nobody(tape: Path) -> None:
    """It can't be started, which is said; what starts once the disk goes on is too late, and the next one comes."""
    frozen = Frozen()
    disk = Aside("gateway", frozen.worker)
    async with opened(tapes=[tape]) as desk:
        for said in ("its disk gives no answer for 0.05 s", "its disk has given no answer for 0 s"):
            with pytest.raises(TimeoutError, match=said):
                async with running(assigned(desk), disk, start_s=0.05):
                    raise AssertionError
        frozen.goes_on.set()
        await until(lambda: not disk.owes_s)
        async with running(assigned(desk), disk) as gateway:
            assert await heard(gateway, has(Subscribed))
        assert not _alive(gateway.pid)


async def test_a_program_that_isn_t_there_is_said() -> None:
    """As the system says it."""
    async with opened() as desk:
        with pytest.raises(FileNotFoundError):
            async with running(assigned(desk), program="/nowhere/python"):
                raise AssertionError


PARENT = """
import asyncio, sys
from daemon.fyers.gateway import assignment
from daemon.fyers.gateway.process import running

async def main():
    async with running(assignment.decode(sys.stdin.buffer.readline())) as gateway:
        print(gateway.pid, flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


async def test_it_doesn_t_outlive_a_daemon_that_is_killed() -> None:
    """SIGKILL leaves nobody the time to clean up: its standard input ends."""
    async with opened() as desk:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PARENT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(encode(assigned(desk)))
        async with asyncio.timeout(PATIENCE_S):
            pid = int(await process.stdout.readline())
            await until(lambda: desk.server.data_feed.state()["open"])
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await until(lambda: not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
