"""Keys and values of one sequence, and those of prompts' beginnings that later requests reuse.

Shapes: Y layers, H heads, T positions, K features per head.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor

from crossover.model.model_config import ModelConfig


def bytes_per_token(config: ModelConfig, dtype: torch.dtype) -> int:
    """Memory of one position's keys and values."""
    return 2 * config.num_layers * config.hidden_size * dtype.itemsize


class KeyValueCache:
    """Keys and values of one sequence, with room for all of it.

    Args:
        config: the architecture.
        positions: T, BOS included.
        dtype: of the model's matrix products.
        device: the model's.
    """

    def __init__(self, config: ModelConfig, positions: int, dtype: torch.dtype, device: torch.device) -> None:
        shape = (config.num_layers, 2, config.num_heads, positions, config.head_dim)
        self.both_Y2HTK = torch.zeros(shape, dtype=dtype, device=device)


class PrefixCache:
    """Chunks of prompts by their tokens and all before them; the least recently used ones go first.

    Args:
        memory_bytes: largest total size.
    """

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes, self.used = memory_bytes, 0
        self._chunks: OrderedDict[bytes, Tensor] = OrderedDict()
        self._claimed: set[bytes] = set()

    def load(self, key: bytes, cache: KeyValueCache, start: int) -> bool:
        """Copy a chunk into a sequence's cache; whether it was there."""
        chunk = self._chunks.get(key)
        if chunk is None:
            return False
        self._chunks.move_to_end(key)
        cache.both_Y2HTK[:, :, :, start : start + chunk.shape[3]] = chunk
        return True

    def claim(self, key: bytes) -> bool:
        """Whether nobody else computes this chunk in the present step; the others wait for it, if it will be kept."""
        if self.memory_bytes and key in self._claimed:
            return False
        self._claimed.add(key)
        return True

    def next_step(self) -> None:
        """Forget the claims."""
        self._claimed.clear()

    def store(self, key: bytes, cache: KeyValueCache, start: int, end: int) -> None:
        """Keep a chunk of a sequence's cache, unless it is larger than the memory."""
        chunk = cache.both_Y2HTK[:, :, :, start:end]
        size = chunk.numel() * chunk.element_size()
        if key in self._chunks or size > self.memory_bytes:
            return
        self._chunks[key] = chunk.clone()
        self.used += size
        while self.used > self.memory_bytes:
            _, oldest = self._chunks.popitem(last=False)
            self.used -= oldest.numel() * oldest.element_size()
