"""A sweep: killed anywhere and begun again it ends with the same table; its ranking counts the trials."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from daemon.cli import main
from daemon.core.errors import UsageError
from daemon.report.performance import sharpe
from daemon.report.summary import ReplaySummary, equity_curve
from daemon.report.sweep import TrialRow, heat_map, render
from daemon.run.many import Job, play
from daemon.run.sweep import Sweep, Wanted, ranked, wanted_of
from tests.own_classes import MOMENTUM, NAME, write_class
from tests.samples import LIVELY, RELIANCE, SBIN, settings_of, wave, write_tape

pytest.importorskip("optuna", reason="the extra `sweep` is not installed")

PARAMS = ["strategy.rules.fast=2:6", "strategy.rules.slow=3:12", "broker.paper.slippage_bp=0.5:4.0"]


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short days."""
    return write_tape(tmp_path_factory.mktemp("sweep") / "t.parquet", *wave(20, days=3, every_s=15))


class Here:
    """One process, which is killed after so many replays; it remembers what it was given."""

    def __init__(self, lives: int = 10**9) -> None:
        self.lives = lives
        self.played = 0

    def play(self, jobs: Sequence[Job]) -> Iterator[ReplaySummary]:
        """One by one."""
        for job in jobs:
            if self.played == self.lives:
                raise KeyboardInterrupt
            self.played += 1
            yield play(job)


def wanted(tape: Path, trials: int, sampler: str = "tpe", pruner: str = "none", **changes: object) -> Wanted:
    """A sweep over three settings of the rules."""
    asked = {
        "params": PARAMS, "symbols": [], "windows": 1, "seeds": [], "latency": "zero", "metric": "sharpe", "seed": 3,
    }  # fmt: skip
    return wanted_of(settings_of(*LIVELY), [tape], trials=trials, sampler=sampler, pruner=pruner, **(asked | changes))


@pytest.mark.parametrize("trials", [11, pytest.param(18, marks=pytest.mark.nightly)])
def test_a_sweep_that_is_killed_ends_with_the_same_table(tape: Path, tmp_path: Path, trials: int) -> None:
    """Three times, in the middle of rounds; and nothing that was finished is played again."""
    whole = Sweep(wanted(tape, trials), tmp_path / "whole" / "study.sqlite").run(Here(), lambda _: None)
    played = 0
    for lives in (3, 4, 2):
        fleet = Here(lives)
        with pytest.raises(KeyboardInterrupt):
            Sweep(wanted(tape, trials), tmp_path / "cut" / "study.sqlite").run(fleet, lambda _: None)
        played += fleet.played
    last = Here()
    cut = Sweep(wanted(tape, trials), tmp_path / "cut" / "study.sqlite").run(last, lambda _: None)
    assert cut == whole
    assert [row.number for row in cut] == list(range(trials))
    assert played + last.played == sum(row.state != "refused" for row in whole)
    assert len({tuple(row.params.items()) for row in whole}) > 2 * trials // 3


def test_what_can_t_be_had_together_is_refused_and_counts(tape: Path, tmp_path: Path) -> None:
    """The fast average is slower than the slow one: a row without figures, last in the ranking."""
    grid = wanted(tape, 4, "grid", params=["strategy.rules.fast=2,8", "strategy.rules.slow=5,9"])
    sweep = Sweep(grid, tmp_path / "s.sqlite")
    rows = ranked(sweep.run(Here(), lambda _: None))
    assert [(row.state, row.params) for row in rows if row.state != "complete"] == [
        ("refused", {"strategy.rules.fast": "8", "strategy.rules.slow": "5"})
    ]
    assert rows[-1].state == "refused"
    assert rows[0].deflated is not None
    assert [row.net_pnl > 0 for row in rows] == [True, False, False, False]  # one of those that lost is "less luck"
    page = render(rows, sweep.tried(simulated=True))
    assert "Sweep of rules<span>4 trials" in page
    assert "t.parquet · order latency zero" in page
    assert "Simulated tape." in page
    assert "Ratios over 3 sessions are mostly chance." in page
    assert "Simulated tape." not in render(rows, sweep.tried(simulated=False))
    assert "strategy.rules.fast × strategy.rules.slow" in page
    assert heat_map(rows, "strategy.rules.fast", "strategy.rules.slow").count("<rect") == 3


def test_a_ruin_is_no_value_of_0(tape: Path, tmp_path: Path) -> None:
    """Nothing can be said of an account that came to nothing; it ranks behind those that lost a little."""
    settings = settings_of(*LIVELY, "broker.paper.starting_cash=5000", "broker.paper.slippage_bp=100",
                           "risk.margin_rate=0.001")  # fmt: skip
    sizes = wanted_of(
        settings, [tape], params=["strategy.rules.quantity=1,500"],
        symbols=[], windows=3, seeds=[], latency="zero", metric="total_return", sampler="grid", pruner="none", seed=3,
        trials=2,
    )  # fmt: skip
    rows = ranked(Sweep(sizes, tmp_path / "s.sqlite").run(Here(), lambda _: None))
    assert [(row.params["strategy.rules.quantity"], row.state) for row in rows] == [
        ("1", "complete"),
        ("500", "ruined"),
    ]
    assert (rows[1].value, rows[1].worst, rows[1].sharpe, rows[1].deflated) == (None, None, None, None)
    assert rows[1].net_pnl < -5000


def test_who_sat_out_ranks_above_who_lost(
    tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However sure the loss is; and command and page say that none did better than that."""
    monkeypatch.chdir(tmp_path)
    dear = ["--set", "broker.paper.slippage_bp=90", "--param", "strategy.rules.min_bars=5,5000"]
    overrides = [word for setting in LIVELY for word in ("--set", setting)]
    assert main(["sweep", str(tape), "-o", "s", "--sampler", "grid", "--trials", "2", *dear, *overrides]) == 0
    out, told = capsys.readouterr()
    rows = pq.read_table("s/trials.parquet").to_pylist()
    assert [(row["strategy.rules.min_bars"], row["trades"] > 0) for row in rows] == [("5000", False), ("5", True)]
    assert rows[1]["sharpe"] < 0
    assert "no trial did better than to sit out: the first is the least bad, and nothing to trade" in out
    assert "2 of 2 trials; none better than to sit out yet" in told
    assert "No trial did better than to sit out." in Path("s/sweep.html").read_text(encoding="utf-8")


def test_what_another_strategy_won_is_not_the_trials(tape: Path, tmp_path: Path) -> None:
    """One that fails at each bar leaves the rules in charge: it ranks behind, whatever they won, and is on no map."""
    sick = "if self.parameters.bars == 4: raise ValueError('no')\n        rises = "
    write_class(tmp_path, MOMENTUM.replace("rises = ", sick))
    ladder = "supervisor.ladder=[rules, flat]"
    settings = settings_of(*LIVELY, ladder, f"strategy.path={tmp_path}", f"strategy.name={NAME}")
    few = wanted_of(
        settings, [tape], params=["strategy.parameters.bars=3:5"], symbols=[], windows=1, seeds=[], latency="zero",
        metric="total_return", sampler="grid", pruner="none", seed=3, trials=3,
    )  # fmt: skip
    rows = ranked(Sweep(few, tmp_path / "s.sqlite").run(Here(), lambda _: None))
    assert [row.called for row in rows][-1] == "1 (swapped)"
    assert {row.state for row in rows[:-1]} == {"complete"}
    assert rows[-1].trades > 0
    assert heat_map(rows, "strategy.parameters.bars", None).count("<rect") == 2


def test_a_session_is_one_observation_on_however_many_it_was_played(tape: Path, tmp_path: Path) -> None:
    """Rules have no seed: three of them are the same three days, not nine; two symbols are halves of an account."""
    other = write_tape(tmp_path / "r.parquet", *wave(20, days=4, every_s=15), RELIANCE)
    both = tmp_path / "both.parquet"
    assert main(["tape", "import", str(tape), str(other), "--out", str(both)]) == 0

    def rows(name: str, **changes: Any) -> list[TrialRow]:
        asked = wanted(both, 3, **{"symbols": [SBIN], **changes})
        return Sweep(asked, tmp_path / f"{name}.sqlite").run(Here(), lambda _: None)

    one, seeds = rows("one"), rows("seeds", seeds=[1, 2, 3])
    assert [(it.sharpe, it.deflated) for it in seeds] == [
        (pytest.approx(it.sharpe, rel=1e-12), pytest.approx(it.deflated, rel=1e-9)) for it in one
    ]
    assert [it.net_pnl for it in seeds] == [3 * it.net_pnl for it in one]
    parts = []
    for symbol in (SBIN, RELIANCE):
        settings = settings_of(*LIVELY, *(f"{key}={value}" for key, value in one[0].params.items()))
        curve = equity_curve(play(Job(settings=settings.model_dump_json(), tapes=[str(both)], symbols=[symbol])))
        parts.append([after / before - 1 for before, after in pairwise(curve)])
    halves = [(a + b) / 2 for a, b in zip([*parts[0], 0.0], parts[1], strict=True)]
    assert rows("two", symbols=[SBIN, RELIANCE])[0].sharpe == pytest.approx(sharpe(halves))


def test_a_study_that_counted_sessions_twice_is_not_gone_on_with(tape: Path, tmp_path: Path) -> None:
    """One table of two countings would be none."""
    sweep = Sweep(wanted(tape, 1, seeds=[1, 2]), tmp_path / "s.sqlite")
    sweep.run(Here(), lambda _: None)
    with sqlite3.connect(tmp_path / "s.sqlite") as db:
        db.execute("DELETE FROM trial_user_attributes WHERE key = 'sessions_once'")
    with pytest.raises(UsageError, match="was begun by an earlier hrmd, which counted a session once for each symbol"):
        Sweep(wanted(tape, 2, seeds=[1, 2]), tmp_path / "s.sqlite")


@pytest.mark.parametrize(("windows", "metric"), [(2, "sharpe"), (3, "calmar"), (4, "total_return")])
def test_a_window_that_can_t_have_the_metric_is_refused(tape: Path, tmp_path: Path, windows: int, metric: str) -> None:
    """A Sharpe of one session can't be said: counted as 0, whatever lost in it would look like sitting out."""
    few = wanted(tape, 1, windows=windows, metric=metric)
    with pytest.raises(UsageError, match=rf"too few sessions \(3\) for --windows {windows}; a {metric}"):
        Sweep(few, tmp_path / "s.sqlite").run(Here(), lambda _: None)


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("random", marks=pytest.mark.nightly)])
def test_no_settings_are_tried_twice(tape: Path, tmp_path: Path, sampler: str) -> None:
    """Twelve ways to set them: forty trials would play, and count, the same ones thrice."""
    few = wanted(tape, 40, sampler, params=["strategy.rules.fast=2:4", "strategy.rules.slow=5:11:2"])
    rows = Sweep(few, tmp_path / "s.sqlite").run(Here(), lambda _: None)
    tried = {(row.params["strategy.rules.fast"], row.params["strategy.rules.slow"]) for row in rows}
    assert tried == {(fast, slow) for fast in (2, 3, 4) for slow in (5, 7, 9, 11)}
    assert len(rows) == 12


def test_a_map_has_its_values_in_order(tape: Path, tmp_path: Path) -> None:
    """Numbers as numbers, choices among them too; what has a column of its own is named once, many share one."""
    few = wanted(tape, 1, "grid", params=["strategy.rules.slow=20,30"])
    (row,) = Sweep(few, tmp_path / "s.sqlite").run(Here(), lambda _: None)
    labels = re.findall(r">([^<]+)</text>", heat_map(_tried(row, range(20, 65, 5)), "strategy.rules.slow", None))
    assert labels[-8:] == ["20", "25", "30", "35", "40", "45", "50", "55–60"]
    labels = re.findall(r">([^<]+)</text>", heat_map(_tried(row, [12, 3, 8]), "strategy.rules.slow", None))
    assert labels[-3:] == ["3", "8", "12"]


def _tried(row: TrialRow, values: Iterable[int]) -> list[TrialRow]:
    """The row, tried with each of these values of the slow average, as texts."""
    return [msgspec.structs.replace(row, params={"strategy.rules.slow": str(value)}) for value in values]


@pytest.mark.nightly
def test_a_hopeless_trial_is_pruned_before_its_last_seed(tape: Path, tmp_path: Path) -> None:
    """The median of the trials before it is better after its first replay."""
    fleet = Here()
    asked = wanted(tape, 20, pruner="median", seeds=[1, 2])
    rows = Sweep(asked, tmp_path / "s.sqlite").run(fleet, lambda _: None)
    pruned = [row for row in rows if row.state == "pruned"]
    assert pruned
    assert fleet.played == sum({"complete": 2, "pruned": 1, "refused": 0}[row.state] for row in rows)


def test_a_study_of_another_sweep_is_refused(tape: Path, tmp_path: Path) -> None:
    """What differs is named; more trials of the same are no other sweep."""
    place = tmp_path / "s.sqlite"
    Sweep(wanted(tape, 1, "random"), place)
    Sweep(wanted(tape, 9, "random"), place)
    with pytest.raises(UsageError, match=r"of another sweep \(metric, seed\)"):
        Sweep(wanted(tape, 1, "random", metric="calmar", seed=4), place)
    (tmp_path / "no.sqlite").write_text("x" * 5000)
    with pytest.raises(UsageError, match="is no study"):
        Sweep(wanted(tape, 1), tmp_path / "no.sqlite")


def test_the_command(tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One document, a table and a page; bad words are a line."""
    sets = [part for change in LIVELY for part in ("--set", change)]
    words = ["sweep", str(tape), "--param", "strategy.rules.slow=4:6", "-o", str(tmp_path / "out"), "--workers", "1"]
    assert main([*words[:-3], str(tmp_path / "few"), "--trials", "1", "--windows", "2", *sets]) == 2
    assert "too few sessions (3) for --windows 2; a sharpe needs 2 in each at least" in capsys.readouterr().err
    assert not (tmp_path / "few").exists()
    words += ["--metric", "total_return"]
    assert main([*words, "--trials", "3", "--sampler", "grid", "--windows", "3", *sets, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["number"] for row in sorted(document["trials"], key=lambda row: row["number"])] == [0, 1, 2]
    table = pq.read_table(tmp_path / "out" / "trials.parquet")
    assert sorted(table["strategy.rules.slow"].to_pylist()) == [4, 5, 6]
    assert table["rank"].to_pylist() == [1, 2, 3]
    assert "<svg" in (tmp_path / "out" / "sweep.html").read_text()
    for wrong in (["--metric", "x"], ["--sampler", "x"], ["--pruner", "x"], ["--param", "x=1"], ["--latency", "x"]):
        assert main([*words, *wrong]) == 2
    for name, span in (("broker.paper.slippage_bp", "0.5:4.0"), ("strategy.rules.fast", "2:9:log")):
        stepless = ["--param", f"{name}={span}", "--sampler", "grid", "-o", str(tmp_path / "other")]
        assert main([*words, *stepless, *sets]) == 2
        assert f"--param {name}: a grid needs steps" in capsys.readouterr().err
    refused = {
        "strategy.rules.slo=4:6": "--param strategy.rules.slo: no such setting (did you mean strategy.rules.slow?)",
        "strategy.rules.slow=-6:-4": "--param strategy.rules.slow: expected greater than 0, got -4",
        "strategy.rules.slow=a,b": "--param strategy.rules.slow: expected a whole number such as 1500, got 'b'",
        "no.such=4:6": "--param no: no such setting",
        "strategy.parameters.x=4:6": "--param: no trial can be had; the first: strategy: expected no parameters",
    }
    for param, why in refused.items():
        assert main(["sweep", str(tape), "--param", param, "--trials", "2", "-o", str(tmp_path / param)]) == 2
        assert why in capsys.readouterr().err
        assert not (tmp_path / param).exists()
    dark = write_tape(tmp_path / "dark.parquet", [0, 1], [800.0, 801.0])
    asked = [words[0], str(dark), *words[2:4], "--workers", "1", "--trials", "2", "-o", str(tmp_path / "dark"), *sets]
    assert main(asked) == 2
    assert "no tick could be used" in capsys.readouterr().err
    assert not (tmp_path / "dark").exists()
    assert main([*words, "-o", __file__]) == 2
    assert f"--out {__file__}: can't be written (is no directory)" in capsys.readouterr().err


def test_settings_that_play_no_part_are_told(tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of equal trials names a best one all the same; of settings that matter nothing is said."""
    sets = [part for change in LIVELY for part in ("--set", change)]
    words = ["sweep", str(tape), *sets, "--workers", "1", "--trials", "2", "--metric", "total_return", "--param"]
    said = "the same came of all 2 trials: what was tried plays no part here"
    assert main([*words, "complexity_detection.uplift.event_impact=0.1,0.3", "-o", str(tmp_path / "idle")]) == 0
    assert said in capsys.readouterr().out
    assert said[1:] in (tmp_path / "idle" / "sweep.html").read_text()
    assert main([*words, "strategy.rules.quantity=50,80", "-o", str(tmp_path / "used")]) == 0
    assert "the same came" not in capsys.readouterr().out + (tmp_path / "used" / "sweep.html").read_text()


def test_seeds_of_what_has_none_are_refused(tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A shipped model is the same under every seed: three of them would look like a result that holds for all."""
    words = ["sweep", str(tape), "--param", "strategy.rules.slow=4:6", "--model-seed", "3", "--trials", "1"]
    for sets, name in ((["strategy.name=rules"], "rules"), (["strategy.name=hrm"], "hrm")):
        assert main([*words, "-o", str(tmp_path / name), "--set", *sets]) == 2
        assert (
            f"--model-seed 3: is that of an untrained network, and strategy {name} has none" in capsys.readouterr().err
        )
        assert not (tmp_path / name).exists()
