from __future__ import annotations

import json
from importlib.resources import files

import pytest

from daemon.market.instruments import InstrumentBook
from daemon.sandbox.directory import SEGMENTS, SymbolDirectory
from daemon.sandbox.hsm import Topic
from daemon.settings.market import MarketSettings


@pytest.fixture
def directory() -> SymbolDirectory:
    """An empty one."""
    return SymbolDirectory(InstrumentBook(MarketSettings()))


def topic_of(directory: SymbolDirectory, symbol: str, kind: str) -> str:
    """The topic that the SDK derives from what the symbol service says."""
    listing = directory.find(symbol)
    assert listing is not None
    segment = SEGMENTS[listing.fytoken[:4]]
    name = directory.index_names()[symbol] if symbol.endswith("-INDEX") else listing.fytoken[10:]
    return f"{kind}|{segment}|{name}"


@pytest.mark.parametrize(
    ("symbol", "prefix"),
    [
        ("NSE:SBIN-EQ", "1010"),
        ("NSE:NIFTY26JANFUT", "1011"),
        ("NSE:NIFTY2610624000CE", "1011"),
        ("NSE:USDINR26JANFUT", "1012"),
        ("BSE:RELIANCE-A", "1210"),
        ("BSE:SENSEX26JANFUT", "1211"),
        ("MCX:CRUDEOIL26JANFUT", "1120"),
        ("NSE:NIFTY50-INDEX", "1010"),
        ("BSE:SENSEX-INDEX", "1210"),
    ],
)
def test_topics(directory: SymbolDirectory, symbol: str, prefix: str) -> None:
    """The topic that a client derives leads back to the symbol; the token begins with its segment."""
    listing = directory.find(symbol)
    assert listing is not None
    assert listing.fytoken[:4] == prefix
    for kind in (Topic.INDEX,) if symbol.endswith("-INDEX") else (Topic.SYMBOL, Topic.DEPTH):
        assert directory.of_topic(topic_of(directory, symbol, kind)) == (listing, kind)


def test_the_same_in_every_sandbox(directory: SymbolDirectory) -> None:
    """A symbol's token depends on the symbol alone, not on who was asked for before."""
    other = SymbolDirectory(InstrumentBook(MarketSettings()), ["NSE:TCS-EQ", "NSE:SBIN-EQ"])
    assert directory.find("NSE:SBIN-EQ") == other.find("NSE:SBIN-EQ")


def test_no_two_symbols_share_a_token(directory: SymbolDirectory) -> None:
    """Of two symbols whose digests lead to one token the second gets the next; both are found by theirs."""
    first, second = (directory.find(f"NSE:S{number}-EQ") for number in (13_534, 56_423))
    assert first is not None
    assert second is not None
    assert (first.token, second.token) == ("447186539", "447186540")
    assert [directory.of_topic(f"sf|nse_cm|{item.token}") for item in (first, second)] == [
        (first, Topic.SYMBOL), (second, Topic.SYMBOL),
    ]  # fmt: skip


@pytest.mark.parametrize("symbol", ["", "SBIN", "NSE:SBIN", "NSE:", "nonsense:é", "NSE:sbin-eq"])
def test_what_is_no_symbol(directory: SymbolDirectory, symbol: str) -> None:
    """What isn't written as Fyers writes symbols is none."""
    assert directory.find(symbol) is None


@pytest.mark.parametrize(
    "topic", ["", "sf", "sf|nse_cm", "sf|nse_cm|", "xx|nse_cm|1", "sf|nse_cm|0", "if|bse_cm|Nifty 50"]
)
def test_what_is_no_topic(directory: SymbolDirectory, topic: str) -> None:
    """A topic that leads nowhere is said to."""
    directory.find("NSE:NIFTY50-INDEX")
    assert directory.of_topic(topic) is None


def test_an_index_isnt_a_share(directory: SymbolDirectory) -> None:
    """An index has no topic of shares under its name, and a share none of indices under its token."""
    listing = directory.find("NSE:SBIN-EQ")
    directory.find("NSE:NIFTY50-INDEX")
    assert listing is not None
    assert directory.of_topic(f"if|nse_cm|{listing.token}") is None
    assert directory.of_topic("sf|nse_cm|Nifty 50") is None


def test_the_names_that_the_sdk_falls_back_to(directory: SymbolDirectory) -> None:
    """Every published name of ours is the SDK's; an index that only the SDK names is found by its name all the same."""
    pytest.importorskip("fyers_apiv3", reason="the Fyers SDK is not installed")
    known = json.loads(files("fyers_apiv3.FyersWebsocket").joinpath("map.json").read_text())["index_dict"]
    assert {symbol: name for symbol, name in directory.index_names().items() if known.get(symbol, name) != name} == {}
    listing = directory.find("NSE:NIFTYPHARMA-INDEX")
    assert directory.of_topic(f"if|nse_cm|{known['NSE:NIFTYPHARMA-INDEX']}") == (listing, Topic.INDEX)
