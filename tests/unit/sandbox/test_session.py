from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.market.instruments import InstrumentBook
from daemon.sandbox import hsm
from daemon.sandbox.boards import Boards
from daemon.sandbox.directory import SymbolDirectory
from daemon.sandbox.exchange import Print, Quote
from daemon.sandbox.faults import Fault, FaultKind, FaultPlan, Route
from daemon.sandbox.gate import TokenGate
from daemon.sandbox.hsm import INDEX_FIELDS, SYMBOL_FIELDS, UNCHANGED, Topic
from daemon.sandbox.session import MAX_TOPICS, Session
from daemon.sandbox.tokens import make_token
from daemon.settings.market import MarketSettings
from tests.unit.feed.ticks import OPEN_NS, SECOND
from tests.unit.sandbox.hsm_client import Reader

SBIN, NIFTY = "NSE:SBIN-EQ", "NSE:NIFTY50-INDEX"


class Desk:
    """A session and the client behind it."""

    def __init__(self) -> None:
        self.directory = SymbolDirectory(InstrumentBook(MarketSettings()))
        self.boards = Boards(self.directory)
        self.gate = TokenGate(f"APP-100:{make_token('key')}")
        self.plan = FaultPlan(0)
        self.session = Session(self.directory, self.boards, self.gate, self.plan, ack_count=7)
        self.reader = Reader()
        self.time = OPEN_NS

    def topic(self, symbol: str, kind: Topic = Topic.SYMBOL) -> str:
        """What the client calls a symbol."""
        listing = self.directory.find(symbol)
        assert listing is not None
        return f"{kind}|{listing.segment}|{listing.names[0]}"

    def ask(self, request: hsm.Request) -> bool | None:
        """Ask for something; whether it was granted."""
        answers, records = self.session.answer(request)
        for answer in answers:
            self.reader.take(answer)
        self.reader.take_records(records)
        return self.reader.answers[-1][1][1] == b"K" if answers else None

    def subscribe(self, *topics: str, channel: int = 11) -> bool | None:
        """Ask for topics."""
        return self.ask(hsm.Subscribe(topics, channel))

    def quote(self, last: str, symbol: str = SBIN, **fields: int) -> list[str]:
        """A new quote; which kinds of records the client got of it."""
        self.time += SECOND
        self.boards.on_print(Print(symbol, Quote(last=Decimal(last), **fields), self.time))
        before = len(self.reader.ticks)
        self.reader.take_records(self.session.records(symbol))
        return [kind for kind, _, _ in self.reader.ticks[before:]]

    def price(self, symbol: str = SBIN, kind: Topic = Topic.SYMBOL) -> int:
        """The price that the client knows."""
        return self.reader.shown[self.topic(symbol, kind)][0]


@pytest.fixture
def desk() -> Desk:
    """Let in already."""
    desk = Desk()
    assert desk.ask(hsm.Auth("key"))
    return desk


def test_the_key() -> None:
    """A wrong key is refused, and without the right one nothing is granted; the answer says how often to ack."""
    desk = Desk()
    desk.quote("100")
    assert not desk.ask(hsm.Auth("other"))
    for request in (
        hsm.Subscribe((desk.topic(SBIN),), 11), hsm.Unsubscribe((), 11), hsm.Mode((11,), lite=True), hsm.Pause((11,)),
        hsm.Resume((11,)),
    ):  # fmt: skip
        assert not desk.ask(request)
    assert desk.reader.ticks == []
    assert desk.ask(hsm.Auth("key"))
    assert desk.reader.answers[-1][1][2] == (7).to_bytes(4)


def test_a_snapshot_then_changes(desk: Desk) -> None:
    """A topic begins with all fields; then comes what changed, and nothing where nothing did."""
    desk.quote("100", volume=5)
    assert desk.subscribe(desk.topic(SBIN))
    assert desk.quote("100.05", volume=5) == ["U"]
    kinds = [kind for kind, _, _ in desk.reader.ticks]
    assert kinds == ["S", "U"]
    changed = {name for name, value in zip(SYMBOL_FIELDS, desk.reader.ticks[-1][2], strict=True) if value != UNCHANGED}
    assert changed == {"ltp", "exch_feed_time", "high_price"}
    assert desk.session.records(SBIN) == []
    assert desk.session.sent == {(SBIN, Topic.SYMBOL): 2}
    assert desk.reader.texts[desk.topic(SBIN)] == ("nse_cm", desk.topic(SBIN).split("|")[2], SBIN)


def test_before_the_first_quote(desk: Desk) -> None:
    """A topic that has no price yet begins with its first one."""
    desk.subscribe(desk.topic(SBIN))
    assert desk.reader.ticks == []
    assert desk.quote("100") == ["S"]


def test_kinds_of_topics(desk: Desk) -> None:
    """One quote goes out on every topic of its symbol; an index has its own."""
    desk.subscribe(desk.topic(SBIN), desk.topic(SBIN, Topic.DEPTH), desk.topic(NIFTY, Topic.INDEX))
    assert desk.quote("100") == ["S", "S"]
    assert desk.quote("24000", NIFTY) == ["S"]
    assert desk.reader.named(desk.topic(NIFTY, Topic.INDEX), INDEX_FIELDS)["ltp"] == 2_400_000
    assert desk.quote("100.05") == ["U"]  # a price without a quote changes no depth


def test_unknown_topics(desk: Desk) -> None:
    """A topic that leads nowhere is remembered, and hurts no other."""
    desk.quote("100")
    assert desk.subscribe("sf|nse_cm|0", desk.topic(SBIN))
    assert desk.session.unknown == ["sf|nse_cm|0"]
    assert desk.price() == 10_000


def test_too_many_topics(desk: Desk) -> None:
    """Beyond 5000 topics the batch is refused with Fyers' code, and what was there stays."""
    names = [desk.topic(f"NSE:S{number}-EQ") for number in range(MAX_TOPICS + 1)]
    for start in range(0, MAX_TOPICS, 1500):
        assert desk.subscribe(*names[start : min(start + 1500, MAX_TOPICS)])
    assert len(desk.session.topics) == MAX_TOPICS
    desk.subscribe(names[-1])
    kind, fields = desk.reader.answers[-1]
    assert (kind, int.from_bytes(fields[1]), fields[3]) == (51, 51001, b"\4")
    assert desk.subscribe(names[0])
    assert len(set(desk.session.topics.values())) == MAX_TOPICS


def test_again(desk: Desk) -> None:
    """Who subscribes again gets a snapshot again."""
    desk.quote("100")
    desk.subscribe(desk.topic(SBIN))
    desk.subscribe(desk.topic(SBIN))
    assert [kind for kind, _, _ in desk.reader.ticks] == ["S", "S"]


def test_unsubscribing(desk: Desk) -> None:
    """A topic ends when its last channel gave it up; one that wasn't there doesn't matter."""
    topic = desk.topic(SBIN)
    desk.subscribe(topic, channel=1)
    desk.subscribe(topic, channel=2)
    assert desk.ask(hsm.Unsubscribe((topic, "sf|nse_cm|0"), 1))
    assert desk.quote("100") == ["S"]
    assert desk.ask(hsm.Unsubscribe((topic,), 2))
    assert desk.quote("101") == []
    assert not desk.session.follows(SBIN)
    assert desk.session.topics == {}


def test_ids_go_round(desk: Desk) -> None:
    """Ids of topics that were given up come back at last, never one that is in use."""
    stays, goes = desk.topic(SBIN), desk.topic("NSE:TCS-EQ")
    desk.subscribe(stays)
    for _ in range(70_000):
        desk.session.answer(hsm.Subscribe((goes,), 1))
        desk.session.answer(hsm.Unsubscribe((goes,), 1))
    desk.subscribe(goes)
    ids = desk.session.topics
    assert ids[stays] == 1
    assert 1 < ids[goes] <= 65_535


def test_pausing(desk: Desk) -> None:
    """A paused channel is silent; resumed, the next change brings what was missed."""
    desk.quote("100", volume=1)
    desk.subscribe(desk.topic(SBIN))
    assert desk.ask(hsm.Pause((11,)))
    assert desk.quote("105", volume=9) == []
    assert desk.ask(hsm.Resume((11,)))
    assert desk.quote("104", volume=9) == ["U"]
    seen = desk.reader.named(desk.topic(SBIN), SYMBOL_FIELDS)
    assert (seen["ltp"], seen["vol_traded_today"], seen["high_price"]) == (10_400, 9, 10_500)


def test_a_topic_on_two_channels(desk: Desk) -> None:
    """While one of its channels is open a topic goes on."""
    desk.subscribe(desk.topic(SBIN), channel=1)
    desk.subscribe(desk.topic(SBIN), channel=2)
    desk.ask(hsm.Pause((1,)))
    assert desk.quote("100") == ["S"]
    desk.ask(hsm.Pause((2,)))
    assert desk.quote("101") == []


def test_lite(desk: Desk) -> None:
    """On a lite channel prices alone follow the snapshot, and only where they changed; in full mode all comes again."""
    assert desk.ask(hsm.Mode((11,), lite=True))
    desk.subscribe(desk.topic(SBIN))
    assert desk.quote("100", volume=1) == ["S"]
    assert desk.quote("101", volume=2) == ["L"]
    assert desk.quote("101", volume=3) == []
    assert desk.price() == 10_100
    assert desk.ask(hsm.Mode((11,), lite=False))
    assert desk.quote("101", volume=4) == ["U"]
    assert desk.reader.named(desk.topic(SBIN), SYMBOL_FIELDS)["vol_traded_today"] == 4


def test_depth_is_never_lite(desk: Desk) -> None:
    """The SDK can't read a price alone for depth, and would lose the rest of the frame: depth stays whole."""
    desk.ask(hsm.Mode((11,), lite=True))
    desk.subscribe(desk.topic(SBIN, Topic.DEPTH))
    assert desk.quote("100") == ["S"]
    desk.boards.on_print(Print(SBIN, Quote(last=Decimal(100), bid=Decimal(99)), desk.time))
    desk.reader.take_records(desk.session.records(SBIN))
    assert [kind for kind, _, _ in desk.reader.ticks] == ["S", "U"]


def test_acks_and_pings(desk: Desk) -> None:
    """Acks and pings are noted, and answered with nothing."""
    for number in (50, 100, 70):
        assert desk.ask(hsm.Ack(number)) is None
    assert desk.ask(hsm.Ping()) is None
    assert (desk.session.acked, desk.session.pings) == (100, 1)


def test_the_end_of_the_token(desk: Desk) -> None:
    """The client is told as the SDK tells its user, and gets nothing until it shows a key that holds."""
    desk.subscribe(desk.topic(SBIN))
    desk.gate.expire()
    desk.reader.take(desk.session.expire())
    assert desk.reader.answers[-1] == (51, {1: (-99).to_bytes(4, signed=True), 2: b"Token is expired", 3: b"\1"})
    assert desk.quote("100") == []
    assert not desk.ask(hsm.Auth("key"))
    desk.gate.renew(f"APP-100:{make_token('key')}")
    assert desk.ask(hsm.Auth("key"))
    assert desk.quote("101") == ["S"]


def test_harmed_snapshots(desk: Desk) -> None:
    """A snapshot without a scale or a token befalls the named symbol alone, and once."""
    for kind in (FaultKind.ZERO_MULTIPLIER, FaultKind.EMPTY_TOKEN):
        desk.plan.queue([Fault(kind=kind, on=Route.SNAPSHOT, symbol=SBIN)])
    desk.quote("100")
    desk.quote("200", "NSE:TCS-EQ")
    topic = desk.topic(SBIN)
    desk.subscribe(desk.topic("NSE:TCS-EQ"), topic)
    assert desk.reader.scales == {desk.topic("NSE:TCS-EQ"): (1, 2), topic: (0, 2)}
    desk.subscribe(topic)
    assert desk.reader.texts["sf|nse_cm|"] == ("nse_cm", "", SBIN)
    desk.subscribe(topic)
    assert desk.reader.scales[topic] == (1, 2)


@given(st.lists(st.tuples(st.sampled_from(["quote", "pause", "resume", "lite", "full", "again"]), st.integers(1, 5))))
def test_what_the_client_knows(steps: list[tuple[str, int]]) -> None:
    """Whatever it pauses or asks for anew, a client that gets a full record knows the whole board."""
    desk = Desk()
    desk.ask(hsm.Auth("key"))
    desk.subscribe(desk.topic(SBIN))
    for step, number in steps:
        match step:
            case "quote":
                records = desk.quote(str(100 + number), volume=number)
                board = desk.boards.fields(SBIN, Topic.SYMBOL)
                assert board is not None
                if records and records[-1] in "SU":
                    assert tuple(desk.reader.shown[desk.topic(SBIN)]) == board
                elif records:
                    assert desk.price() == board[0]
            case "pause":
                desk.ask(hsm.Pause((11,)))
            case "resume":
                desk.ask(hsm.Resume((11,)))
            case "again":
                desk.subscribe(desk.topic(SBIN))
            case mode:
                desk.ask(hsm.Mode((11,), lite=mode == "lite"))
