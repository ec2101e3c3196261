"""The forward pass of serving: positions of many sequences at once, each with its own keys and values.

The positions of all sequences are the rows of one matrix, without padding between sequences; attention runs for each
segment on its own. So a row's result does not depend on the other sequences as long as a matrix product's rows do not
depend on their number, and `RowSizes` finds for which numbers that holds on this processor.

Shapes: N rows over all segments, L of one segment, T keys, D hidden size, H heads, K features per head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from crossover.decoding.key_value_cache import KeyValueCache
from crossover.decoding.packed_linear import COMPUTE, Linear, Precision, linear
from crossover.decoding.row_sizes import RowSizes
from crossover.decoding.segment import Segment
from crossover.model.mixture_of_experts import MixtureOfExperts
from crossover.model.transformer import Block, FeedForward, Transformer, suppress
from crossover.tokenization.tokenizer import Tokenizer


class InferenceModel:
    """A transformer's weights, arranged for decoding.

    Args:
        model: of either family; shares its weights where they need no other layout.
        precision: of matrix products, attention, keys and values; sums, norms and logits are float32.
        rows: largest number of rows of a forward pass.
    """

    def __init__(self, model: Transformer, precision: Precision = "fp32", rows: int = 1024) -> None:
        self.model, self.config, self.precision = model, model.config, precision
        self.dtype, self.device = COMPUTE[precision], model.lm_head.weight.device
        self._layers = [_Layer(block, model, precision) for block in model.model.layers if isinstance(block, Block)]
        self._head = linear(model.lm_head.weight * model.model.norm.weight, precision)
        self._eps = torch.tensor(model.config.norm_eps, device=self.device)
        half = model.config.head_dim // 2
        self._cos_LK = model.cos_LK
        self._sin_LK = torch.cat((-model.sin_LK[:, :half], model.sin_LK[:, half:]), dim=-1)
        self.sizes = RowSizes.every(rows)
        if self.device.type == "cpu":
            self.sizes = RowSizes.measured(self._one_layer, rows)

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the model's ids."""
        return self.model.tokenizer

    @property
    def block_length(self) -> int:
        """Of a block diffusion model; 0 otherwise."""
        return self.model.block_length

    @property
    def expert_choice(self) -> bool:
        """Whether experts choose their tokens, so that a position's output depends on all others."""
        return any(isinstance(module, MixtureOfExperts) and module.expert_choice for module in self.model.modules())

    def new_cache(self, positions: int) -> KeyValueCache:
        """Room for a sequence's keys and values, BOS included."""
        return KeyValueCache(self.config, positions, self.dtype, self.device)

    @torch.inference_mode()
    def forward(self, segments: Sequence[Segment]) -> list[NDArray[np.float64]]:
        """Compute segments, and write their keys and values.

        Args:
            segments: together at most `sizes.largest` rows, unless a single one is longer; those of one sequence in
                order of their positions.

        Returns:
            Logits of each segment's wanted positions, (P, V), the MASK column -inf.
        """
        offsets = np.cumsum([0, *(len(segment.tokens_L) for segment in segments)])
        rows = int(offsets[-1])
        total = self.sizes.at_least(rows)
        tokens_N = np.zeros(total, dtype=np.int64)
        positions_N = np.zeros(total, dtype=np.int64)
        for segment, (begin, end) in zip(segments, pairwise(offsets), strict=True):
            tokens_N[begin:end] = segment.tokens_L
            positions_N[begin:end] = np.arange(segment.start, segment.start + end - begin)
        batch = _Batch(segments, self.model, total)
        positions = torch.from_numpy(positions_N).to(self.device)
        cos_N11K, sin_N11K = self._cos_LK[positions][:, None, None], self._sin_LK[positions][:, None, None]
        x_ND = self.model.model.embed_tokens(torch.from_numpy(tokens_N).to(self.device))
        for index, layer in enumerate(self._layers):
            x_ND = layer.forward(x_ND, cos_N11K, sin_N11K, index, batch)
        return self._logits(x_ND, segments, offsets)

    def _logits(
        self, x_ND: Tensor, segments: Sequence[Segment], offsets: NDArray[np.int64]
    ) -> list[NDArray[np.float64]]:
        counts = [len(segment.wanted_P) for segment in segments]
        wanted = sum(counts)
        if not wanted:
            return [np.empty((0, self.config.vocab_size)) for _ in segments]
        picked = np.zeros(self.sizes.at_least(wanted), dtype=np.int64)
        picked[:wanted] = np.concatenate(
            [segment.wanted_P + begin for segment, begin in zip(segments, offsets[:-1], strict=True)]
        )
        hidden_ND = _normed(x_ND[torch.from_numpy(picked).to(self.device)], self._eps).to(self.dtype)
        logits_NV = suppress(self._head(hidden_ND)[:wanted].float(), self.model.mask_id)
        return np.split(logits_NV.cpu().numpy().astype(np.float64), np.cumsum(counts)[:-1])

    def _one_layer(self, rows: int) -> Tensor:
        """The first layer and the head on rows that do not attend to each other: what `RowSizes` measures."""
        generator = torch.Generator().manual_seed(0)
        x_ND = torch.randn(self.sizes.largest, self.config.hidden_size, generator=generator)[:rows]
        ones_N11K, zeros_N11K = (torch.full((rows, 1, 1, self.config.head_dim), value) for value in (1.0, 0.0))
        with torch.inference_mode():
            x_ND = self._layers[0].forward(x_ND, ones_N11K, zeros_N11K, 0, _Batch([], self.model, rows))
            return torch.cat((x_ND, self._head(x_ND.to(self.dtype)).float()), dim=-1)


class _Batch:
    """The segments of one forward pass, and views of their caches for every layer."""

    def __init__(self, segments: Sequence[Segment], model: Transformer, rows: int) -> None:
        self.lengths = [len(segment.tokens_L) for segment in segments]
        self.padding = rows - sum(self.lengths)
        self.masks = [_mask(segment, model) for segment in segments]
        self._cached = [i for i, segment in enumerate(segments) if segment.cache is not None]
        full = not model.causal and not model.block_length
        self._written: list[tuple[Tensor, ...]] = []
        self._read: list[tuple[Tensor, ...] | None] = []
        for segment, length in zip(segments, self.lengths, strict=True):
            if segment.cache is None:
                self._read.append(None)
                continue
            end = segment.start + length
            both_Y2HTK = segment.cache.both_Y2HTK
            self._written.append(both_Y2HTK[:, :, :, segment.start : end].unbind(0))
            self._read.append(both_Y2HTK[:, :, None, :, : segment.visible if full else end].flatten(0, 1).unbind(0))

    def attend(self, q_NHK: Tensor, kv_N2HK: Tensor, layer: int) -> Tensor:
        """Write the rows' keys and values, and mix the values that each row sees; (N, H, K), zero for padding."""
        parts = [*self.lengths, *([self.padding] if self.padding else [])]
        q_parts = q_NHK.transpose(0, 1)[None].split(parts, dim=2)
        kv_parts = kv_N2HK.permute(1, 2, 0, 3).split(parts, dim=2)
        if self._written:
            torch._foreach_copy_([written[layer] for written in self._written], [kv_parts[i] for i in self._cached])
        seen = [
            (kv[:1], kv[1:]) if read is None else (read[2 * layer], read[2 * layer + 1])
            for kv, read in zip(kv_parts, self._read, strict=False)
        ]
        mixed = [
            F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            for q, (k, v), mask in zip(q_parts, seen, self.masks, strict=False)
        ]
        if self.padding:
            mixed.append(torch.zeros_like(q_parts[-1]))
        return torch.cat(mixed, dim=2)[0].transpose(0, 1)


def _mask(segment: Segment, model: Transformer) -> Tensor | None:
    """Which of the keys each row sees, (L, T); None where it sees all."""
    length, device = len(segment.tokens_L), model.cos_LK.device
    if (model.causal and length == 1) or (not model.causal and not model.block_length):
        return None
    rows_L1 = torch.arange(segment.start, segment.start + length, device=device)[:, None]
    keys_T = torch.arange(segment.start + length, device=device)
    if model.causal:
        return keys_T <= rows_L1
    return keys_T // model.block_length <= rows_L1 // model.block_length


class _Layer:
    """One block: attention with the caches of the segments, then the feed-forward."""

    def __init__(self, block: Block, model: Transformer, precision: Precision) -> None:
        config, attention = model.config, block.self_attn
        self._mlp, self._dtype = block.mlp, COMPUTE[precision]
        self._eps = torch.tensor(config.norm_eps, device=model.lm_head.weight.device)
        self._shape = (3, config.num_heads, config.head_dim)
        qkv = torch.cat((attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight))
        self._qkv = linear(qkv * block.input_layernorm.weight, precision)
        self._out = linear(attention.o_proj.weight, precision)
        self._gain_21K = torch.stack((attention.q_norm.weight, attention.k_norm.weight)).detach()[:, None]
        self._experts_gain = block.post_attention_layernorm.weight
        self._feed_forward = (
            _feed_forward(block.mlp, block.post_attention_layernorm.weight, precision)
            if isinstance(block.mlp, FeedForward)
            else None
        )

    def forward(self, x_ND: Tensor, cos: Tensor, sin: Tensor, index: int, batch: _Batch) -> Tensor:
        """Output (N, D)."""
        qkv = self._qkv(_normed(x_ND, self._eps).to(self._dtype)).view(-1, *self._shape)
        qk = _normed(qkv[:, :2].float(), self._eps) * self._gain_21K
        qk = torch.addcmul(qk * cos, qk.roll(self._shape[2] // 2, -1), sin).to(self._dtype)
        mixed_NHK = batch.attend(qk[:, 0], torch.stack((qk[:, 1], qkv[:, 2]), dim=1), index)
        x_ND = x_ND + self._out(mixed_NHK.flatten(1))
        normed = _normed(x_ND, self._eps)
        if self._feed_forward is not None:
            return x_ND + self._feed_forward(normed.to(self._dtype))
        return x_ND + self._experts(normed * self._experts_gain, batch)

    def _experts(self, x_ND: Tensor, batch: _Batch) -> Tensor:
        """A mixture of experts, a segment at a time: how rows are grouped by expert depends on the rows beside them."""
        assert isinstance(self._mlp, MixtureOfExperts)  # noqa: S101 - blocks have one of the two
        experts = self._mlp
        with torch.autocast(x_ND.device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16):
            parts = [experts(part[None])[0][0].float() for part in x_ND[: sum(batch.lengths)].split(batch.lengths)]
        return torch.cat([*parts, x_ND.new_zeros(batch.padding, x_ND.shape[1])])


def _normed(x: Tensor, eps: Tensor) -> Tensor:
    """RMS normalization without its gain, which the next product's weight has: half the operations of `F.rms_norm`."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x * torch.addcmul(eps, norm, norm, value=1 / x.shape[-1]).rsqrt_()


def _feed_forward(module: FeedForward, gain_D: Tensor, precision: Precision) -> Linear:
    both = linear(torch.cat((module.gate_proj.weight, module.up_proj.weight)) * gain_D, precision)
    down = linear(module.down_proj.weight, precision)

    def forward(x_ND: Tensor) -> Tensor:
        gate, up = both(x_ND).chunk(2, dim=-1)
        return down(F.silu(gate) * up)

    return forward
