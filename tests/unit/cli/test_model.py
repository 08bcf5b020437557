"""`hrmd model` and `hrmd bench`: artifacts described, converted, checked; benchmarks that print what they measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
import typer.main
from safetensors.torch import load_file

from daemon.cli import main
from daemon.cli.bench import bench_app
from daemon.cli.model import model_app
from daemon.core.errors import ArtifactError, CheckFailed, SettingsError, UsageError
from daemon.settings.loading import load_settings
from daemon.strategy.build import shipped
from models.agent import HRMAgent
from models.ppo import PPOPolicy

Capture = pytest.CaptureFixture[str]
TORCH = ["--set", "performance.runtime=torch"]


def call(app: typer.Typer, *arguments: str) -> object:
    """Run a command as the command line does."""
    return typer.main.get_command(app).main(args=list(arguments), standalone_mode=False)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """An untrained model of the profile in the settings."""
    agent = HRMAgent.untrained(load_settings().hierarchical_reasoning_model, 1, instruments=["SIM"], timeframes=["5m"])
    agent.save_model(tmp_path / "one.safetensors", metrics={"score": 0.25})
    return tmp_path / "one.safetensors"


def test_info_says_what_it_is_and_who_runs_it(artifact: Path, capsys: Capture) -> None:
    """As text for people and as one document for programs."""
    call(model_app, "info", str(artifact), *TORCH)
    out = "".join(capsys.readouterr().out.split())
    for fact in ("one.safetensors", "bfloat16", "trained", "score0.25", "torchfp32", "SIM"):
        assert fact in out
    call(model_app, "info", str(artifact), "--json", *TORCH)
    said = json.loads(capsys.readouterr().out)
    assert (said["runtime"], said["dtype"], said["trained"], said["exports"]) == ("torch fp32", "bfloat16", False, [])
    assert said["sha256"]


def test_info_says_how_deep_and_of_what_markets(artifact: Path, capsys: Capture) -> None:
    """The shipped ones, as trained; an untrained one says that nothing is known."""
    for name in ("tiny", "base"):
        call(model_app, "info", str(shipped(name)), "--json", *TORCH)
        said = json.loads(capsys.readouterr().out)
        assert (said["segments"], said["depth"], said["simulated_only"]) == (2, 2, True)
    call(model_app, "info", str(shipped("tiny")), *TORCH)
    out = " ".join(capsys.readouterr().out.split())
    assert "trained with 2 segments; a decision takes at most 2" in out
    assert "2019-01-02" not in out, "no day of a calendar that a program made up"
    assert "simulated only: what it earns in a real one is unknown" in out
    call(model_app, "info", str(artifact), *TORCH)
    out = " ".join(capsys.readouterr().out.split())
    assert "nothing says with how many segments it was trained; a decision takes at most 4" in out
    assert "simulated only" not in out


def test_what_cannot_be_had_is_in_the_info(
    artifact: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each runtime that gave way, in one line."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    where = ["--set", f"performance.cache_dir={tmp_path / 'cache'}", "--set", "performance.runtime=native"]
    call(model_app, "info", str(artifact), "--json", *where)
    said = json.loads(capsys.readouterr().out)
    assert said["not_available"][0] == "native needs a C++ compiler: CXX=no-such-compiler is not there"


def test_calibrate_tells_a_model_what_is_usual(artifact: Path, tmp_path: Path, capsys: Capture) -> None:
    """Without statistics info says so; with them it names the market. Only the head that says when to stop moves."""
    call(model_app, "info", str(artifact), *TORCH)
    assert "no novelty statistics" in capsys.readouterr().out
    out = tmp_path / "two.safetensors"
    few = ["--set", "training_params.novelty_sessions=40", "--set", "training_params.validation_sessions=2"]
    call(model_app, "calibrate", str(artifact), "-o", str(out), *few)
    assert "it knows simulated hidden_regime by 40 sessions" in capsys.readouterr().out
    call(model_app, "info", str(out), "--json", *TORCH)
    said = json.loads(capsys.readouterr().out)
    assert said["values"]["sessions"] == 40
    novelty = said["novelty"]
    assert novelty == {"market": "simulated hidden_regime", "sessions": 40, "quantile": 0.995}
    before, after = load_file(artifact), load_file(out)
    assert before.keys() == after.keys()
    moved = {name for name in before if not before[name].equal(after[name])}
    assert moved == {"heads.q.weight", "heads.q.bias"}
    assert 1.0 <= said["metrics"]["halting_segments"] <= said["depth"]
    call(model_app, "calibrate", str(artifact), "-o", str(out), *few, "--set", "deep_supervision.halt_regret=0")
    capsys.readouterr()
    again = load_file(out)
    assert all(before[name].equal(again[name]) for name in before)


def test_nothing_to_calibrate_on(artifact: Path, tmp_path: Path) -> None:
    """One line, and no file."""
    out = str(tmp_path / "two.safetensors")
    with pytest.raises(UsageError, match="novelty_sessions: expected 40 or more"):
        call(model_app, "calibrate", str(artifact), "-o", out, "--set", "training_params.novelty_sessions=0")
    with pytest.raises(SettingsError, match=r"novelty_sessions: expected 0 or 40 or more, fewer .*12"):
        call(model_app, "calibrate", str(artifact), "-o", out, "--set", "training_params.novelty_sessions=12")
    assert not Path(out).exists()


def test_export_and_verify(artifact: Path, capsys: Capture) -> None:
    """Graphs are written beside the artifact and hold its hash; one of another model fails the check."""
    pytest.importorskip("onnx")
    call(model_app, "verify", str(artifact))
    assert capsys.readouterr().out == f"{artifact}: whole\n"
    call(model_app, "export", str(artifact))
    call(model_app, "verify", str(artifact))
    assert capsys.readouterr().out.endswith("whole, and so are its 2 exports\n")
    call(model_app, "export", str(artifact), "--format", "int8", "--out", str(artifact.with_name("two.safetensors")))
    artifact.with_suffix(".int8.onnx").rename(artifact.with_name("two.int8.onnx"))
    with pytest.raises(CheckFailed, match=r"two.int8.onnx does not match its model"):
        call(model_app, "verify", str(artifact.with_name("two.safetensors")))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--format", "zip"], "--format zip: expected one of onnx, float32, bfloat16, int8"),
        (["--format", "int8"], "--out: expected with --format float32"),
        (["--out", "x"], "--out: expected with --format float32"),
    ],
)
def test_an_export_that_cannot_be_meant(artifact: Path, arguments: list[str], line: str) -> None:
    """Is refused in one line."""
    with pytest.raises(UsageError, match=line):
        call(model_app, "export", str(artifact), *arguments)


def test_a_missing_artifact_is_named(tmp_path: Path) -> None:
    """By every command."""
    for arguments in (("info",), ("export",), ("verify",)):
        with pytest.raises(ArtifactError, match="no such file"):
            call(model_app, *arguments, str(tmp_path / "none.safetensors"))
    for command in ("latency", "agreement"):
        with pytest.raises(ArtifactError, match="no such file"):
            call(bench_app, command, "--model", str(tmp_path / "none.safetensors"))


@pytest.mark.slow
def test_latency_prints_a_table_or_one_document(artifact: Path, capsys: Capture) -> None:
    """With the busy run's figures, on the artifact that was named."""
    short = ["--model", str(artifact), "--runtime", "torch", "--rounds", "1", "--busy-decisions", "2", "--bar-s", "0.1"]
    call(bench_app, "latency", *short, "--json")
    said = json.loads(capsys.readouterr().out)
    assert [row["runtime"] for row in said["runtimes"]] == ["torch fp32"]
    assert (said["busy_runtime"], len(said["busy"])) == ("torch fp32", 1)
    call(bench_app, "latency", *short)
    told = capsys.readouterr().out
    assert "torch fp32" in told
    assert "busy loop, 1 instrument," in told


@pytest.mark.parametrize("text", ["", "0", "1,x", "1.5", "999"])
def test_batches_are_whole_numbers(text: str) -> None:
    """Anything else is refused by name."""
    with pytest.raises(UsageError, match=f"--instruments {text}: expected whole numbers"):
        call(bench_app, "latency", "--instruments", text, "--set", "model_management.artifact=null")


def test_an_unknown_runtime_is_refused() -> None:
    """With those there are."""
    with pytest.raises(UsageError, match="--runtime abacus: expected one of auto, torch, onnxruntime, native"):
        call(bench_app, "latency", "--runtime", "abacus")


@pytest.mark.slow
def test_agreement_is_exit_code_and_figures(artifact: Path, capsys: Capture) -> None:
    """Every runtime at every depth; fp32 agrees with torch on every action."""
    few = ["--model", str(artifact), "--observations", "20", "--segments", "2", "--set", "performance.precision=fp32"]
    assert call(bench_app, "agreement", *few, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["observations"] == 20
    assert {row["segment"] for row in said["runtimes"]} <= {1, 2}
    assert all(row["decisions"] == 60 for row in said["runtimes"])
    assert {row["runtime"] for row in said["runtimes"] if row["allowed"]} <= {"native fp32", "onnxruntime fp32"}
    assert all(row["same_action"] == 1.0 for row in said["runtimes"] if row["allowed"])
    assert call(bench_app, "agreement", *few) == 0
    assert "largest errors against torch fp32" in capsys.readouterr().out


@pytest.mark.slow
def test_too_few_observations_are_said(artifact: Path) -> None:
    """With how many there are."""
    with pytest.raises(ArtifactError, match=r"--observations 1000000: \d+ sessions of the market hold \d+"):
        call(bench_app, "agreement", "--model", str(artifact), "--observations", "1000000")


def test_a_store_on_the_command_line(artifact: Path, tmp_path: Path, capsys: Capture) -> None:
    """Two installed, rolled back, one put aside: each command says what it did, and the list what there is."""
    place = ["--set", f"model_management.store={tmp_path / 'store'}"]
    second = tmp_path / "two.safetensors"
    hrm = load_settings().hierarchical_reasoning_model
    HRMAgent.untrained(hrm, 2).save_model(second)
    call(model_app, "list", *place)
    assert "no model; hrmd model install FILE takes one in" in capsys.readouterr().out
    call(model_app, "install", str(artifact), "--name", "first", *place)
    call(model_app, "install", str(second), *place)
    call(model_app, "rollback", *place)
    assert [line.partition(" (")[0] for line in capsys.readouterr().out.splitlines()] == ["first", "two", "first"]
    call(model_app, "archive", "two", *place)
    capsys.readouterr()
    call(model_app, "list", "--json", *place)
    said = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["state"]) for row in said["releases"]] == [("first", "current"), ("two", "archived")]
    assert said["current"] == said["releases"][0]["sha256"]
    assert said["releases"][0]["metrics"] == {"score": 0.25}
    assert (said["previous"], said["store"]) == (None, str(tmp_path / "store"))
    call(model_app, "list", *place)
    out = capsys.readouterr().out
    assert "first" in out
    assert "archived" in out


def test_what_the_store_refuses_is_exit_2(artifact: Path, tmp_path: Path, capsys: Capture) -> None:
    """Every refusal is an error of the user's, in one line, and nothing on stdout."""
    place = ["--set", f"model_management.store={tmp_path / 'store'}"]
    assert main(["model", "install", str(artifact), *place]) == 0
    capsys.readouterr()
    for words in (["rollback"], ["archive", "one"], ["archive", "no"], ["install", "no.safetensors"]):
        assert main(["model", *words, *place]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert len(printed.err.splitlines()) == 1


def test_a_policy_is_described_and_checked(tmp_path: Path, capsys: Capture) -> None:
    """Its layers, its score; damage is one line that names the file."""
    path = tmp_path / "ppo.safetensors"
    PPOPolicy.load(shipped("ppo")).with_metrics({"rb_share": 0.25}).save(path)
    call(model_app, "info", str(path))
    out = "".join(capsys.readouterr().out.split())
    for fact in ("ppo.safetensors", "PPOpolicy", "64→64→5", "5m", "rb_share0.25"):
        assert fact in out
    call(model_app, "info", str(path), "--json")
    said = json.loads(capsys.readouterr().out)
    assert (said["kind"], said["layers"][1:], said["metrics"]) == ("ppo", [64, 64, 5], {"rb_share": 0.25})
    call(model_app, "verify", str(path))
    assert capsys.readouterr().out == f"{path}: whole\n"
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    for command in ("info", "verify"):
        with pytest.raises(ArtifactError, match=r"ppo\.safetensors: the hash does not match"):
            call(model_app, command, str(path))
