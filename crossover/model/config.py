"""Model sizes. No torch here: the study and `crossover doctor` read sizes without loading a tensor library."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ModelConfig(BaseModel):
    """The shape of one transformer; both arms get the very same one.

    Names follow Hugging Face's Qwen3, whose architecture this is: RMSNorm, RoPE, SwiGLU, QK-norm, no biases.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab_size: int = Field(gt=3, description="All rows of the embedding, BOS, EOS and MASK included.")
    hidden_size: int = Field(gt=0)
    num_layers: int = Field(gt=0)
    num_heads: int = Field(gt=0)
    intermediate_size: int = Field(gt=0, description="Width of the SwiGLU feed-forward.")
    max_length: int = Field(gt=0, description="Longest sequence, in tokens, BOS not counted.")
    rope_theta: float = 10_000.0
    tie_embeddings: bool = False
    norm_eps: float = 1e-6
    init_std: float = 0.02

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of 2 x num_heads = {2 * self.num_heads}"
            )
        return self

    @property
    def head_dim(self) -> int:
        """Features per attention head."""
        return self.hidden_size // self.num_heads

    @property
    def parameters(self) -> int:
        """Exact number of trainable parameters, embeddings included."""
        rows = self.vocab_size * self.hidden_size
        return self.matmul_parameters + self._norms + (0 if self.tie_embeddings else rows)

    @property
    def matmul_parameters(self) -> int:
        """Parameters that multiply every token: all matrices of the blocks and the output head."""
        block = 4 * self.hidden_size**2 + 3 * self.hidden_size * self.intermediate_size
        return self.num_layers * block + self.vocab_size * self.hidden_size

    @property
    def _norms(self) -> int:
        return self.num_layers * (2 * self.hidden_size + 2 * self.head_dim) + self.hidden_size

    def forward_flops_per_token(self, *, length: int, causal: bool) -> float:
        """Floating point operations to run one token forward in a sequence of `length` tokens.

        2 per parameter and token for the matrices; for attention 4 x hidden per visible key and layer, where a token
        sees `length` keys without causality and (length + 1) / 2 on average with it. Backward costs twice as much.
        """
        keys = (length + 1) / 2 if causal else float(length)
        return 2.0 * self.matmul_parameters + 4.0 * self.num_layers * self.hidden_size * keys


_SHAPES: dict[str, tuple[int, int, int, int]] = {
    # name: (hidden, layers, heads, feed-forward)
    "pico": (32, 1, 2, 64),
    "nano": (64, 2, 4, 176),
    "micro": (128, 4, 4, 344),
    "mini": (256, 6, 8, 688),
    "14m": (384, 6, 6, 1032),
}


def model_presets() -> tuple[str, ...]:
    """Names that `preset` accepts, smallest first."""
    return tuple(_SHAPES)


def preset(name: str, *, vocab_size: int, max_length: int) -> ModelConfig:
    """The named size for a vocabulary and a sequence length.

    Raises:
        KeyError: if there is no such preset; see `model_presets`.
    """
    hidden, layers, heads, feed_forward = _SHAPES[name]
    return ModelConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        intermediate_size=feed_forward,
        max_length=max_length,
    )
