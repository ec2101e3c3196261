"""The estimators against full enumeration on a tiny vocabulary."""

import itertools
import math
from typing import cast

import numpy as np
import pytest
import torch

from crossover.evaluation import held_out_likelihood
from crossover.evaluation.held_out_likelihood import chain_rule_nll, exact_nll, frozen_masks, measured_nelbo, nelbo
from crossover.evaluation.nelbo_estimator import bound_of_draws, squared_stderr
from crossover.model.transformer import Transformer
from crossover.training.token_masking import mask_exactly, stratified_counts
from crossover.training.training_objectives import ar_nll, masked_nll
from tests.conftest import tiny_model

L = 4
TOKENS = np.array([[0, 3, 1, 2], [4, 4, 0, 1], [2, 1, 3, 0]])


def conditional_nll(model: torch.nn.Module, row: np.ndarray, visible: frozenset[int], target: int) -> float:
    """-log p(x_target | visible tokens), all others masked."""
    tokens = torch.tensor([[int(t) if i in visible else model.mask_id for i, t in enumerate(row)]])
    with torch.inference_mode():
        return float(-torch.log_softmax(model(tokens)[0, target].double(), dim=-1)[int(row[target])])


def any_order_bound(model: torch.nn.Module, row: np.ndarray) -> float:
    """The any-order bound, per token: the mean over all L! orders of the chain rule in that order."""
    orders = list(itertools.permutations(range(L)))
    total = sum(conditional_nll(model, row, frozenset(order[:j]), order[j]) for order in orders for j in range(L))
    return total / len(orders) / L


def test_averaging_over_all_masks_gives_the_any_order_bound() -> None:
    model = tiny_model(causal=False)
    for row in TOKENS:
        by_count = []
        for count in range(1, L + 1):
            masks = [m for m in itertools.product([False, True], repeat=L) if sum(m) == count]
            tokens = torch.tensor(row).expand(len(masks), L)
            with torch.inference_mode():
                by_count.append(float(masked_nll(model, tokens, torch.tensor(masks)).double().mean()))
        assert np.mean(by_count) == pytest.approx(any_order_bound(model, row), rel=1e-5)


def test_nelbo_is_unbiased_and_its_standard_error_is_honest() -> None:
    model = tiny_model(causal=False)
    truth = np.mean([any_order_bound(model, row) for row in TOKENS])
    rng = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(300):
        masks = np.stack([mask_exactly(stratified_counts(8, L, rng.random()), rng.random((8, L))) for _ in TOKENS])
        estimate = nelbo(model, TOKENS, masks)
        values.append(estimate.nats_per_token)
        errors.append(estimate.stderr)
    assert np.mean(values) == pytest.approx(truth, abs=float(4 * np.std(values) / math.sqrt(300)))
    assert 0.8 < np.mean(errors) / np.std(values) < 1.6


def simulated_draws(rng: np.random.Generator, draws: int, length: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Token losses as a language model gives them: hard and easy tokens, harder the more is masked, and noise."""
    level = np.random.default_rng(9).gamma(2.0, 0.5, length)
    counts = stratified_counts(draws, length, rng.random() / draws)
    masks = mask_exactly(counts, rng.random((draws, length)))
    losses = level + level * counts[:, None] / length + 0.2 * rng.standard_normal((draws, length))
    return losses * masks, masks


@pytest.mark.parametrize("draws", [1, 2, 3, 8, 32])
def test_the_control_variate_moves_no_mean_and_quiets(draws: int) -> None:
    """The bound of this toy is known: the mean level times one and a half, the half being the mean masked share."""
    rng, length = np.random.default_rng(draws), 32
    level = np.random.default_rng(9).gamma(2.0, 0.5, length).mean()
    truth = level * (1 + (length + 1) / 2 / length)
    quiet, plain, errors = [], [], []
    for _ in range(3000):
        nll, masks = simulated_draws(rng, draws, length)
        value = bound_of_draws(nll, masks)
        quiet.append(value.mean())
        plain.append((nll.sum(axis=1) / masks.sum(axis=1)).mean())
        errors.append(squared_stderr(value[None], masks.sum(axis=1)[None])[0])
    assert np.mean(quiet) == pytest.approx(truth, abs=4 * np.std(quiet) / math.sqrt(3000))
    if draws == 1:
        np.testing.assert_array_equal(quiet, plain)
        assert np.isnan(errors).all()
    if draws >= 8:
        assert np.var(plain) / np.var(quiet) > 2
        assert 0.8 < np.mean(errors) / np.var(quiet) < 1.5


def test_more_rounds_reach_the_standard_error_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(causal=False)
    one = measured_nelbo(model, TOKENS, draws=4)
    masks = frozen_masks(len(TOKENS), L, 4)
    assert one.nats_per_token == nelbo(model, TOKENS, masks).nats_per_token
    assert one.draws == 4
    finer = measured_nelbo(model, TOKENS, draws=4, wanted_stderr=one.stderr / 2)
    assert finer.stderr <= one.stderr / 2
    assert finer.draws % 4 == 0
    assert finer.draws >= 8
    assert measured_nelbo(model, TOKENS, draws=4, wanted_stderr=1e-9).draws == 4 * held_out_likelihood.MOST_ROUNDS
    monkeypatch.setattr(held_out_likelihood, "ROWS_AT_ONCE", 4)  # an example at a time
    again = measured_nelbo(model, TOKENS, draws=4)
    assert (again.nats_per_token, again.stderr) == pytest.approx((one.nats_per_token, one.stderr), rel=1e-6)


def test_stratified_exact_counts_beat_plain_bernoulli() -> None:
    model, rng = tiny_model(causal=False), np.random.default_rng(1)
    exact, plain = [], []
    tokens = torch.tensor(TOKENS)
    with torch.inference_mode():
        for _ in range(400):
            masks = np.stack([mask_exactly(stratified_counts(8, L, rng.random()), rng.random((8, L))) for _ in TOKENS])
            exact.append(nelbo(model, TOKENS, masks).nats_per_token)
            draws = []
            for _ in range(8):
                t = torch.tensor(rng.uniform(1e-3, 1, size=(3, 1)))
                masked = torch.tensor(rng.random((3, L))) < t
                nll = torch.nn.functional.cross_entropy(
                    model(tokens.masked_fill(masked, model.mask_id)).transpose(1, 2), tokens, reduction="none"
                )
                draws.append(float((nll * masked / t).mean()))
            plain.append(np.mean(draws))
    assert np.var(plain) / np.var(exact) > 2


def test_chain_rule_is_the_left_to_right_product() -> None:
    model = tiny_model(causal=False)
    expected = [sum(conditional_nll(model, row, frozenset(range(j)), j) for j in range(L)) / L for row in TOKENS]
    np.testing.assert_allclose(chain_rule_nll(model, TOKENS).per_example, expected, rtol=1e-5)


def test_right_to_left_is_the_product_in_that_order() -> None:
    model = tiny_model(causal=False)
    expected = [sum(conditional_nll(model, row, frozenset(range(j + 1, L)), j) for j in range(L)) / L for row in TOKENS]
    result = chain_rule_nll(model, TOKENS, "right-to-left")
    np.testing.assert_allclose(result.per_example, expected, rtol=1e-5)
    assert (result.estimator, result.stderr, result.draws) == ("chain rule", 0.0, 1)


@pytest.mark.parametrize("block_length", [0, 2, 3])
def test_the_confident_order_is_a_probability_over_all_texts(block_length: int) -> None:
    """It sums to one only if no position is chosen, or scored, by what is still to be read."""
    model = tiny_model(causal=False, vocab=4, length=4, block_length=block_length)
    every = np.array(list(itertools.product(range(3), repeat=4)))
    for order in ("confidence", "left-to-right", "right-to-left"):
        nll_N = chain_rule_nll(model, every, order).per_example * 4
        assert np.exp(-nll_N).sum() == pytest.approx(1.0, abs=1e-4), order


def test_the_confident_order_reads_the_surest_position_first() -> None:
    model, row, total = tiny_model(causal=False), TOKENS[0], 0.0
    seen: list[int] = []
    for _ in range(L):
        tokens = torch.tensor([[int(t) if i in seen else model.mask_id for i, t in enumerate(row)]])
        with torch.inference_mode():
            sureness = model(tokens)[0].double().softmax(-1).amax(-1)
        place = max((i for i in range(L) if i not in seen), key=lambda i: float(sureness[i]))
        total += conditional_nll(model, row, frozenset(seen), place)
        seen.append(place)
    assert chain_rule_nll(model, TOKENS[:1], "confidence").nats_per_token == pytest.approx(total / L, rel=1e-5)


class RevealsTheFuture(torch.nn.Module):
    """A model that is certain of a token when it, or a later one, is visible: a leak would show as zero loss."""

    def __init__(self, truth: list[int], vocab: int) -> None:
        super().__init__()
        self.truth, self.vocab, self.mask_id, self.causal = truth, vocab, vocab - 1, False
        self.lm_head, self.block_length = torch.nn.Linear(1, 1), 0

    def documents(self, _: torch.Tensor) -> None:
        """Each text is one document."""

    def forward(self, tokens_BL: torch.Tensor, documents_BL: None) -> torch.Tensor:
        logits = torch.zeros(*tokens_BL.shape, self.vocab)
        for b, row in enumerate(tokens_BL.tolist()):
            for i in range(len(row)):
                if any(t != self.mask_id for t in row[i:]):
                    logits[b, i, self.truth[i]] = 100.0
        return logits


def test_chain_rule_never_shows_a_later_token() -> None:
    row = [0, 3, 1, 2]
    leaky = cast(Transformer, RevealsTheFuture(row, 7))
    assert chain_rule_nll(leaky, np.array([row])).nats_per_token == pytest.approx(math.log(7))


def test_ar_likelihood_is_a_probability_over_all_sequences() -> None:
    model = tiny_model(causal=True)
    every = torch.tensor(list(itertools.product(range(6), repeat=3)))
    with torch.inference_mode():
        logp = -ar_nll(model, every, 5).double().sum(dim=1)
    assert float(logp.exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_exact_nll_agrees_with_the_training_loss_and_has_no_error() -> None:
    model = tiny_model(causal=True, vocab=259)
    value = exact_nll(model, TOKENS)
    with torch.inference_mode():
        direct = float(ar_nll(model, torch.tensor(TOKENS), 256).double().mean())
    assert value.nats_per_token == pytest.approx(direct)
    assert (value.stderr, value.estimator) == (0.0, "exact")


def test_frozen_masks_depend_on_the_example_only() -> None:
    np.testing.assert_array_equal(frozen_masks(3, 8, 4), frozen_masks(9, 8, 4)[:3])
    counts = frozen_masks(50, 8, 8).sum(axis=2)
    assert all(sorted(row) == list(range(1, 9)) for row in counts.tolist())
