from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.sandbox import hsm
from daemon.sandbox.hsm import DEPTH_FIELDS, INDEX_FIELDS, SYMBOL_FIELDS, UNCHANGED, Kind
from tests.unit.sandbox import hsm_client
from tests.unit.sandbox.hsm_client import Reader

I32 = st.integers(-(2**31) + 1, 2**31 - 1)
ASCII = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
CHANNELS = st.sets(st.integers(0, 63)).map(sorted)
NAMES = ("nse_cm", "3045", "NSE:SBIN-EQ")


@given(ASCII, ASCII)
def test_auth(key: str, source: str) -> None:
    """A key and a source are read as they were sent."""
    assert hsm.read(hsm_client.auth(key, source)) == hsm.Auth(key, source)


@given(st.lists(ASCII, max_size=300), st.integers(0, 255), st.integers(0, 65_535))
def test_topics(names: list[str], channel: int, declared: int) -> None:
    """Topics are read as they were sent, whatever length the frame declares."""
    for kind, wanted in ((4, hsm.Subscribe), (5, hsm.Unsubscribe)):
        frame = hsm_client.topics(kind, names, channel, declared)
        assert hsm.read(frame) == wanted(tuple(names), channel)


@given(CHANNELS, st.booleans(), st.integers(0, 2**32 - 1))
def test_channels_and_acks(channels: list[int], lite: bool, number: int) -> None:
    """Modes, pauses and acks are read as they were sent."""
    assert hsm.read(hsm_client.mode(channels, lite)) == hsm.Mode(tuple(channels), lite)
    assert hsm.read(hsm_client.pause(channels)) == hsm.Pause(tuple(channels))
    assert hsm.read(hsm_client.resume(channels)) == hsm.Resume(tuple(channels))
    assert hsm.read(hsm_client.ack(number)) == hsm.Ack(number)
    assert hsm.read(hsm_client.PING) == hsm.Ping()


@given(st.binary(max_size=80))
def test_any_bytes(frame: bytes) -> None:
    """Whatever comes is read or refused, never worse."""
    with suppress(hsm.UnreadableError):
        assert isinstance(hsm.read(frame), msgspec.Struct)


@given(st.data())
def test_cut_frames(draw: st.DataObject) -> None:
    """A frame that was cut short is refused: no part of it counts."""
    frame = draw.draw(
        st.sampled_from(
            [hsm_client.auth("key"), hsm_client.topics(4, ["sf|nse_cm|1", "sf|nse_cm|2"]), hsm_client.mode([11], True),
             hsm_client.ack(7)]
        )
    )  # fmt: skip
    with pytest.raises(hsm.UnreadableError):
        hsm.read(frame[: draw.draw(st.integers(0, len(frame) - 1))])


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (hsm_client.framed(9), "kind 9"),
        (hsm_client.framed(1), "field 1 is missing"),
        (hsm_client.framed(1, (1, b"\xff")), "no ASCII"),
        (hsm_client.framed(3, (1, b"\0")), "expected 4"),
        (hsm_client.framed(4, (1, b"\0\2\1a"), (2, b"\1")), "after 1 of 2"),
        (hsm_client.framed(4, (1, b"\0\1\5a"), (2, b"\1")), "after 0 of 1"),
        (hsm_client.framed(4, (1, b"\0\1\1\xff"), (2, b"\1")), "topic 1"),
        (hsm_client.framed(4, (1, b"\0"), (2, b"\1")), "not counted"),
    ],
)
def test_unreadable(frame: bytes, words: str) -> None:
    """What can't be read says why."""
    with pytest.raises(hsm.UnreadableError, match=words):
        hsm.read(frame)


def test_answers() -> None:
    """Yes and no, the wanted acks, and errors are framed with their true length."""
    reader = Reader()
    for frame in (
        hsm.answer(Kind.SUBSCRIBE),
        hsm.answer(Kind.PAUSE, granted=False),
        hsm.answer_auth(granted=True, ack_count=50),
        hsm.error(-99, "Token is expired", Kind.AUTH),
        hsm.error(5, "é"),
    ):
        reader.take(frame)
    assert reader.answers == [
        (4, {1: b"K"}), (7, {1: b"E"}), (1, {1: b"K", 2: b"\0\0\0\x32"}),
        (51, {1: struct.pack(">i", -99), 2: b"Token is expired", 3: b"\1"}), (51, {1: b"\0\0\0\5", 2: "é".encode()}),
    ]  # fmt: skip


@given(
    st.integers(0, 65_535), st.integers(0, 2**32 - 1), st.lists(I32, min_size=1, max_size=30), st.integers(0, 65_535),
    st.integers(0, 255), st.data(),
)  # fmt: skip
def test_records(
    topic_id: int, number: int, fields: list[int], multiplier: int, precision: int, draw: st.DataObject
) -> None:
    """A snapshot, an update with unchanged fields, and a price alone are read back with number, scale and names."""
    later = [draw.draw(st.one_of(st.just(UNCHANGED), I32)) for _ in fields]
    last = draw.draw(I32)
    reader = Reader()
    reader.take(
        hsm.ticks(
            number,
            [
                hsm.snapshot(topic_id, "sf|nse_cm|3045", fields, multiplier, precision, NAMES),
                hsm.update(topic_id, later),
                hsm.lite(topic_id, last),
            ],
        )
    )
    applied = [new if new != UNCHANGED else old for new, old in zip(later, fields, strict=True)]
    assert reader.shown == {"sf|nse_cm|3045": [last, *applied[1:]]}
    assert (reader.numbers, reader.scales) == ([number], {"sf|nse_cm|3045": (multiplier, precision)})
    assert reader.texts == {"sf|nse_cm|3045": NAMES}


def test_a_full_frame() -> None:
    """The largest frame declares its length in the sixteen bits that there are."""
    frame = hsm.ticks(1, [b"x" * hsm.MAX_RECORD_BYTES])
    assert frame[:2] == b"\xff\xff"


class TestSdk:
    """The real SDK's parser and writer, without its network."""

    @pytest.fixture
    def heard(self) -> list[dict[str, Any]]:
        """What the SDK told."""
        return []

    @pytest.fixture
    def sdk(self, heard: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Any:
        """An SDK that never connects and knows three topics."""
        pytest.importorskip("fyers_apiv3", reason="the Fyers SDK is not installed")
        from fyers_apiv3.FyersWebsocket.data_ws import FyersDataSocket

        sdk = FyersDataSocket(
            "a.b.c", log_path=str(tmp_path_factory.mktemp("sdk")), on_message=heard.append, on_error=heard.append
        )
        sdk.symbol_token = {
            "sf|nse_cm|3045": "NSE:SBIN-EQ", "if|nse_cm|Nifty 50": "NSE:NIFTY50-INDEX", "dp|nse_cm|3045": "NSE:SBIN-EQ"
        }  # fmt: skip
        return sdk

    def test_fields(self, sdk: Any) -> None:
        """Our names of the fields, and their order, are the SDK's."""
        assert [*SYMBOL_FIELDS, "type", "symbol"] == sdk.data_val
        assert [*INDEX_FIELDS, "type", "symbol"] == sdk.index_val
        assert [*DEPTH_FIELDS, "type", "symbol"] == sdk.depthvalue

    def test_ticks(self, sdk: Any, heard: list[dict[str, Any]]) -> None:
        """A snapshot and an update come out with prices in rupees, the unchanged fields standing."""
        fields = list(range(10_000, 10_000 + len(SYMBOL_FIELDS)))
        change = [UNCHANGED] * len(fields)
        change[0] = 82_055
        names = ("nse_cm", "3045", "NSE:SBIN-EQ")
        records = [hsm.snapshot(513, "sf|nse_cm|3045", fields, 1, 2, names), hsm.update(513, change)]
        sdk._FyersDataSocket__response_msg(hsm.ticks(1, records))
        first, second = heard
        assert (first["symbol"], first["ltp"], first["vol_traded_today"]) == ("NSE:SBIN-EQ", 100.0, 10_001)
        assert (first["exch_feed_time"], first["bid_price"], first["prev_close_price"]) == (10_003, 100.06, 100.2)
        assert second["ltp"] == 820.55
        assert {name: value for name, value in second.items() if name not in ("ltp", "ch", "chp")} == {
            name: value for name, value in first.items() if name not in ("ltp", "ch", "chp")
        }

    def test_indices_and_depth(self, sdk: Any, heard: list[dict[str, Any]]) -> None:
        """An index and five levels of depth come out under their names; a precision of four divides by 10,000."""
        index = hsm.snapshot(1, "if|nse_cm|Nifty 50", [2_400_005, 2_390_000, 9, 3, 2, 1], 1, 2, NAMES)
        depth = hsm.snapshot(2, "dp|nse_cm|3045", list(range(30)), 1, 4, NAMES)
        sdk._FyersDataSocket__response_msg(hsm.ticks(1, [index, depth]))
        assert (heard[0]["ltp"], heard[0]["prev_close_price"], heard[0]["exch_feed_time"]) == (24_000.05, 23_900.0, 9)
        assert (heard[1]["ask_price1"], heard[1]["bid_size1"], heard[1]["ask_order5"]) == (0.0005, 10, 29)

    def test_lite(self, sdk: Any, heard: list[dict[str, Any]]) -> None:
        """A price alone comes out in lite mode."""
        sdk.lite = True
        records = [hsm.snapshot(7, "sf|nse_cm|3045", [10_000] * 21, 1, 2, NAMES), hsm.lite(7, 10_005)]
        sdk._FyersDataSocket__response_msg(hsm.ticks(1, records))
        assert heard == [
            {"ltp": price, "symbol": "NSE:SBIN-EQ", "type": "sf"} for price in (100.0, 100.05)
        ]  # fmt: skip

    def test_answers(self, sdk: Any, heard: list[dict[str, Any]]) -> None:
        """Every answer and error is understood, and the wanted acks are counted."""
        for kind in (Kind.SUBSCRIBE, Kind.MODE, Kind.PAUSE, Kind.RESUME):
            sdk._FyersDataSocket__response_msg(hsm.answer(kind))
        for frame in (
            hsm.answer_auth(granted=True, ack_count=3), hsm.answer_auth(granted=False),
            hsm.answer(Kind.SUBSCRIBE, granted=False), hsm.error(-99, "Token is expired", Kind.AUTH),
        ):  # fmt: skip
            sdk._FyersDataSocket__response_msg(frame)
        assert [item["type"] for item in heard] == ["sub", "ful", "cp", "cr", "cn", "cn", "sub", "cn"]
        assert [item["code"] for item in heard] == [200, 200, 200, 200, 200, 11001, 11011, -99]
        sdk._FyersDataSocket__response_msg(hsm.answer_auth(granted=True, ack_count=2))
        for number in (5, 6):
            sdk._FyersDataSocket__response_msg(hsm.ticks(number, []))
        assert [hsm.read(bytes(frame)) for frame in sdk.message] == [hsm.Ack(6)]

    def test_requests(self, sdk: Any) -> None:
        """What the SDK writes is read, though the lengths that it declares are wrong."""
        topics = [f"sf|nse_cm|{number}" for number in range(1500)]
        sdk._FyersDataSocket__hsm_token = "key"
        frames = [
            sdk._FyersDataSocket__access_token_msg(), sdk._FyersDataSocket__lite_mode_msg(),
            sdk._FyersDataSocket__full_mode_msg(), sdk._FyersDataSocket__subscription_msg(topics),
            sdk._FyersDataSocket__unsubscription_msg(topics[:2]), sdk._FyersDataSocket__channel_pause_msg(3),
            sdk._FyersDataSocket__channel_resume_msg(4),
        ]  # fmt: skip
        assert sum(int.from_bytes(frame[:2]) != len(frame) - 2 for frame in frames) == 6
        assert [hsm.read(bytes(frame)) for frame in frames] == [
            hsm.Auth("key", "PythonSDK-3.2.0"), hsm.Mode((11,), lite=True), hsm.Mode((11,), lite=False),
            hsm.Subscribe(tuple(topics), 11), hsm.Unsubscribe(tuple(topics[:2]), 11), hsm.Pause((3,)), hsm.Resume((4,)),
        ]  # fmt: skip
