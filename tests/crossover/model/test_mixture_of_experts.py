"""Mixture of experts: routing against a plain loop, no leak, even load, and the Hugging Face layout."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from crossover.model.hugging_face_format import config_json, from_hugging_face, to_hugging_face
from crossover.model.mixture_of_experts import Experts, MixtureOfExperts
from crossover.model.model_presets import PRESETS, preset
from crossover.model.transformer import Transformer
from crossover.training.checkpoint import load_checkpoint, save_checkpoint
from crossover.training.checkpoint_info import CheckpointInfo

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
    theirs = Qwen3MoeForCausalLM(Qwen3MoeConfig.from_dict(config))
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


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 16, generator=torch.Generator().manual_seed(seed))


def naive_token_choice(moe: MixtureOfExperts, x: Tensor) -> Tensor:
    """Token by token, expert by expert."""
    rows = []
    for token in x.flatten(0, 1):
        weight, chosen = moe.gate(token).softmax(0).topk(moe.per_token)
        rows.append(sum(w / weight.sum() * expert(moe, int(e), token) for w, e in zip(weight, chosen, strict=True)))
    return torch.stack(rows).view_as(x)


def test_token_choice_has_the_gradients_of_a_loop() -> None:
    moe, x = mixture(expert_choice=False), features(2, 7).requires_grad_()
    slope = features(2, 7, seed=1)
    wanted = [x, *moe.parameters()]
    found = torch.autograd.grad((moe(x)[0] * slope).sum(), wanted)
    expected = torch.autograd.grad((naive_token_choice(moe, x) * slope).sum(), wanted)
    assert all(float(gradient.abs().max()) > 0 for gradient in expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_an_expert_that_nobody_chose_has_no_gradient() -> None:
    moe = mixture(expert_choice=False)
    with torch.no_grad():
        moe.gate.weight.copy_(torch.arange(4.0)[:, None].expand(4, 16))
    output, _ = moe(features(1, 6).abs())  # all choose the last two experts
    for gradient in torch.autograd.grad(output.square().sum(), list(moe.experts.parameters())):
        assert gradient.abs().sum(dim=(1, 2)).gt(0).tolist() == [False, False, True, True]


@pytest.mark.parametrize(("length", "capacity"), [(1, 1), (5, 3), (6, 3), (7, 4), (8, 4)])
def test_each_expert_takes_its_share_rounded_up(length: int, capacity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    real = Experts.batched

    def batched(self: Experts, x_END: Tensor) -> Tensor:
        seen.append(tuple(x_END.shape))
        return real(self, x_END)

    monkeypatch.setattr(Experts, "batched", batched)
    mixture(expert_choice=True)(features(3, length))
    assert seen == [(4, 3 * capacity, 16)]


def test_an_expert_choice_sequence_does_not_know_its_neighbours() -> None:
    model = Transformer(CONFIG, causal=False, mask_id=258, expert_choice=True)
    model.initialise(torch.Generator().manual_seed(0))
    tokens = torch.randint(0, 256, (3, 11), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        together = model(tokens)
        for row, logits in zip(tokens, together, strict=True):
            torch.testing.assert_close(model(row[None])[0], logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("expert_choice", [False, True])
def test_padding_gets_no_weight(expert_choice: bool) -> None:
    moe, x = mixture(expert_choice=expert_choice), features(2, 8).requires_grad_()
    visible = torch.tensor([[True] * 3 + [False] * 5, [True] * 8])
    output, _ = moe(x, visible)
    assert torch.equal(output[0, 3:], torch.zeros(5, 16))
    (gradient,) = torch.autograd.grad(output.square().sum(), x)
    assert torch.equal(gradient[0, 3:], torch.zeros(5, 16))
    with torch.no_grad():
        changed = x.detach().clone()
        changed[0, 3:] = 50.0
        torch.testing.assert_close(moe(changed, visible)[0], output)


@pytest.mark.parametrize("expert_choice", [False, True])
def test_padding_changes_nothing_for_visible_tokens(expert_choice: bool) -> None:
    """A completion is the same in a batch as alone: how many tokens an expert takes must not count the padding."""
    moe, x = mixture(expert_choice=expert_choice), features(1, 10)
    visible = torch.tensor([[True] * 5 + [False] * 5])
    torch.testing.assert_close(moe(x, visible)[0][:, :5], moe(x[:, :5])[0])


@pytest.mark.parametrize("expert_choice", [False, True])
def test_router_losses_are_means_over_sequences(expert_choice: bool) -> None:
    moe, x = mixture(expert_choice=expert_choice), features(4, 6)
    singles = torch.stack([moe(row[None])[1] for row in x])
    assert singles[:, 1].unique().numel() == 4
    torch.testing.assert_close(moe(x)[1], singles.mean(dim=0))
    torch.testing.assert_close(moe(x[:2])[1], singles[:2].mean(dim=0))


def test_balance_is_one_when_even_and_more_when_collapsed() -> None:
    moe = mixture(expert_choice=False)
    place = torch.arange(8) % 4
    with torch.no_grad():
        moe.gate.weight.zero_()
        for token in range(4):  # a token of kind i likes the experts i and i + 1
            moe.gate.weight[token, token] = moe.gate.weight[(token + 1) % 4, token] = 9.0
    even, collapsed = F.one_hot(place, 16).float()[None], F.one_hot(place * 0, 16).float()[None]
    with torch.no_grad():
        assert float(moe(even)[1][0]) == pytest.approx(1.0, abs=1e-6)
        assert float(moe(collapsed)[1][0]) == pytest.approx(2.0, abs=1e-3)  # two of four experts do all
        per_token = moe.gate(even).logsumexp(-1).square()
        assert float(moe(even)[1][1]) == pytest.approx(float(per_token.mean()))
    (slope,) = torch.autograd.grad(moe(collapsed)[1][0], moe.gate.weight)
    assert slope[:2, 0].min() > 0 > slope[2:, 0].max()  # descent takes from the crowded experts


def test_a_tokens_experts_are_those_counted_as_active() -> None:
    model = Transformer(CONFIG, causal=True, mask_id=258)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    idle = sum(size for name, size in sizes.items() if ".experts." in name) * 2 // 4
    assert (CONFIG.parameters, CONFIG.active_parameters) == (sum(sizes.values()), sum(sizes.values()) - idle)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_saved_causal_mixture_loads_by_its_folder(tmp_path: Path) -> None:
    model = Transformer(CONFIG, causal=True, mask_id=258)
    model.initialise(torch.Generator().manual_seed(4))
    info = CheckpointInfo(
        run="c/ar/seed-0", run_digest="sha256:x", arm="ar", family="AR", seed=0, step=1, tokens=1, flops=1.0,
        seconds=1.0, model=CONFIG,
    )  # fmt: skip
    save_checkpoint(tmp_path / "c", info, model.state_dict())
    ours, _ = load_checkpoint(tmp_path / "c")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "c", local_files_only=True).eval()
    assert isinstance(theirs, Qwen3MoeForCausalLM)
    tokens = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        torch.testing.assert_close(ours(tokens), model(tokens), rtol=0, atol=0)
        logits, stock = model(tokens), theirs(input_ids=tokens).logits
    torch.testing.assert_close(logits[..., :258], stock[..., :258], rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*script_method. is deprecated:DeprecationWarning")  # torch's own compiler
@pytest.mark.parametrize("length", [16, 24, 48])
def test_compiled_expert_choice_has_the_eager_gradients(length: int) -> None:
    """Of one sequence: torch 2.13 compiled the gradient of the values of topk wrongly there, by half of its size."""
    torch.manual_seed(0)
    experts = MixtureOfExperts(CONFIG.model_copy(update={"num_experts": 8}), expert_choice=True)
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    experts.experts.prepare_for_compiler()
    x_BLD, weight_BLD = torch.randn(2, 1, length, CONFIG.hidden_size)

    def gradients(forward: Callable[[Tensor], tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        experts.zero_grad()
        (forward(x_BLD)[0] * weight_BLD).sum().backward()
        return {name: p.grad.clone() for name, p in experts.named_parameters() if p.grad is not None}

    torch.compiler.reset()
    compiled = gradients(torch.compile(experts, dynamic=False))
    for name, gradient in gradients(experts).items():
        torch.testing.assert_close(compiled[name], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))
