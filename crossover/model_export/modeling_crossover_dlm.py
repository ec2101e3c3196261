"""A masked or block diffusion language model that Crossover pretrained. Needs PyTorch and transformers only.

    model = AutoModelForMaskedLM.from_pretrained(FOLDER, trust_remote_code=True)

The model predicts each masked token from all tokens (a block diffusion model from those of its own block and the blocks
before it). There is no BOS before a text, the prediction for a position stands at that position, and MASK has the
logit -inf.

Shapes: B batch, L length, V vocabulary, D hidden size, H heads, K features per head, E experts, C tokens per expert.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput


class CrossoverDLMConfig(PretrainedConfig):
    """The fields of config.json: those of Qwen3 or Qwen3-MoE, and three of a diffusion model.

    They are `mask_token_id`, `block_length` (0: full attention), and `router` (token-choice or expert-choice, in a
    sparse model).
    """

    model_type = "crossover_dlm"


class RMSNorm(nn.Module):
    """RMS normalization with a learned gain."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last axis."""
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


def rotary_table(length: int, head_dim: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (L, K) in float32."""
    frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.outer(torch.arange(length, dtype=torch.float64), frequency)
    angle_LK = torch.cat((angle, angle), dim=-1)
    return angle_LK.cos().float().to(device), angle_LK.sin().float().to(device)


def rotate(x_BHLK: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Apply RoPE."""
    first, second = x_BHLK.chunk(2, dim=-1)
    return x_BHLK * table[0] + torch.cat((-second, first), dim=-1) * table[1]


class Attention(nn.Module):
    """Multi-head attention with QK-norm and RoPE."""

    def __init__(self, config: CrossoverDLMConfig) -> None:
        super().__init__()
        size, self.heads = config.hidden_size, config.num_attention_heads
        self.q_proj = nn.Linear(size, size, bias=False)
        self.k_proj = nn.Linear(size, size, bias=False)
        self.v_proj = nn.Linear(size, size, bias=False)
        self.o_proj = nn.Linear(size, size, bias=False)
        self.q_norm = RMSNorm(size // self.heads, config.rms_norm_eps)
        self.k_norm = RMSNorm(size // self.heads, config.rms_norm_eps)

    def forward(self, x_BLD: Tensor, table: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """Attention output (B, L, D)."""
        batch, length, _ = x_BLD.shape
        shape = (batch, length, self.heads, -1)
        q = rotate(self.q_norm(self.q_proj(x_BLD).view(shape)).transpose(1, 2), table)
        k = rotate(self.k_norm(self.k_proj(x_BLD).view(shape)).transpose(1, 2), table)
        v = self.v_proj(x_BLD).view(shape).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=mask)
        output: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        return output


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, config: CrossoverDLMConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map the last axis (D)."""
        output: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return output


class MixtureOfExperts(nn.Module):
    """A router and its SwiGLUs: tokens choose experts, or experts choose tokens."""

    def __init__(self, config: CrossoverDLMConfig) -> None:
        super().__init__()
        self.per_token, self.expert_choice = config.num_experts_per_tok, config.router == "expert-choice"
        self.gate = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.experts = nn.ModuleList(FeedForward(config) for _ in range(config.num_experts))

    def forward(self, x_BLD: Tensor, visible_BL: Tensor | None) -> Tensor:
        """Sum of the chosen experts' outputs (B, L, D), weighted by the router."""
        scores_BLE = F.linear(x_BLD.float(), self.gate.weight.float()).softmax(dim=-1)
        if visible_BL is not None:
            scores_BLE = scores_BLE * visible_BL[:, :, None]
        weights_BLE = self._by_experts(scores_BLE, visible_BL) if self.expert_choice else self._by_tokens(scores_BLE)
        output_BLD = torch.zeros_like(x_BLD)
        for index, expert in enumerate(self.experts):
            b, i = weights_BLE[..., index].nonzero(as_tuple=True)
            output_BLD[b, i] += expert(x_BLD[b, i]) * weights_BLE[b, i, index, None].to(x_BLD.dtype)
        return output_BLD

    def _by_tokens(self, scores_BLE: Tensor) -> Tensor:
        weight_BLK, taken_BLK = scores_BLE.topk(self.per_token, dim=-1)
        weight_BLK = weight_BLK / weight_BLK.sum(dim=-1, keepdim=True).clamp_min(1e-20)
        return torch.zeros_like(scores_BLE).scatter(-1, taken_BLK, weight_BLK)

    def _by_experts(self, scores_BLE: Tensor, visible_BL: Tensor | None) -> Tensor:
        length, experts = scores_BLE.shape[1:]
        capacity = min(length, math.ceil(self.per_token * length / experts))
        weight_BEC, token_BEC = scores_BLE.transpose(1, 2).topk(capacity, dim=-1)
        if visible_BL is not None:
            takes_B = (visible_BL.sum(dim=1) * self.per_token / experts).ceil()
            weight_BEC = weight_BEC * (torch.arange(capacity, device=takes_B.device) < takes_B[:, None])[:, None]
        return torch.zeros_like(scores_BLE).transpose(1, 2).scatter(-1, token_BEC, weight_BEC).transpose(1, 2)


class Block(nn.Module):
    """Pre-norm residual block."""

    def __init__(self, config: CrossoverDLMConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MixtureOfExperts(config) if config.num_experts else FeedForward(config)

    def forward(
        self, x_BLD: Tensor, table: tuple[Tensor, Tensor], mask: Tensor | None, visible_BL: Tensor | None
    ) -> Tensor:
        """Output (B, L, D)."""
        x_BLD = x_BLD + self.self_attn(self.input_layernorm(x_BLD), table, mask)
        normed = self.post_attention_layernorm(x_BLD)
        fed: Tensor = self.mlp(normed, visible_BL) if isinstance(self.mlp, MixtureOfExperts) else self.mlp(normed)
        return x_BLD + fed


class Body(nn.Module):
    """Embedding, blocks, and the last normalization."""

    def __init__(self, config: CrossoverDLMConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class CrossoverMaskedDiffusionLM(PreTrainedModel):
    """Token ids, some of them MASK, to logits."""

    config_class = CrossoverDLMConfig
    base_model_prefix = "model"

    def __init__(self, config: CrossoverDLMConfig) -> None:
        super().__init__(config)
        self.model = Body(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]  # transformers' method is not typed

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, return_dict: bool = True
    ) -> MaskedLMOutput | tuple[Tensor]:
        """Run the model.

        Args:
            input_ids: token ids (B, L).
            attention_mask: (B, L), 0 where a token is padding on the right; None without padding.
            return_dict: False returns a tuple.

        Returns:
            Logits (B, L, V) in float32, the MASK column -inf.
        """
        length, device = input_ids.shape[1], input_ids.device
        visible_BL = None if attention_mask is None else attention_mask.bool()
        table = rotary_table(
            length, self.config.hidden_size // self.config.num_attention_heads, self.config.rope_theta, device
        )
        x_BLD = self.model.embed_tokens(input_ids)
        mask = self._mask(length, visible_BL, device)
        for block in self.model.layers:
            x_BLD = block(x_BLD, table, mask, visible_BL)
        logits = self.lm_head(self.model.norm(x_BLD)).float()
        suppressed = torch.zeros(logits.shape[-1], device=device)
        suppressed[self.config.mask_token_id] = -torch.inf
        logits = logits + suppressed
        return MaskedLMOutput(logits=logits) if return_dict else (logits,)

    def _mask(self, length: int, visible_BL: Tensor | None, device: torch.device) -> Tensor | None:
        """True where a key (column) is visible; None where all are."""
        mask = None if visible_BL is None else visible_BL[:, None, None, :]
        if self.config.block_length:
            block_L = torch.arange(length, device=device) // self.config.block_length
            earlier_LL = block_L[None, :] <= block_L[:, None]
            mask = earlier_LL if mask is None else mask & earlier_LL
        return mask

    @torch.inference_mode()
    def fill_masks(self, input_ids: Tensor, threshold: float = 1.0) -> Tensor:
        """Replace every MASK, greedily: in each pass the most likely token, and all that are at least `threshold`.

        Args:
            input_ids: token ids (1, L).
            threshold: probability; below 1 a pass commits several tokens, which is faster and less accurate.

        Returns:
            Token ids (1, L) without MASK. A token of EOS ends the text.
        """
        tokens_L = input_ids[0].clone()
        while (masked_N := (tokens_L == self.config.mask_token_id).nonzero()[:, 0]).numel():
            if self.config.block_length:
                block_N = masked_N // self.config.block_length
                masked_N = masked_N[block_N == block_N[0]]
            logits_NV = self(tokens_L[None]).logits[0, masked_N]
            logits_NV[:, self.config.bos_token_id] = -torch.inf
            probability_N, token_N = logits_NV.softmax(dim=-1).max(dim=-1)
            commit_N = probability_N >= threshold
            commit_N[probability_N.argmax()] = True
            tokens_L[masked_N[commit_N]] = token_N[commit_N]
        return tokens_L[None]
