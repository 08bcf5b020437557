"""A replay's decisions without what came after them: the daemon's own are the same, a class that peeks is named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from daemon.cli.lookahead import check_lookahead
from daemon.core.errors import CheckFailed
from daemon.run.lookahead import Decide, LookAhead, apart, beginnings_of, decisions_of, look_ahead
from daemon.run.many import Job
from daemon.tape.format import TapeReader
from tests.own_classes import own, write_class
from tests.samples import LIVELY, OPEN, settings_of, wave, write_tape

PEEKS = """\
import pyarrow.parquet as pq
from strategies.own import Parameters as P, buy, close, hold
class Peeks:
    class Parameters(P):
        tape: str
    def decide(self, seen):
        prices = pq.read_table(self.parameters.tape)["ltp"].to_pylist()
        return (hold("held") if seen.position else buy(10, "up")) if prices[-1] > seen.price else close("down")
"""
PEEKER = "my_folder.peeking:Peeks"


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour of a price that swings."""
    return write_tape(tmp_path_factory.mktemp("tape") / "wave.parquet", *wave(30), notes={"simulated": "true"})


def looked(tape: Path, *overrides: str, decide: Decide = decisions_of) -> LookAhead:
    """What came of it, in this process."""
    return look_ahead(settings_of(*overrides), [tape], [], "fixed:500", decide)


def test_rules_see_nothing_of_what_comes_later(tape: Path) -> None:
    """Decisions of three cuts, with orders and positions between them."""
    found = looked(tape, *LIVELY)
    assert (found.strategy, found.cuts, found.difference) == ("rules", 3, None)
    assert found.decisions > 30


def test_a_beginning_holds_what_had_been_received(tape: Path, tmp_path: Path) -> None:
    """To the tick, with the notes of the whole; a tape that began later is left out."""
    whole, at = TapeReader([tape]), OPEN + 600 * 10**9
    (batch,) = whole.batches(10**6)
    (beginning,) = beginnings_of([tape], at, tmp_path).values()
    cut = TapeReader([beginning])
    assert cut.rows == int((batch.ts_recv <= at).sum())
    assert 0 < cut.rows < whole.rows
    assert (cut.notes, cut.columns, cut.last_ts) == (whole.notes, whole.columns, batch.ts_event[cut.rows - 1])
    assert beginnings_of([tape], OPEN - 10**9, tmp_path) == {}


def test_a_class_that_reads_its_tape_is_named(tape: Path, tmp_path: Path) -> None:
    """It is given the beginning where it was given the tape, and decides otherwise."""
    write_class(tmp_path, PEEKS, "my_folder.peeking")
    found = looked(tape, *own(tmp_path, PEEKER, f"strategy.parameters.tape={tape}")).difference
    assert found is not None
    assert (found.field, found.deterministic) == ("action", True)


def test_chance_is_told_from_look_ahead(tape: Path) -> None:
    """Whoever decides otherwise twice on the same tape doesn't look ahead for that."""
    dice = random.Random(5)

    def throws(job: Job) -> list:  # type: ignore[type-arg]
        decisions = decisions_of(job)
        return [type(one)(**{**{f: getattr(one, f) for f in one.__struct_fields__}, "confidence": dice.random()})
                for one in decisions]  # fmt: skip

    found = looked(tape, *LIVELY, decide=throws).difference
    assert found is not None
    assert (found.field, found.deterministic) == ("confidence", False)


def test_the_command_says_it_in_a_line(tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Same, peeked, or nothing decided, which is no proof."""
    check_lookahead(settings_of(*LIVELY), [tape], [], "zero", as_json=False, decide=decisions_of)
    assert "rules: no look-ahead: " in capsys.readouterr().out
    write_class(tmp_path, PEEKS, "my_folder.peeking")
    peeking = settings_of(*own(tmp_path, PEEKER, f"strategy.parameters.tape={tape}"))
    with pytest.raises(CheckFailed, match=rf"^{PEEKER}: look-ahead: NSE:SBIN-EQ, bar 2026-01-05 .*: action is "):
        check_lookahead(peeking, [tape], [], "zero", as_json=False, decide=decisions_of)
    with pytest.raises(CheckFailed, match="rules: made no decision on this tape"):
        check_lookahead(settings_of(*LIVELY), [tape], [], "zero", as_json=False, decide=lambda _: [])


def test_a_process_of_its_own_decides_the_same(tape: Path) -> None:
    """To the last bit, across from one process to another."""
    job = Job(settings=settings_of(*LIVELY).model_dump_json(), tapes=[str(tape)])
    assert apart(job) == decisions_of(job)
