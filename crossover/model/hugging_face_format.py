"""Hugging Face format: config.json and parameter names of Qwen3 (dense) and Qwen3-MoE (sparse).

A causal checkpoint loads in `transformers` without custom code; a diffusion model has an architecture of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from crossover.model.model_config import ModelConfig

_STACKED = re.compile(r"(.*\.mlp\.experts)\.(gate_proj|up_proj|down_proj)")


def to_hugging_face(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters by their Hugging Face names; stacked experts (E, in, out) become one (out, in) matrix each."""
    named: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        match = _STACKED.fullmatch(name)
        if match is None:
            named[name] = tensor.contiguous()
            continue
        for expert, matrix in enumerate(tensor):
            named[f"{match[1]}.{expert}.{match[2]}.weight"] = matrix.T.contiguous()
    return named


def from_hugging_face(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The inverse of `to_hugging_face`.

    Raises:
        RuntimeError: an expert is missing.
    """
    if not config.num_experts:
        return dict(tensors)
    named = {name: tensor for name, tensor in tensors.items() if ".mlp.experts." not in name}
    for layer in range(config.num_layers):
        for kind in ("gate_proj", "up_proj", "down_proj"):
            stem = f"model.layers.{layer}.mlp.experts"
            try:
                matrices = [tensors[f"{stem}.{expert}.{kind}.weight"].T for expert in range(config.num_experts)]
            except KeyError as error:
                raise RuntimeError(f"{error.args[0]} is missing") from error
            named[f"{stem}.{kind}"] = torch.stack(matrices)
    return named


def config_json(
    model: ModelConfig,
    *,
    family: str,
    special: tuple[int, int, int],
    block_length: int = 0,
    expert_choice: bool = False,
) -> dict[str, object]:
    """The Hugging Face config, plus a `crossover` section.

    Args:
        model: the architecture.
        family: AR or DLM.
        special: ids of BOS, EOS and MASK.
        block_length: of a block diffusion model; 0 otherwise.
        expert_choice: whether the model routes by expert choice.
    """
    bos, eos, mask = special
    causal, sparse = family == "AR", bool(model.num_experts)
    stock = ("Qwen3MoeForCausalLM", "qwen3_moe") if sparse else ("Qwen3ForCausalLM", "qwen3")
    architecture, kind = stock if causal else ("CrossoverMaskedDiffusionLM", "crossover_dlm")
    config: dict[str, object] = {
        "architectures": [architecture],
        "model_type": kind,
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_heads,
        "num_key_value_heads": model.num_heads,
        "head_dim": model.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": model.max_length + 1,
        "rms_norm_eps": model.norm_eps,
        "rope_theta": model.rope_theta,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": model.tie_embeddings,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "torch_dtype": "float32",
    }
    if sparse:
        config |= {
            "num_experts": model.num_experts,
            "num_experts_per_tok": model.experts_per_token,
            "moe_intermediate_size": model.intermediate_size,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        }
    own: dict[str, object] = {"family": family, "mask_token_id": mask, "suppressed_token_ids": [mask]}
    if block_length:
        own["block_length"] = block_length
    if expert_choice:
        own["router"] = "expert-choice"
    return config | {"crossover": own}
