"""One transformer for both families: they differ in the attention mask only.

Shapes: B batch, L length, V vocabulary, D hidden size, K features per head.
Parameter names are those of Hugging Face's Qwen3, so that a causal checkpoint loads there without custom code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from crossover.model.attention import (
    Attention,
    AttentionContext,
    RMSNorm,
    block_mask,
    causal_mask,
    document_mask,
    document_numbers,
    rotary_table,
)
from crossover.model.dropout import Dropout
from crossover.model.mixture_of_experts import MixtureOfExperts
from crossover.model.model_config import ModelConfig
from crossover.tokenization.tokenizer import BYTES, Tokenizer

Readout = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Maps (hidden states (B, L, D), head weight (V, D), router losses and, in training, statistics (layers, 5) or None) to
what forward returns."""


class FeedForward(nn.Module):
    """SwiGLU feed-forward (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map each token independently, shape (B, L, D)."""
        output: Tensor = self.down_proj(F.silu(self.gate_proj(x_BLD)) * self.up_proj(x_BLD))
        return output


class Block(nn.Module):
    """Pre-norm residual block: attention, then a dense or sparse feed-forward."""

    DROPOUT_SITES = 2

    def __init__(self, config: ModelConfig, *, expert_choice: bool) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp: nn.Module
        if config.num_experts:
            self.mlp = MixtureOfExperts(config, expert_choice=expert_choice)
        else:
            self.mlp = FeedForward(config)

    def forward(
        self, x_BLD: Tensor, context: AttentionContext, visible_BL: Tensor | None, dropout: Dropout | None
    ) -> tuple[Tensor, Tensor | None]:
        """Output (B, L, D), and what `MixtureOfExperts` says of a sparse block's router, else None."""
        attended = self.self_attn(self.input_layernorm(x_BLD), context)
        x_BLD = x_BLD + (attended if dropout is None or not dropout.attention else dropout(attended, 0))
        normed, losses = self.post_attention_layernorm(x_BLD), None
        if isinstance(self.mlp, MixtureOfExperts):
            fed, losses = self.mlp(normed, visible_BL)
        else:
            fed = self.mlp(normed)
        return x_BLD + (fed if dropout is None else dropout(fed, 1)), losses


class _Body(nn.Module):
    def __init__(self, config: ModelConfig, *, expert_choice: bool) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, expert_choice=expert_choice) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)


class Transformer(nn.Module):
    """Tokens to logits.

    Args:
        config: the architecture.
        causal: True for AR (causal attention), False for a DLM (full attention).
        mask_id: id of MASK, whose logit is -inf in both families.
        block_length: without `causal`, block-causal attention with blocks of this many tokens; 0 is full attention.
        expert_choice: expert-choice routing, where the config has experts.
        document_end: id of the token that ends a document, where no document of an example attends to another; None
            where attention crosses documents, or no example holds two.

    Raises:
        ValueError: expert choice together with causal or block-causal attention.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        causal: bool,
        mask_id: int,
        block_length: int = 0,
        expert_choice: bool = False,
        document_end: int | None = None,
    ) -> None:
        super().__init__()
        if expert_choice and (causal or block_length):
            raise ValueError(
                "expert choice routes over the full sequence: it would leak later tokens into earlier ones"
            )
        self.config, self.causal, self.mask_id, self.block_length = config, causal, mask_id, block_length
        self.document_end = document_end
        self.tokenizer: Tokenizer = BYTES
        """Between text and the ids that the model knows; whoever builds the model sets it."""
        self.checkpoint_activations = False
        self.model = _Body(config, expert_choice=expert_choice)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.register_buffer("cos_LK", torch.empty(0), persistent=False)
        self.register_buffer("sin_LK", torch.empty(0), persistent=False)
        self.cos_LK: Tensor
        self.sin_LK: Tensor
        self.reset_buffers("cpu")

    def reset_buffers(self, device: torch.device | str) -> None:
        """Recompute the RoPE tables on a device, needed after `to_empty`, which leaves buffers uninitialized."""
        length, theta = self.config.max_length + 1, self.config.rope_theta
        cos_LK, sin_LK = rotary_table(length, self.config.head_dim, theta)
        self.cos_LK, self.sin_LK = cos_LK.to(device), sin_LK.to(device)

    def draws(self, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """Initial values of every parameter, on the CPU.

        Matrices: N(0, init_std), those that write to the residual stream scaled by 1/sqrt(2 x layers); gains: 1. The
        values depend only on the generator and the shapes, so a pair of arms starts from the same weights.

        Args:
            generator: source of the random numbers.

        Yields:
            Name and value of each parameter.
        """
        residual_std = self.config.init_std / (2 * self.config.num_layers) ** 0.5
        for name, parameter in self.named_parameters():
            value = torch.ones(parameter.shape)
            if parameter.ndim > 1:
                residual = name.endswith(("o_proj.weight", "down_proj.weight", "down_proj"))
                value.normal_(0.0, residual_std if residual else self.config.init_std, generator=generator)
            yield name, value

    def initialise(self, generator: torch.Generator) -> None:
        """Set every parameter to its initial value from `draws`."""
        parameters = dict(self.named_parameters())
        with torch.no_grad():
            for name, value in self.draws(generator):
                parameters[name].copy_(value)

    def documents(self, text_BL: Tensor) -> Tensor | None:
        """Number of each token's document in an example, shape (B, L); None where attention does not depend on it.

        Args:
            text_BL: the text itself: no token of it is masked.
        """
        if self.document_end is None:
            return None
        numbers_BL = document_numbers(text_BL, self.document_end)
        return numbers_BL if bool(numbers_BL.any()) else None

    def forward(
        self,
        tokens_BL: Tensor,
        visible_BL: Tensor | None = None,
        *,
        documents_BL: Tensor | None = None,
        mask_LL: Tensor | None = None,
        positions_L: Tensor | None = None,
        attention: AttentionContext | None = None,
        dropout: Dropout | None = None,
        readout: Readout | None = None,
    ) -> Tensor:
        """Run the model.

        Args:
            tokens_BL: token ids, L at most max_length + 1 (one more for BOS).
            visible_BL: False where a token is padding and must not be attended to; None without padding.
            documents_BL: number of each token's document; tokens attend within their own. None: one document a row.
            mask_LL: attention mask, True where a key (column) is visible; default: the family's own.
            positions_L: RoPE position of each token; default: its index.
            attention: mask and RoPE tables, in place of the four arguments above.
            dropout: applied to the output of each residual branch; None for none.
            readout: computes the result from the last hidden states within the forward pass, where FSDP has gathered
                the head's weight.

        Returns:
            Logits (B, L, V) in float32, the MASK column -inf; or the result of `readout`.
        """
        if attention is None:
            attention = self._attention(tokens_BL.shape[1], visible_BL, documents_BL, mask_LL, positions_L)
        x_BLD = self.model.embed_tokens(tokens_BL)
        losses = []
        for index, block in enumerate(self.model.layers):
            own_dropout = None if dropout is None else dropout.shifted(index * Block.DROPOUT_SITES)
            if self.checkpoint_activations and torch.is_grad_enabled():
                x_BLD, loss = checkpoint(block, x_BLD, attention, visible_BL, own_dropout, use_reentrant=False)
            else:
                x_BLD, loss = block(x_BLD, attention, visible_BL, own_dropout)
            losses.append(loss)
        x_BLD = self.model.norm(x_BLD)
        if readout is not None:
            return readout(x_BLD, self.lm_head.weight, None if losses[0] is None else torch.stack(losses))
        return suppress(self.lm_head(x_BLD).float(), self.mask_id)

    def _attention(
        self,
        length: int,
        visible_BL: Tensor | None,
        documents_BL: Tensor | None,
        mask_LL: Tensor | None,
        positions_L: Tensor | None,
    ) -> AttentionContext:
        device = self.cos_LK.device
        if mask_LL is None and self.block_length:
            mask_LL = block_mask(length, self.block_length, device)
        causal = self.causal and mask_LL is None
        mask = None if visible_BL is None else visible_BL[:, None, None, :]
        if documents_BL is not None:
            within = document_mask(documents_BL)
            mask = within if mask is None else mask & within
        if mask is None:
            mask = mask_LL
        elif causal or mask_LL is not None:
            mask = mask & (causal_mask(length, device) if mask_LL is None else mask_LL)
        rows: slice | Tensor = slice(length) if positions_L is None else positions_L
        return AttentionContext(self.cos_LK[rows], self.sin_LK[rows], mask, is_causal=causal and mask is None)


def suppress(logits: Tensor, mask_id: int) -> Tensor:
    """Logits (..., V) with the MASK column at -inf."""
    suppressed = torch.zeros(logits.shape[-1], device=logits.device)
    suppressed[mask_id] = -torch.inf
    return logits + suppressed
