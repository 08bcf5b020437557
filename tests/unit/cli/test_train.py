"""`hrmd train` and `hrmd evaluate`: a model from nothing, its figures, and options that can't be meant."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from daemon.cli import main
from daemon.cli.options import writing_into
from daemon.cli.train import training_data
from daemon.core.clock import ReplayClock
from daemon.market.calendar import ist_ns
from daemon.strategy.build import build_strategies
from daemon.strategy.store import Store
from models.checkpoint import load_model
from models.training.adjusting import Action
from models.training.files import FileData
from tests.samples import SBIN, settings_of, wave, write_tape
from tests.unit.models.training.test_sources import bars_of

Capture = pytest.CaptureFixture[str]
SHORT = [
    "training_params.steps=2", "training_params.batch_sessions=2", "training_params.min_sessions=4",
    "training_params.validation_sessions=4", "training_params.validate_every=2", "training_params.checkpoint_every=1",
    "training_params.estimate_sessions=200", "training_params.novelty_sessions=200",
    "hierarchical_reasoning_model.act.max_segments=2", "hierarchical_reasoning_model.act.complexity_steps=[]",
]  # fmt: skip


def call(*arguments: str, settings: tuple[str, ...] = ()) -> int:
    """Run `hrmd` on short settings; its exit code."""
    return main([*arguments, *(part for setting in (*SHORT, *settings) for part in ("--set", setting))])


@pytest.mark.slow
def test_a_model_is_trained_watched_and_scored(tmp_path: Path, capsys: Capture) -> None:
    """Artifact, metrics and TensorBoard files from one call; shares of the best, LightGBM's too, from another."""
    pytest.importorskip("tensorboardX")
    pytest.importorskip("lightgbm")
    assert call("train", "--out", str(tmp_path), "--sessions", "12", "--tensorboard", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["step"], answer["finished"], answer["artifact"]) == (2, True, str(tmp_path / "model.safetensors"))
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    told = [kind for kind in kinds if kind != "worthless"]
    assert told == ["estimate", "step", "step", "validation", "finishing", "depth"]
    assert list((tmp_path / "tensorboard").glob("events.*"))
    network, manifest = load_model(Path(answer["artifact"]))
    assert 1.0 <= manifest.metrics["halting_segments"] <= manifest.metrics["halting_of"] == manifest.segments
    assert (network.heads.q.weight[1] == 0).all()  # q_continue is a constant: the head was fitted once more
    options = ("--sessions", "10", "--seeds", "2", "--lightgbm", "--report", str(tmp_path / "page"), "--json")
    assert call("evaluate", answer["artifact"], *options) == 0
    scored = json.loads(capsys.readouterr().out)
    assert {"hrm", "hrm, depth 2", "ema", "lightgbm", "sit out"} <= set(scored["shares"])
    assert scored["values"]["sessions"] == 12
    page = (tmp_path / "page" / "evaluation.html").read_text()
    assert scored["subject"]["on"] == "the simulated market hidden_regime, seeds 900002 to 900003"
    assert scored["subject"]["on"] in page
    assert f"Evaluation of {scored['subject']['models']}" in page
    assert call("evaluate", answer["artifact"], "--sessions", "6", "--seeds", "1", "--lookahead", "--json") == 0
    looked = json.loads(capsys.readouterr().out)
    assert (looked["cuts"], looked["difference"]) == (5, None)
    assert looked["decisions"] > 0


@pytest.mark.slow
def test_an_unfinished_run_is_gone_on_with_and_never_trained_over(tmp_path: Path, capsys: Capture) -> None:
    """Killed before its model was written: a new run is refused, and --resume writes what would have been."""
    place = ("train", "--out", str(tmp_path), "--sessions", "12")
    assert call(*place) == 0
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    path.unlink()
    capsys.readouterr()
    assert call(*place) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error"))
    assert line.startswith(f"error: --out {tmp_path}: an earlier training ended there after step 2 of 2; --resume goes")
    assert not path.exists()
    assert call(*place, "--resume") == 0
    assert path.read_bytes() == whole
    assert call(*place) == 0  # it has left its model: the next may begin
    assert path.read_bytes() == whole


@pytest.mark.slow
@pytest.mark.nightly
def test_two_processes_give_one_answer(tmp_path: Path) -> None:
    """Under torchrun the first of them says it."""
    settings = [part for setting in SHORT for part in ("--set", setting)]
    command = [sys.executable, "-m", "daemon", "train", "--out", str(tmp_path), "--sessions", "12", "--json", *settings]
    base = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29541", "WORLD_SIZE": "2"}
    ranks = [
        subprocess.Popen(command, env={**base, "RANK": rank}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for rank in ("0", "1")
    ]
    said = [process.communicate(timeout=120) for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], said
    assert json.loads(said[0][0])["finished"]
    assert said[1][0] == b""


@pytest.mark.slow
@pytest.mark.nightly
def test_a_run_starts_from_a_shallower_one(tmp_path: Path, capsys: Capture) -> None:
    """A second layer is added to a trained model; one of another width is refused in one line."""
    assert call("train", "--out", str(tmp_path / "one"), "--sessions", "12") == 0
    start = f"training_params.start_from={tmp_path / 'one' / 'model.safetensors'}"
    two = "hierarchical_reasoning_model.architecture.tiny.h_layers=2"
    assert call("train", "--out", str(tmp_path / "two"), "--sessions", "12", settings=(start, two)) == 0
    assert "wrote" in capsys.readouterr().out
    wide = "hierarchical_reasoning_model.architecture.tiny.h_dim=64"
    assert call("train", "--out", str(tmp_path / "three"), "--sessions", "12", settings=(start, wide)) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "start_from" in line)
    assert "weight core.H_init is (32,), the model to be trained needs (64,)" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--market", "nowhere"), "--market nowhere: no such market; there are hidden_regime, composition"),
        (("--sessions", "0"), "--sessions 0: expected 1 or more"),
        (("nothing.parquet",), "nothing.parquet: no such file of bars"),
        (("--walk-forward", "2019-01-01,2018-01-01"), "expected dates that rise, or monthly, quarterly, yearly"),
        (("--walk-forward", "weekly"), "--walk-forward 'weekly': expected a date as YYYY-MM-DD"),
        (("--walk-forward", "monthly", "--resume", "--sessions", "9"), "--resume, --sessions: not with --walk-forward"),
        (("--workers", "2"), "--workers, --address: only with --walk-forward"),
        (
            ("--walk-forward", "monthly", "--workers", "2", "--device", "cuda"),
            "--device cuda: rounds beside each other",
        ),
        (
            ("--walk-forward", "monthly", "--set", "training_params.start_from=out/walk/2020-01-01/x", "-o", "out"),
            "training_params.start_from out/walk/2020-01-01/x: is a round of this walk forward, and no round builds",
        ),
        (("--columns", "ts=Date"), "--columns: expected files of bars"),
        (("--out", __file__), f"--out {__file__}: can't be written (is no directory)"),
        (("--device", "gpu"), "--device gpu: no such device; expected cpu, cuda or cuda:N"),
    ],
)
def test_options_that_cannot_be_meant(arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: Capture) -> None:
    """One line that names the option and what would be right."""
    assert call("train", "--out", str(tmp_path), *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize("words", [("train",), ("sweep", "TAPE", "--param", "risk.max_order_quantity=5,9")])
def test_a_folder_that_another_command_writes_into(words: tuple[str, ...], tmp_path: Path, capsys: Capture) -> None:
    """Two would write over each other's checkpoints; of one that was killed only a file is left."""
    tape = write_tape(tmp_path / "wave.parquet", *wave(30, every_s=5))
    out = tmp_path / "out"
    with writing_into(out):
        assert call(*(word.replace("TAPE", str(tape)) for word in words), "--out", str(out)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: --out {out}: another hrmd train or sweep writes into it; expected one at a time"
    assert not (out / ".writing").exists()
    out.mkdir()
    (out / ".writing").touch()
    with writing_into(out):
        pass


@pytest.mark.slow
def test_a_walk_forward_keeps_its_models_and_names_a_candidate(tmp_path: Path, capsys: Capture) -> None:
    """A model a month; the candidate is the one that earned most behind the last border, or nobody who lost."""
    path = bars_of(tmp_path / "SBIN.parquet", 1, count=60)
    schedule = ("--walk-forward", "monthly", "--border", "2019-02-01", "--out", str(tmp_path / "store"), "--json")
    assert call("train", str(path), *schedule) == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert "data: SBIN.parquet: SBIN: 960 bars of 300 s, none dropped" in printed.err
    assert [model["border"] for model in answer["models"]] == ["2019-02-01", "2019-03-01"]
    assert all(Path(model["artifact"]).is_file() for model in answer["models"])
    best = max(answer["models"], key=lambda model: (model["last_window_bp"], model["border"]))
    won = best["last_window_bp"] > 0
    assert answer["candidate"] == (f"walk-{best['border']}" if won else None)
    settings = settings_of(
        "hierarchical_reasoning_model.act.max_segments=2", "hierarchical_reasoning_model.act.complexity_steps=[]"
    )
    store = Store(tmp_path / "store", settings.hierarchical_reasoning_model.network())
    assert store.index().current is None, "a candidate leads nobody"
    assert [release.name for release in store.index().releases] == ([answer["candidate"]] if won else [])
    again = ("evaluate", str(tmp_path / "store"), str(path), "--walk-forward")
    table = pq.read_table(path)  # of 60 sessions of 16 bars; without most of the last it is none to be judged on
    pq.write_table(table.slice(0, 60 * 16 - 10), path)
    assert call(*again, "--json") == 0
    short = capsys.readouterr()
    assert "59 sessions, 1 left out as incomplete" in short.err, "what is not judged is said"
    assert json.loads(short.out)["sessions"] == 29
    pq.write_table(table, path)
    assert call(*again, "--report", str(tmp_path / "page"), "--json") == 0
    scored = json.loads(capsys.readouterr().out)
    windows = [(row["group"], row["sessions"]) for row in scored["windows"]]
    assert (
        windows
        == [(row["group"], row["sessions"]) for row in answer["windows"]]
        == [("2019-02-01", 28), ("2019-03-01", 2)]
    )
    assert [model["border"] for model in scored["models"]] == ["2019-02-01", "2019-03-01"]
    page = (tmp_path / "page" / "evaluation.html").read_text()
    assert "By window, each with the model trained before it" in page
    assert f"Evaluation of 2 models of {tmp_path / 'store'}" in page
    assert "Simulated" not in page
    early = ("--border", "2019-01-20", "--sessions", "4", "--seeds", "1")
    assert call("evaluate", answer["models"][0]["artifact"], str(path), *early) == 2
    told, line = capsys.readouterr().err.splitlines()
    assert (
        told == "data: SBIN.parquet: SBIN: 960 bars of 300 s, none dropped, 0 missing; 60 sessions, 0 left out as "
        "incomplete"
    )
    assert "--border 2019-01-20: model.safetensors was trained on 2019-01-02 to 2019-01-30" in line


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("fleet", ["processes", "ray"])
def test_a_walk_forward_is_the_same_on_a_fleet(tmp_path: Path, capsys: Capture, fleet: str) -> None:
    """Models to the byte and every figure, by two processes and by a Ray cluster of this machine; so evaluations."""
    path = bars_of(tmp_path / "SBIN.parquet", 1, count=70)
    train = ("train", str(path), "--walk-forward", "monthly", "--border", "2019-02-01", "--json")
    with two_workers(fleet) as spread:
        documents = []
        for folder, how in (("alone", ()), ("spread", spread), ("spread", spread)):
            assert call(*train, "--out", str(tmp_path / folder), *how) == 0
            printed = capsys.readouterr()
            documents.append(printed.out.replace(str(tmp_path / folder), ""))
        assert "2 of 2 rounds were done before" in printed.err
        assert documents[0] == documents[1] == documents[2]
        alone, there = (
            {file.parent.name: file.read_bytes() for file in (tmp_path / folder).glob("walk/*/model.safetensors")}
            for folder in ("alone", "spread")
        )
        assert len(alone) == 2
        assert alone == there
        simulated = (
            str(tmp_path / "alone" / "walk" / "2019-02-01" / "model.safetensors"),
            "--sessions",
            "20",
            "--seeds",
            "2",
        )
        for words in ((str(tmp_path / "alone"), str(path), "--walk-forward"), simulated):
            assert call("evaluate", *words, "--json") == 0
            here = capsys.readouterr().out
            assert call("evaluate", *words, "--json", *spread) == 0
            assert capsys.readouterr().out == here


@contextmanager
def two_workers(fleet: str) -> Iterator[tuple[str, ...]]:
    """Options by which two processes of this machine do the work, which last as long as this."""
    if fleet == "processes":
        yield ("--workers", "2")
        return
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    ray = [str(Path(sys.executable).with_name("ray"))]
    subprocess.run([*ray, "start", "--head", "--num-cpus", "2", "--port", "26379"], check=True, capture_output=True)
    try:
        yield ("--address", "127.0.0.1:26379")
    finally:
        subprocess.run([*ray, "stop"], check=False, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--walk-forward",), "has no walk/YYYY-MM-DD/model.safetensors; expected the folder --out of an earlier"),
        (("--walk-forward", "--seeds", "3", "--border", "2019-01-01"), "--seeds, --border: not with --walk-forward"),
        (("--lookahead", "--workers", "2"), "--workers, --address: not with --lookahead"),
        (("--report", __file__), f"report {__file__}: can't be written (is no directory)"),
    ],
)
def test_an_evaluation_that_can_not_be_meant(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: Capture
) -> None:
    """One line that says what would be right."""
    assert call("evaluate", str(tmp_path), *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_bars_are_adjusted_by_the_settings() -> None:
    """A split counts volumes inversely, a dividend only prices; another share has had none, and an index may jump."""
    rows = (
        f"[{{date: 2026-01-06, symbol: SBIN, ratio: 1/5}}, "
        f"{{date: 2026-01-08, symbol: {SBIN}, ratio: 0.97, kind: dividend}}]"
    )
    data = training_data(settings_of(f"market.adjustments={rows}"), [Path(__file__)], "", None, "2020-01-01")
    assert isinstance(data, FileData)
    midnights = [ist_ns(dt.date(2026, 1, day), "00:00") for day in (6, 8)]
    assert data.actions(SBIN) == [Action(midnights[0], 0.2, 5.0), Action(midnights[1], 0.97, 1.0)]
    assert data.actions("RELIANCE") == []
    assert data.broken("SBIN", 100.0, 20.0)
    assert not data.broken("NIFTY", 100.0, 20.0)


@pytest.mark.slow
def test_a_policy_is_trained_and_scored(tmp_path: Path, capsys: Capture) -> None:
    """Its score is in its manifest, and it stands on the ladder."""
    pytest.importorskip("stable_baselines3")
    assert call("train", "--out", str(tmp_path), "--ppo", "10", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer["metrics"]) == {"validation_bp", "rb_share"}
    assert call("model", "info", answer["artifact"], "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == answer["metrics"]
    settings = settings_of("strategy.name=ppo", f"model_management.ppo_artifact={answer['artifact']}")
    assert "ppo" in build_strategies(settings, ReplayClock())


@pytest.mark.parametrize("options", [(), ("--walk-forward", "monthly"), ("--tensorboard",)])
def test_a_training_that_is_refused_leaves_nothing(tmp_path: Path, capsys: Capture, options: tuple[str, ...]) -> None:
    """Where the files turn out to hold too little; the folder would look like a training."""
    if options == ("--tensorboard",):
        pytest.importorskip("tensorboardX")
    bars = tmp_path / "x.csv"
    bars.write_text("ts,open,high,low,close\n2026-01-05 09:15:00,1,1,1,1\n")
    assert call("train", str(bars), "--out", str(tmp_path / "out"), *options) == 2
    assert "fewer than two usable bars" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "line"), [(("--ppo", "0"), "expected 1 or more"), (("--ppo", "5", "--sessions", "9"), "no --sessions")]
)
def test_a_policy_that_can_not_be_trained_so(
    tmp_path: Path, capsys: Capture, options: tuple[str, ...], line: str
) -> None:
    """Exit 2, one line, nothing written."""
    assert call("train", "--out", str(tmp_path / "out"), *options) == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
