"""The one transformer: what a token may see, how many parameters there are, what cannot be predicted."""

import pytest
import torch

from crossover.model.model_config import ModelConfig
from crossover.model.model_presets import model_presets, preset
from crossover.model.transformer import Transformer
from tests.conftest import tiny_model


def test_causal_sees_only_the_past_and_bidirectional_sees_all() -> None:
    tokens = torch.tensor([[0, 1, 2, 3, 4]])
    changed = tokens.clone()
    changed[0, 3] = 0
    with torch.inference_mode():
        causal, both = tiny_model(causal=True), tiny_model(causal=False)
        assert torch.equal(causal(tokens)[:, :3], causal(changed)[:, :3])
        assert not torch.equal(both(tokens)[:, :3], both(changed)[:, :3])


@pytest.mark.parametrize("name", model_presets())
def test_parameter_count_is_exact_and_equal_in_both_arms(name: str) -> None:
    config = preset(name, vocab_size=259, max_length=16)
    for causal in (True, False):
        with torch.device("meta"):
            model = Transformer(config, causal=causal, mask_id=258)
        assert sum(p.numel() for p in model.parameters()) == config.parameters


@pytest.mark.parametrize("causal", [True, False])
def test_mask_is_never_predicted(causal: bool) -> None:
    with torch.inference_mode():
        logits = tiny_model(causal=causal)(torch.tensor([[0, 1, 6]]))
    assert torch.isneginf(logits[..., 6]).all()
    assert torch.isfinite(logits[..., :6]).all()


def test_a_pair_starts_from_the_same_weights() -> None:
    causal, both = tiny_model(causal=True, seed=3), tiny_model(causal=False, seed=3)
    for name, value in causal.state_dict().items():
        assert torch.equal(value, both.state_dict()[name])


@pytest.mark.parametrize("causal", [True, False])
def test_padding_changes_nothing_for_visible_tokens(causal: bool) -> None:
    model = tiny_model(causal=causal)
    short = torch.tensor([[0, 1, 2]])
    padded = torch.tensor([[0, 1, 2, 5, 5]])
    visible = torch.tensor([[True, True, True, False, False]])
    with torch.inference_mode():
        torch.testing.assert_close(model(short), model(padded, visible)[:, :3], rtol=1e-5, atol=1e-5)


def test_flops_count_attention_for_the_mask_in_use() -> None:
    config = preset("nano", vocab_size=259, max_length=64)
    causal = config.forward_flops(keys=32.5)
    both = config.forward_flops(keys=64.0)
    assert both - causal == pytest.approx(4 * 2 * 64 * (64 - 32.5))
    assert both == 2 * config.matmul_parameters + 4 * 2 * 64 * 64


def test_heads_must_divide() -> None:
    with pytest.raises(ValueError, match="num_heads"):
        ModelConfig(vocab_size=9, hidden_size=10, num_layers=1, num_heads=4, intermediate_size=8, max_length=4)
