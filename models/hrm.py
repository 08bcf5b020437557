"""Turns encoded observations into head outputs: input network, reasoning core, four heads.

    Features ──embed──> Tokens x (B, S, l_dim) ──segment──> z_H (B, S, h_dim) ──heads, token 0──> HeadOutputs
                                      └── one or more segments, the state carried ──┘

One forward gives the policy for all three positions (flat, long, short): a trainer moves position probabilities with it
and a live decision reads the one row it is in. Invariant: a row's outputs depend on that row's observation and state
alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.actions import ACTIONS, POSITIONS, VALID_ACTIONS
from models.config import HRMConfig
from models.core import Change, Latent, ReasoningCore
from models.features import BAR_FEATURES, POSITION_FEATURES, Features, calendar_names
from models.layers import Stack, linear, trunc_normal
from models.vocabulary import Vocabularies
from models.weights import Weights

UNDECIDED = 0.01
"""Heads start at this share of their usual weights: an untrained policy is near uniform and can be taught any way."""
Q_BIAS = -5.0
"""Both Q values start at sigmoid(−5): with neither preferred nothing halts early before it has learned to."""


class Tokens(NamedTuple):
    """What the input network hands to the core: x (B, S, l_dim) and valid (B, S), None where every token is valid."""

    x: Tensor
    valid: Tensor | None


class HeadOutputs(NamedTuple):
    """What the heads read from z_H at the decision token."""

    policy: Tensor
    """(B, 3, 5) capped logits per position and action; invalid actions are −inf."""
    quantity: Tensor
    """(B,) share of the quantity range, 0..1."""
    value: Tensor
    """(B, 3) expected outcome from each position, in the units that it was trained in."""
    q_halt: Tensor
    """(B,) logit: stopping now gives the right answer."""
    q_continue: Tensor
    """(B,) logit: going on gives the right answer."""
    change: Change
    """Relative change of z_H and z_L in each cycle of the segment, 2 × (B, N)."""


@dataclass(frozen=True, slots=True, eq=False)
class HRMState:
    """Where a batch of reasoning stands; counts are per row, (B,) int64."""

    z: Latent
    cycles: NDArray[np.int64]
    segments: NDArray[np.int64]
    budget: NDArray[np.int64]
    """Segments that may still be run."""
    complexity: NDArray[np.float64]
    """Market complexity that the minimum depth follows from."""

    def detach(self) -> HRMState:
        """Cut the graph between two segments (deep supervision)."""
        return replace(self, z=self.z.detach())

    def where(self, rows: NDArray[np.bool_], other: HRMState) -> HRMState:
        """Take `self` in the rows (B,) that are True and `other` in the rest."""
        return HRMState(
            z=self.z.where(torch.as_tensor(rows, device=self.z.z_H.device), other.z),
            cycles=np.where(rows, self.cycles, other.cycles),
            segments=np.where(rows, self.segments, other.segments),
            budget=np.where(rows, self.budget, other.budget),
            complexity=np.where(rows, self.complexity, other.complexity),
        )


class InputNetwork(nn.Module):
    """Features to tokens: a projection per kind of token, embeddings, then `input_layers` blocks run once a decision.

    Position features enter the decision token through a bias-free projection that starts at zero. A trainer that leaves
    them neutral (flat: all zero) never moves it from zero, and the trained model then ignores them everywhere.
    """

    def __init__(self, config: HRMConfig, vocabularies: Vocabularies) -> None:
        super().__init__()
        shape, features = config.architecture, config.features
        dim, per_bar = shape.l_dim, len(BAR_FEATURES)
        self.patch = linear(features.patch * per_bar, dim, bias=True)
        self.coarse = linear(features.coarse_window * per_bar, dim, bias=True)
        self.calendar = linear(len(calendar_names(features)), dim, bias=True)
        self.decision = nn.Parameter(trunc_normal((dim,), 1.0))
        self.memory = nn.Parameter(trunc_normal((dim,), 1.0))
        self.position = nn.Linear(len(POSITION_FEATURES), dim, bias=False)
        nn.init.zeros_(self.position.weight)
        self.instrument = embedding(len(vocabularies.instruments), config.instrument_dim)
        self.timeframe = embedding(len(vocabularies.timeframes), config.timeframe_dim)
        self.instrument_proj = linear(config.instrument_dim, dim)
        self.timeframe_proj = linear(config.timeframe_dim, dim)
        self.encoder = Stack(
            dim=dim,
            layers=shape.input_layers,
            heads=shape.l_heads,
            inner=shape.inner(dim),
            tokens=features.tokens,
        )

    def forward(self, features: Features) -> Tokens:
        """Return x (B, S, l_dim) and which tokens are valid; inputs are moved to the weights' device."""
        device = self.decision.device
        timeframe = self.timeframe_proj(self.timeframe(_to(features.timeframe, device)))  # (B, l_dim)
        coarse_timeframe = self.timeframe_proj(self.timeframe(_to(features.coarse_timeframe, device)))
        instrument = self.instrument_proj(self.instrument(_to(features.instrument, device)))
        decision = self.decision + instrument + timeframe + self.position(self._real(features.position))
        patches = self.patch(self._real(features.patches))  # (B, P, l_dim)
        coarse = self.coarse(self._real(features.coarse)) + coarse_timeframe
        calendar = self.calendar(self._real(features.calendar))
        tail = torch.stack([coarse, calendar, self.memory.expand_as(calendar)], dim=1)  # (B, 3, l_dim)
        x = torch.cat([decision[:, None], patches, tail], dim=1)  # (B, S, l_dim)
        if features.valid.all():
            return Tokens(self.encoder(x, None), None)
        valid = _to(features.valid, device)
        return Tokens(self.encoder(x, valid[:, None, None, :]), valid)

    def _real(self, values: NDArray[np.float32]) -> Tensor:
        """Return a float array on the weights' device and in their precision."""
        return torch.as_tensor(values).to(self.decision.device, self.decision.dtype)


class Heads(nn.Module):
    """Four readings of z_H at the decision token. (B, h_dim) each; the Q head starts with zero weight and bias −5."""

    valid_actions: Tensor

    def __init__(self, dim: int, logit_cap: float) -> None:
        super().__init__()
        self.logit_cap = logit_cap
        self.policy = undecided(dim, POSITIONS * ACTIONS)
        self.quantity = undecided(dim, 1)
        self.value = undecided(dim, POSITIONS)
        self.q = q_head(dim)
        self.register_buffer("valid_actions", torch.tensor(VALID_ACTIONS), persistent=False)

    def forward(self, z: Tensor, change: Change) -> HeadOutputs:
        """Read the heads in fp32."""
        logits = self.policy(z).float().view(-1, POSITIONS, ACTIONS)
        capped = self.logit_cap * torch.tanh(logits / self.logit_cap)
        q = self.q(z).float()  # (B, 2)
        return HeadOutputs(
            policy=capped.masked_fill(~self.valid_actions, -torch.inf),
            quantity=torch.sigmoid(self.quantity(z).float()).squeeze(-1),
            value=self.value(z).float(),
            q_halt=q[:, 0],
            q_continue=q[:, 1],
            change=change,
        )


class HRM(nn.Module):
    """The Hierarchical Reasoning Model for trading. Its weights are drawn on creation, from torch's generator."""

    def __init__(self, config: HRMConfig, vocabularies: Vocabularies) -> None:
        super().__init__()
        self.config = config
        self.vocabularies = vocabularies
        self.input = InputNetwork(config, vocabularies)
        self.core = ReasoningCore(config.architecture, config.features.tokens)
        self.heads = Heads(config.architecture.h_dim, config.logit_cap)

    @classmethod
    def of(cls, weights: Weights) -> HRM:
        """The module of these weights, in eval mode; torch's generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            model = cls(weights.config, weights.vocabularies)
        model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.arrays.items()})
        return model.eval()

    def weights(self) -> Weights:
        """Its numbers as they are now; what it learns later doesn't change them."""
        arrays = {name: one.detach().float().cpu().numpy().copy() for name, one in self.state_dict().items()}
        return Weights(self.config, self.vocabularies, arrays)

    def embed(self, features: Features) -> Tokens:
        """Run the input network; in inference once a decision, in training once a segment (its weights move)."""
        tokens: Tokens = self.input(features)
        return tokens

    def initial_state(self, features: Features, *, budget: int = 1) -> HRMState:
        """Return the state before the first segment of a decision that may take `budget` segments."""
        batch = len(features)
        zero = np.zeros(batch, np.int64)
        return HRMState(
            z=self.core.initial(batch, self.config.features.tokens),
            cycles=zero,
            segments=zero,
            budget=np.full(batch, budget, np.int64),
            complexity=features.complexity,
        )

    def reason(self, tokens: Tokens, state: HRMState, *, settled_below: float = 0.0) -> tuple[HRMState, HeadOutputs]:
        """Run one segment on embedded tokens. `settled_below` 0 runs every cycle (always so in training)."""
        z, change, ran = self.core(tokens.x, state.z, tokens.valid, settled_below=settled_below)
        after = replace(
            state,
            z=z,
            cycles=state.cycles + ran.cpu().numpy(),
            segments=state.segments + 1,
            budget=state.budget - 1,
        )
        return after, self.heads(z.z_H[:, 0], change)

    def segment(self, features: Features, state: HRMState) -> tuple[HRMState, HeadOutputs]:
        """Embed and run one segment: one step of deep supervision."""
        return self.reason(self.embed(features), state)

    def q_values(self, state: HRMState) -> tuple[Tensor, Tensor]:
        """(q_halt, q_continue), each (B,), read again from a state."""
        q = self.heads.q(state.z.z_H[:, 0]).float()
        return q[:, 0], q[:, 1]

    @torch.no_grad()
    def grow(self, vocabularies: Vocabularies) -> None:
        """Add rows for new names. Trained rows keep their bits; a new row starts as a copy of "unknown".

        Raises ValueError where `vocabularies` is not an extension of the present ones.
        """
        for kind in ("instruments", "timeframes"):
            old, new = getattr(self.vocabularies, kind).names, getattr(vocabularies, kind).names
            if new[: len(old)] != old:
                raise ValueError(f"{kind} can only grow at the end: {old} is not the start of {new}")
        self.input.instrument = _grown(self.input.instrument, len(vocabularies.instruments))
        self.input.timeframe = _grown(self.input.timeframe, len(vocabularies.timeframes))
        self.vocabularies = vocabularies


def embedding(rows: int, dim: int) -> nn.Embedding:
    """Return a table of unit-variance rows; the projection behind it keeps that variance."""
    table = nn.Embedding(rows, dim)
    table.weight = nn.Parameter(trunc_normal((rows, dim), 1.0))
    return table


def undecided(d_in: int, d_out: int) -> nn.Linear:
    """Return a head whose answers start close to zero."""
    head = linear(d_in, d_out, bias=True)
    head.weight.data.mul_(UNDECIDED)
    return head


def q_head(dim: int) -> nn.Linear:
    """Two logits (halt, continue) that start at −5 whatever the state (reference implementation)."""
    head = nn.Linear(dim, 2)
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, Q_BIAS)
    return head


def _grown(table: nn.Embedding, rows: int) -> nn.Embedding:
    """Return the table with copies of row 0 added up to `rows`."""
    weight = table.weight
    added = weight[:1].expand(rows - len(weight), -1)
    grown = nn.Embedding(rows, weight.shape[1], _weight=torch.cat([weight, added]))
    grown.weight.requires_grad_(weight.requires_grad)
    return grown


def _to(values: NDArray[np.int64] | NDArray[np.bool_], device: torch.device) -> Tensor:
    """Return an index or mask array on a device."""
    return torch.as_tensor(values).to(device)
