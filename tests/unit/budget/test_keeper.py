"""Two daemons' risk stages, each with its keeper, and the service between them, over HTTP in one process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.budget.keeper import BudgetKeeper
from daemon.budget.keeping import BooksFile
from daemon.budget.server import BudgetServer
from daemon.control.gate import Gate
from daemon.control.tokens import Keyring, Scope, new_token
from daemon.core.clock import NS_PER_S, LiveClock
from daemon.core.errors import UsageError
from daemon.core.events import Action, BudgetChanged, Event, Halt, OrderApproved, OrderDenied, Side, TradingState
from daemon.market.calendar import MarketCalendar
from daemon.risk.lease import Lease
from daemon.settings.budget import BudgetSettings, BudgetShare
from tests.samples import RELIANCE, SBIN, decide, fill_of, intend, position_of, tick
from tests.unit.risk.test_actor import NOON, Desk

TOKEN = "a-token-of-the-budget"


class Keeper(BudgetKeeper):
    """One that doesn't let a test wait."""

    every_s = 0.01


class Daemon:
    """A risk stage with a tick at noon, and who renews its lease."""

    def __init__(self, room: Room, name: str, symbol: str) -> None:
        self.desk, self.symbol = Desk(MarketCalendar()), symbol
        self.bus, self.book = self.desk.bus, self.desk.actor.book
        self.desk.tell(tick(NOON, 800.0, symbol))
        self.book.start_day(7)
        lease = self.book.lease = Lease(name, lambda: room.now)
        self.said: list[Event] = []
        self.bus.tap((BudgetChanged, Halt), self.said.append)
        self.bus.tap((Halt,), self.desk.actor.handle)
        share = BudgetShare(url=room.url, name=name, token_file=room.directory / "token")
        self.keeper = Keeper(self.bus, self.desk.clock, lease, self.book, share, room.directory / name)

    def buy(self, quantity: int) -> Event:
        """What is answered to a decision for so many at 800."""
        return self.desk.tell(decide(Action.BUY_LONG, quantity, symbol=self.symbol))[-1]

    def fill(self, quantity: int) -> None:
        """So many are held, by whatever way."""
        self.desk.tell(fill_of(intend("there", Side.BUY, quantity, symbol=self.symbol)))
        self.desk.tell(position_of(quantity, "800", self.symbol))

    @property
    def leased(self) -> Decimal | None:
        """By the lease that is in force."""
        self.desk.actor._submitting.look_at_lease()
        lease = self.book.lease
        return lease.leased if lease is not None else None


class Room:
    """Where the service lives: its files, its clock, and the port that it keeps over a restart."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.now, self.port = directory, 100 * NS_PER_S, 0
        token = directory / "token"
        token.touch(0o600)
        token.write_text(TOKEN)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serving(self, kept: type[BooksFile] = BooksFile) -> AsyncIterator[BudgetServer]:
        """A service on the books that are there."""
        settings = BudgetSettings(
            max_gross_notional=Decimal(100_000), max_daily_loss=Decimal(10_000), lease_s=5, port=self.port
        )
        books = kept(self.directory / "books.json")
        gate = Gate(TOKEN, LiveClock(), Keyring(self.directory / "tokens"))
        try:
            server = BudgetServer(settings, books, lambda: self.now, gate)
            await server.start()
            self.port = int(server.url.rpartition(":")[2])
            yield server
            await server.stop()
        finally:
            books.close()

    @asynccontextmanager
    async def trading(self, *daemons: Daemon) -> AsyncIterator[None]:
        """Their keepers run."""
        tasks = [asyncio.create_task(daemon.keeper.run()) for daemon in daemons]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(true: Callable[[], Any]) -> None:
    """Let the others go on until it is so."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 — what is waited for comes over HTTP
            await asyncio.sleep(0.005)


def play(directory: Path, scene: Callable[[Room], Awaitable[None]]) -> None:
    """In a room whose books begin old enough to lend at once."""
    (directory / "books.json").write_text('{"members": {}, "halted": {}}')
    asyncio.run(scene(Room(directory)))  # type: ignore[arg-type]


def test_what_one_has_the_other_can_not_have(tmp_path: Path) -> None:
    """Over a restart of the service, too; and what is given back goes to the other."""

    async def scene(room: Room) -> None:
        async with room.serving():
            banks, oil = Daemon(room, "banks", SBIN), Daemon(room, "oil", RELIANCE)
            assert isinstance(denied := banks.buy(10), OrderDenied)
            assert (denied.check, denied.value) == ("budget", "no lease yet")
            async with room.trading(banks, oil):
                await until(lambda: banks.leased == oil.leased == 50_000)
                assert isinstance(banks.buy(1_000), OrderApproved), "cut to what is leased"
                assert banks.book.gross_notional(without="") == 49_600
                await until(lambda: banks.leased == 74_500 and oil.leased == 25_000)
                banks.fill(90)  # another hand's, in the same account
                await until(lambda: not oil.leased)
                assert isinstance(denied := oil.buy(10), OrderDenied)
                assert (denied.check, denied.limit) == ("budget", "0 leased of the shared budget")
        async with room.serving() as server:
            room.now += 10 * NS_PER_S
            async with room.trading(oil):
                await until(lambda: server.ledger.books.members["oil"].session == 2)
                await until(lambda: oil.leased is not None)
                assert oil.leased == 0

    play(tmp_path, scene)


def test_without_the_service_nothing_is_opened_and_all_can_be_closed(tmp_path: Path) -> None:
    """From the lease's end on, which nobody has to tell; the events say when, and a new lease ends it."""

    async def scene(room: Room) -> None:
        async with room.serving():
            banks = Daemon(room, "banks", SBIN)
            async with room.trading(banks):
                await until(lambda: banks.leased)
        banks.fill(50)
        async with room.serving(), room.trading(banks):
            await until(lambda: banks.leased)
            banks.keeper._url = "http://127.0.0.1:1"  # nobody listens there
            await until(lambda: banks.book.lease and banks.book.lease.unanswered)
            room.now += 5 * NS_PER_S
            assert isinstance(denied := banks.buy(10), OrderDenied)
            assert denied.check == "budget"
            assert denied.value.startswith("no lease since 10:15:00")
            closed = banks.desk.tell(decide(Action.CLOSE_LONG, symbol=SBIN))
            assert isinstance(closed[-1], OrderApproved)
        told = [it.leased for it in banks.said if isinstance(it, BudgetChanged)]
        assert told == [100_000, None, 100_000, None]

    play(tmp_path, scene)


class HungBooks(BooksFile):
    """A disk that hangs from when a test says, until it says otherwise."""

    goes_on = threading.Event()

    def write(self, books: bytes) -> None:
        """Once the disk goes on."""
        self.goes_on.wait()
        super().write(books)


def test_books_on_a_disk_that_hangs_lend_nothing_and_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each who asks is answered in time; once the disk goes on it lends again. The log has a line for either."""

    async def scene(room: Room) -> None:
        HungBooks.goes_on.set()
        async with room.serving(HungBooks):
            banks = Daemon(room, "banks", SBIN)
            async with room.trading(banks):
                await until(lambda: banks.leased)
                HungBooks.goes_on.clear()
                await until(lambda: banks.book.lease and "can't be written" in banks.book.lease.unanswered)
                async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
                    for _ in range(3):
                        async with session.post(f"{room.url}/budget/join", json={"name": "oil", "of": "a:b"}) as answer:
                            assert (answer.status, "nothing is lent" in await answer.text()) == (503, True)
                HungBooks.goes_on.set()
                await until(lambda: banks.book.lease and not banks.book.lease.unanswered)

    play(tmp_path, scene)
    said = capsys.readouterr().out
    assert [said.count(line) for line in ("the books can't be written", "the books are written again")] == [1, 1]


def test_the_loss_of_both_halts_both(tmp_path: Path) -> None:
    """Each lost less than the limit; the reason says whose limit it was, and it is said once."""

    async def scene(room: Room) -> None:
        async with room.serving():
            both = Daemon(room, "banks", SBIN), Daemon(room, "oil", RELIANCE)
            async with room.trading(*both):
                await until(lambda: all(one.leased for one in both))
                for one in both:
                    one.desk.tell(position_of(0, "0", one.symbol, realised_pnl=Decimal(-5_000)))
                await until(lambda: all(one.book.state is TradingState.HALTED for one in both))
                await until(lambda: all(one.leased == 0 for one in both))
            for one in both:
                (halt,) = [it for it in one.said if isinstance(it, Halt)]
                assert halt.automatic
                words = "budget: the day's loss of all daemons 10000.00 has reached 10000 of the shared budget"
                assert halt.reason == words

    play(tmp_path, scene)


def test_a_daemon_that_stops_in_order_keeps_only_what_it_has(tmp_path: Path) -> None:
    """What it had of its lease beyond that is the others' at once."""

    async def scene(room: Room) -> None:
        async with room.serving() as server:
            banks = Daemon(room, "banks", SBIN)
            banks.fill(10)
            async with room.trading(banks):
                await until(lambda: banks.leased)
            assert server.ledger.books.members["banks"].charge == 8_000
            assert banks.leased is None

    play(tmp_path, scene)


def test_the_doors(tmp_path: Path) -> None:
    """No token, a wrong one, one that may only look, a foreign host, no JSON, no name, less than nothing."""

    async def scene(room: Room) -> None:
        look, _ = new_token(room.directory / "tokens", "asha", Scope.READ, None, 0)
        trade, _ = new_token(room.directory / "tokens", "oil", Scope.TRADE, None, 0)
        async with room.serving(), aiohttp.ClientSession() as session:

            async def ask(path: str, body: str = "", token: str = TOKEN, **headers: str) -> tuple[int, str]:
                told = {"Authorization": f"Bearer {token}"} | headers
                asked = session.post if body else session.get
                async with asked(room.url + path, headers=told, **({"data": body} if body else {})) as answer:
                    return answer.status, await answer.text()

            join, report = (
                '{"name": "x", "of": "here"}',
                '{"name": "x", "session": 1, "seq": 1, "used": "-1", "holds": "0"}',
            )
            gone = '{"name": "x", "holding": "0", "who": "asha", "reason": "flat"}'
            assert (await ask("/budget", token="wrong"))[0] == 401
            assert (await ask("/budget", Host="evil.example"))[0] == 403
            assert (await ask("/budget", token=look))[0] == 200
            assert (await ask("/budget/join", join, token=look))[0] == 403
            assert (await ask("/budget/join", join, token=trade))[0] == 200
            assert (await ask("/budget/release", gone, token=trade))[0] == 403
            assert (await ask("/budget/release", gone))[0] == 200
            assert (await ask("/budget/join", "{"))[0] == 400
            assert (await ask("/budget/join", '{"name": "a b", "of": "here"}'))[0] == 400
            assert "used: expected rupees, 0 or more" in (await ask("/budget/report", report))[1]
            assert (await ask("/budget/report", report.replace("-1", "1")))[0] == 410, "released meanwhile"
            assert (await ask("/nowhere"))[0] == 404

    play(tmp_path, scene)


def test_one_service_a_budget_and_whole_books_or_none(tmp_path: Path) -> None:
    """A second service is refused; so are books that nobody wrote."""
    path = tmp_path / "books.json"
    books = BooksFile(path)
    assert books.read() is None
    with pytest.raises(UsageError, match="another hrmd budget"):
        BooksFile(path)
    path.write_text('{"members": {"x": ')
    with pytest.raises(UsageError, match="isn't what hrmd budget wrote"):
        books.read()
    books.close()
    BooksFile(path).close()


def test_a_token_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    """In one line that names the setting; so does one that others may read."""
    room = Room(tmp_path)
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(UsageError, match=r"risk\.budget\.token_file: others may read"):
        Daemon(room, "banks", SBIN)
    (tmp_path / "token").unlink()
    with pytest.raises(UsageError, match=r"risk\.budget\.token_file: .*no such file"):
        Daemon(room, "banks", SBIN)
