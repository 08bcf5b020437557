"""Tests of baselines, PPO and its environment."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.actions import VALID_ACTIONS
from models.config import FeatureSettings
from models.errors import CheckpointError
from models.features import Observation
from models.ppo import PPOPolicy, observation_vector
from models.training import objective as ob
from models.training.baselines import (
    EmaScore,
    Thresholds,
    expected_settings,
    fit_lightgbm,
    fit_linear,
    fit_model,
    fit_thresholds,
    lagged_features,
)
from models.training.batches import BatchSettings, Target, make_batch, returns_between_fills
from models.training.errors import TrainingError
from models.training.market import HiddenRegimeMarket
from models.training.progress import TensorBoardFiles
from models.training.reference import pnl_bp, simulated_sessions
from models.training.sessions import Sessions
from models.training.settings import ObjectiveSettings
from models.vocabulary import Vocabularies

FEATURES = FeatureSettings(window=10, patch=5, min_bars=2, coarse_window=3)
SETTINGS = BatchSettings(FEATURES)
COSTS = ObjectiveSettings().costs
EASY = HiddenRegimeMarket(bars=40, drift_bp=6.0, vol_bp=(3.0, 4.0))


def draw(count: int, seed: int) -> Sessions:
    """Return sessions in which trends are easy to see."""
    return simulated_sessions(EASY, count, seed)


def test_thresholds_enter_late_leave_early_and_never_flip() -> None:
    """Positions follow the score with hysteresis; from long to short it takes two decisions."""
    score = np.array([[0.5, 1.5, 0.5, -0.5, -1.5, -1.5, 0.1]])
    assert Thresholds(1.0, 0.0).positions(score).tolist() == [[0, 1, 1, 0, -1, -1, 0]]
    assert Thresholds(1.0, -1.0).positions(np.array([[2.0, -2.0, -2.0]])).tolist() == [[1, 0, -1]]


def test_rules_and_regressions_earn_where_trends_are_plain() -> None:
    """On fresh sessions of an easy market each fitted trader earns more than nothing; on noise it may sit out."""
    fitted, fresh = draw(400, 1), draw(300, 2)
    returns = returns_between_fills(fresh, np.arange(300), SETTINGS)
    for trader in (
        fit_thresholds("ema", EmaScore(), fitted, SETTINGS, COSTS),
        fit_model("linear", fit_linear, fitted, SETTINGS, COSTS),
    ):
        assert pnl_bp(trader.positions(fresh), returns, 3.0).mean() > 2.0, trader.name


def test_where_nothing_pays_the_fitted_rule_sits_out() -> None:
    """Without drift, at a high cost, no pair of thresholds beats doing nothing."""
    noise = simulated_sessions(HiddenRegimeMarket(bars=30, drift_bp=0.0), 100, 1)
    dear = tuple(step.model_copy(update={"cost_bp": 50.0}) for step in COSTS)
    trader = fit_thresholds("ema", EmaScore(), noise, SETTINGS, dear)
    assert not trader.positions(noise).any()


def test_lightgbm_predicts_the_drift() -> None:
    """The trees' score correlates with what the exact filter expects."""
    pytest.importorskip("lightgbm")
    score = fit_lightgbm(draw(300, 3))
    fresh = draw(100, 4)
    expected = returns_between_fills(fresh, np.arange(100), BatchSettings(FEATURES, target=Target.CONDITIONAL_MEAN))
    assert np.corrcoef(score(fresh).ravel(), expected.ravel())[0, 1] > 0.5


def test_extras_that_are_absent_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the optional packages one line says what to install."""
    real = builtins.__import__

    def refuse(name: str, *args: object, **kwargs: object) -> object:
        if name.split(".")[0] in ("lightgbm", "stable_baselines3", "tensorboardX"):
            raise ImportError(name)
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(TrainingError, match=r"install hrmd\[baselines\]"):
        fit_lightgbm(draw(4, 1))
    with pytest.raises(TrainingError, match=r"install hrmd\[tensorboard\]"):
        TensorBoardFiles(tmp_path)
    if "models.training.ppo_trainer" in sys.modules:
        with pytest.raises(TrainingError, match=r"install hrmd\[baselines\]"):
            sys.modules["models.training.ppo_trainer"].train_ppo(draw, SETTINGS, COSTS, steps=1, seed=1, interval="5m")


def test_scores_never_see_the_future() -> None:
    """Changing bars after t leaves the features of decisions up to t as they are."""
    sessions = draw(3, 5)
    bars = sessions.bars.copy()
    bars[sessions.offsets[1] + 20 : sessions.offsets[2], :4] *= 1.1
    changed = Sessions(**{**vars(sessions), "bars": bars})
    before, after = lagged_features(sessions), lagged_features(changed)
    assert np.allclose(before[1, :20], after[1, :20])
    assert not np.allclose(before[1, 20:], after[1, 20:])


def test_scoring_uses_the_filter_where_there_is_one() -> None:
    """Simulated sessions are scored by expectation, others by what happened."""
    sessions = draw(3, 5)
    assert expected_settings(SETTINGS, sessions).target is Target.CONDITIONAL_MEAN
    plain = Sessions(**{**vars(sessions), "expected_bp": np.full(len(sessions.bars), np.nan)})
    assert expected_settings(SETTINGS, plain).target is Target.REALISED


gymnasium = pytest.importorskip("gymnasium")


def test_environment_passes_gymnasiums_own_check() -> None:
    """`check_env` finds nothing wrong."""
    from gymnasium.utils.env_checker import check_env

    from models.training.env import TradingEnv

    check_env(TradingEnv(draw, SETTINGS, COSTS), skip_render_check=True)


def test_rewards_add_up_to_the_profit_of_the_other_trainers() -> None:
    """Random actions earn in the environment exactly what `pnl_bp` says of the positions they lead to."""
    from models.training.env import BLOCK, REWARD_BP, TradingEnv

    env = TradingEnv(draw, SETTINGS, COSTS)
    actions = np.random.default_rng(2)
    for _ in range(3):
        env.reset(seed=7)
        held, positions, rewards, over = ob.FLAT, [], 0.0, False
        live = make_batch(env._draw(BLOCK, _first_draw(7)), np.array([BLOCK - 1]), SETTINGS, Vocabularies()).live[0]
        while not over:
            action = int(actions.integers(5))
            _, reward, over, _, _ = env.step(np.int64(action))
            held = ob.NEXT[held][action] if live[len(positions)] else held
            positions.append(ob.SIGNS[held])
            rewards += reward
        sessions = env._draw(BLOCK, _first_draw(7))
        returns = returns_between_fills(sessions, np.array([BLOCK - 1]), SETTINGS)
        assert rewards * REWARD_BP == pytest.approx(pnl_bp(np.array([positions]), returns, 3.0)[0])


def _first_draw(seed: int) -> int:
    """Return the seed of the first block that an environment draws after `reset(seed)`."""
    return int(np.random.default_rng(seed).integers(2**31))


@pytest.fixture(scope="module")
def policy() -> PPOPolicy:
    """Return a policy trained for a moment."""
    pytest.importorskip("stable_baselines3")
    from models.training.ppo_trainer import train_ppo

    return train_ppo(draw, SETTINGS, COSTS, steps=2_400, seed=1, interval="5m")


def test_exported_policy_equals_the_trained_one() -> None:
    """Torch alone gives the distribution that stable-baselines3 gives, renormalised over valid actions."""
    stable = pytest.importorskip("stable_baselines3")
    from models.training.env import TradingEnv
    from models.training.ppo_trainer import export

    model = stable.PPO("MlpPolicy", TradingEnv(draw, SETTINGS, COSTS), seed=3, device="cpu")
    exported = export(model, SETTINGS, "5m")
    features = make_batch(draw(2, 9), np.arange(2), SETTINGS, Vocabularies()).features
    side = np.arange(len(features)) % 3
    vector = torch.as_tensor(observation_vector(features, side))
    wanted = model.policy.get_distribution(vector).distribution.probs.detach().numpy() * np.array(VALID_ACTIONS)[side]
    wanted /= wanted.sum(axis=1, keepdims=True)
    assert np.allclose(exported.probabilities(features, side), wanted, atol=1e-6)


def test_policy_files_come_back_and_damage_is_refused(policy: PPOPolicy, tmp_path: Path) -> None:
    """A saved policy decides as before; a flipped byte, another format and no file give one line each."""
    path = tmp_path / "ppo.safetensors"
    policy.save(path)
    loaded = PPOPolicy.load(path)
    features = make_batch(draw(1, 9), np.arange(1), SETTINGS, Vocabularies()).features
    side = np.zeros(len(features), np.int64)
    assert np.array_equal(loaded.probabilities(features, side), policy.probabilities(features, side))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="hash does not match"):
        PPOPolicy.load(path)
    path.write_bytes(whole.replace(b"hrmd-ppo/1", b"hrmd-ppo/0"))
    with pytest.raises(CheckpointError, match="format is hrmd-ppo/0"):
        PPOPolicy.load(path)
    path.write_bytes(whole.replace(b"feature_schema", b"feature_schemX"))
    with pytest.raises(CheckpointError, match="manifest is not valid"):
        PPOPolicy.load(path)
    with pytest.raises(CheckpointError, match="not a readable policy"):
        PPOPolicy.load(tmp_path / "none.safetensors")


def test_policies_of_other_features_are_refused(policy: PPOPolicy, tmp_path: Path) -> None:
    """A policy made for another feature schema is not run."""
    schema = policy.manifest.feature_schema.model_copy(update={"version": 99})
    other = PPOPolicy(policy._layers, policy.manifest.model_copy(update={"feature_schema": schema}))
    other.save(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="feature schema 99"):
        PPOPolicy.load(tmp_path / "other.safetensors")


def test_policy_decides_on_a_live_observation(policy: PPOPolicy) -> None:
    """From a long position only CLOSE_LONG and HOLD can come; the confidence is a probability."""
    bars = draw(1, 3).bars[:12]
    observation = Observation("SIM", "5m", 0, bars, bars[:0], 1, 1.0, 0.0, 3, 60.0, 315.0, 2, 1.0, 0.5)
    action, confidence = policy.decide(observation)
    assert action in (ob.CLOSE_LONG, ob.HOLD)
    assert 0.5 <= confidence <= 1.0


def test_positions_of_a_policy_start_flat_and_never_flip(policy: PPOPolicy) -> None:
    """Every move is one that a single action can make."""
    from models.training.policy import ppo_positions

    positions = np.pad(ppo_positions(policy, draw(120, 11), SETTINGS), ((0, 0), (1, 0)))
    assert positions.shape == (120, 40)
    assert (np.abs(np.diff(positions, axis=1)) <= 1).all()
