"""A recorded day again: equal where nothing changed, else the first event that differs and what is not as it was."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.cli import main
from daemon.core.events import Bar, Complexity, Decision, Fill, OrderIntent
from daemon.run.parity import compare_lived, compare_told
from daemon.run.verifying import verify_journal
from tests.own_classes import MOMENTUM, NAME, own, write_class
from tests.samples import HRM, LIVELY, SBIN, journaled, play, wave, write_tape

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours of a swinging price."""
    return write_tape(tmp_path_factory.mktemp("against") / "t.parquet", *wave(120))


@pytest.fixture(scope="module")
def journal(tape: Path) -> Path:
    """What the rules made of it, half a second late."""
    path = tape.parent / "j.sqlite"
    play(tape, *LIVELY, latency="fixed:500", journal=path)
    return path


@pytest.fixture(scope="module")
def thought(tape: Path) -> Path:
    """What a small network made of it."""
    path = tape.parent / "thought.sqlite"
    play(tape, *HRM, journal=path)
    return path


def told(capsys: Capture, expected: int, *arguments: str) -> dict[str, Any]:
    """The document of a comparison that has to end with `expected`."""
    assert main(["replay", *arguments, "--json"]) == expected
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def altered(journal: Path, to: Path, change: Callable[[dict[str, Any]], None], number: int, kind: str) -> Path:
    """A copy in which `change` was made to the `number`-th event (from 0) of a kind."""
    with closing(sqlite3.connect(journal)) as source, closing(sqlite3.connect(to)) as copy:
        source.backup(copy)
        seq, body = copy.execute(
            "SELECT seq, body FROM events WHERE type = ? ORDER BY seq LIMIT 1 OFFSET ?", (kind, number)
        ).fetchone()
        event = json.loads(body)
        change(event)
        copy.execute("UPDATE events SET body = ? WHERE seq = ?", (json.dumps(event), seq))
        copy.commit()
    return to


def test_a_recorded_day_comes_out_again(capsys: Capture, tape: Path, journal: Path) -> None:
    """With nothing named but the journal, every event of it; and at a terminal in a line."""
    document = told(capsys, 0, "--against", str(journal))
    assert document["equal"] is True
    assert (document["difference"], document["causes"]) == (None, [])
    assert document["tapes"] == [str(tape)]
    assert document["events"]["Fill"] == len(journaled(journal, Fill)) > 5
    assert sum(document["events"].values()) == len(journaled(journal))
    assert main(["replay", "--against", str(journal)]) == 0
    assert "all equal" in capsys.readouterr().out


def test_a_network_s_day_comes_out_again(capsys: Capture, thought: Path) -> None:
    """The model and its arithmetic are taken from the journal."""
    assert told(capsys, 0, "--against", str(thought))["events"]["Decision"] > 5


def test_one_segment_was_written_as_several_once(capsys: Capture, tape: Path, tmp_path: Path) -> None:
    """A journal of then verifies and comes out again, decisions and their orders; one of now has the right word."""
    path = tmp_path / "j.sqlite"
    play(tape, *HRM, "hierarchical_reasoning_model.act.max_segments=1", journal=path)
    reasons = [event.reason for event in journaled(path, Decision) if event.segments]
    assert reasons
    assert all("1 segment, " in reason for reason in reasons)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE events SET body = replace(body, '1 segment,', '1 segments,')")
        db.commit()
    assert verify_journal(path).decisions >= len(reasons)
    capsys.readouterr()
    assert told(capsys, 0, "--against", str(path))["difference"] is None
    events = journaled(path, Decision, OrderIntent)
    now = [msgspec.structs.replace(one, reason=one.reason.replace("1 segments,", "1 segment,")) for one in events]
    assert compare_lived(events, now).difference is None
    assert compare_lived(events, [msgspec.structs.replace(now[0], reason="another"), *now[1:]]).difference is not None


def test_another_setting_is_named(capsys: Capture, journal: Path) -> None:
    """The first event that it changes, and the key."""
    document = told(capsys, 1, "--against", str(journal), "--set", "strategy.rules.slow=6")
    assert document["difference"]["kind"] == "Decision"
    assert document["causes"][0] == {"what": "settings", "text": "strategy.rules.slow was 5, is 6"}


def test_another_latency_is_named(capsys: Capture, journal: Path) -> None:
    """By the first decision that was later."""
    document = told(capsys, 1, "--against", str(journal), "--latency", "zero")
    assert document["difference"]["kind"] == "Decision"
    assert document["difference"]["fields"]["latency_ns"] == {"recorded": 500_000_000, "replayed": 0}
    assert document["causes"][0] == {"what": "latency", "text": "latency was fixed:500, is zero"}


def test_a_tape_that_lost_a_tick_is_named(capsys: Capture, journal: Path, tmp_path: Path) -> None:
    """By its content, by how many ticks there were, and by the bar that has fewer."""
    times, prices = wave(120)
    del times[700], prices[700]
    tape = write_tape(tmp_path / "t.parquet", times, prices)
    document = told(capsys, 1, str(tape), "--against", str(journal))
    assert document["difference"]["kind"] == "Bar"
    assert document["difference"]["fields"]["ticks"] == {"recorded": 12, "replayed": 11}
    texts = [cause["text"] for cause in document["causes"] if cause["what"] == "tape"]
    assert [cause["what"] for cause in document["causes"]][: len(texts)] == ["tape"] * len(texts)
    assert any("another content" in text for text in texts)
    assert any("1 tick fewer was accepted" in text for text in texts)
    assert any("had 12 ticks, has 11" in text for text in texts)


def test_another_model_is_named(capsys: Capture, thought: Path) -> None:
    """By the hashes of both."""
    document = told(capsys, 1, "--against", str(thought), "--set", "model_management.seed=7")
    assert document["difference"]["kind"] == "Decision"
    assert document["causes"][0]["what"] == "model"


def test_a_strategy_of_one_s_own_that_was_edited_is_named(capsys: Capture, tape: Path, tmp_path: Path) -> None:
    """Its decisions say by what source they were made; the ladder's HRM, which decided nothing, isn't blamed."""
    path = tmp_path / "j.sqlite"
    write_class(tmp_path)
    play(tape, *own(tmp_path), "supervisor.ladder=[hrm, rules, flat]", *HRM[:1], journal=path)
    capsys.readouterr()
    assert told(capsys, 0, "--against", str(path))["equal"]
    write_class(tmp_path, MOMENTUM.replace("it rises", "it climbs"))
    document = told(capsys, 1, "--against", str(path))
    (cause,) = document["causes"]
    assert cause["what"] == "model"
    assert cause["text"].startswith(f"{NAME} decided on {document['difference']['recorded']['model_hash']}, in this")
    assert cause["text"].endswith(": its source, what it imports from its folder, or its parameters have changed")
    rules = told(capsys, 1, "--against", str(path), "--strategy", "rules")["causes"]
    assert not any("decided on" in cause["text"] for cause in rules)


def test_a_model_goes_to_the_strategy_of_the_journal(capsys: Capture, journal: Path) -> None:
    """As in a plain replay: to the policy of ppo, and where nothing decides by one it is refused."""
    assert main(["replay", "--against", str(journal), "--model", "m.safetensors"]) == 2
    assert "--model m.safetensors: strategy rules would not decide by it" in capsys.readouterr().err
    assert main(["replay", "--against", str(journal), "--strategy", "ppo", "--model", "/nowhere.safetensors"]) == 2
    assert "/nowhere.safetensors: not a readable policy" in capsys.readouterr().err


def test_an_altered_journal_has_no_cause_but_itself(capsys: Capture, journal: Path, tmp_path: Path) -> None:
    """Nothing that is known differs, and that is said."""
    path = altered(journal, tmp_path / "j.sqlite", lambda event: event.update(quantity=7), 2, "Fill")
    document = told(capsys, 1, "--against", str(path))
    assert document["difference"]["kind"] == "Fill"
    assert [cause["what"] for cause in document["causes"]] == ["unknown"]
    assert "altered" in document["causes"][0]["text"]


def test_a_journal_of_other_code_is_said_to_be_one(capsys: Capture, journal: Path, tmp_path: Path) -> None:
    """An edit between two releases is seen by the hash of the source."""
    path = altered(journal, tmp_path / "j.sqlite", lambda event: event.update(confidence=0.0), 9, "Decision")
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE runs SET value = 'f00' WHERE key = 'code'")
        db.commit()
    document = told(capsys, 1, "--against", str(path))
    assert document["causes"][0]["what"] == "code"
    assert document["causes"][0]["text"].startswith("the source of hrmd was f00, is ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--against", "none.sqlite"), "none.sqlite: no such journal"),
        (("--against", "{journal}", "-c", "x.yaml"), "takes the journal's settings"),
        (("--against", "{journal}", "--run", "9"), "--run 9"),
        (("--against", "{journal}", "--journal", "{journal}"), "is what is compared with"),
        (("--against", "{moved}"), "the tape of {moved} isn't there"),
        (("--run", "1", "{tape}"), "there is none"),
        ((), "a tape to replay, or --against JOURNAL"),
    ],
)
def test_what_can_t_be_compared_is_one_line(
    capsys: Capture, tape: Path, journal: Path, tmp_path: Path, arguments: tuple[str, ...], line: str
) -> None:
    """And exit 2."""
    moved = tmp_path / "moved.sqlite"
    with closing(sqlite3.connect(journal)) as source, closing(sqlite3.connect(moved)) as copy:
        source.backup(copy)
        copy.execute("""UPDATE runs SET value = '["gone.parquet"]' WHERE key = 'tapes'""")
        copy.commit()
    places = {"journal": str(journal), "moved": str(moved), "tape": str(tape)}
    assert main(["replay", *(one.format(**places) for one in arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert line.format(**places) in printed.err


def test_recorded_latency_allows_no_more_depth_than_there_was(thought: Path, tape: Path, tmp_path: Path) -> None:
    """A decision that the deadline cut short, one of a single cycle, and one that came too late are so again."""
    natural = journaled(thought, Decision)
    assert {decision.halt_reason for decision in natural[4:7]} == {"max_segments"}
    path = thought
    for number, (segments, reason) in enumerate(((1, "deadline"), (1, "single_cycle"), (0, "late")), 4):
        changes = {"segments": segments, "halt_reason": reason, "latency_ns": 40_000_000, "reason": f"was {reason}"}
        path = altered(path, tmp_path / f"{number}.sqlite", lambda event, it=changes: event.update(it), number,
                       "Decision")  # fmt: skip
    play(tape, *HRM, latency=f"recorded:{path}", journal=tmp_path / "again.sqlite")
    again = journaled(tmp_path / "again.sqlite", Decision)
    cut = again[4:7]
    assert [(one.segments, one.halt_reason) for one in cut] == [(1, "deadline"), (1, "single_cycle"), (0, "late")]
    assert cut[0].h_confidence != natural[4].h_confidence
    assert {one.latency_ns for one in cut} == {40_000_000}
    assert [one.segments for one in again[:4]] == [one.segments for one in natural[:4]]
    assert verify_journal(tmp_path / "again.sqlite").decisions == len(natural)


def test_a_bar_whose_turn_never_came_is_not_decided_on(thought: Path, tape: Path, tmp_path: Path) -> None:
    """A newer bar had closed before: the recorded run has no decision, and no more has the replay."""
    path = tmp_path / "j.sqlite"
    with closing(sqlite3.connect(thought)) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
        (seq,) = copy.execute("SELECT seq FROM events WHERE type = 'Decision' ORDER BY seq LIMIT 1 OFFSET 3").fetchone()
        copy.execute("UPDATE events SET type = 'HealthReport' WHERE seq = ?", (seq,))
        copy.commit()
    _, summary = play(tape, *HRM, latency=f"recorded:{path}")
    assert summary.decisions == len(journaled(thought, Decision)) - 1


def test_a_lived_day_is_compared_without_its_clock(journal: Path) -> None:
    """Times and order ids are the machine's; a decision, a price and an amount are not."""
    kinds = (Bar, Complexity, Decision, OrderIntent, Fill)
    events = journaled(journal, *kinds)
    later = [
        msgspec.structs.replace(event, ts=event.ts + 7) if isinstance(event, Decision | Fill) else event
        for event in events
    ]
    assert compare_lived(events, later).difference is None
    assert compare_told(events, later).difference is not None
    fills = [place for place, event in enumerate(later) if isinstance(event, Fill)]
    later[fills[3]] = msgspec.structs.replace(later[fills[3]], price=later[fills[3]].price + 1)
    later[fills[4]] = msgspec.structs.replace(later[fills[4]], quantity=1)
    found = compare_lived(events, later).difference
    assert found is not None
    assert (found.kind, found.symbol, found.number, list(found.fields)) == ("Fill", SBIN, 4, ["price"])
