"""One transformer for both families; `causal` is a flag, and nothing else differs.

Shapes: B batch, L length, V vocabulary, D hidden, H heads, K features per head.
Parameter names are those of Hugging Face's Qwen3, so that a causal checkpoint loads there without custom code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossover.model.config import ModelConfig


class RMSNorm(nn.Module):
    """Root mean square norm with a learned gain (Zhang & Sennrich 2019)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of `x`."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotary_table(length: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of RoPE, each (length, head_dim), in the half-split layout of Hugging Face."""
    frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.outer(torch.arange(length, dtype=torch.float64), frequency)
    angle_LK = torch.cat((angle, angle), dim=-1)
    return angle_LK.cos().float(), angle_LK.sin().float()


def _rotate(x_BHLK: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
    first, second = x_BHLK.chunk(2, dim=-1)
    return x_BHLK * cos_LK + torch.cat((-second, first), dim=-1) * sin_LK


class Attention(nn.Module):
    """Multi-head attention with QK-norm and RoPE."""

    def __init__(self, config: ModelConfig, *, causal: bool) -> None:
        super().__init__()
        size, self.heads, self.causal = config.hidden_size, config.num_heads, causal
        self.q_proj = nn.Linear(size, size, bias=False)
        self.k_proj = nn.Linear(size, size, bias=False)
        self.v_proj = nn.Linear(size, size, bias=False)
        self.o_proj = nn.Linear(size, size, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps)

    def forward(self, x_BLD: Tensor, cos_LK: Tensor, sin_LK: Tensor, visible: Tensor | None) -> Tensor:
        """Attend; `visible` is True where a key (B, 1, 1 or L, L) may be seen, None for all."""
        batch, length, _ = x_BLD.shape
        shape = (batch, length, self.heads, -1)
        q = _rotate(self.q_norm(self.q_proj(x_BLD).view(shape)).transpose(1, 2), cos_LK, sin_LK)
        k = _rotate(self.k_norm(self.k_proj(x_BLD).view(shape)).transpose(1, 2), cos_LK, sin_LK)
        v = self.v_proj(x_BLD).view(shape).transpose(1, 2)
        if visible is not None and self.causal:
            visible = visible & torch.ones(length, length, dtype=torch.bool, device=x_BLD.device).tril()
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=self.causal and visible is None)
        output: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        return output


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Transform each token by itself."""
        output: Tensor = self.down_proj(F.silu(self.gate_proj(x_BLD)) * self.up_proj(x_BLD))
        return output


class Block(nn.Module):
    """Pre-norm attention and feed-forward with residuals."""

    def __init__(self, config: ModelConfig, *, causal: bool) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = Attention(config, causal=causal)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, x_BLD: Tensor, cos_LK: Tensor, sin_LK: Tensor, visible: Tensor | None) -> Tensor:
        """One residual block."""
        x_BLD = x_BLD + self.self_attn(self.input_layernorm(x_BLD), cos_LK, sin_LK, visible)
        output: Tensor = x_BLD + self.mlp(self.post_attention_layernorm(x_BLD))
        return output


class _Body(nn.Module):
    def __init__(self, config: ModelConfig, *, causal: bool) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, causal=causal) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)


class Transformer(nn.Module):
    """Tokens to logits.

    Args:
        config: the shape.
        causal: True for AR (a token sees itself and what is before it), False for DLM (it sees all).
        mask_id: row whose logit is suppressed in both arms, so that neither can predict MASK.
    """

    def __init__(self, config: ModelConfig, *, causal: bool, mask_id: int) -> None:
        super().__init__()
        self.config, self.causal, self.mask_id = config, causal, mask_id
        self.model = _Body(config, causal=causal)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        cos_LK, sin_LK = rotary_table(config.max_length + 1, config.head_dim, config.rope_theta)
        self.register_buffer("cos_LK", cos_LK, persistent=False)
        self.register_buffer("sin_LK", sin_LK, persistent=False)
        self.cos_LK: Tensor
        self.sin_LK: Tensor

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight anew: N(0, init_std), residual outputs scaled by 1/sqrt(2 x layers), norms one.

        The draws depend on the generator and the shapes only, hence a pair of arms starts from the same weights.
        """
        residual_std = self.config.init_std / (2 * self.config.num_layers) ** 0.5
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.ndim == 1:
                    parameter.fill_(1.0)
                    continue
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                parameter.normal_(0.0, residual_std if residual else self.config.init_std, generator=generator)

    def forward(self, tokens_BL: Tensor, visible_BL: Tensor | None = None) -> Tensor:
        """Logits (B, L, V) in float32; the MASK column is -inf.

        Args:
            tokens_BL: token ids, L at most max_length + 1 (one more for BOS).
            visible_BL: False where a token is padding and must not be attended to; None when there is none.
        """
        length = tokens_BL.shape[1]
        cos_LK, sin_LK = self.cos_LK[:length], self.sin_LK[:length]
        visible = None if visible_BL is None else visible_BL[:, None, None, :]
        x_BLD = self.model.embed_tokens(tokens_BL)
        for block in self.model.layers:
            x_BLD = block(x_BLD, cos_LK, sin_LK, visible)
        logits_BLV: Tensor = self.lm_head(self.model.norm(x_BLD)).float()
        suppressed = torch.zeros(self.config.vocab_size, device=logits_BLV.device)
        suppressed[self.mask_id] = -torch.inf
        return logits_BLV + suppressed
