"""Turns tokens into tokens: the four blocks that every module of the network is stacked from.

RMSNorm, rotary positions, attention and SwiGLU follow the published reference (arXiv 2506.21734, sapientinc/HRM) number
for number; `tests/unit/models/test_golden.py` holds them to it within 1e-5. Invariant: a row of a batch never sees
another row, and a masked token never reaches a valid one.
"""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.weights import ROPE_THETA

RMS_EPS: Final = 1e-5


def rms_norm(x: Tensor) -> Tensor:
    """Scale each token to a root mean square of 1, without a weight, computed in fp32. (..., d) -> (..., d)."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + RMS_EPS)).to(x.dtype)


def trunc_normal(shape: tuple[int, ...], std: float) -> Tensor:
    """Draw normal values cut at ±2 and rescaled, so that their standard deviation really is `std` (as JAX does)."""
    lower_tail = 0.5 * (1 + math.erf(-2 / math.sqrt(2)))
    inside = 1 - 2 * lower_tail
    density = math.exp(-2.0) / math.sqrt(2 * math.pi)
    true_std = math.sqrt(1 - 4 * density / inside)  # standard deviation of a unit normal cut at ±2
    uniform = torch.empty(shape).uniform_(2 * lower_tail - 1, 1 - 2 * lower_tail)
    return torch.erfinv(uniform).mul_(math.sqrt(2) * std / true_std).clamp_(-2 * std / true_std, 2 * std / true_std)


def linear(d_in: int, d_out: int, *, bias: bool = False) -> nn.Linear:
    """Return a linear layer with truncated-normal weights of standard deviation 1/sqrt(d_in) and a zero bias."""
    layer = nn.Linear(d_in, d_out, bias=bias)
    layer.weight = nn.Parameter(trunc_normal((d_out, d_in), d_in**-0.5))
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class Rope(nn.Module):
    """Rotary position tables; rotate-half convention, theta 10000.

    `cos`, `sin`: (tokens, head_dim). They are computed, not trained, and are left out of checkpoints.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, tokens: int, head_dim: int) -> None:
        super().__init__()
        frequency = 1.0 / ROPE_THETA ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
        angle = torch.outer(torch.arange(tokens, dtype=torch.float32), frequency)
        angle = torch.cat((angle, angle), dim=-1)  # (S, head_dim)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Rotate queries or keys by their position. (B, heads, S, head_dim) -> same."""
        tokens = x.shape[-2]
        first, second = x.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
        return x * self.cos[:tokens] + turned * self.sin[:tokens]


class Attention(nn.Module):
    """Full (not causal) multi-head attention with fused, bias-free projections."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv_proj = linear(dim, 3 * dim)
        self.o_proj = linear(dim, dim)

    def forward(self, x: Tensor, rope: Rope, mask: Tensor | None) -> Tensor:
        """(B, S, d) -> (B, S, d). `mask` (B, 1, 1, S) is True where a token may be looked at; None means everywhere."""
        batch, tokens, dim = x.shape
        qkv = self.qkv_proj(x).view(batch, tokens, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # 3 × (B, heads, S, head_dim)
        mixed = F.scaled_dot_product_attention(rope(query), rope(key), value, attn_mask=mask)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, tokens, dim))
        return out


class SwiGLU(nn.Module):
    """Gated feed-forward layer; the first half of `gate_up_proj` is the gate."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.gate_up_proj = linear(dim, 2 * inner)
        self.down_proj = linear(inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, d) -> (B, S, d)."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        out: Tensor = self.down_proj(F.silu(gate) * up)
        return out


class Block(nn.Module):
    """Post-norm transformer block: `x = rms(x + attn(x)); x = rms(x + swiglu(x))`."""

    def __init__(self, dim: int, heads: int, inner: int) -> None:
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.mlp = SwiGLU(dim, inner)

    def forward(self, x: Tensor, rope: Rope, mask: Tensor | None) -> Tensor:
        """(B, S, d) -> (B, S, d), each token with root mean square 1."""
        x = rms_norm(x + self.self_attn(x, rope, mask))
        return rms_norm(x + self.mlp(x))


class Stack(nn.Module):
    """A module of the hierarchy: `layers` blocks of one width that share their rotary tables."""

    def __init__(self, *, dim: int, layers: int, heads: int, inner: int, tokens: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(dim, heads, inner) for _ in range(layers))
        self.rope = Rope(tokens, dim // heads)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, S, d) -> (B, S, d)."""
        for block in self.layers:
            x = block(x, self.rope, mask)
        return x
