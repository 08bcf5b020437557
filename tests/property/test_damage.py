"""Files of every kind with flipped bits and cut ends: read, or refused in one line; never a traceback."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.control.auth import read_token
from daemon.core.errors import HrmdError
from daemon.core.events import Fill, Halt
from daemon.fyers.credentials import Credentials
from daemon.fyers.credentials import read_token as read_fyers_token
from daemon.journal.reader import JournalReader, check_journal, is_blank
from daemon.journal.writer import Journal
from daemon.market.scheduled_events import ScheduledEvents
from daemon.recovery.account import recover
from daemon.recovery.repair import check_whole, repair
from daemon.run.surveying import survey_tapes
from daemon.settings.layers import DEFAULT_PATH
from daemon.settings.loading import load_settings
from daemon.tape.format import TapeWriter
from daemon.tape.importer import import_tape
from models.errors import CheckpointError
from models.ppo import PPOPolicy
from tests.depth import examples
from tests.samples import OPEN, fill_of, intend, settings_of
from tests.unit.feed.ticks import make_batch

CASH = Decimal(1_000_000)
SHIPPED_POLICY = Path(__file__).parents[2] / "models" / "artifacts" / "ppo.safetensors"

CSV = "ts_event,symbol,ltp,volume\n" + "".join(
    f"17675847{row:02d}000000000,NSE:SBIN-EQ,{800 + row},{row}\n" for row in range(40)
)
JSONL = "".join(
    f'{{"symbol":"NSE:SBIN-EQ","ltp":{800 + row},"exch_feed_time":17675847{row:02d},"vol_traded_today":{row}}}\n'
    for row in range(40)
)
EVENTS = '- {at: "2026-02-06T10:00:00+05:30", impact: 1, symbols: [A, B], name: results}\n'


def read_tape(path: Path) -> None:
    """As `hrmd tape info` does."""
    asyncio.run(survey_tapes(settings_of(), [path]))


def take_over(path: Path) -> None:
    """As `hrmd tape import` does."""
    import_tape(path, path.with_name("out.parquet"), {}, None, overwrite=True)


def start(path: Path) -> None:
    """As a start of `hrmd run` does, and as `hrmd verify` reads."""
    repair(path)
    recover(path, CASH)
    journal = Journal(path, safe=True)
    journal.describe({"version": "t"})
    journal.append(Halt(ts=1, reason="the next run"))
    journal.close()
    reader = JournalReader(path)
    assert list(reader.events()) == [Halt(ts=1, reason="the next run")]
    reader.close()


def use_tokens(path: Path) -> None:
    """Both kinds."""
    Credentials("APP-100", read_fyers_token(path).reveal())
    read_token(path)


@cache
def sample(name: str) -> bytes:
    """The bytes of a good file."""
    texts = {"t.csv": CSV, "t.jsonl": JSONL, "events.yaml": EVENTS, "token": "abcdefghijklmnopqrstuvwxyz\n"}
    if name in texts:
        return texts[name].encode()
    if name == "wide.csv":
        return CSV.encode("utf-16")
    if name == "settings.yaml":
        return DEFAULT_PATH.read_bytes()
    if name == "ppo.safetensors":
        return SHIPPED_POLICY.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        if name == "t.parquet":
            with TapeWriter(path, columns=["volume", "bid"], notes={"source": "test"}) as writer:
                writer.write(make_batch(("NSE:SBIN-EQ", "X"), code=[0, 1] * 20, ltp=[100.0] * 40, volume=range(40)))
        else:
            journal = Journal(path, safe=True)
            journal.describe({"started_ts": "1"})
            for number in range(40):
                intent = intend(f"T{number}", ts=OPEN)
                fill: Fill = fill_of(intent)
                journal.append(intent)
                journal.append(fill)
            journal.close()
        return path.read_bytes()


READERS: dict[str, list[Callable[[Path], object]]] = {
    "t.parquet": [read_tape, take_over],
    "t.csv": [take_over],
    "wide.csv": [take_over],
    "t.jsonl": [take_over],
    "settings.yaml": [load_settings],
    "events.yaml": [ScheduledEvents.load],
    "token": [use_tokens],
    "j.sqlite": [start],
    "ppo.safetensors": [PPOPolicy.load],
}


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=examples(60))
@given(
    cut=st.one_of(st.none(), st.floats(0, 1)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7), st.booleans()), max_size=6),
)
def test_damage_is_read_over_or_refused(name: str, cut: float | None, flips: list[tuple[float, int, bool]]) -> None:
    """Bits flipped anywhere (or in the last or first part, where a file says what it is), and a cut end."""
    content = bytearray(sample(name))
    for place, bit, near_an_end in flips:
        edge = min(len(content), 3000)
        start_at = len(content) - edge if name.endswith(".parquet") else 0
        content[start_at + int(place * edge) if near_an_end else int(place * len(content))] ^= 1 << bit
    if cut is not None:
        content = content[: int(cut * len(content))]
    for read in READERS[name]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            try:
                read(path)
            except (HrmdError, CheckpointError) as error:
                assert "\n" not in str(error)  # noqa: PT017 — whether it is raised is the damage's business


@pytest.mark.parametrize("look", [repair, check_whole, check_journal, JournalReader, is_blank])
def test_words_of_sqlite_may_be_no_utf8(tmp_path: Path, look: Callable[[Path], object]) -> None:
    """Where it quotes the damaged name of a table, what is wrong is said in one line all the same."""
    content = bytearray(sample("j.sqlite"))
    for name in (b"runs", b"events"):
        at = content.index(b"CREATE TABLE " + name) - 2 * len(name)
        content[at : at + 2 * len(name)] = bytes([0xC5]) * 2 * len(name)
    path = tmp_path / "j.sqlite"
    path.write_bytes(content)
    with contextlib.suppress(HrmdError):
        look(path)
