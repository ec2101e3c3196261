"""The sizes: exact counts, and the operations they cost."""

import pytest
import torch

from crossover.model.model_config import ModelConfig
from crossover.model.model_presets import PRESETS, model_presets, preset
from crossover.model.transformer import Transformer

COUNTS = {  # all, and those that one token meets; with a vocabulary of 259
    "pico": (26_944, 26_944),
    "nano": (133_888, 133_888),
    "micro": (858_240, 858_240),
    "mini": (4_879_488, 4_879_488),
    "mini-moe": (14_697_600, 4_965_504),
    "14m": (14_435_968, 14_435_968),
    "30m": (28_735_104, 28_735_104),
    "60m": (59_454_336, 59_454_336),
    "125m": (116_030_720, 116_030_720),
    "350m": (353_372_672, 353_372_672),
    "1b": (982_608_384, 982_608_384),
    "coder-1.7b": (1_527_911_424, 1_527_911_424),
    "8b-a1b": (7_972_813_568, 800_553_728),
}


def shapes(config: ModelConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        model = Transformer(config, causal=True, mask_id=config.vocab_size - 1)
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def met(config: ModelConfig, name: str, shape: torch.Size) -> int:
    """Numbers of a parameter that one token meets."""
    share = config.experts_per_token if ".experts." in name else 1
    return shape.numel() // (config.num_experts if ".experts." in name else 1) * share


def test_every_preset_is_counted() -> None:
    assert tuple(COUNTS) == model_presets()


@pytest.mark.parametrize("name", list(PRESETS))
def test_counts_are_exact(name: str) -> None:
    config = preset(name, vocab_size=259, max_length=64)
    result = shapes(config)
    active = sum(met(config, parameter, shape) for parameter, shape in result.items())
    assert (sum(shape.numel() for shape in result.values()), active) == COUNTS[name]
    assert (config.parameters, config.active_parameters) == COUNTS[name]


@pytest.mark.parametrize("name", list(PRESETS))
def test_forward_costs_two_a_matrix_parameter_and_four_a_visible_key(name: str) -> None:
    config = preset(name, vocab_size=259, max_length=64)
    matrices = sum(
        met(config, parameter, shape)
        for parameter, shape in shapes(config).items()
        if len(shape) > 1 and "embed_tokens" not in parameter
    )
    assert config.matmul_parameters == matrices
    attention = 4 * config.num_layers * config.hidden_size * 40
    assert config.forward_flops(keys=40) == 2 * matrices + attention
    head = 2 * 259 * config.hidden_size
    assert config.forward_flops(keys=40, passes=2, scored=0.25) == 2 * (2 * matrices - head + attention) + head / 4


def test_tied_embeddings_are_counted_once_and_still_multiply() -> None:
    loose = preset("pico", vocab_size=259, max_length=64)
    tied = loose.model_copy(update={"tie_embeddings": True})
    assert sum(shape.numel() for shape in shapes(tied).values()) == tied.parameters == loose.parameters - 259 * 32
    assert tied.forward_flops(keys=1) == loose.forward_flops(keys=1)


@pytest.mark.parametrize(("experts", "active"), [(4, 0), (0, 2), (4, 5)])
def test_experts_a_token_must_be_among_the_experts(experts: int, active: int) -> None:
    values = PRESETS["pico"] | {"num_experts": experts, "experts_per_token": active}
    with pytest.raises(ValueError, match="experts_per_token"):
        ModelConfig.model_validate(values | {"vocab_size": 259, "max_length": 8})
