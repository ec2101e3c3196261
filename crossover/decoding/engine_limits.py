"""What bounds the engine, what its model can do, and how it fares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class EngineLimits:
    """What bounds the engine's memory and queue.

    Args:
        running: requests that are decoded at once.
        waiting: requests that wait before further ones are refused.
        memory_bytes: of keys and values; a request that would not fit waits. 0 takes half of what is free.
        rows: tokens in one forward pass, over all requests.
    """

    running: int = 64
    waiting: int = 256
    memory_bytes: int = 0
    rows: int = 512


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a model can do, for `/v1/models`."""

    family: Literal["autoregressive", "masked diffusion", "block diffusion"]
    infill: bool
    """`suffix` and holes."""
    prompt_logprobs: bool
    max_length: int
    """Tokens of prompt, suffix and completion together."""
    block_length: int
    """Of a block diffusion model; 0 otherwise."""
    parameters: int
    dtype: str
    """Of the weights in matrix products: fp32, bf16 or int8."""


@dataclass(frozen=True, kw_only=True)
class EngineState:
    """Gauges and counters since the start."""

    running: int
    waiting: int
    memory_used: int
    memory_limit: int
    steps: int
    """Forward passes of the engine, each over a batch."""
    rows: int
    """Tokens in these passes, over all requests."""
    sequences: int
    """Requests in these passes, summed: over `steps` it is the mean batch size."""
    cached_tokens: int
    """Tokens of prompts that were not computed again."""
