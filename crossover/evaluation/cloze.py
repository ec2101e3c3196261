"""Scoring the domain cloze task: which option does the model find likeliest?

Shapes: N items, O options, C context, M option tokens, K draws.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from crossover.counter_rng import Stream, generator
from crossover.data import tokenizer
from crossover.data.cloze import ClozeItem
from crossover.evaluation.likelihood import SEQUENCES_PER_FORWARD
from crossover.model.transformer import Transformer
from crossover.training.corruption import block_lengths, mask_blocks
from crossover.training.objectives import ar_nll, weighted_token_nll


class ClozeScores(NamedTuple):
    """Per-item results; nats per option token."""

    option_nll_NO: NDArray[np.float64]
    correct_N: NDArray[np.float64]
    """1 where the true option is strictly likeliest; a tie for first place is shared."""
    margin_N: NDArray[np.float64]
    """Mean NLL of the distractors minus NLL of the truth: how much likelier the truth is than a distractor."""
    estimator: str
    draws: int


def score_cloze(model: Transformer, items: list[ClozeItem], *, draws: int) -> ClozeScores:
    """Score every option of every item.

    AR: exact NLL of the option given BOS and context. DLM: upper bound on the NLL of the option given the context, with
    `draws` stratified masks that all options of an item share.
    """
    tokens_SL = np.asarray([item.context + option for item in items for option in item.options], dtype=np.int64)
    context = len(items[0].context)
    options = len(items[0].options)
    if model.causal:
        nll_S, draws = _exact(model, tokens_SL, context), 1
    else:
        nll_S = _bound(model, tokens_SL, context, options, draws)
    option_nll_NO = nll_S.reshape(len(items), options)
    gold_N = np.asarray([item.gold for item in items])
    truth_N = option_nll_NO[np.arange(len(items)), gold_N]
    best_N = option_nll_NO.min(axis=1)
    first_N = (option_nll_NO == best_N[:, None]).sum(axis=1)
    margin_N = (option_nll_NO.sum(axis=1) - truth_N) / (options - 1) - truth_N
    return ClozeScores(
        option_nll_NO,
        (truth_N == best_N) / first_N,
        margin_N,
        "exact" if model.causal else "upper bound",
        draws,
    )


def _exact(model: Transformer, tokens_SL: NDArray[np.int64], context: int) -> NDArray[np.float64]:
    with torch.inference_mode():
        parts = [
            ar_nll(model, batch.to(model.lm_head.weight.device), tokenizer.BOS)[:, context:].double().mean(dim=1)
            for batch in torch.split(torch.from_numpy(tokens_SL), SEQUENCES_PER_FORWARD)
        ]
    values: NDArray[np.float64] = torch.cat(parts).cpu().numpy()
    return values


def _bound(
    model: Transformer, tokens_SL: NDArray[np.int64], context: int, options: int, draws: int
) -> NDArray[np.float64]:
    """Upper bound of each option, mean over draws. Shape (N x O,)."""
    sequences, length = tokens_SL.shape
    lengths = option_blocks(context, length - context, model.block_length)
    masks, weights = _option_masks(sequences // options, lengths, draws)
    total_S = np.zeros(sequences)
    device = model.lm_head.weight.device
    with torch.inference_mode():
        for draw in range(draws):
            arrays = (tokens_SL, *(np.repeat(rows[:, draw], options, axis=0) for rows in (masks, weights)))
            parts = []
            for batch in zip(
                *(torch.split(torch.from_numpy(rows), SEQUENCES_PER_FORWARD) for rows in arrays), strict=True
            ):
                parts.append(_option_nll(model, *(part.to(device) for part in batch), context=context))
            total_S += torch.cat(parts).cpu().numpy()
    return total_S / draws


def _option_nll(
    model: Transformer, tokens_BL: torch.Tensor, masked_BM: torch.Tensor, weights_BM: torch.Tensor, *, context: int
) -> torch.Tensor:
    """Weighted NLL of the masked option tokens, per option token. Shape (B,)."""
    masked_BL, weights_BL = (torch.nn.functional.pad(part, (context, 0)) for part in (masked_BM, weights_BM))
    return weighted_token_nll(model, tokens_BL, masked_BL, weights_BL).double().sum(dim=1) / masked_BM.shape[1]


def option_blocks(context: int, option: int, block_length: int) -> NDArray[np.int64]:
    """How many of an option's tokens lie in each of the model's blocks; without blocks, all in one."""
    first = min(option, block_length - context % block_length) if block_length else option
    rest = block_lengths(option - first, block_length) if option > first else np.empty(0, dtype=np.int64)
    return np.concatenate(([first], rest)).astype(np.int64)


def _option_masks(items: int, lengths: NDArray[np.int64], draws: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Frozen masks and weights, each (N, K, M), counts stratified within an item."""
    option = int(lengths.sum())
    masks = np.empty((items, draws, option), dtype=np.bool_)
    weights = np.empty((items, draws, option), dtype=np.float32)
    for index in range(items):
        draw = generator(0, Stream.TASKS, epoch=1, example=index)
        offset_K = (draw.random() + np.arange(draws) / (draws * len(lengths))) % 1.0
        masks[index], weights[index] = mask_blocks(offset_K, draw.random((draws, option)), lengths)
    return masks, weights
