"""Named model sizes; the large ones follow arXiv 2511.03276. Parameter counts depend on the vocabulary."""

from __future__ import annotations

from typing import Any

from crossover.model.model_config import ModelConfig


def _dense(hidden: int, layers: int, heads: int, feed_forward: int) -> dict[str, Any]:
    return {"hidden_size": hidden, "num_layers": layers, "num_heads": heads, "intermediate_size": feed_forward}


def _sparse(hidden: int, layers: int, heads: int, expert: int, *, experts: int, active: int) -> dict[str, Any]:
    return _dense(hidden, layers, heads, expert) | {"num_experts": experts, "experts_per_token": active}


PRESETS: dict[str, dict[str, Any]] = {
    "pico": _dense(32, 1, 2, 64),
    "nano": _dense(64, 2, 4, 176),
    "micro": _dense(128, 4, 4, 344),
    "mini": _dense(256, 6, 8, 688),
    "mini-moe": _sparse(256, 6, 8, 352, experts=8, active=2),
    "14m": _dense(384, 8, 6, 1032),
    "30m": _dense(512, 9, 8, 1376),
    "60m": _dense(640, 12, 10, 1712),
    "125m": _dense(768, 16, 12, 2112),
    "350m": _dense(1024, 28, 16, 2736),
    "1b": _dense(2048, 18, 16, 6144),
    "coder-1.7b": _dense(2048, 28, 16, 6144),
    "8b-a1b": _sparse(2048, 19, 16, 1024, experts=64, active=4),
}
"""`1b` and `coder-1.7b` have that paper's width, heads and feed-forward. `8b-a1b` has 8 billion parameters, 0.8 billion
active per token (without embeddings); `mini-moe` is a small model of the same kind."""


def model_presets() -> tuple[str, ...]:
    """Names that `preset` accepts, smallest first."""
    return tuple(PRESETS)


def preset(name: str, *, vocab_size: int, max_length: int) -> ModelConfig:
    """The named size for a vocabulary and a sequence length.

    Raises:
        KeyError: there is no such preset; see `model_presets`.
    """
    return ModelConfig.model_validate(PRESETS[name] | {"vocab_size": vocab_size, "max_length": max_length})
