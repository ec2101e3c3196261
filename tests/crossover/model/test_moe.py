"""Mixture of experts: routing against a plain loop, no leak, even load, and the Hugging Face layout."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from crossover.model.hugging_face import config_json, from_hugging_face, to_hugging_face
from crossover.model.moe import MixtureOfExperts
from crossover.model.presets import PRESETS, preset
from crossover.model.transformer import Transformer

CONFIG = preset("mini-moe", vocab_size=259, max_length=12).model_copy(
    update={"hidden_size": 16, "num_heads": 2, "num_layers": 2, "intermediate_size": 8, "num_experts": 4}
)
PARAMETERS = {
    "pico": 26_944,
    "nano": 133_888,
    "micro": 858_240,
    "mini": 4_879_488,
    "mini-moe": 14_697_600,
    "14m": 14_435_968,
    "30m": 28_735_104,
    "60m": 59_454_336,
    "125m": 116_030_720,
    "350m": 353_372_672,
    "1b": 982_608_384,
    "coder-1.7b": 1_527_911_424,
    "8b-a1b": 7_972_813_568,
}


def mixture(*, expert_choice: bool) -> MixtureOfExperts:
    found = MixtureOfExperts(CONFIG, expert_choice=expert_choice)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.normal_(0.0, 0.5, generator=torch.Generator().manual_seed(parameter.numel()))
    return found


def expert(moe: MixtureOfExperts, index: int, x: Tensor) -> Tensor:
    weights = moe.experts
    return (F.silu(x @ weights.gate_proj[index]) * (x @ weights.up_proj[index])) @ weights.down_proj[index]


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_have_exactly_their_parameters(name: str) -> None:
    config = preset(name, vocab_size=259, max_length=64)
    with torch.device("meta"):
        model = Transformer(config, causal=True, mask_id=258)
    assert sum(p.numel() for p in model.parameters()) == config.parameters == PARAMETERS[name]
    assert config.active_parameters == {"mini-moe": 4_965_504, "8b-a1b": 800_553_728}.get(name, config.parameters)


def test_token_choice_equals_a_loop_over_tokens() -> None:
    moe, x = mixture(expert_choice=False), torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    found, losses = moe(x)
    for token, result in zip(x.flatten(0, 1), found.flatten(0, 1), strict=True):
        weight, chosen = moe.gate(token).softmax(0).topk(2)
        parts = [w * expert(moe, int(e), token) for w, e in zip(weight / weight.sum(), chosen, strict=True)]
        torch.testing.assert_close(result, sum(parts), rtol=1e-5, atol=1e-6)
    singles = [moe(row[None])[1] for row in x]
    torch.testing.assert_close(losses, torch.stack(singles).mean(dim=0))
    assert losses[0] >= 0.99


def test_expert_choice_takes_its_capacity_from_each_sequence_alone() -> None:
    moe, x = mixture(expert_choice=True), torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(2))
    found, _ = moe(x)
    torch.testing.assert_close(found[:1], moe(x[:1])[0])
    scores = moe.gate(x[0]).softmax(-1)
    expected = torch.zeros(6, 16)
    for index in range(4):
        weight, tokens = scores[:, index].topk(3)  # ceil(2 x 6 / 4)
        for w, token in zip(weight, tokens, strict=True):
            expected[token] += w * expert(moe, index, x[0, token])
    torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-6)


def test_expert_choice_is_refused_where_it_would_leak() -> None:
    for causal, block in ((True, 0), (False, 4)):
        with pytest.raises(ValueError, match="leak"):
            Transformer(CONFIG, causal=causal, mask_id=258, block_length=block, expert_choice=True)


def test_a_later_token_never_changes_an_earlier_logit() -> None:
    for causal, block in ((True, 0), (False, 4)):
        model = Transformer(CONFIG, causal=causal, mask_id=258, block_length=block)
        model.initialise(torch.Generator().manual_seed(0))
        tokens = torch.randint(0, 256, (1, 12), generator=torch.Generator().manual_seed(3))
        changed = tokens.clone()
        changed[0, 8:] = 7
        before, after = model(tokens)[0, :8], model(changed)[0, :8]
        torch.testing.assert_close(before, after, rtol=0, atol=1e-6)


def test_a_causal_mixture_loads_in_transformers() -> None:
    model = Transformer(CONFIG, causal=True, mask_id=258)
    model.initialise(torch.Generator().manual_seed(0))
    tensors = to_hugging_face(model.state_dict())
    back = from_hugging_face(tensors, CONFIG)
    assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())
    config = config_json(CONFIG, family="AR", special=(256, 257, 258))
    config.pop("crossover")
    theirs = Qwen3MoeForCausalLM(Qwen3MoeConfig(**config))
    stacked = {}
    for name, value in theirs.state_dict().items():
        if name.endswith("experts.gate_up_proj"):
            stem = name.removesuffix(".gate_up_proj")
            halves = [
                torch.stack([tensors[f"{stem}.{e}.{kind}.weight"] for e in range(4)])
                for kind in ("gate_proj", "up_proj")
            ]
            stacked[name] = torch.cat(halves, dim=1)
        elif name.endswith("experts.down_proj"):
            stem = name.removesuffix(".down_proj")
            stacked[name] = torch.stack([tensors[f"{stem}.{e}.down_proj.weight"] for e in range(4)])
        else:
            stacked[name] = tensors[name]
        assert stacked[name].shape == value.shape
    theirs.load_state_dict(stacked)
    tokens = torch.randint(0, 256, (2, 9))
    with torch.no_grad():
        ours, other = model(tokens), theirs.eval()(input_ids=tokens).logits
    torch.testing.assert_close(ours[..., :258], other[..., :258], rtol=1e-4, atol=1e-5)
