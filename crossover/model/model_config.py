"""Architecture of a transformer, with exact parameter and FLOP counts. No torch: planning reads sizes without it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ModelConfig(BaseModel):
    """Architecture of one transformer, the same for all arms.

    Names follow Hugging Face's Qwen3 and Qwen3-MoE, whose architectures these are: RMSNorm, RoPE, SwiGLU, QK-norm, no
    biases; with experts, each block's feed-forward is a mixture of `num_experts` SwiGLUs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab_size: int = Field(gt=3, description="Rows of the embedding, including BOS, EOS and MASK.")
    hidden_size: int = Field(gt=0)
    num_layers: int = Field(gt=0)
    num_heads: int = Field(gt=0)
    intermediate_size: int = Field(gt=0, description="Width of the SwiGLU feed-forward, or of one expert.")
    max_length: int = Field(gt=0, description="Longest sequence, in tokens, BOS not counted.")
    num_experts: int = Field(default=0, ge=0, description="Experts in a block; 0 is a dense feed-forward.")
    experts_per_token: int = Field(default=0, ge=0, description="Experts per token (on average).")
    rope_theta: float = 10_000.0
    tie_embeddings: bool = False
    norm_eps: float = 1e-6
    init_std: float = 0.02

    @model_validator(mode="after")
    def _parts_agree(self) -> ModelConfig:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of 2 x num_heads = {2 * self.num_heads}"
            )
        if not (0 < self.experts_per_token <= self.num_experts or self.num_experts == self.experts_per_token == 0):
            raise ValueError(
                f"experts_per_token {self.experts_per_token} must lie between 1 and num_experts {self.num_experts}"
            )
        return self

    @property
    def head_dim(self) -> int:
        """Features per attention head."""
        return self.hidden_size // self.num_heads

    @property
    def parameters(self) -> int:
        """Exact number of trainable parameters, including embeddings and all experts."""
        rows = self.vocab_size * self.hidden_size
        return self._blocks(self.num_experts) + self._norms + (1 if self.tie_embeddings else 2) * rows

    @property
    def active_parameters(self) -> int:
        """Parameters used per token; all of them in a dense model."""
        idle = (self.num_experts - self.experts_per_token) * 3 * self.hidden_size * self.intermediate_size
        return self.parameters - self.num_layers * idle

    @property
    def matmul_parameters(self) -> int:
        """Parameters of the matrix products per token: the blocks (of a token's experts only) and the head."""
        return self._blocks(self.experts_per_token) + self.vocab_size * self.hidden_size

    def _blocks(self, experts: int) -> int:
        """Matrix parameters of all blocks, counting `experts` experts per block."""
        feed_forward = 3 * self.hidden_size * self.intermediate_size * max(1, experts)
        router = self.num_experts * self.hidden_size
        return self.num_layers * (4 * self.hidden_size**2 + feed_forward + router)

    @property
    def _norms(self) -> int:
        return self.num_layers * (2 * self.hidden_size + 2 * self.head_dim) + self.hidden_size

    def forward_flops(self, *, keys: float, passes: float = 1.0, scored: float = 1.0) -> float:
        """Forward FLOPs per token of text: 2 per matrix parameter, 4 x hidden size per visible key and layer.

        Args:
            keys: visible keys, averaged over the input positions.
            passes: input positions per token of text (2 for block diffusion, whose input has a clean copy).
            scored: fraction of the tokens of text whose logits are computed.
        """
        head = self.vocab_size * self.hidden_size
        blocks = 2.0 * (self.matmul_parameters - head) + 4.0 * self.num_layers * self.hidden_size * keys
        return passes * blocks + scored * 2.0 * head
