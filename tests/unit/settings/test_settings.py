"""Settings: the file and the code agree, what overrides what, and one clear line for every mistake."""

from __future__ import annotations

import json
import os
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from daemon.core.errors import SettingsError
from daemon.settings.layers import DEFAULT_PATH, read_layers
from daemon.settings.loading import load_settings
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine reaches these tests."""
    import os

    for name in list(os.environ):
        if name.upper().startswith("HRMD_"):
            monkeypatch.delenv(name)


def refused(path: Path | None = None, *overrides: str) -> str:
    """The one line with which settings are refused."""
    with pytest.raises(SettingsError) as caught:
        load_settings(path, list(overrides))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) > 10
    return message


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}; an empty section stays."""
    table: dict[str, Any] = {}
    for key, value in tree.items():
        table |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return table


def fields(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Dotted paths of every leaf field."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= fields(kind, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


# -- the file and the code ------------------------------------------------------------------------------------------

FILE = yaml.safe_load(DEFAULT_PATH.read_text(encoding="utf-8"))


def in_code(model: type[BaseModel], **required: Any) -> dict[str, Any]:
    """The defaults of a model."""
    return flat(model(**required).model_dump(mode="json"))


def test_the_file_has_the_defaults_of_the_code() -> None:
    """Every key of the file is a field and has the field's default; every field is in the file."""
    model = FILE["hierarchical_reasoning_model"]
    sections = {name for name in Settings.model_fields if name != "hierarchical_reasoning_model"}
    assert set(FILE) == {*sections, "hierarchical_reasoning_model"}
    for name in sections:
        kind = Settings.model_fields[name].annotation
        assert isinstance(kind, type)
        written = kind.model_validate(FILE[name])
        assert flat(written.model_dump(mode="json")) == in_code(kind), name
        assert set(flat(FILE[name])) == fields(kind), name
    defaults = in_code(type(load_settings().hierarchical_reasoning_model), architecture=model["architecture"])
    for key in fields(type(load_settings().hierarchical_reasoning_model)) - {"architecture"}:
        written_value = flat(model)[key]
        # the file shows an example of what the code leaves empty, and what artifacts from before do without
        if key not in ("act.complexity_steps", "features.past_sessions", "features.belief"):
            assert written_value == defaults[key], key


def test_every_shape_in_the_file_is_complete() -> None:
    """Each architecture spells out every key."""
    shapes = FILE["hierarchical_reasoning_model"]["architecture"]
    kind = type(load_settings().hierarchical_reasoning_model.shape)
    for name, shape in shapes.items():
        assert set(shape) == set(kind.model_fields), name


def test_every_key_in_the_file_has_a_comment() -> None:
    """A leaf says at its end of line what it is, unless its section does, or it repeats the first shape's."""
    path: list[str] = []
    bare = []
    for line in DEFAULT_PATH.read_text(encoding="utf-8").splitlines():
        key = re.match(r"( *)(\w+):(.*)", line)
        if key is None:
            continue
        path = [*path[: len(key[1]) // 2], key[2]]
        leaf = bool(key[3].split("#")[0].strip())
        if leaf and "#" not in key[3] and path[-2] != "tiny":
            bare.append(".".join(path))
    explained_by_section = [f"complexity_detection.{name}" for name in ("weights", "uplift")]
    assert [key for key in bare if key.rpartition(".")[0] not in explained_by_section] == []


def test_the_file_loads_unchanged() -> None:
    """The project's own settings are valid, whatever directory one is in."""
    settings = load_settings()
    assert settings.strategy.interval in settings.bars.intervals
    assert settings.digest() == load_settings().digest()
    assert settings.digest() != load_settings(None, ["risk.max_daily_loss=1"]).digest()


def test_intervals_have_their_length() -> None:
    """Names and seconds belong together."""
    assert {name: seconds for name, seconds in INTERVALS.items() if name != "1d"} == {
        f"{minutes}m": minutes * 60 for minutes in (1, 3, 5, 15, 30, 60)
    }


# -- what overrides what --------------------------------------------------------------------------------------------


def test_environment_over_file_and_set_over_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """File, then environment, then `--set`; the last `--set` of a key wins."""
    assert load_settings().risk.max_order_quantity == 5000
    monkeypatch.setenv("HRMD_RISK__MAX_ORDER_QUANTITY", "40")
    assert load_settings().risk.max_order_quantity == 40
    assert load_settings(None, ["risk.max_order_quantity=30"]).risk.max_order_quantity == 30
    monkeypatch.setenv("RISK", '{"max_order_quantity": 50}')  # somebody else's: it has no prefix
    assert load_settings().risk.max_order_quantity == 40
    both = ["risk.max_order_quantity=30", "risk.max_order_quantity=20"]
    assert load_settings(None, both).risk.max_order_quantity == 20
    assert load_settings().risk.max_position_quantity == 5000  # its neighbour is still the file's


def test_environment_reaches_deep_and_takes_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape, a list and null can be set by variables, in any case of letters."""
    monkeypatch.setenv("HRMD_HIERARCHICAL_REASONING_MODEL__ARCHITECTURE__TINY__H_LAYERS", "3")
    monkeypatch.setenv("HRMD_STRATEGY__RULES__TRADE_IN", '["ranging"]')
    monkeypatch.setenv("HRMD_MODEL_MANAGEMENT__ARTIFACT", "null")
    monkeypatch.setenv("hrmd_risk__exits_when_halted", "false")
    settings = load_settings()
    assert settings.hierarchical_reasoning_model.shape.h_layers == 3
    assert settings.strategy.rules.trade_in == ["ranging"]
    assert settings.model_management.artifact is None
    assert settings.risk.exits_when_halted is False


def test_three_lines_of_ones_own_are_a_file(tmp_path: Path) -> None:
    """What a file leaves out is the shipped default; mappings add, however deep, lists replace."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "risk: {max_daily_loss: 7}\nbars: {intervals: [5m, 30m]}\n"
        "hierarchical_reasoning_model: {architecture: {tiny: {h_layers: 3}}}\n"
    )
    settings = load_settings(path)
    assert (settings.risk.max_daily_loss, settings.bars.intervals) == (7, ["5m", "30m"])
    tiny = settings.hierarchical_reasoning_model.architecture["tiny"]
    shipped = load_settings()
    assert tiny == shipped.hierarchical_reasoning_model.shape.model_copy(update={"h_layers": 3})
    assert settings.model_copy(
        update={
            "risk": shipped.risk, "bars": shipped.bars,
            "hierarchical_reasoning_model": shipped.hierarchical_reasoning_model,
        }
    ) == shipped  # fmt: skip


def test_the_file_is_blamed_for_its_own_values_only(tmp_path: Path) -> None:
    """Below `--set`, above the defaults."""
    path = tmp_path / "mine.yaml"
    path.write_text("risk: {max_daily_loss: -7}\nzzz: 1\n")
    assert refused(path).startswith(f"{path}: zzz: no such setting")
    path.write_text("risk: {max_daily_loss: -7}\n")
    assert refused(path).startswith(f"{path}: risk.max_daily_loss: expected greater than 0")
    assert refused(path, "risk.max_daily_loss=-8").startswith("--set: risk.max_daily_loss: expected greater than 0")


def test_every_value_knows_who_set_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last place that spoke, by the value's key; a list is a value."""
    path = tmp_path / "mine.yaml"
    path.write_text("risk: {max_daily_loss: 7, margin_rate: 0.1}\nbars: {intervals: [5m, 30m]}\n")
    monkeypatch.setenv("HRMD_RISK__MARGIN_RATE", "0.3")
    layers = read_layers(path, ["log.level=debug"])
    assert layers.origin("risk.max_daily_loss") == layers.origin("bars.intervals.1") == str(path)
    assert layers.origin("risk.margin_rate") == "environment variable HRMD_RISK__MARGIN_RATE"
    assert layers.origin("log.level") == "--set"
    assert layers.origin("risk.max_order_quantity") == layers.origin("log.format") == "default"


def test_set_replaces_a_list_and_adds_to_a_section() -> None:
    """A list is set as a whole; a mapping given to a section changes only its keys."""
    settings = load_settings(None, ["bars.intervals=[5m, 30m]", "strategy.rules={fast: 3}"])
    assert settings.bars.intervals == ["5m", "30m"]
    assert (settings.strategy.rules.fast, settings.strategy.rules.slow) == (3, 34)


# -- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("risk.max_daily_los=5", "--set: risk.max_daily_los: no such setting (did you mean risk.max_daily_loss?)"),
        ("riks.max_daily_loss=5", "--set: riks: no such setting (did you mean risk?)"),
        ("zzz=1", "--set: zzz: no such setting (there are: feed, market, bars,"),
        ("_env_file=x", "--set: _env_file: no such setting (there are: feed,"),
        (
            "journal.qqqqqq=1",
            "--set: journal.qqqqqq: no such setting (there are: journal.path, journal.group_commit_ms, "
            "journal.snapshot_every, journal.keep_days)",
        ),
        (
            "hierarchical_reasoning_model.architecture.tiny.h_dimm=3",
            "h_dimm: no such setting (did you mean hierarchical_reasoning_model.architecture.tiny.h_dim?)",
        ),
        (
            "market.instruments=[{symbol: A, kind: equity, lotsize: 3}]",
            "--set: market.instruments.0.lotsize: no such setting (did you mean market.instruments.0.lot_size?)",
        ),
        ("market.instruments=[{symbol: A}]", "--set: market.instruments.0.kind: is not set and has no default"),
        (
            "risk.max_daily_loss=lots",
            "--set: risk.max_daily_loss: expected a number such as 1500 or 0.05, got 'lots'",
        ),
        ("risk.max_daily_loss=-1", "expected greater than 0, got -1"),
        ("risk.max_daily_loss=.inf", "max_daily_loss: expected a number such as 1500 or 0.05, got '.inf'"),
        ("feed.speed=.nan", "feed.speed: expected a number such as 1500 or 0.05, got '.nan'"),
        ("feed.speed=[]", "feed.speed: expected a valid number, got []"),
        ("risk.max_daily_loss=[]", "risk.max_daily_loss: expected a number, got []"),
        ("risk.max_daily_loss.x=1", "risk.max_daily_loss: expected a number"),
        ("risk.max_order_quantity=yes", "risk.max_order_quantity: expected a whole number such as 1500, got 'yes'"),
        ("risk.max_order_quantity=1.5", "expected a whole number such as 1500, got '1.5'"),
        ("bars.grace_ms=60000", "bars.grace_ms: expected less than 60000, got 60000"),
        ("risk=5", "--set: risk: expected keys and values, got '5'"),
        ("risk=null", "--set: risk: expected keys and values, got None"),
        (
            "model_management.artifact=[]",
            "--set: model_management.artifact: expected one of 'shipped' or 'store' or a path, got []",
        ),
        ("feed.tape=[[1]]", "--set: feed.tape.0: expected a path, got ['1']"),
        ("supervisor.ladder=[]", "supervisor.ladder"),
        ("strategy.name=luck", "--set: strategy.name: expected one of 'hrm'"),
        ("strategy.name=luck", "a class of your own as folder.module:Class, got 'luck'"),
        ("bars.intervals=[2m]", "--set: bars.intervals.0: expected one of '1m', '3m', '5m'"),
        ("bars.intervals=[]", "bars.intervals: expected at least 1 item"),
        (
            "complexity_detection.weights.momentum=0.9",
            "complexity_detection.weights: expected weights that add up to 1",
        ),
        ("strategy.rules.fast=34", "strategy.rules: expected fast below slow (fast is 34, slow is 34)"),
        ("control.host=0.0.0.0", "control: expected host 127.0.0.1, ::1 or localhost"),
        ("strategy.interval=3m", "expected strategy.interval among bars.intervals (it is '3m', bars has"),
        ("bars.intervals=[5m]", "hierarchical_reasoning_model.features.coarse_interval among bars.intervals"),
        ("strategy.no_entries_minutes=5", "strategy.no_entries_minutes not below strategy.square_off_minutes"),
        ("risk.max_order_quantity=9000", "risk.max_order_quantity not above risk.max_position_quantity"),
        (
            "supervisor.health.stages_warn_s=16",
            "supervisor.health: expected stages_warn_s not above stages_fail_s (they are 16 and 15)",
        ),
        (
            "supervisor.health.disk_warn_gb=0.5",
            "supervisor.health: expected disk_fail_gb not above disk_warn_gb (they are 1 and 0.5)",
        ),
        ("supervisor.health.latency_warn_ms=101", "supervisor.health.latency_warn_ms: no such setting"),
        ("supervisor.triggers.latency_warn_ms=101", "expected latency_warn_ms not above latency_trip_ms"),
        ("supervisor.health.min_decisions=1001", "min_decisions not above window_decisions (they are 1001 and 1000)"),
        ("performance.memory_warn_gb=5", "performance: expected memory_warn_gb not above memory_limit_gb (5 and 4)"),
        ("hierarchical_reasoning_model.profile=big", "profile 'big' is not under architecture: base, tiny"),
        (
            "hierarchical_reasoning_model.features.coarse_interval=soon",
            "coarse_interval: expected match pattern",
        ),
        ("risk.max_daily_loss", "--set 'risk.max_daily_loss': expected a.b.c=VALUE"),
        ("=5", "--set '=5': expected a.b.c=VALUE"),
        ("risk..x=5", "--set 'risk..x=5': expected a.b.c=VALUE"),
        ("risk.x=[", "--set 'risk.x=[': the value is not valid YAML"),
        ("risk.x=2026-13-01", "--set: risk.x: no such setting"),
    ],
)
def test_a_wrong_override_is_one_line(override: str, says: str) -> None:
    """The line names the key, where it came from, and what would be accepted."""
    assert says in refused(None, override)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "HRMD_RISK__MAX_DAILY_LOS",
            "5",
            "environment variable HRMD_RISK__MAX_DAILY_LOS: risk.max_daily_los: no such setting (did you mean",
        ),
        ("HRMD_RIKS__MAX_DAILY_LOSS", "5", "environment variable HRMD_RIKS__MAX_DAILY_LOSS: no such setting"),
        ("hrmd_riks", "5", "environment variable hrmd_riks: no such setting"),
        (
            "HRMD_RISK__MAX_DAILY_LOSS",
            "x",
            "HRMD_RISK__MAX_DAILY_LOSS: risk.max_daily_loss: expected a number such as 1500 or 0.05, got 'x'",
        ),
        (
            "HRMD_RISK__EXITS_WHEN_HALTED",
            "perhaps",
            "risk.exits_when_halted: expected true or false (or yes, no, on, off), got 'perhaps'",
        ),
        ("HRMD_FEED__TAPE", "a.parquet", "environment variable HRMD_FEED__TAPE: feed.tape: expected a list such as"),
        (
            "HRMD_FEED",
            '{"speed": 2, "speed": 3}',
            "environment variable HRMD_FEED: the value is not valid YAML: speed is set twice",
        ),
        ("HRMD_FEED__SPEED", "1\nvalue: 2", "HRMD_FEED__SPEED: the value is not valid YAML: value is set twice"),
        ("HRMD_FEED__SPEED", "1\nx: 2", "environment variable HRMD_FEED__SPEED: the value is more than one value"),
        ("HRMD_FEED__TAPE", "[" * 100_000, "nested deeper than 64 levels"),
        ("HRMD_RISK", "5", "environment variable HRMD_RISK: risk: expected keys and values, got '5'"),
    ],
)
def test_a_wrong_variable_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    """The line says that it was the environment, and which variable or key."""
    monkeypatch.setenv(name, value)
    assert says in refused()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"a: [", ": line 2, column 1 is not valid YAML"),
        (b"\xff\xfe\xff", "can't be read as UTF-8 text"),
        (b"- a\n- b\n", "expected keys and values at the top, got a list"),
        (b"1: 2\n", "1: no such setting"),
        (b"when: 2026-13-01\n", "when: no such setting"),
        (b"", "is empty; expected keys and values such as"),
        (b"# risk: {}\n", "is empty; expected keys and values such as"),
        (b"a: !!python/object:os.system {}\n", "is not valid YAML: could not determine a constructor"),
        (b"a: \x07\n", "is not valid YAML"),
        (
            b"risk:\n  margin_rate: 0.1\nlog:\n  level: info\nrisk:\n  max_daily_loss: 99999999\n",
            ": line 5, column 1 is not valid YAML: risk is set twice, first in line 1: write it once",
        ),
        (b"risk: {margin_rate: 0.1, margin_rate: 1}", "margin_rate is set twice"),
        (b"feed: " + b"[" * 3000 + b"]" * 3000, "line 1, column 70 is not valid YAML: nested deeper than 64 levels"),
        (b"".join(b" " * n + b"a:\n" for n in range(1500)), "nested deeper than 64 levels"),
        (
            b"".join(
                b"k%d: &k%d [%s]\n" % (n, n, b", ".join([b"*k%d" % (n - 1)] * 9) if n else b"1") for n in range(12)
            ),
            "more than 1000000 values, with its aliases written out",
        ),
        (b"risk: {1: 2}\n", "risk.1: no such setting"),
        (
            b"risk:\n  max_daily_loss: q\n  x: 1\n",
            "risk.max_daily_loss: expected a number such as 1500 or 0.05, got 'q'; ",
        ),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: bytes, says: str) -> None:
    """The line names the file and what is wrong in it."""
    path = tmp_path / "broken.yaml"
    path.write_bytes(text)
    message = refused(path)
    assert str(path) in message
    assert says in message


def test_two_spellings_of_a_variable_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of them counted would be an accident."""
    monkeypatch.setenv("HRMD_RISK__MAX_DAILY_LOSS", "5000")
    monkeypatch.setenv("hrmd_risk__max_daily_loss", "99999")
    says = "environment variables HRMD_RISK__MAX_DAILY_LOSS and hrmd_risk__max_daily_loss set the same key"
    assert says in refused()


def _numbers(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted paths of every leaf that takes a number."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        kinds = {field.annotation, *get_args(field.annotation)}
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _numbers(field.annotation, f"{prefix}{name}.")
        elif kinds & {int, float, Decimal} or any(set(get_args(kind)) & {int, float, Decimal} for kind in kinds):
            found.append(f"{prefix}{name}")
    return found


@pytest.mark.parametrize("value", ["1e400", ".nan", "1" + "0" * 30, "1.0e300", ".inf", "-.inf", "nan", "Infinity"])
def test_no_number_is_beyond_all_measure(value: str) -> None:
    """A limit of such a size is no limit: every number of the settings has bounds."""
    numbers = _numbers(Settings)
    assert {"risk.max_daily_loss", "risk.max_order_quantity", "feed.speed", "training_params.steps"} <= set(numbers)
    says = refused(None, *(f"{key}={value}" for key in numbers))
    assert set(re.findall(r"--set: ([a-z0-9_.]+): ", says)) >= set(numbers)


@pytest.mark.parametrize("size", ["1e-300", "1000000000", "0.00001"])
def test_a_tick_size_is_plausible(size: str) -> None:
    """Prices are rounded to it."""
    says = refused(None, f"market.instruments=[{{symbol: A, kind: equity, tick_size: {size}}}]")
    assert "tick_size: expected" in says


def test_a_spreadsheet_s_encodings_are_read(tmp_path: Path) -> None:
    """UTF-8 and UTF-16 with a byte order mark are the same settings."""
    text = DEFAULT_PATH.read_text(encoding="utf-8")
    for number, encoding in enumerate(("utf-8-sig", "utf-16")):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text, encoding=encoding)
        assert load_settings(path) == load_settings()


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Nobody writes into it: reading would last for ever."""
    path = tmp_path / "pipe.yaml"
    os.mkfifo(path)
    assert "is a named pipe, expected a regular file" in refused(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """So is a directory in its place."""
    assert refused(tmp_path / "none.yaml") == f"{tmp_path / 'none.yaml'}: no such settings file"
    assert "can't be read" in refused(tmp_path)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{date: 20260106, symbol: A, ratio: 1/5}", "market.adjustments.0.date: expected a date such as 2026-01-06"),
        ("{date: 2026-01-06 09:15:00, symbol: A, ratio: 1/5}", "expected a date such as 2026-01-06"),
        ("{date: soon, symbol: A, ratio: 1/5}", "expected a date such as 2026-01-06"),
        ("{date: 2026-01-06, symbol: A, ratio: 0}", "market.adjustments.0.ratio: expected new price by old price"),
        ("{date: 2026-01-06, symbol: A, ratio: -1/5}", "expected new price by old price"),
        ("{date: 2026-01-06, symbol: A, ratio: 1/0}", "expected new price by old price"),
        ("{date: 2026-01-06, symbol: A, ratio: .nan}", "expected new price by old price"),
        ("{date: 2026-01-06, symbol: A, ratio: 1e999999999}", "expected new price by old price"),
        ("{date: 2026-01-06, symbol: A, ratio: true}", "market.adjustments.0.ratio: expected new price by old price"),
        ("{date: 2026-01-06, symbol: A, ratio: 2, kind: merger}", "expected one of 'split', 'bonus' or 'dividend'"),
        ("{date: 2026-01-06, symbol: '', ratio: 2}", "market.adjustments.0.symbol: expected"),
        ("{date: 2026-01-06, ratio: 2}", "market.adjustments.0.symbol: is not set"),
        (
            "{date: 2026-01-06, symbol: A, ratio: 2}, {date: 2026-01-06, symbol: 'NSE:A-EQ', ratio: 1/2}",
            "each action once, split of NSE:A-EQ on 2026-01-06 stands 2 times",
        ),
    ],
)
def test_corporate_actions_that_cannot_be_meant(entry: str, said: str) -> None:
    """One line that names the key and what would be right."""
    line = refused(None, f"market.adjustments=[{entry}]")
    assert said in line
    assert "\n" not in line


def test_a_corporate_action_is_exact_and_travels() -> None:
    """A third stays a third, through a journal's copy of the settings too; two kinds on one day are two actions."""
    rows = "{date: 2026-01-06, symbol: A, ratio: 1/3}, {date: 2026-01-06, symbol: A, ratio: 0.5, kind: bonus}"
    settings = load_settings(None, [f"market.adjustments=[{rows}]"])
    again = Settings(**json.loads(settings.model_dump_json()))
    assert [item.fraction for item in again.market.adjustments] == [Fraction(1, 3), Fraction(1, 2)]
    assert again == settings
