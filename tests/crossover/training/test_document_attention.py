"""Documents that share an example do not see each other, in training and in evaluation, in either family."""

import numpy as np
import pytest
import torch

from crossover.evaluation.held_out_likelihood import chain_rule_nll, exact_nll, frozen_masks, nelbo
from crossover.model.transformer import Transformer
from crossover.study.arms import ARMS, Arm, Recipe, resolve_arm
from crossover.tokenization.tokenizer import EOS, MASK
from crossover.training.batch_order import Batch
from crossover.training.training_objectives import TrainingObjective, sum_of_losses
from tests.conftest import tiny_model

LENGTH = 12
ARMS_TRIED = [ARMS["ar"], ARMS["dlm"], resolve_arm("bd", Recipe(block_length=4)), ARMS["dlm-fixed-order"]]
FIRST, SECOND = slice(0, 5), slice(5, LENGTH)


def model_of(arm: Arm, document_end: int | None) -> Transformer:
    config = tiny_model(causal=True, vocab=259, length=LENGTH).config
    model = Transformer(
        config, causal=arm.causal, mask_id=MASK, block_length=arm.block_length, document_end=document_end
    )
    model.initialise(torch.Generator().manual_seed(0))
    return model.eval()


def joined() -> np.ndarray:
    """Two documents, of 5 and of 7 tokens, in one example."""
    tokens = np.random.default_rng(0).integers(0, 256, (1, LENGTH))
    tokens[0, [4, LENGTH - 1]] = EOS
    return tokens


def gradient_of_embeddings(arm: Arm, end: int | None, tokens: np.ndarray, part: slice) -> torch.Tensor:
    """Of the loss of one document alone, by the rows of the embedding: shape (259,)."""
    model, objective = model_of(arm, end), TrainingObjective(arm, LENGTH, 0, end)
    batch = Batch(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
    drawn = objective.microbatch(0, batch, slice(0, 1), tokens, sparse=False, device=torch.device("cpu"))
    weights = torch.zeros(1, LENGTH)
    weights[:, part] = 1.0 if drawn.weights_nL is None else drawn.weights_nL[:, part]
    sum_of_losses(model, drawn._replace(weights_nL=weights), arm, MASK, chunk=0)[0].backward()
    gradient = model.model.embed_tokens.weight.grad
    assert gradient is not None
    return gradient.abs().sum(dim=1)


@pytest.mark.parametrize("arm", ARMS_TRIED, ids=lambda arm: arm.name)
@pytest.mark.parametrize(("part", "other"), [(FIRST, SECOND), (SECOND, FIRST)])
def test_a_documents_loss_does_not_depend_on_the_other(arm: Arm, part: slice, other: slice) -> None:
    tokens = joined()
    others = np.setdiff1d(tokens[0, other], [*tokens[0, part], EOS])
    gradient = gradient_of_embeddings(arm, EOS, tokens, part)
    assert not gradient[torch.from_numpy(others)].any()
    if part is SECOND:  # without the boundary the first is seen
        assert gradient_of_embeddings(arm, None, tokens, part)[torch.from_numpy(others)].any()


def test_ar_scores_each_document_as_alone() -> None:
    model, tokens = model_of(ARMS["ar"], EOS), joined()
    alone = [exact_nll(model, tokens[:, part]).nats_per_token * tokens[:, part].size for part in (FIRST, SECOND)]
    assert exact_nll(model, tokens).nats_per_token * LENGTH == pytest.approx(sum(alone), rel=1e-5)


def test_a_dlm_scores_each_document_as_alone() -> None:
    model, tokens = model_of(ARMS["dlm"], EOS), joined()
    alone = [chain_rule_nll(model, tokens[:, part]).nats_per_token * tokens[:, part].size for part in (FIRST, SECOND)]
    assert chain_rule_nll(model, tokens).nats_per_token * LENGTH == pytest.approx(sum(alone), rel=1e-5)


@pytest.mark.parametrize("arm", ARMS_TRIED[1:], ids=lambda arm: arm.name)
def test_the_bound_of_an_example_does_not_depend_on_their_order(arm: Arm) -> None:
    """With the masks moved along; blocks of 4 would be cut elsewhere, so block arms have documents of whole blocks."""
    size = arm.block_length or 1
    cut = max(size, 4)
    tokens = joined()
    tokens[0, 4], tokens[0, cut - 1] = 7, EOS
    masks = frozen_masks(1, LENGTH, 8, arm.block_length)
    model = model_of(arm, EOS)
    turned = nelbo(model, np.roll(tokens, -cut, axis=1), np.roll(masks, -cut, axis=2))
    assert nelbo(model, tokens, masks).nats_per_token == pytest.approx(turned.nats_per_token, rel=1e-5)
