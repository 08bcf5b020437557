"""Turns gradients into weight updates: optimizers, learning-rate schedule, moving average of the weights.

Invariant: the rate is a function of the step alone, so that a resumed run continues on the same curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.training.settings import Optimizer, OptimizerSettings

_ATAN2_SCALE = 1.27  # makes the largest update, a·atan2(1, 1), equal to the learning rate


class AdamATan2(torch.optim.Optimizer):
    """Adam with atan2 in place of the division, so that there is no epsilon and no scale.

    Source: Everett et al., "Scaling exponents across parameterizations and optimizers", arXiv 2407.05872, section 5.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every weight that has a gradient; returns what ``closure`` returns."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["step"] = torch.zeros((), dtype=torch.float32)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
                state["step"] += 1
                done = float(state["step"])
                mean = state["exp_avg"].lerp_(weight.grad, 1 - beta1) / (1 - beta1**done)
                square = state["exp_avg_sq"].lerp_(weight.grad.square(), 1 - beta2) / (1 - beta2**done)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(torch.atan2(mean, square.sqrt()), alpha=_ATAN2_SCALE * group["lr"])
        return loss


def make_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name; vectors (biases, tokens) are not decayed."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    betas = (settings.beta1, settings.beta2)
    if settings.name is Optimizer.ADAMW:
        return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas)
    return AdamATan2(groups, settings.learning_rate, betas, settings.weight_decay)  # type: ignore[arg-type]


def learning_rate(step: int, steps: int, settings: OptimizerSettings) -> float:
    """Linear warm-up, then a cosine down to ``final_rate`` of the peak; ``step`` counts from 0."""
    warm = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    share = min(1.0, step / max(steps - 1, 1))
    cosine = settings.final_rate + (1 - settings.final_rate) * 0.5 * (1 + math.cos(math.pi * share))
    return settings.learning_rate * warm * cosine


class MovingAverage:
    """Exponential moving average of a model's weights; validation and the artifact use it, training does not."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, updates: int) -> None:
        """Move towards the model's weights; the first ``updates`` weigh more, so that the start is forgotten soon."""
        decay = min(self._decay, (1 + updates) / (10 + updates))
        for name, tensor in model.state_dict().items():
            self.weights[name].lerp_(tensor.detach(), 1 - decay)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Continue from stored weights."""
        self.weights = {name: tensor.clone() for name, tensor in weights.items()}
