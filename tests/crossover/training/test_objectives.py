"""Every objective against enumeration, and the parts that losses are made of."""

import itertools
import math

import numpy as np
import pytest
import torch

from crossover.model.dropout import Dropout
from crossover.model.transformer import Transformer
from crossover.study import parse_study
from crossover.training import loss as loss_module
from crossover.training.arms import ARMS, Recipe, resolve_arm
from crossover.training.corruption import block_lengths, mask_blocks, training_masks
from crossover.training.loss import weighted_nll
from crossover.training.objectives import Objective, clean_and_noisy, masked_nll, sum_of_losses, weighted_token_nll
from crossover.training.order import batch_at
from tests.conftest import tiny_model

TOKENS = torch.tensor([[4, 1, 0, 2, 2]])


def block_model(block_length: int) -> Transformer:
    plain = tiny_model(causal=False)
    model = Transformer(plain.config, causal=False, mask_id=plain.mask_id, block_length=block_length)
    model.load_state_dict(plain.state_dict())
    return model.eval()


def subsets(positions: range) -> list[tuple[int, ...]]:
    return [s for k in range(1, len(positions) + 1) for s in itertools.combinations(positions, k)]


def summed(model: Transformer, masked: tuple[int, ...], weight: float) -> float:
    row = torch.tensor([[i in masked for i in range(5)]])
    with torch.inference_mode():
        return float(weighted_token_nll(model, TOKENS, row, torch.full((1, 5), weight) * row).double().sum())


def test_bernoulli_and_exact_counts_have_the_same_expectation() -> None:
    """Mask m of L tokens: plain 1/t gives it the weight of a Beta integral, exact counts 1/L x 1/C(L, m) x L/m."""
    model = tiny_model(causal=False)
    bernoulli = sum(
        summed(model, s, math.gamma(len(s)) * math.gamma(6 - len(s)) / math.gamma(6)) for s in subsets(range(5))
    )
    exact = sum(summed(model, s, 1 / math.comb(5, len(s)) / len(s)) for s in subsets(range(5)))
    assert bernoulli == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("estimator", ["exact-count", "bernoulli"])
def test_training_masks_are_unbiased(estimator: str) -> None:
    model, total, draws = tiny_model(causal=False), [], 400
    truth = sum(summed(model, s, 1 / math.comb(5, len(s)) / len(s)) for s in subsets(range(5)))
    for step in range(draws):
        batch = batch_at(step, step, batch_size=8, examples=1)
        masks, weights = training_masks(
            seed=step, step=step, batch=batch, slots=slice(0, 8), length=5, estimator=estimator
        )
        with torch.inference_mode():
            nll = weighted_token_nll(model, TOKENS.expand(8, 5), torch.tensor(masks), torch.tensor(weights))
        total.append(float(nll.double().sum(dim=1).mean()))
    assert abs(np.mean(total) - truth) < 4 * np.std(total) / math.sqrt(draws)


def test_block_diffusion_is_a_chain_of_bounds_on_clean_prefixes() -> None:
    """Enumerated over each block's masks, and computed without the doubled input."""
    model, truth, doubled = block_model(2), 0.0, 0.0
    for start, size in ((0, 2), (2, 2), (4, 1)):
        for masked in subsets(range(start, start + size)):
            weight = 1 / math.comb(size, len(masked)) / len(masked)
            doubled += summed(model, masked, weight)
            noisy = TOKENS.clone()
            noisy[0, list(masked)] = model.mask_id
            with torch.inference_mode():
                logp = model(noisy).double().log_softmax(-1)[0]
            truth -= weight * sum(float(logp[i, TOKENS[0, i]]) for i in masked)
    assert doubled == pytest.approx(truth, rel=1e-5)


def test_block_masks_have_exact_counts_and_weights() -> None:
    rng = np.random.default_rng(0)
    masks, weights = mask_blocks(rng.random(50), rng.random((50, 7)), block_lengths(7, 3))
    for start, end in ((0, 3), (3, 6), (6, 7)):
        assert masks[:, start:end].any(axis=1).all()
        np.testing.assert_allclose(weights[:, start:end].sum(axis=1), end - start, rtol=1e-6)
    row = masked_nll(block_model(3), TOKENS, torch.tensor([[True, False, False, True, True]]))
    assert (row > 0).tolist() == [[True, False, False, True, True]]


@pytest.mark.parametrize("arm", list(ARMS))
def test_scoring_only_the_masked_tokens_and_chunks_change_nothing(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Transformer(
        tiny_model(causal=True, vocab=259, length=32).config,
        causal=ARMS[arm].causal,
        mask_id=258,
        block_length=ARMS[arm].block_length,
    )
    model.initialise(torch.Generator().manual_seed(0))
    monkeypatch.setattr(loss_module, "WHOLE_LOGITS", 259 * 4 * 7)  # chunks of seven, the last one ragged
    objective = Objective(ARMS[arm], 32, 0)
    tokens = np.random.default_rng(0).integers(0, 256, (3, 32))
    batch = batch_at(0, 0, batch_size=3, examples=3)
    values, gradients = [], []
    for sparse in (False, True):
        part = objective.microbatch(0, batch, slice(0, 3), tokens, sparse=sparse, device=torch.device("cpu"))
        loss = sum_of_losses(model, part, ARMS[arm], 258, chunked=sparse)[0]
        values.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    torch.testing.assert_close(values[0], values[1], rtol=1e-5, atol=0)
    for whole, chunked in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, chunked, rtol=1e-3, atol=1e-4)
    assert float(gradients[1][-1][258].abs().sum()) == 0.0  # nobody learns to predict MASK


def test_weights_of_zero_contribute_nothing() -> None:
    hidden, head = torch.randn(6, 4, requires_grad=True), torch.randn(9, 4)
    targets, weights = torch.arange(6), torch.tensor([1.0, 0, 0, 2.0, 0, 0])
    for chunked in (False, True):
        loss = weighted_nll(hidden, head, targets, weights, mask_id=8, chunked=chunked)
        (gradient,) = torch.autograd.grad(loss, hidden)
        assert gradient.abs().sum(dim=1).gt(0).tolist() == [True, False, False, True, False, False]


def test_visible_keys_are_those_of_the_masks() -> None:
    for arm, length in (("ar", 20), ("dlm", 20), ("bd", 40)):
        objective = Objective(ARMS[arm], length, 0)
        if arm == "bd":
            mask = clean_and_noisy(length, 16, torch.device("cpu"))[0].float()
        else:
            mask = torch.ones(length, length) if arm == "dlm" else torch.ones(length, length).tril()
        assert objective.visible_keys == pytest.approx(float(mask.sum(dim=1).mean()))


def test_masked_input_hides_its_share_and_never_bos() -> None:
    batch = batch_at(0, 0, batch_size=64, examples=64)
    tokens = np.zeros((64, 128), dtype=np.int64)
    objective = Objective(ARMS["ar-masked-input"], 128, 0)
    part = objective.microbatch(0, batch, slice(0, 64), tokens, sparse=False, device=torch.device("cpu"))
    hidden = part.inputs_nT == 258
    assert not hidden[:, 0].any()
    assert float(hidden.float().mean()) == pytest.approx(0.3, abs=0.02)


def test_dropout_depends_on_the_example_and_the_site_only() -> None:
    x, keys = torch.ones(4, 50, 64), torch.tensor([5, -7, 2**31 - 1, 5], dtype=torch.int32)
    whole = Dropout(0.25, keys)(x, 3)
    assert torch.equal(whole[1:3], Dropout(0.25, keys[1:3])(x[1:3], 3))
    assert torch.equal(whole[0], whole[3])
    kept = whole > 0
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.01)
    assert float(whole.mean()) == pytest.approx(1.0, abs=0.02)
    for other in (kept[1], Dropout(0.25, keys)(x, 4)[0] > 0, kept[0].roll(1, 0), kept[0].roll(1, 1)):
        correlation = np.corrcoef(kept[0].flatten().numpy(), other.flatten().numpy())[0, 1]
        assert abs(correlation) < 0.06


def test_recipes_set_ratios_and_refuse_what_an_objective_has_not() -> None:
    assert resolve_arm("ar-dropout", Recipe(dropout=0.3)).dropout == 0.3
    assert resolve_arm("heavy", Recipe(base="ar-decay", weight_decay=1.6)).family == "AR"
    study = "arms: [ar, dlm, {0}]\nrecipes: {{{0}: {1}}}"
    for name, recipe, words in (
        ("bd", "{expert_choice: true}", "leak"),
        ("x", "{base: dlm, input_mask: 0.1}", "input_mask is for next-token arms, and 'x' is masked"),
        ("x", "{base: ar, block_length: 4}", "block_length is for block-masked arms"),
        ("x", "{base: nothing}", "unknown arm 'nothing'"),
        ("x", "{base: dlm, expert_choice: true}", "no model of the grid has experts"),
    ):
        with pytest.raises(Exception, match=words):
            parse_study(study.format(name, recipe))
