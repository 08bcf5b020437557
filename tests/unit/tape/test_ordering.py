"""Rows that stand one symbol, day or file after the other become a tape in order of time; others stay as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daemon.tape.format import TapeReader
from daemon.tape.importer import ImportReport, import_tape
from tests.samples import DAY, OPEN, RELIANCE, SBIN, write_tape

SECOND = 1_000_000_000
MINUTE = 60 * SECOND


def rows_of(symbol: str, day: int = 0, every: int = MINUTE, n: int = 375) -> list[tuple[int, str, float]]:
    """A tick a minute over a session."""
    return [(OPEN + day * DAY + i * every, symbol, 100.0 + day + i / 1000) for i in range(n)]


def written(path: Path, rows: list[tuple[int, str, float]], receipts: int | None = None) -> Path:
    """A CSV of ticks; `receipts`: each was received so much later, ns."""
    head, tail = ("", lambda ts: "") if receipts is None else (",ts_recv", lambda ts: f",{ts + receipts}")
    lines = [f"{ts},{symbol},{price}{tail(ts)}" for ts, symbol, price in rows]
    path.write_text(f"ts_event,symbol,ltp{head}\n" + "\n".join(lines) + "\n")
    return path


def tape_of(*sources: Path) -> tuple[ImportReport, list[tuple[int, str, float]]]:
    """The report of an import, and the tape's rows."""
    out = sources[0].with_name("out.parquet")
    report = import_tape(list(sources), out, {}, overwrite=True)
    (batch,) = TapeReader([out]).batches(1_000_000)
    names = [batch.symbols[code] for code in batch.code.tolist()]
    return report, list(zip(batch.ts_event.tolist(), names, batch.ltp.tolist(), strict=True))


A, B = rows_of(SBIN), rows_of(RELIANCE)
IN_ORDER = [row for pair in zip(A, B, strict=True) for row in pair]


@pytest.mark.parametrize("receipts", [None, 5])
def test_one_symbol_after_the_other(tmp_path: Path, receipts: int | None) -> None:
    """Sorted by time (of receipt, where that was kept), equal times in the source's order, and said in one line."""
    report, rows = tape_of(written(tmp_path / "t.csv", A + B, receipts))

    assert rows == IN_ORDER
    assert report.sorted.startswith("373 of 750 rows lie behind an earlier one, by up to 6 h 14 min")
    assert ("of receipt" in report.sorted) == (receipts is not None)
    assert "\n" not in report.sorted


def test_days_of_symbols_one_after_the_other(tmp_path: Path) -> None:
    """A group a day, in whatever order the days stand."""
    c, d = rows_of(SBIN, 1), rows_of(RELIANCE, 1)
    expected = IN_ORDER + [row for pair in zip(c, d, strict=True) for row in pair]

    for source in (A + B + c + d, c + d + A + B, A + c + B + d):
        assert tape_of(written(tmp_path / "t.csv", source))[1] == expected


def test_several_files(tmp_path: Path) -> None:
    """A file a symbol, and files of days in the wrong order, are one tape."""
    a, b = written(tmp_path / "a.csv", A), written(tmp_path / "b.csv", B)
    report, rows = tape_of(a, b)
    assert rows == IN_ORDER
    assert report.symbols == [SBIN, RELIANCE]
    assert report.rows == 750

    later = written(tmp_path / "c.csv", rows_of(SBIN, 1))
    assert tape_of(later, a)[1] == A + rows_of(SBIN, 1)


def test_two_files_of_one_symbol_and_day(tmp_path: Path) -> None:
    """It is said of two vendors' ticks, and not of days that follow each other."""
    first, second, next_day = (tmp_path / name for name in ("a.csv", "b.csv", "c.csv"))
    written(first, A)
    written(second, [(ts + SECOND, symbol, price * 1.01) for ts, symbol, price in A])
    written(next_day, rows_of(SBIN, 1))

    assert f"; {SBIN}: two files have ticks of the same time" in tape_of(first, second)[0].sorted
    assert "two files" not in tape_of(next_day, first)[0].sorted


def test_the_newest_first(tmp_path: Path) -> None:
    """Turned round, also where times are equal."""
    twice = [row for row in A for row in (row, (row[0], row[1], row[2] + 50))]
    assert tape_of(written(tmp_path / "t.csv", twice[::-1]))[1] == twice


def test_rows_in_no_order_at_all(tmp_path: Path) -> None:
    """As a table without ORDER BY."""
    order = np.random.default_rng(3).permutation(len(A))
    assert tape_of(written(tmp_path / "t.csv", [A[i] for i in order]))[1] == A


def test_a_recording_stays_as_it_is(tmp_path: Path) -> None:
    """Stale ticks, a stamp an hour ahead and one of none are faults of single rows, not of the order."""
    rows = list(IN_ORDER)
    rows[100] = (rows[100][0] + 60 * MINUTE, *rows[100][1:])
    rows[300] = (rows[300][0] - 90 * MINUTE, *rows[300][1:])
    rows[400] = (0, *rows[400][1:])

    report, found = tape_of(written(tmp_path / "t.csv", rows))

    assert report.sorted == ""
    assert found == rows


def test_faults_keep_their_place_within_their_symbol(tmp_path: Path) -> None:
    """What is sorted are the symbols: a stale tick of one is not made a good one."""
    faulty = list(A)
    faulty[200] = (A[10][0], SBIN, 99.0)

    _, rows = tape_of(written(tmp_path / "t.csv", faulty + B))

    assert [row for row in rows if row[1] == SBIN] == faulty
    assert [row for row in rows if row[1] == RELIANCE] == B


def test_a_tape_keeps_its_notes(tmp_path: Path) -> None:
    """That it is simulated is not forgotten when it is imported again."""
    tape = write_tape(tmp_path / "t.parquet", [OPEN, OPEN + 1], [1.0, 1.1], notes={"simulated": "true"})
    import_tape(tape, tmp_path / "out.parquet", {})
    assert TapeReader([tmp_path / "out.parquet"]).notes["simulated"] == "true"


def test_a_large_export_newest_first_is_quick_to_judge(tmp_path: Path) -> None:
    """Every row contradicts the one before: asked one by one, 100,000 of them would take minutes."""
    n = 100_000
    ts = np.arange(OPEN + n * SECOND, OPEN, -SECOND)
    tape = write_tape(tmp_path / "t.parquet", ts.tolist(), np.linspace(100, 101, n).tolist())
    import_tape(tape, tmp_path / "out.parquet", {})
    batches = TapeReader([tmp_path / "out.parquet"]).batches(n)
    assert np.array_equal(np.concatenate([batch.ts_event for batch in batches]), ts[::-1])


@pytest.mark.parametrize("ahead", [10 * MINUTE, 60 * MINUTE])
@pytest.mark.parametrize("place", [2, 180])
def test_a_false_stamp_of_a_symbol_that_seldom_trades_moves_nothing(tmp_path: Path, ahead: int, place: int) -> None:
    """Its own ticks are too few to contradict it; those of the others do."""
    rows = [row for i, (a, b) in enumerate(zip(A, B, strict=True)) for row in ((a, b) if i % 30 == 2 else (a,))]
    false = next(i for i, row in enumerate(rows) if i >= place and row[1] == RELIANCE)
    rows[false] = (rows[false][0] + ahead, *rows[false][1:])

    report, found = tape_of(written(tmp_path / "t.csv", rows))

    assert report.sorted == ""
    assert found == rows


@pytest.mark.parametrize("n", [4, 40])
def test_a_symbol_of_few_ticks_stands_before_or_behind_the_others(tmp_path: Path, n: int) -> None:
    """They are less than a hundredth of all, and all that there is of it."""
    many, few = rows_of(SBIN, every=SECOND, n=6000), rows_of(RELIANCE, every=80 * MINUTE // n, n=n)

    for source in (many + few, few + many):
        report, rows = tape_of(written(tmp_path / "t.csv", source))
        assert report.sorted
        assert rows == sorted(source, key=lambda row: row[0])
