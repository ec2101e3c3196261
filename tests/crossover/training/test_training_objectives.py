"""Every objective against enumeration, and the parts that losses are made of."""

import itertools
import math
from functools import lru_cache

import numpy as np
import pytest
import torch

from crossover.counter_rng import Stream
from crossover.model.attention import AttentionContext
from crossover.model.dropout import Dropout
from crossover.model.transformer import Transformer
from crossover.study.arms import ARMS, MaskSampling, Recipe, resolve_arm
from crossover.study.load_study import parse_study
from crossover.training.batch_order import batch_at
from crossover.training.chunked_loss import weighted_nll
from crossover.training.token_masking import block_lengths, example_noise, mask_blocks, training_masks
from crossover.training.training_objectives import (
    TrainingObjective,
    clean_and_noisy,
    masked_nll,
    sum_of_losses,
    weighted_token_nll,
)
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


@pytest.mark.parametrize("mask_sampling", ["exact-count", "bernoulli"])
def test_training_masks_are_unbiased(mask_sampling: MaskSampling) -> None:
    model, total, draws = tiny_model(causal=False), [], 400
    truth = sum(summed(model, s, 1 / math.comb(5, len(s)) / len(s)) for s in subsets(range(5)))
    for step in range(draws):
        batch = batch_at(step, step, batch_size=8, examples=1)
        masks, weights = training_masks(
            seed=step, step=step, batch=batch, slots=slice(0, 8), length=5, mask_sampling=mask_sampling
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
def test_scoring_only_the_masked_tokens_and_chunks_change_nothing(arm: str) -> None:
    model = Transformer(
        tiny_model(causal=True, vocab=259, length=32).config,
        causal=ARMS[arm].causal,
        mask_id=258,
        block_length=ARMS[arm].block_length,
    )
    model.initialise(torch.Generator().manual_seed(0))
    objective = TrainingObjective(ARMS[arm], 32, 0)
    tokens = np.random.default_rng(0).integers(0, 256, (3, 32))
    batch = batch_at(0, 0, batch_size=3, examples=3)
    values, gradients = [], []
    for sparse in (False, True):
        part = objective.microbatch(0, batch, slice(0, 3), tokens, sparse=sparse, device=torch.device("cpu"))
        loss = sum_of_losses(model, part, ARMS[arm], 258, chunk=259 * 7 * sparse)[0]  # of seven rows, the last ragged
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
        loss = weighted_nll(hidden, head, targets, weights, mask_id=8, chunk=9 * 4 * chunked)
        (gradient,) = torch.autograd.grad(loss, hidden)
        assert gradient.abs().sum(dim=1).gt(0).tolist() == [True, False, False, True, False, False]


def test_visible_keys_are_those_of_the_masks() -> None:
    for arm, length in (("ar", 20), ("dlm", 20), ("bd", 40)):
        objective = TrainingObjective(ARMS[arm], length, 0)
        if arm == "bd":
            mask = clean_and_noisy(length, 16, torch.device("cpu"))[0].float()
        else:
            mask = torch.ones(length, length) if arm == "dlm" else torch.ones(length, length).tril()
        assert objective.visible_keys == pytest.approx(float(mask.sum(dim=1).mean()))


def test_masked_input_hides_its_share_and_never_bos() -> None:
    batch = batch_at(0, 0, batch_size=64, examples=64)
    tokens = np.zeros((64, 128), dtype=np.int64)
    objective = TrainingObjective(ARMS["ar-masked-input"], 128, 0)
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


def any_order_bound(model: Transformer, length: int, size: int) -> float:
    """Summed over tokens: the mean over all orders within a block of the chain rule in it, on clean blocks before."""

    @lru_cache
    def conditional(visible: frozenset[int], target: int) -> float:
        tokens = TOKENS[:, :length].clone()
        tokens[0, [i for i in range(length) if i not in visible]] = model.mask_id
        with torch.inference_mode():
            return -float(model(tokens)[0, target].double().log_softmax(-1)[TOKENS[0, target]])

    total = 0.0
    for start in range(0, length, size):
        orders = list(itertools.permutations(range(start, min(start + size, length))))
        for order in orders:
            for j, target in enumerate(order):
                total += conditional(frozenset((*range(start), *order[:j])), target) / len(orders)
    return total


@pytest.mark.parametrize(("block_length", "size"), [(0, 5), (2, 2), (3, 3), (5, 5), (1, 1)])
def test_the_enumerated_estimators_are_the_any_order_bound(block_length: int, size: int) -> None:
    """A mask of m tokens in a block of n weighs 1/(m C(n, m)): exact counts' 1/n x 1/C x n/m is 1/t's Beta integral."""
    model = block_model(block_length)
    result = 0.0
    for start in range(0, 5, size):
        block = range(start, min(start + size, 5))
        for masked in subsets(block):
            n, m = len(block), len(masked)
            beta = math.exp(math.lgamma(m) + math.lgamma(n - m + 1) - math.lgamma(n + 1))
            assert beta == pytest.approx(1 / (m * math.comb(n, m)))
            result += summed(model, masked, beta)
    assert result == pytest.approx(any_order_bound(model, 5, size), rel=1e-5)


@pytest.mark.parametrize(
    ("mask_sampling", "block_length"), [("exact-count", 0), ("bernoulli", 0), ("exact-count", 2), ("exact-count", 3)]
)
def test_masks_come_with_their_probability_and_weight(mask_sampling: MaskSampling, block_length: int) -> None:
    """Subset s of a block of n with m tokens: 1/n x 1/C(n, m), or for plain 1/t the integral Beta(m + 1, n - m + 1)."""
    masks, weights = [], []
    for step in range(100):
        batch = batch_at(3, step, batch_size=50, examples=5000)
        drawn = training_masks(
            seed=3,
            step=step,
            batch=batch,
            slots=slice(0, 50),
            length=5,
            mask_sampling=mask_sampling,
            block_length=block_length,
        )
        masks.append(drawn[0])
        weights.append(drawn[1])
        if mask_sampling == "bernoulli":  # the weight of each row is 1/t of the very t that masked it
            some = drawn[0].any(axis=1)
            noise = example_noise(3, Stream.CORRUPTION, batch, slice(0, 50), 5)[some]
            np.testing.assert_array_equal(drawn[0][some], noise * drawn[1][some].max(axis=1, keepdims=True) < 1)
    masks_NL, weights_NL = np.concatenate(masks), np.concatenate(weights)
    assert (weights_NL[~masks_NL] == 0).all()
    for start in range(0, 5, block_length or 5):
        block = range(start, min(start + (block_length or 5), 5))
        for masked in subsets(block):
            n, m = len(block), len(masked)
            here = (masks_NL[:, block] == [i in masked for i in block]).all(axis=1)
            probability = 1 / math.comb(n, m) / ((n + 1) if mask_sampling == "bernoulli" else n)
            assert abs(here.mean() - probability) < 5 * math.sqrt(probability * (1 - probability) / len(here)) + 1e-9
            if mask_sampling == "exact-count":
                np.testing.assert_allclose(weights_NL[here][:, list(masked)], n / m, rtol=1e-6)


@pytest.mark.parametrize("block_length", [1, 2, 3, 5, 8])
def test_the_doubled_pass_is_each_noisy_block_after_its_clean_prefix(block_length: int) -> None:
    model = block_model(block_length)
    noisy = TOKENS.clone()
    noisy[0, [0, 2, 3]] = model.mask_id
    mask, positions = clean_and_noisy(5, block_length, torch.device("cpu"))
    with torch.inference_mode():
        doubled = model(torch.cat((TOKENS, noisy), dim=1), mask_LL=mask, positions_L=positions)
        torch.testing.assert_close(doubled[:, :5], model(TOKENS), rtol=1e-5, atol=1e-5)
        for start in range(0, 5, block_length):
            here = slice(start, start + block_length)
            plain = model(torch.cat((TOKENS[:, :start], noisy[:, here]), dim=1))[:, start:]
            torch.testing.assert_close(doubled[:, 5:][:, here], plain, rtol=1e-5, atol=1e-5)


def arm_model(arm: str, length: int) -> Transformer:
    """A random model of an arm's kind, for bytes."""
    config = tiny_model(causal=True, vocab=259, length=length).config
    model = Transformer(config, causal=ARMS[arm].causal, mask_id=258, block_length=ARMS[arm].block_length)
    model.initialise(torch.Generator().manual_seed(0))
    return model


@pytest.mark.parametrize("length", [8, 16, 20, 48])
@pytest.mark.parametrize("arm", ["ar", "dlm", "bd"])
def test_visible_keys_are_those_that_attention_gets(arm: str, length: int) -> None:
    model, objective, contexts = arm_model(arm, length), TrainingObjective(ARMS[arm], length, 0), []
    attention = model.model.layers[0].self_attn
    assert isinstance(attention, torch.nn.Module)
    attention.register_forward_pre_hook(lambda _, arguments: contexts.append(arguments))
    batch, tokens = batch_at(0, 0, batch_size=2, examples=2), np.zeros((2, length), dtype=np.int64)
    part = objective.microbatch(0, batch, slice(0, 2), tokens, sparse=False, device=torch.device("cpu"))
    sum_of_losses(model, part, ARMS[arm], 258, chunk=0)
    ((x, context),) = contexts
    assert isinstance(context, AttentionContext)
    positions = x.shape[1]
    assert positions == objective.passes * length == part.inputs_nT.shape[1]
    mask = (
        torch.ones(positions, positions) if context.mask is None else context.mask.float().expand(positions, positions)
    )
    seen = mask.tril() if context.is_causal else mask
    assert objective.visible_keys == pytest.approx(float(seen.sum(dim=1).mean()))


@pytest.mark.parametrize(
    ("name", "recipe", "length"),
    [
        ("ar", None, 16),
        ("dlm", None, 16),
        ("bd", None, 48),
        ("bd", None, 20),  # a ragged last block
        ("bd", None, 8),  # a block longer than the text
        ("dlm", Recipe(mask_sampling="bernoulli"), 8),
    ],
    ids=["ar", "dlm", "bd", "bd-ragged", "bd-short", "bernoulli"],
)
def test_the_scored_fraction_is_what_is_scored(name: str, recipe: Recipe | None, length: int) -> None:
    """The operations of a run, planned and reported, count logits by it."""
    objective, shares = TrainingObjective(resolve_arm(name, recipe), length, 0), []
    tokens = np.zeros((8, length), dtype=np.int64)
    for step in range(600):
        batch = batch_at(0, step, batch_size=8, examples=640)
        part = objective.microbatch(step, batch, slice(0, 8), tokens, sparse=True, device=torch.device("cpu"))
        shares.append(1.0 if part.scored is None else len(part.scored) / tokens.size)
    assert np.mean(shares) == pytest.approx(
        objective.scored_fraction, abs=float(4 * np.std(shares) / math.sqrt(600) + 1e-9)
    )


def test_masked_input_is_otherwise_the_shifted_text_on_any_cut() -> None:
    batch, tokens = batch_at(0, 3, batch_size=16, examples=64), np.random.default_rng(0).integers(0, 256, (16, 32))
    objective, plain = TrainingObjective(ARMS["ar-masked-input"], 32, 0), TrainingObjective(ARMS["ar"], 32, 0)
    cuts = [slice(0, 16), slice(0, 5), slice(5, 16)]
    whole, *halves = (
        objective.microbatch(3, batch, cut, tokens[cut], sparse=True, device=torch.device("cpu")) for cut in cuts
    )
    assert torch.equal(whole.inputs_nT, torch.cat([half.inputs_nT for half in halves]))
    shifted = plain.microbatch(3, batch, cuts[0], tokens, sparse=True, device=torch.device("cpu")).inputs_nT
    hidden = whole.inputs_nT == 258
    assert hidden.any()
    assert torch.equal(whole.inputs_nT[~hidden], shifted[~hidden])
    assert torch.equal(shifted[:, 0], torch.full((16,), 256))
    assert torch.equal(shifted[:, 1:], torch.from_numpy(tokens)[:, :-1])
    assert torch.equal(whole.targets_nL, torch.from_numpy(tokens))  # every token is still predicted
    assert (whole.weights_nL, whole.scored) == (None, None)


@pytest.mark.parametrize("arm", ["dlm", "bd"])
def test_sparse_scores_just_the_weighted_tokens(arm: str) -> None:
    objective, tokens = TrainingObjective(ARMS[arm], 20, 1), np.random.default_rng(1).integers(0, 256, (4, 20))
    batch, model = batch_at(1, 2, batch_size=4, examples=9), arm_model(arm, 20)
    losses = []
    for sparse in (False, True):
        part = objective.microbatch(2, batch, slice(0, 4), tokens, sparse=sparse, device=torch.device("cpu"))
        losses.append(sum_of_losses(model, part, ARMS[arm], 258, chunk=0).detach())
    assert part.scored is not None
    assert part.weights_nL is not None
    assert torch.equal(part.scored, part.weights_nL.flatten().nonzero()[:, 0])
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0)
