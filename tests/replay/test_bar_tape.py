"""A tape that is made of bars, through the whole daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon.cli import main
from daemon.core.errors import TapeError, UsageError
from daemon.core.events import Fill, OrderIntent
from daemon.tape.bar_importer import import_bars
from daemon.tape.format import TapeReader
from tests.samples import LIVELY, OPEN, SBIN, journaled, play, wave, write_tape

SECOND = 1_000_000_000
RULES = ("strategy.name=rules", "bars.intervals=[5m, 30m, 1d]")
FIVE = (*LIVELY, "strategy.interval=5m", "bars.intervals=[5m, 30m, 1d]")


@pytest.fixture(scope="module")
def five(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bars of a replay, as a tape."""
    directory = tmp_path_factory.mktemp("bars")
    play(simulated, *RULES, bars=directory / "b.parquet")
    import_bars([directory / "b.parquet"], directory / "five.parquet", "5m", {})
    return directory / "five.parquet"


def test_bars_and_decisions_are_those_of_the_ticks(simulated: Path, five: Path, tmp_path: Path) -> None:
    """All intervals, exactly, but for the number of ticks; and so what is decided on them."""
    _, of_ticks = play(simulated, *RULES, bars=tmp_path / "a.parquet")
    _, of_bars = play(five, *RULES, bars=tmp_path / "b.parquet")
    assert (of_ticks.simulated, of_bars.simulated) == (True, True)

    first, second = (pq.read_table(tmp_path / name).drop(["ticks"]) for name in ("a.parquet", "b.parquet"))
    assert first.equals(second)
    assert of_bars.decisions > 100
    assert of_bars.ticks_rejected == {}
    assert of_ticks.decisions_sha256 == of_bars.decisions_sha256


@pytest.mark.parametrize("latency", ["zero", "fixed:3900"])
def test_what_is_decided_at_a_close_fills_at_the_next_open(tmp_path: Path, latency: str) -> None:
    """Five seconds into the next bar, at its open and what trading costs."""
    ticks = write_tape(tmp_path / "t.parquet", *wave(minutes=370))
    play(ticks, *FIVE, bars=tmp_path / "b.parquet")
    import_bars([tmp_path / "b.parquet"], tmp_path / "five.parquet", "5m", {})

    _, summary = play(tmp_path / "five.parquet", *FIVE, latency=latency, journal=tmp_path / "j.sqlite")

    assert "a market order decided at a bar's close fills at the next bar's open" in summary.notes[0]
    bars = pq.read_table(tmp_path / "b.parquet").to_pylist()
    opens = {row["ts_open"].timestamp(): row["open"] for row in bars if row["interval"] == "5m"}
    intents = {intent.order_id: intent for intent in journaled(tmp_path / "j.sqlite", OrderIntent)}
    fills = journaled(tmp_path / "j.sqlite", Fill)
    assert len(fills) > 5
    for fill in fills:
        start = (fill.ts - 5 * SECOND) / SECOND
        assert 0 < fill.ts - intents[fill.order_id].ts <= 5 * SECOND
        assert abs(float(fill.price) / opens[start] - 1) < 0.0004
        assert fill.side.sign * (float(fill.price) - opens[start]) > 0


def test_nothing_fills_in_a_bar_in_which_nothing_traded(tmp_path: Path) -> None:
    """A vendor fills silence with bars of the last price and no volume: an order waits for one that traded."""
    ticks = write_tape(tmp_path / "t.parquet", *wave(minutes=370))
    play(ticks, *FIVE, bars=tmp_path / "b.parquet")
    bars = [
        row | {"volume": 900} for row in pq.read_table(tmp_path / "b.parquet").to_pylist() if row["interval"] == "5m"
    ]
    first = fills_on(bars, tmp_path / "traded")[0]
    (row,) = (row for row, bar in enumerate(bars) if 0 <= first.ts / SECOND - bar["ts_open"].timestamp() < 300)
    bars[row] |= dict.fromkeys(("open", "high", "low", "close"), bars[row - 1]["close"]) | {"volume": 0}

    later = fills_on(bars, tmp_path / "silent")[0]

    assert later.ts >= first.ts + 295 * SECOND


def fills_on(bars: list[dict[str, Any]], path: Path) -> list[Fill]:
    """What the orders of a replay of 5m bars come to."""
    path.mkdir()
    pq.write_table(pa.Table.from_pylist(bars), path / "b.parquet")
    import_bars([path / "b.parquet"], path / "five.parquet", "5m", {})
    play(path / "five.parquet", *FIVE, journal=path / "j.sqlite")
    return journaled(path / "j.sqlite", Fill)


def test_every_report_says_what_it_is_made_of(five: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Terminal, JSON, page and survey; a copy of its ticks still knows it."""
    report, copy = tmp_path / "report", tmp_path / "copy.parquet"
    arguments = ["replay", str(five), "--strategy", "rules", "--report", str(report), "--ticks-out", str(copy)]
    assert main(arguments) == 0
    assert "made of 5m bars: " in capsys.readouterr().out
    assert "made of 5m bars: " in (report / "index.html").read_text()
    assert main(["replay", str(copy), "--strategy", "rules", "--json", "--latency", "fixed:4000"]) == 0
    (note,) = [note for note in json.loads(capsys.readouterr().out)["notes"] if note.startswith("made of 5m bars: ")]
    assert "orders come too late for the next bar's open and pay the worse extreme" in note
    assert main(["tape", "info", str(five)]) == 0
    assert "made of 5m bars" in capsys.readouterr().out
    assert TapeReader([copy]).notes["bars"] == "5m"


def test_shorter_bars_cant_be_built_of_longer_ones(five: Path, simulated: Path, tmp_path: Path) -> None:
    """Those that nobody needs are left out and named, those that decide are refused; ticks don't mix with bars."""
    _, summary = play(five, "strategy.name=rules", "bars.intervals=[1m, 5m, 30m, 1d]", bars=tmp_path / "b.parquet")
    assert "no 1m bars were built" in summary.notes[0]
    assert set(pq.read_table(tmp_path / "b.parquet")["interval"].to_pylist()) == {"5m", "30m", "1d"}
    with pytest.raises(TapeError, match=r"made of 5m bars, of which no 1m bars can be built: strategy\.interval"):
        play(five, *LIVELY)
    with pytest.raises(
        TapeError, match=r"tapes of different kinds can't be replayed together: .* of 5m bars, .* of ticks"
    ):
        play([five, simulated], *RULES)
    other = write_tape(tmp_path / "o.parquet", [OPEN], [1.0], SBIN, {"bars": "1d"})
    with pytest.raises(TapeError, match=r"o\.parquet: its note bars is 1d; expected one of 1m"):
        play(other, *RULES)


def test_bars_are_not_recorded_as_ticks(five: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody could tell them from the market's any more."""
    settings = [
        f"feed.tape=[{five}]",
        "feed.source=tape",
        "feed.record.when=always",
        f"feed.record.path={tmp_path / 'r'}",
    ]
    code = main(["tape", "record", *(part for text in settings for part in ("--set", text))])
    assert code == UsageError("").exit_code == 2
    assert "is made of 5m bars, so there are no ticks to record" in capsys.readouterr().err
