"""Tests of evaluation and of the two entry points, on networks too small to be any good."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from daemon.report.evaluation import Subject, write_evaluation
from models.act import AdaptiveComputationTime
from models.checkpoint import describe, load_model
from models.config import HRMSettings, NoveltySettings
from models.errors import CheckpointError, InvalidOutput
from models.hrm import HRM
from models.training import objective as ob
from models.training import run, walking
from models.training.baselines import bar_returns_bp
from models.training.batches import BatchSettings, Target
from models.training.calibrating import calibrate
from models.training.entries import worth_making
from models.training.evaluate import COSTS_BP, Evaluation, evaluate, rb_shares, think
from models.training.files import FileData, border_ns
from models.training.loss import costs_of
from models.training.market import HiddenRegimeMarket
from models.training.markets import Composition, HiddenRegime, MarketName, market
from models.training.member_shares import FamilyFacts
from models.training.pages import calibrated, document, number, percent, tables, unlike_words, worst_words
from models.training.policy import adaptive_policy, follow, policies_by_depth
from models.training.progress import NoteReport, Report
from models.training.provenance import data_sha256
from models.training.sessions import Sessions, join, split_by_time
from models.training.settings import CostStep, DeepSupervisionSettings, TrainingSettings
from models.training.unlike import unlike_share
from models.values import ValueCalibration
from models.vocabulary import Vocabularies

pytestmark = pytest.mark.slow
"""A fit of every baseline, or a training."""

SUBJECT = Subject(models="a <tiny> (cafe)", on="the simulated market family, seed 7", simulated=True)


@pytest.fixture(scope="module")
def model(hrm: HRMSettings) -> HRM:
    """Return an untrained network."""
    torch.manual_seed(0)
    return HRM(hrm.network(), Vocabularies())


def simulated(name: MarketName = MarketName.HIDDEN_REGIME) -> run.SimulatedData:
    """Return a small simulated data set."""
    return run.SimulatedData(name, 40)


def evaluation(hrm: HRMSettings, model: HRM) -> Evaluation:
    """Return an evaluation on 40 fresh simulated sessions."""
    training = TrainingSettings()
    data = run.evaluation_data(simulated(), 40, training.objective.costs)
    member = np.arange(40) // 5
    kind = np.where(member < 4, "weak", "strong")
    data = replace(data, family=FamilyFacts(np.full(40, 2.0), member, kind, np.linspace(0.5, 5.9, 40)))
    extra = {"always long": np.ones((40, 74))}
    return evaluate([(model, data.sessions)], hrm, BatchSettings(hrm.features), data, extra=extra)


@pytest.fixture(scope="module")
def result(hrm: HRMSettings, model: HRM) -> Evaluation:
    """Return one evaluation for all tests that only look at it."""
    return evaluation(hrm, model)


def test_every_trader_stands_at_every_cost(result: Evaluation) -> None:
    """All traders stand at 1, 3 and 6 bp a round trip; sitting out earns nothing, dearer trading less."""
    traders = {cell.trader for cell in result.cells}
    assert {
        "hrm",
        "hrm, depth 1",
        "hrm, depth 2",
        "hrm, depth 4",
        "ema",
        "ema, tuned",
        "linear",
        "always long",
        "long all day",
        "sit out",
    } == traders
    assert len(result.cells) == len(traders) * len(COSTS_BP)
    assert set(result.shares) == traders
    assert result.family is not None
    assert set(result.family.traders) == traders
    assert result.family.traders["sit out"] == 0.0
    assert [row.members for row in result.family.rows[:3]] == [8, 4, 4]
    assert result.shares["sit out"] == 0.0
    long = {cell.cost_bp: cell.figures["mean_bp"] for cell in result.cells if cell.trader == "always long"}
    assert long[1.0] - long[6.0] == pytest.approx(5.0)
    assert sum(row.sessions for row in result.depth) == sum(row.sessions for row in result.regimes) == 40
    assert 0.0 <= result.saved <= 0.75


def test_the_same_evaluation_gives_the_same_figures(hrm: HRMSettings, model: HRM, result: Evaluation) -> None:
    """Two evaluations agree in every figure."""
    assert document(evaluation(hrm, model)) == document(result)


def test_entries_are_refused_as_the_daemon_refuses_them(hrm: HRMSettings, model: HRM) -> None:
    """By the settings, of the adaptive trader alone, who is what is shipped; nothing else is another."""
    sessions, costs = HiddenRegime().sessions(20, 5), TrainingSettings().objective.costs
    rule = hrm.entries.model_copy(update={"adaptive": True, "fewest": 5, "newest": 10, "bars": 1, "confidence": 0.9})
    plain, asked = (
        think(model, sessions, settings, BatchSettings(hrm.features), costs).own
        for settings in (hrm, hrm.model_copy(update={"entries": rule}))
    )
    cost = costs_of(sessions, costs)
    assert (asked["hrm"].actions == worth_making(plain["hrm"].actions, sessions, cost, rule)).all()
    entries = [int((one["hrm"].actions[..., ob.FLAT] < 2).sum()) for one in (plain, asked)]
    assert 0 <= entries[1] < entries[0]
    assert all((asked[name].actions == plain[name].actions).all() for name in plain if name != "hrm")


def test_a_cautious_model_is_told_of_a_dearer_trade(hrm: HRMSettings, model: HRM) -> None:
    """It decides as one at that cost would; one that is told of none is refused."""
    knows = hrm.model_copy(update={"features": hrm.features.model_copy(update={"past_sessions": 3})})
    told, sessions = HRM(knows.network(), Vocabularies()), HiddenRegime().sessions(5, 5)
    cautious = {"entries": hrm.entries.model_copy(update={"caution_bp": 1.5})}
    cheap, dear, careful = (
        think(
            told, sessions, settings, BatchSettings(knows.features), (CostStep(since=date(1990, 1, 1), cost_bp=cost),)
        )
        for settings, cost in ((knows, 3.0), (knows, 4.5), (knows.model_copy(update=cautious), 3.0))
    )
    assert set(careful.own) == set(dear.own)
    for name, policy in careful.own.items():
        assert (policy.value == dear.own[name].value).all()
        assert (policy.value != cheap.own[name].value).any()
    with pytest.raises(CheckpointError, match=r"entries\.caution_bp: expected 0"):
        think(model, sessions, hrm.model_copy(update=cautious), BatchSettings(hrm.features), ())


def test_tables_pages_and_documents_show_all_cells(result: Evaluation, tmp_path: Path) -> None:
    """The page stands alone, the JSON has no NaN in it, and all three name every trader."""
    console = Console(width=200, record=True, quiet=False, file=(tmp_path / "out").open("w"))
    console.print(tables(result))
    write_evaluation(result, SUBJECT, tmp_path / "deep" / "page.html")
    page, text = (tmp_path / "deep" / "page.html").read_text(), console.export_text()
    written = json.dumps(document(result), allow_nan=False)
    for trader in {cell.trader for cell in result.cells}:
        assert trader in page
        assert trader in text
        assert trader in written
    assert result.family is not None
    assert result.reliability is not None
    for row in result.family.rows:
        assert row.group in page
        assert row.group in text
        assert row.group in written
    for one in result.reliability.rows:
        assert number(one.predicted_bp) in page
        assert number(one.predicted_bp) in text
    for share in result.family.traders.values():
        assert percent(share) in page
    assert worst_words(result.family) in page
    assert "<title>Evaluation of a &lt;tiny&gt; (cafe)</title>" in page
    assert '<div class="facts">the simulated market family, seed 7</div>' in page
    assert "<b>Simulated market.</b>" in page
    assert "On training data" not in page
    assert "://" not in page
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert len(page) < 100_000


def test_evaluation_without_a_reference_has_no_shares(hrm: HRMSettings, model: HRM, tmp_path: Path) -> None:
    """On files there is no best trader; sessions are grouped by volatility instead."""
    data = run.evaluation_data(files(tmp_path), 0, TrainingSettings().objective.costs)
    assert rb_shares({}, data, BatchSettings(hrm.features)) == {}
    result = evaluate([(model, data.sessions)], hrm, BatchSettings(hrm.features), data)
    assert result.shares == {}
    assert result.family is None
    assert [row.group for row in result.regimes] == ["1 calm", "2 middling", "3 wild"]
    held = [cell.trades for cell in result.cells if cell.trader == "buy and hold"]
    assert held == [2 / result.sessions] * 3  # each of two instruments is bought once
    on = run.judged_on(files(tmp_path), data.sessions, ())
    assert on.startswith("ABC.parquet, stored, sessions from 2019-01-26")
    seen = replace(result, on_training_data="a <tiny> was trained on that", unlike=0.684)
    write_evaluation(seen, Subject(models="a <tiny>", on=on, simulated=False), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert f'<div class="facts">{on}</div>' in page
    assert "<b>On training data.</b> a &lt;tiny&gt; was trained on that" in page
    assert "<b>Another market.</b> 68.4 % of the decisions are in a market unlike those" in page
    assert "Simulated" not in page
    Console(file=(tmp_path / "out").open("w")).print(tables(result))


def test_answers_that_a_daemon_refuses_are_not_judged(hrm: HRMSettings, model: HRM, sessions: Sessions) -> None:
    """A value that is no number is a HOLD there and the end of the rung: here it earns nothing either."""
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.heads.value.weight.fill_(torch.inf)
    settings = BatchSettings(hrm.features)
    for policy in (
        lambda: policies_by_depth(broken, sessions, settings, 2),
        lambda: adaptive_policy(broken, AdaptiveComputationTime(hrm), sessions, settings),
    ):
        with pytest.raises(InvalidOutput, match="value is not finite"):
            policy()


def test_decisions_in_a_market_that_the_model_does_not_know_are_counted(hrm: HRMSettings, model: HRM) -> None:
    """None in its own, all in one a hundred times as wild; nobody where it is off or where nothing is known."""
    calm, wild = (
        HiddenRegime(HiddenRegimeMarket(bars=16, vol_bp=volatility)).sessions(60, 5)
        for volatility in ((3.0, 6.0), (300.0, 600.0))
    )
    known = describe(model, trained=True, novelty=calibrate([calm], model.config.features, "calm"))
    assert unlike_share([(known, calm)], NoveltySettings()) < 0.01
    share = unlike_share([(known, wild)], NoveltySettings())
    assert share > 0.9
    assert unlike_share([(known, wild), (describe(model, trained=True), wild)], NoveltySettings()) == share
    assert math.isnan(unlike_share([(known, wild)], NoveltySettings(enabled=False)))
    assert unlike_words(0.25).startswith("25.0 % of the decisions are in a market unlike those that the model knows")
    assert unlike_words(0.0) == unlike_words(math.nan) == ""


def test_where_nothing_drifts_nobody_has_a_share(hrm: HRMSettings, model: HRM, tmp_path: Path) -> None:
    """The best trader earns nothing there, and nothing is divided by it."""
    data = run.evaluation_data(simulated(), 40, TrainingSettings().objective.costs)
    assert data.best_bp is not None
    nothing = np.zeros_like(data.best_bp)
    facts = FamilyFacts(nothing, np.arange(40) // 5, np.full(40, "no drift"), np.full(40, 3.0))
    data = replace(data, best_bp=nothing, family=facts)
    result = evaluate([(model, data.sessions)], hrm, BatchSettings(hrm.features), data)
    assert result.shares == {}
    assert result.spread == {}
    write_evaluation(result, SUBJECT, tmp_path / "page.html")
    Console(file=(tmp_path / "out").open("w"), width=200).print(tables(result))
    assert "nan" not in (tmp_path / "page.html").read_text() + (tmp_path / "out").read_text()
    json.dumps(document(result), allow_nan=False)


def test_each_model_of_a_walk_says_what_its_own_artifact_makes_of_its_values(
    hrm: HRMSettings, model: HRM, tmp_path: Path
) -> None:
    """Predictions are calibrated a model, as a daemon's are, on its own part of the sessions; and it is said."""
    data = run.evaluation_data(files(tmp_path), 0, TrainingSettings().objective.costs)
    both = split_by_time(data.sessions, border_ns(date(2019, 2, 3)), 0)
    parts = tuple(replace(part, chosen_from=None) for part in both)
    data = replace(data, sessions=join(parts), parts=parts)
    own = [ValueCalibration(factor=(0, 0, 0), offset=(offset,) * 3, sessions=count)
           for offset, count in ((1.0, 50), (2.0, 70))]  # fmt: skip
    models = [(model, part) for part in parts]
    found = evaluate(models, hrm, BatchSettings(hrm.features), data, values=own, scale_bp=10.0)
    assert found.reliability is not None
    assert {row.predicted_bp for row in found.reliability.rows} == {10.0, 20.0}
    assert calibrated(found.values) == "calibrated, each model on 50 to 70 sessions of its training"
    assert [one["sessions"] for one in document(found)["values"]] == [50, 70]
    assert calibrated([own[0], own[0]]) == "calibrated on 50 sessions of its training"
    assert calibrated([own[0], None]) == calibrated([]) == "not calibrated: hrmd model calibrate does"


def test_the_same_days_twice_prove_no_more_than_once(hrm: HRMSettings, model: HRM, tmp_path: Path) -> None:
    """Two instruments that move as one: every ratio, interval, error and p-value is that of one of them."""
    once = run.evaluation_data(files(tmp_path), 0, TrainingSettings().objective.costs)
    own = once.sessions.select(once.sessions.symbol == 0)
    twin = replace(own, symbols=("TWIN", *own.symbols[1:]))
    figures = []
    for judged in (own, join([own, twin])):
        data = replace(once, sessions=replace(judged, chosen_from=None))
        figures.append(evaluate([(model, data.sessions)], hrm, BatchSettings(hrm.features), data))
    alone, both = figures
    assert (both.days, both.sessions) == (alone.days, 2 * alone.sessions) == (alone.sessions, 2 * alone.sessions)
    for mine, one in zip(both.cells, alone.cells, strict=True):
        assert dict(mine.figures) == pytest.approx({**one.figures, "sessions": 2 * alone.sessions}, nan_ok=True)
        assert mine.control.p_value == pytest.approx(one.control.p_value, nan_ok=True)
    for row, single in zip(both.regimes, alone.regimes, strict=True):
        assert (row.error_bp, row.sharpe) == pytest.approx((single.error_bp, single.sharpe), nan_ok=True)
    for ours, its in zip(both.ratios, alone.ratios, strict=True):
        for name in ("sharpe", "sortino", "calmar", "information"):
            assert getattr(ours, name) == pytest.approx(getattr(its, name), nan_ok=True)


def files(folder: Path) -> FileData:
    """Return a file of 40 simulated days and one of stored sessions, split after 24 days."""
    sessions = HiddenRegime(HiddenRegimeMarket(bars=16)).sessions(40, 5)
    columns = {"ts": pa.array(sessions.ts_ns, pa.timestamp("ns", "UTC"))}
    columns |= {name: sessions.bars[:, i] for i, name in enumerate(("open", "high", "low", "close", "volume"))}
    pq.write_table(pa.table(columns), folder / "ABC.parquet")
    sessions.save(folder / "stored")
    return FileData([folder / "ABC.parquet", folder / "stored"], [300], date(2019, 1, 26))


def test_depth_policies_agree_with_adaptive_ones_at_their_depth(
    hrm: HRMSettings, model: HRM, sessions: Sessions
) -> None:
    """Where adaptive computation used d segments its action is that of the fixed depth d."""
    act, settings = AdaptiveComputationTime(hrm), BatchSettings(hrm.features)
    fixed = policies_by_depth(model, sessions, settings, act.max_segments)
    adaptive = adaptive_policy(model, act, sessions, settings)
    for depth in range(1, act.max_segments + 1):
        same = adaptive.depth == depth
        assert np.array_equal(adaptive.actions[same], fixed[depth - 1].actions[same])
    positions = follow(adaptive.actions)
    assert (np.abs(np.diff(np.pad(positions, ((0, 0), (1, 0))), axis=1)) <= 1).all()


@pytest.mark.parametrize("name", list(MarketName))
def test_markets_have_a_reference_that_nothing_random_beats(name: MarketName) -> None:
    """The best trader earns more than always long; labels cover every session."""
    simulated_market = market(name)
    best = simulated_market.best_bp(60, 3)
    expected = np.nan_to_num(simulated_market.sessions(60, 3).expected_bp).reshape(60, -1)
    always = expected.sum(axis=1).mean() - 2 * simulated_market.cost_bp
    assert best.mean() > max(always, 0.0)
    assert len(simulated_market.regimes(60, 3)) == 60
    assert np.unique(simulated_market.regimes(60, 3)).size == 3


@pytest.mark.parametrize("fixed", [None, 30])
def test_train_saves_a_model_that_loads(
    hrm: HRMSettings, training: TrainingSettings, tmp_path: Path, fixed: int | None
) -> None:
    """The artifact names its data span, its metrics and that it is trained."""
    data = run.SimulatedData(MarketName.HIDDEN_REGIME, fixed)
    trained = run.train(hrm, DeepSupervisionSettings(segments=1), training, data, tmp_path)
    assert trained.artifact is not None
    loaded, manifest = load_model(trained.artifact)
    assert manifest.trained
    assert manifest.training_span is not None
    assert "rb_share_depth_1" in manifest.metrics
    assert manifest.origin is not None
    assert (manifest.origin.data, manifest.origin.data_sha256) == (("hidden_regime",), None)
    assert manifest.origin.settings["training_params"]["steps"] == training.steps
    assert loaded.vocabularies.instruments.names == ("SIM",)


class StopAtOnce:
    """An observer that asks this process to end."""

    def __call__(self, report: Report) -> None:
        """Send SIGTERM."""
        import os
        import signal

        if not isinstance(report, NoteReport):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_stopped_run_has_no_artifact_until_it_is_resumed(
    hrm: HRMSettings, training: TrainingSettings, tmp_path: Path
) -> None:
    """After SIGTERM nothing is saved as a model; resuming finishes it, on files as well."""
    data = files(tmp_path)
    supervision = DeepSupervisionSettings(segments=1)
    stopped = run.train(hrm, supervision, training, data, tmp_path / "run", observers=[StopAtOnce()])
    assert stopped.artifact is None
    assert stopped.result.stopped
    done = run.train(hrm, supervision, training, data, tmp_path / "run", resume=True)
    assert done.manifest is not None
    assert done.manifest.training_span is not None
    assert done.manifest.training_span.last < "2019-01-26"
    assert "validation_bp_depth_1" in done.manifest.metrics
    assert done.manifest.origin is not None
    assert done.manifest.origin.data_sha256 == data_sha256(data.files)
    assert done.manifest.origin.settings["validated"] == ["2019-02-07", "2019-02-10"]
    assert "rb_share_depth_1" not in done.manifest.metrics


def test_walk_forward_never_trains_on_what_it_tests(
    hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path
) -> None:
    """Each fold's model is new and its test sessions lie after its border and before the next."""
    borders = [date(2019, 1, 12), date(2019, 1, 18)]
    sessions.save(tmp_path / "bars")
    data = FileData([tmp_path / "bars"], [300], borders[0])
    realised = training.model_copy(update={"target": Target.REALISED})
    rounds = walking.rounds_of(data, sessions, borders, realised)
    folds = walking.walk_forward(rounds, walking.Recipe(hrm, DeepSupervisionSettings(), realised), tmp_path)
    judged = walking.judged(rounds, realised)
    np.testing.assert_array_equal(judged.sessions.start_ns(), np.concatenate([fold.after.start_ns() for fold in folds]))
    assert judged.history.start_ns().max() < border_ns(borders[0])
    scored = evaluate([(fold.model, fold.after) for fold in folds], hrm, BatchSettings(hrm.features), judged)
    assert scored.sessions == len(judged.sessions)
    assert [(row.group, row.sessions) for row in scored.windows] == [
        (fold.border.isoformat(), len(fold.after)) for fold in folds
    ]
    for fold in folds:
        span = load_model(fold.artifact)[1].training_span
        assert span is not None
        assert span.last < fold.border.isoformat()
    best, earned = walking.winner(folds, hrm, realised)
    assert earned[folds.index(best)] == max(earned)
    starts = [fold.after.start_ns() for fold in folds]
    assert starts[0].min() >= border_ns(borders[0])
    assert starts[0].max() < border_ns(borders[1]) <= starts[1].min()
    assert split_by_time(sessions, border_ns(borders[0]))[0].start_ns().max() < starts[0].min()


def test_bar_returns_add_up_to_the_session(sessions: Sessions) -> None:
    """Summed bar returns are the move from the first open to the last close."""
    total = bar_returns_bp(sessions).sum(axis=1)
    bars = sessions.bars.reshape(24, 16, 5)
    assert np.allclose(total, 1e4 * np.log(bars[:, -1, 3] / bars[:, 0, 0]))
    assert isinstance(market(MarketName.COMPOSITION), Composition)
