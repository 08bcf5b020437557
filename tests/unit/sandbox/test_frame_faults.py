from __future__ import annotations

from typing import Any

import pytest

from daemon.sandbox import hsm
from daemon.sandbox.faults import FaultKind
from daemon.sandbox.frame_faults import spoil
from daemon.sandbox.hsm import UNCHANGED

SYMBOLS = ("NSE:AAA-EQ", "NSE:BBB-EQ", "NSE:CCC-EQ", "NSE:DDD-EQ")
FIELDS = [10_000] * 21
RECORDS = [
    hsm.snapshot(number, f"sf|nse_cm|{number}", FIELDS, 1, 2, ("nse_cm", str(number), symbol))
    for number, symbol in enumerate(SYMBOLS)
]
CHANGES = [hsm.update(number, [10_100 + number, *[UNCHANGED] * 20]) for number in range(4)]


@pytest.fixture
def heard() -> list[dict[str, Any]]:
    """What the SDK told."""
    return []


@pytest.fixture
def sdk(heard: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The real SDK's parser, which knows four shares."""
    pytest.importorskip("fyers_apiv3", reason="the Fyers SDK is not installed")
    from fyers_apiv3.FyersWebsocket.data_ws import FyersDataSocket

    sdk = FyersDataSocket(
        "a.b.c", log_path=str(tmp_path_factory.mktemp("sdk")), on_message=heard.append, on_error=heard.append
    )
    sdk.symbol_token = {f"sf|nse_cm|{number}": symbol for number, symbol in enumerate(SYMBOLS)}
    sdk._FyersDataSocket__response_msg(hsm.ticks(1, RECORDS))
    heard.clear()
    return sdk


@pytest.mark.parametrize(
    ("kind", "symbols"),
    [
        (None, SYMBOLS),
        (FaultKind.WRONG_LENGTH, SYMBOLS),
        (FaultKind.WRONG_COUNT, SYMBOLS),
        (FaultKind.TRUNCATE, SYMBOLS[:2]),
        (FaultKind.STRANGE_RECORD, SYMBOLS[:2]),
    ],
)
def test_what_the_sdk_makes_of_it(
    sdk: Any, heard: list[dict[str, Any]], kind: FaultKind | None, symbols: tuple[str, ...]
) -> None:
    """A wrong length or count costs nothing, half a frame or a strange record all that comes after, silently."""
    sdk._FyersDataSocket__response_msg(spoil(kind, 2, CHANGES))
    assert [tick["symbol"] for tick in heard] == list(symbols)
    assert [tick["ltp"] for tick in heard] == [101.0 + number / 100 for number in range(len(symbols))]


def test_a_field_too_many(sdk: Any, heard: list[dict[str, Any]]) -> None:
    """A record that claims one field more eats into the next, and what comes after is lost."""
    sdk._FyersDataSocket__response_msg(spoil(FaultKind.WRONG_FIELDS, 2, CHANGES))
    assert [tick["symbol"] for tick in heard] == list(SYMBOLS[:3])


def test_a_snapshot_without_a_token(sdk: Any, heard: list[dict[str, Any]]) -> None:
    """A topic that the SDK never asked for ends the frame for it, silently."""
    nameless = hsm.snapshot(9, "sf|nse_cm|", FIELDS, 1, 2, ("nse_cm", "", SYMBOLS[0]))
    sdk._FyersDataSocket__response_msg(hsm.ticks(2, [CHANGES[0], nameless, *CHANGES[1:]]))
    assert [tick["symbol"] for tick in heard] == [SYMBOLS[0]]


@pytest.mark.parametrize("kind", list(FaultKind))
def test_any_fault_of_any_frame(kind: FaultKind) -> None:
    """Every kind makes bytes of every kind of record; only those that spoil bytes change them."""
    spoilers = {FaultKind.TRUNCATE, FaultKind.WRONG_LENGTH, FaultKind.WRONG_COUNT, FaultKind.STRANGE_RECORD,
                FaultKind.WRONG_FIELDS}  # fmt: skip
    for record in (RECORDS[0], CHANGES[0], hsm.lite(1, 5)):
        assert (spoil(kind, 1, [record]) != hsm.ticks(1, [record])) is (kind in spoilers)


def test_a_strange_record_fits() -> None:
    """A frame that is full gives up its last record for the strange one."""
    record = bytes(hsm.MAX_RECORD_BYTES // 4)
    frame = spoil(FaultKind.STRANGE_RECORD, 1, [record] * 4)
    assert int.from_bytes(frame[:2]) == len(frame) - 2
    assert int.from_bytes(frame[7:9]) == 4
