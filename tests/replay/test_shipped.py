"""The shipped model in a replay: how deep it thinks, and what is said where ticks are those of a market."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from daemon.core.errors import CheckFailed
from daemon.core.events import Decision
from daemon.report.fragments import warnings
from daemon.report.summary import ReplaySummary
from daemon.run.reporting import report_journal
from daemon.run.verifying import verify_journal
from models.checkpoint import describe, load_model, save_model
from models.manifest import Origin, TrainingSpan
from tests.samples import journaled, play, wave, write_tape

SHIPPED = (
    "strategy.name=hrm", "performance.runtime=torch", "hierarchical_reasoning_model.act.q_halting=false",
    "hierarchical_reasoning_model.convergence.early_stop=false", "hierarchical_reasoning_model.act.min_segments=3",
)  # fmt: skip
"""As shipped, but every decision is to think for three segments at least."""
UNTRIED = "has learned from simulated markets alone, and these ticks are real: what it earns there is unknown"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReplaySummary]:
    """The journal and the summary of a replay of ticks that nobody says were made up."""
    folder = tmp_path_factory.mktemp("shipped")
    tape = write_tape(folder / "t.parquet", *wave(60))
    return folder / "j.sqlite", play(tape, *SHIPPED, journal=folder / "j.sqlite")[1]


def test_it_thinks_no_deeper_than_it_was_trained(real: tuple[Path, ReplaySummary]) -> None:
    """Two segments, whatever `act.max_segments` (4 as shipped) allows; figures are of those two."""
    journal, summary = real
    assert {one.segments for one in journaled(journal, Decision) if one.segments} == {2}
    assert summary.hrm_metrics is not None
    assert (summary.hrm_metrics.max_segments, summary.hrm_metrics.computation_efficiency) == (2, 0)
    told = report_journal(journal).summary.hrm_metrics
    assert told is not None
    assert told.max_segments == 2


def test_real_ticks_are_said_to_be_new_to_it(real: tuple[Path, ReplaySummary], tmp_path: Path) -> None:
    """By the replay, by its page, by the journal's report; of a simulated tape, or of rules, nothing is said."""
    journal, summary = real
    assert [note for note in summary.notes if note.startswith("tiny.safetensors (") and note.endswith(UNTRIED)]
    assert UNTRIED in warnings(summary)
    assert summary.notes[0] in report_journal(journal).summary.notes
    tape = write_tape(tmp_path / "s.parquet", *wave(20), notes={"simulated": "true"})
    assert UNTRIED not in str(play(tape, *SHIPPED)[1].notes)
    both = write_tape(tmp_path / "r.parquet", *wave(20))
    assert UNTRIED in str(play([tape, both], *SHIPPED)[1].notes)
    assert UNTRIED not in str(play(both, "strategy.name=rules", "supervisor.ladder=[rules, flat]")[1].notes)


@pytest.mark.parametrize(("strategy", "made_for"), [("hrm", "5m"), ("ppo", "5m")])
def test_bars_of_another_length_are_said_to_be_new_to_it(tmp_path: Path, strategy: str, made_for: str) -> None:
    """A policy of five minutes decides on fifteen: nothing of what it learned says what that earns."""
    tape = write_tape(tmp_path / "t.parquet", *wave(60), notes={"simulated": "true"})
    other = (f"strategy.name={strategy}", "strategy.interval=15m", "bars.intervals=[15m, 30m, 1d]")
    said = f"was made for bars of {made_for}, and decides on 15m: what it earns there is unknown"
    assert [note for note in play(tape, *other)[1].notes if note.endswith(said)]
    assert said not in str(play(tape, f"strategy.name={strategy}")[1].notes)


@pytest.mark.parametrize(("last", "said"), [("2026-12-31", True), ("2020-12-31", False)])
def test_days_that_the_model_learned_from_are_said_to_be_no_test(tmp_path: Path, last: str, said: bool) -> None:
    """By the replay, by its page, by the journal's report; of a tape that was made up nothing is said."""
    network, manifest = load_model(Path("models/artifacts/tiny.safetensors"))
    origin = Origin(version="", data=("SBIN.parquet",), data_sha256="ab")
    span = TrainingSpan(first="2019-01-01", last=last)
    learned = describe(network, trained=True, training_span=span, origin=origin, segments=manifest.trained_segments)
    artifact, journal = tmp_path / "own.safetensors", tmp_path / "j.sqlite"
    save_model(artifact, network, learned)
    own = (*SHIPPED, f"model_management.artifact={artifact}")
    summary = play(write_tape(tmp_path / "t.parquet", *wave(20)), *own, journal=journal)[1]
    words = f"1 of 1 sessions lie in the days that the model learned from (2019-01-01 to {last}): what it earned there"
    found = [note for note in summary.notes if note.startswith(words)]
    assert bool(found) is said
    assert [note for note in report_journal(journal).summary.notes if "learned from (" in note] == found
    assert (words in warnings(summary)) is said
    made_up = write_tape(tmp_path / "s.parquet", *wave(20), notes={"simulated": "true"})
    assert "learned from (" not in str(play(made_up, *own)[1].notes)


@pytest.mark.parametrize(("least", "fails"), [(4, False), (1, True)])
def test_a_journal_from_before_depth_was_held_verifies(
    real: tuple[Path, ReplaySummary], tmp_path: Path, least: int, fails: bool
) -> None:
    """It asks for more segments than the model may take now; one that asks for fewer was altered."""
    with closing(sqlite3.connect(real[0])) as source, closing(sqlite3.connect(tmp_path / "j.sqlite")) as copy:
        source.backup(copy)
        with copy:
            copy.execute(
                "UPDATE events SET body = json_set(body, '$.min_segments', ?) WHERE type = 'Decision' "
                "AND json_extract(body, '$.min_segments') = 2",
                (least,),
            )
    if fails:
        with pytest.raises(CheckFailed, match="min_segments was 1, is now 2"):
            verify_journal(tmp_path / "j.sqlite")
    else:
        assert verify_journal(tmp_path / "j.sqlite").decisions == len(journaled(real[0], Decision))
