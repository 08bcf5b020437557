"""`hrmd train` and `hrmd evaluate`: a model from nothing, its figures, and options that can't be meant."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.cli.train import training_data
from daemon.core.clock import ReplayClock
from daemon.market.calendar import ist_ns
from daemon.strategy.build import build_strategies
from daemon.strategy.store import Store
from models.training.adjusting import Action
from models.training.files import FileData
from tests.samples import SBIN, settings_of
from tests.unit.models.training.test_sources import bars_of

Capture = pytest.CaptureFixture[str]
SHORT = [
    "training_params.steps=2", "training_params.batch_sessions=2", "training_params.min_sessions=4",
    "training_params.validation_sessions=4", "training_params.validate_every=2", "training_params.checkpoint_every=1",
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
    assert kinds == ["step", "step", "validation"]
    assert list((tmp_path / "tensorboard").glob("events.*"))
    options = ("--sessions", "10", "--seeds", "2", "--lightgbm", "--report", str(tmp_path / "page"), "--json")
    assert call("evaluate", answer["artifact"], *options) == 0
    scored = json.loads(capsys.readouterr().out)
    assert {"hrm", "hrm, depth 2", "ema", "lightgbm", "sit out"} <= set(scored["shares"])
    assert scored["values"]["sessions"] == 12
    assert (tmp_path / "page" / "evaluation.html").stat().st_size > 1000
    assert call("evaluate", answer["artifact"], "--sessions", "6", "--seeds", "1", "--lookahead", "--json") == 0
    looked = json.loads(capsys.readouterr().out)
    assert (looked["cuts"], looked["difference"]) == (5, None)
    assert looked["decisions"] > 0


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
        (("--columns", "ts=Date"), "--columns: expected files of bars"),
        (("--device", "gpu"), "--device gpu: no such device; expected cpu, cuda or cuda:N"),
    ],
)
def test_options_that_cannot_be_meant(arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: Capture) -> None:
    """One line that names the option and what would be right."""
    assert call("train", "--out", str(tmp_path), *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


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
    early = ("--border", "2019-01-20", "--sessions", "4", "--seeds", "1")
    assert call("evaluate", answer["models"][0]["artifact"], str(path), *early) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "trained on" in line)
    assert "--border 2019-01-20: model.safetensors was trained on 2019-01-02 to 2019-01-30" in line


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
