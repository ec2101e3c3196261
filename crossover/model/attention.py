"""Multi-head attention and its masks: causal, full, or block-causal.

Shapes: B batch, L length, D hidden size, H heads, K features per head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossover.model.model_config import ModelConfig


class RMSNorm(nn.Module):
    """RMS normalization with a learned gain (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last axis of `x`."""
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


def rotary_table(length: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of RoPE (Su et al. 2021, arXiv 2104.09864), in the half-split layout of Hugging Face.

    Args:
        length: number of positions L.
        head_dim: features per head K.
        theta: base of the frequencies.

    Returns:
        Two float32 tensors (L, K) on the CPU.
    """
    frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64, device="cpu") / head_dim)
    angle = torch.outer(torch.arange(length, dtype=torch.float64, device="cpu"), frequency)
    angle_LK = torch.cat((angle, angle), dim=-1)
    return angle_LK.cos().float(), angle_LK.sin().float()


def _rotate(x_BHLK: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
    first, second = x_BHLK.chunk(2, dim=-1)
    return x_BHLK * cos_LK + torch.cat((-second, first), dim=-1) * sin_LK


def causal_mask(length: int, device: torch.device) -> Tensor:
    """Causal mask: True where the key (column) is not after the query (row). Shape (L, L)."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def block_mask(length: int, block_length: int, device: torch.device) -> Tensor:
    """Block-causal mask: True where the key's block is not after the query's block. Shape (L, L)."""
    block_L = torch.arange(length, device=device) // block_length
    return block_L[None, :] <= block_L[:, None]


def document_numbers(tokens_BL: Tensor, end: int) -> Tensor:
    """Number of each token's document in its row, from 0; `end` is the last token of a document. Shape (B, L)."""
    ends_BL = (tokens_BL == end).int()
    return ends_BL.cumsum(dim=1, dtype=torch.int32) - ends_BL


def document_mask(documents_BT: Tensor) -> Tensor:
    """Mask of attention within documents: True where query and key are of one. Shape (B, 1, T, T)."""
    return (documents_BT[:, :, None] == documents_BT[:, None, :])[:, None]


@dataclass(frozen=True)
class AttentionContext:
    """Attention mask and RoPE tables of one forward pass, shared by all layers."""

    cos_LK: Tensor
    """Cosines at the tokens' positions; broadcasts to (B, H, L, K)."""
    sin_LK: Tensor
    """Sines at the tokens' positions; broadcasts to (B, H, L, K)."""
    mask: Tensor | None
    """Boolean (True: visible) or additive (0: visible, -inf: hidden); broadcasts to (B, 1, L, L). None: no mask."""
    is_causal: bool
    """Causal attention without a mask tensor, which lets the fused kernels run."""


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

    def forward(self, x_BLD: Tensor, context: AttentionContext) -> Tensor:
        """Attention output, shape (B, L, D)."""
        batch, length, _ = x_BLD.shape
        shape = (batch, length, self.heads, -1)
        q = _rotate(self.q_norm(self.q_proj(x_BLD).view(shape)).transpose(1, 2), context.cos_LK, context.sin_LK)
        k = _rotate(self.k_norm(self.k_proj(x_BLD).view(shape)).transpose(1, 2), context.cos_LK, context.sin_LK)
        v = self.v_proj(x_BLD).view(shape).transpose(1, 2)
        q, k = q.to(v.dtype), k.to(v.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=context.mask, is_causal=context.is_causal)
        output: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        return output
