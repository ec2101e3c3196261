"""NLL of held-out tokens: exact for AR; for a DLM an upper bound (NELBO), and the chain rule in three orders.

Shapes: N examples, L length, K draws, B batch, V vocabulary. Values are nats per token, with estimator and draws.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossover.counter_rng import Stream, generator
from crossover.data import tokenizer
from crossover.evaluation.nelbo_estimator import bound_of_draws, squared_stderr
from crossover.evaluation.scored_forward import device_of, masked_losses, rows_per_forward
from crossover.model.transformer import Transformer
from crossover.training.token_masking import block_lengths, mask_blocks
from crossover.training.training_objectives import ar_nll, token_nll

Estimator = Literal["exact", "upper bound", "chain rule"]
Order = Literal["left-to-right", "right-to-left", "confidence"]
CHAIN_ORDERS: tuple[Order, ...] = ("left-to-right", "right-to-left", "confidence")
MOST_ROUNDS = 16
"""Largest number of rounds of draws when a target standard error is given."""
ROWS_AT_ONCE = 4096
"""Approximate number of masked rows held in memory."""


class Likelihood(NamedTuple):
    """Mean negative log-likelihood over examples."""

    nats_per_token: float
    stderr: float
    """Monte Carlo standard error, given these examples; 0.0 for exact values, NaN with a single draw."""
    estimator: Estimator
    draws: int
    per_example: NDArray[np.float64]
    """NLL of each example, nats per token, shape (N,)."""


def frozen_masks(
    examples: int, length: int, draws: int, block_length: int = 0, *, first: int = 0, round_: int = 0
) -> NDArray[np.bool_]:
    """Masks that depend only on the example's index and the round: the same for all checkpoints, arms and runs.

    Within an example the K mask counts are stratified over 1..L, or over 1..block length in each block.

    Args:
        examples: number of examples N.
        length: tokens of each, L.
        draws: masks of each, K.
        block_length: of a block diffusion model; 0 otherwise.
        first: index of the first example.
        round_: number of the round; the masks of different rounds are independent.

    Returns:
        True where a token is masked, shape (N, K, L).
    """
    lengths = block_lengths(length, block_length or length)
    masks = np.empty((examples, draws, length), dtype=np.bool_)
    for index in range(examples):
        draw = generator(0, Stream.VALIDATION_MASKS, epoch=round_, example=first + index)
        offset_K = (draw.random() + np.arange(draws) / (draws * len(lengths))) % 1.0
        masks[index], _ = mask_blocks(offset_K, draw.random((draws, length)), lengths)
    return masks


def exact_nll(model: Transformer, tokens_NL: NDArray[np.integer]) -> Likelihood:
    """Exact NLL under an AR model of examples (N, L); the first token is scored given BOS."""
    size = rows_per_forward(model, tokens_NL.shape[1])
    with torch.inference_mode():
        parts = [ar_nll(model, batch, tokenizer.BOS).double().mean(dim=1) for batch in _batches(model, tokens_NL, size)]
    per_example = torch.cat(parts).cpu().numpy()
    return Likelihood(float(per_example.mean()), 0.0, "exact", 1, per_example)


def nelbo(model: Transformer, tokens_NL: NDArray[np.integer], masks_NKL: NDArray[np.bool_]) -> Likelihood:
    """The any-order upper bound on the NLL under a masked diffusion model, from exact-count stratified masks.

    Under a block diffusion model it is the bound of each block given the blocks before it. Unbiased at any K;
    `crossover.evaluation.nelbo_estimator` describes the variance reduction.

    Args:
        model: a DLM.
        tokens_NL: token ids.
        masks_NKL: True where a token is masked.
    """
    examples, draws, length = masks_NKL.shape
    flat_tokens = np.repeat(np.asarray(tokens_NL), draws, axis=0)
    nll_NKL = masked_losses(model, flat_tokens, masks_NKL.reshape(-1, length)).reshape(masks_NKL.shape)
    per_example, squared_N = np.zeros(examples), np.zeros(examples)
    lengths = block_lengths(length, model.block_length or length)
    for end, size in zip(lengths.cumsum(), lengths, strict=True):
        block = slice(int(end - size), int(end))
        value_NK = np.stack([bound_of_draws(nll_NKL[n, :, block], masks_NKL[n, :, block]) for n in range(examples)])
        per_example += value_NK.mean(axis=1) * size / length
        squared_N += squared_stderr(value_NK, masks_NKL[:, :, block].sum(axis=2)) * (size / length) ** 2
    stderr = math.sqrt(float(squared_N.sum())) / examples
    return Likelihood(float(per_example.mean()), stderr, "upper bound", draws, per_example)


def measured_nelbo(
    model: Transformer, tokens_NL: NDArray[np.integer], *, draws: int, wanted_stderr: float = 0.0
) -> Likelihood:
    """The bound under frozen masks, with as many rounds of draws as the target standard error needs.

    Args:
        model: a DLM.
        tokens_NL: token ids.
        draws: masks of each example in a round.
        wanted_stderr: target standard error, nats per token; 0 draws one round. At most MOST_ROUNDS are drawn.
    """
    rounds: list[Likelihood] = []
    while True:
        rounds.append(_nelbo_round(model, tokens_NL, draws, len(rounds)))
        count = len(rounds)
        stderr = math.sqrt(sum(part.stderr**2 for part in rounds)) / count
        if not wanted_stderr or stderr <= wanted_stderr or count == MOST_ROUNDS:
            per_example = np.mean([part.per_example for part in rounds], axis=0)
            return Likelihood(float(per_example.mean()), stderr, "upper bound", draws * count, per_example)


def _nelbo_round(model: Transformer, tokens_NL: NDArray[np.integer], draws: int, round_: int) -> Likelihood:
    """One round, in chunks of examples to bound memory."""
    examples, length = tokens_NL.shape
    size = max(1, ROWS_AT_ONCE // draws)
    parts = []
    for first in range(0, examples, size):
        rows = tokens_NL[first : first + size]
        masks_NKL = frozen_masks(len(rows), length, draws, model.block_length, first=first, round_=round_)
        parts.append(nelbo(model, rows, masks_NKL))
    per_example = np.concatenate([part.per_example for part in parts])
    stderr = math.sqrt(sum((part.stderr * len(part.per_example)) ** 2 for part in parts)) / examples
    return Likelihood(float(per_example.mean()), stderr, "upper bound", draws, per_example)


def chain_rule_nll(model: Transformer, tokens_NL: NDArray[np.integer], order: Order = "left-to-right") -> Likelihood:
    """Exact NLL of a masked diffusion model that reveals tokens one by one in an order, the rest masked.

    `confidence` reveals the position with the most probable prediction next. That depends only on the tokens revealed
    so far, never on the token to be revealed, so this order too defines a probability over texts. A block diffusion
    model reveals block after block, in the order within each. Costs L forward passes per example, batched over
    positions, or over examples where the order depends on the tokens.

    Args:
        model: a DLM.
        tokens_NL: token ids.
        order: in which tokens are revealed.
    """
    if order == "confidence":
        per_example = _by_confidence(model, np.asarray(tokens_NL).astype(np.int64))
    else:
        rank_L = _ranks(tokens_NL.shape[1], model, reverse=order == "right-to-left")
        per_example = _in_order(model, np.asarray(tokens_NL).astype(np.int64), rank_L)
    return Likelihood(float(per_example.mean()), 0.0, "chain rule", 1, per_example)


def _ranks(length: int, model: Transformer, *, reverse: bool) -> NDArray[np.int64]:
    """Rank of each position in the order, shape (L,)."""
    position_L = np.arange(length)
    if not reverse:
        return position_L
    block = model.block_length or length
    return np.lexsort((-position_L, position_L // block)).argsort()


def _in_order(model: Transformer, tokens_NL: NDArray[np.int64], rank_L: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean NLL of each example, shape (N,): one row per position, in which it and all later ranks are masked."""
    examples, length = tokens_NL.shape
    device = device_of(model)
    hidden_LL = torch.from_numpy(rank_L[None, :] >= rank_L[:, None]).to(device)
    positions = [(n, position) for n in range(examples) for position in range(length)]
    size = rows_per_forward(model, length)
    nll_NL = np.empty((examples, length))
    with torch.inference_mode():
        for start in range(0, len(positions), size):
            n_B, position_B = (torch.tensor(part) for part in zip(*positions[start : start + size], strict=True))
            tokens_BL = torch.from_numpy(tokens_NL)[n_B].to(device)
            inputs_BL = tokens_BL.masked_fill(hidden_LL[position_B.to(device)], model.mask_id)
            logits_BLV = model(inputs_BL, documents_BL=model.documents(tokens_BL))
            row_B = torch.arange(len(n_B), device=device)
            logits_B1V, targets_B1 = logits_BLV[row_B, position_B, None], tokens_BL[row_B, position_B, None]
            nll_B = token_nll(logits_B1V, targets_B1)[:, 0]
            nll_NL[n_B.numpy(), position_B.numpy()] = nll_B.double().cpu().numpy()
    means: NDArray[np.float64] = nll_NL.mean(axis=1)
    return means


def _by_confidence(model: Transformer, tokens_NL: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean NLL of each example, shape (N,), when the position with the most probable prediction is revealed next."""
    length = tokens_NL.shape[1]
    block = model.block_length or length
    size = rows_per_forward(model, length)
    totals = []
    with torch.inference_mode():
        for tokens_BL in _batches(model, tokens_NL, size):
            row_B, documents_BL = torch.arange(len(tokens_BL), device=tokens_BL.device), model.documents(tokens_BL)
            hidden_BL = torch.ones_like(tokens_BL, dtype=torch.bool)
            total_B = torch.zeros(len(tokens_BL), dtype=torch.float64, device=tokens_BL.device)
            for revealed in range(length):
                inputs_BL = tokens_BL.masked_fill(hidden_BL, model.mask_id)
                logp_BLV = model(inputs_BL, documents_BL=documents_BL).double().log_softmax(dim=-1)
                open_BL = hidden_BL.clone()
                open_BL[:, (revealed // block + 1) * block :] = False  # later blocks are not open yet
                position_B = logp_BLV.amax(dim=-1).masked_fill(~open_BL, -torch.inf).argmax(dim=1)
                total_B -= logp_BLV[row_B, position_B, tokens_BL[row_B, position_B]]
                hidden_BL[row_B, position_B] = False
            totals.append(total_B / length)
    means: NDArray[np.float64] = torch.cat(totals).cpu().numpy()
    return means


def _batches(model: Transformer, rows: NDArray[np.integer], size: int) -> list[Tensor]:
    """Split rows (n, L) into batches of int64 on the model's device."""
    tokens = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.int64))
    return [batch.to(device_of(model)) for batch in torch.split(tokens, size)]
