"""Attention, and what a token may see: the past, everything, or all blocks up to its own.

Shapes: B batch, L length, D hidden, H heads, K features per head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossover.model.model_config import ModelConfig


class RMSNorm(nn.Module):
    """Root mean square norm with a learned gain (Zhang & Sennrich 2019)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of `x`."""
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


def rotary_table(length: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of RoPE, each (length, head_dim), in the half-split layout of Hugging Face; on the CPU."""
    frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64, device="cpu") / head_dim)
    angle = torch.outer(torch.arange(length, dtype=torch.float64, device="cpu"), frequency)
    angle_LK = torch.cat((angle, angle), dim=-1)
    return angle_LK.cos().float(), angle_LK.sin().float()


def _rotate(x_BHLK: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
    first, second = x_BHLK.chunk(2, dim=-1)
    return x_BHLK * cos_LK + torch.cat((-second, first), dim=-1) * sin_LK


def causal_mask(length: int, device: torch.device) -> Tensor:
    """True where the key (column) is not after the query (row). Shape (L, L)."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def block_mask(length: int, block_length: int, device: torch.device) -> Tensor:
    """True where the key's block is not after the query's: any order within a block. Shape (L, L)."""
    block_L = torch.arange(length, device=device) // block_length
    return block_L[None, :] <= block_L[:, None]


@dataclass(frozen=True)
class View:
    """Who sees whom in one forward pass, and where everyone stands."""

    cos_LK: Tensor
    """Broadcasts to (B, heads, L, K)."""
    sin_LK: Tensor
    mask: Tensor | None
    """True (or 0) where a key may be seen, else False (or -inf); broadcasts to (B, 1, L, L). None: see `is_causal`."""
    is_causal: bool
    """Causal without a mask tensor, so that the fused kernels apply."""


class Attention(nn.Module):
    """Multi-head attention with QK-norm and RoPE."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size, self.heads = config.hidden_size, config.num_heads
        self.q_proj = nn.Linear(size, size, bias=False)
        self.k_proj = nn.Linear(size, size, bias=False)
        self.v_proj = nn.Linear(size, size, bias=False)
        self.o_proj = nn.Linear(size, size, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps)

    def forward(self, x_BLD: Tensor, view: View) -> Tensor:
        """Attend as `view` says."""
        batch, length, _ = x_BLD.shape
        shape = (batch, length, self.heads, -1)
        q = _rotate(self.q_norm(self.q_proj(x_BLD).view(shape)).transpose(1, 2), view.cos_LK, view.sin_LK)
        k = _rotate(self.k_norm(self.k_proj(x_BLD).view(shape)).transpose(1, 2), view.cos_LK, view.sin_LK)
        v = self.v_proj(x_BLD).view(shape).transpose(1, 2)
        q, k = q.to(v.dtype), k.to(v.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=view.mask, is_causal=view.is_causal)
        output: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        return output
