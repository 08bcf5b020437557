"""Sessions → a PPO policy, trained by stable-baselines3 and exported to run without it.

Invariant: the exported policy gives the action probabilities of the trained one, invalid actions removed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from models.features import FeatureSchema
from models.ppo import PPOManifest, PPOPolicy
from models.training.batches import BatchSettings, Target, returns_between_fills
from models.training.env import TradingEnv
from models.training.errors import TrainingError
from models.training.loss import costs_of
from models.training.policy import ppo_positions
from models.training.reference import pnl_bp
from models.training.sessions import Sessions
from models.training.settings import CostStep
from models.training.trainer import Validation

ENVIRONMENTS = 32
RAMP = 0.3
SESSIONS_AT_ONCE = 100


def train_ppo(
    draw: Callable[[int, int], Sessions],
    settings: BatchSettings,
    costs: tuple[CostStep, ...],
    *,
    steps: int,
    seed: int,
    interval: str,
) -> PPOPolicy:
    """Train for ``steps`` decisions over `ENVIRONMENTS` sessions side by side; costs ramp up as in the other trainer.

    Raises TrainingError where stable-baselines3 is not installed.
    """
    try:
        from stable_baselines3 import PPO
        from stable_baselines3.common.callbacks import BaseCallback
        from stable_baselines3.common.vec_env import DummyVecEnv
    except ImportError as error:
        raise TrainingError("stable-baselines3 is not installed; install hrmd[baselines]") from error

    envs = [TradingEnv(draw, settings, costs, seed=seed * 1_000 + i) for i in range(ENVIRONMENTS)]

    class Ramp(BaseCallback):
        """Raise the costs from zero over the first part of training."""

        def _on_step(self) -> bool:
            for env in envs:
                env.cost_scale = min(1.0, self.num_timesteps / (RAMP * steps))
            return True

    makers: list[Callable[[], Any]] = [partial(_itself, env) for env in envs]
    model = PPO(
        "MlpPolicy", DummyVecEnv(makers), n_steps=74, batch_size=592, n_epochs=4, learning_rate=3e-4, gamma=0.999,
        gae_lambda=0.95, ent_coef=0.01, seed=seed, device="cpu", policy_kwargs={"net_arch": [64, 64]},
    )  # fmt: skip
    model.learn(steps, callback=Ramp())
    return export(model, settings, interval)


def validated(
    policy: PPOPolicy, settings: BatchSettings, validation: Validation, costs: tuple[CostStep, ...]
) -> PPOPolicy:
    """The policy with what it earns on other sessions, and its share of the best, in its manifest."""
    sessions = validation.sessions
    positions = ppo_positions(policy, sessions, settings)
    realised = BatchSettings(settings.features, settings.fill, Target.REALISED)
    returns = returns_between_fills(sessions, np.arange(len(sessions)), realised)
    earned = float(pnl_bp(positions, returns, costs_of(sessions, costs)).mean())
    metrics = {"validation_bp": earned}
    if validation.best_bp is not None:
        metrics["rb_share"] = earned / float(validation.best_bp.mean())
    return policy.with_metrics(metrics)


def _itself(env: TradingEnv) -> TradingEnv:
    return env


def export(model: Any, settings: BatchSettings, interval: str) -> PPOPolicy:
    """Take the policy's layers out of a trained stable-baselines3 PPO model."""
    policy = model.policy
    linear = [layer for layer in policy.mlp_extractor.policy_net if isinstance(layer, torch.nn.Linear)]
    linear.append(policy.action_net)
    manifest = PPOManifest(
        features=settings.features, feature_schema=FeatureSchema.of(settings.features), interval=interval
    )
    layers = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in linear]
    return PPOPolicy(layers, manifest)
