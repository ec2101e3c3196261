"""Likelihood of held-out tokens: exact for AR; for a DLM an upper bound (NELBO) and the left-to-right chain rule.

Shapes: N examples, L length, K draws, B batch. All values are nats a token. Every value carries its estimator.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossover.counter_rng import Stream, generator
from crossover.data import tokenizer
from crossover.model.transformer import Transformer
from crossover.training.corruption import block_lengths, mask_blocks
from crossover.training.objectives import ar_nll, masked_nll, token_nll

Estimator = Literal["exact", "upper bound", "chain rule"]
SEQUENCES_PER_FORWARD = 64


class Likelihood(NamedTuple):
    """Mean negative log likelihood over examples."""

    nats_per_token: float
    stderr: float
    """Monte Carlo standard error, given these examples; 0.0 when there is no Monte Carlo."""
    estimator: Estimator
    draws: int
    per_example: NDArray[np.float64]
    """Shape (N,)."""


def frozen_masks(examples: int, length: int, draws: int, block_length: int = 0) -> NDArray[np.bool_]:
    """Masks (N, K, L) that depend on the example's index only: the same for all checkpoints, arms and runs.

    Within an example the K counts are stratified over 1..L, or over each block's 1..block length.
    """
    lengths = block_lengths(length, block_length or length)
    masks = np.empty((examples, draws, length), dtype=np.bool_)
    for index in range(examples):
        draw = generator(0, Stream.VALIDATION_MASKS, example=index)
        offset_K = (draw.random() + np.arange(draws) / (draws * len(lengths))) % 1.0
        masks[index], _ = mask_blocks(offset_K, draw.random((draws, length)), lengths)
    return masks


def exact_nll(model: Transformer, tokens_NL: NDArray[np.integer]) -> Likelihood:
    """Exact NLL under an AR model; the first token is scored too, given BOS."""
    with torch.inference_mode():
        parts = [ar_nll(model, batch, tokenizer.BOS).double().mean(dim=1) for batch in _batches(tokens_NL, model)]
    per_example = torch.cat(parts).cpu().numpy()
    return Likelihood(float(per_example.mean()), 0.0, "exact", 1, per_example)


def nelbo(model: Transformer, tokens_NL: NDArray[np.integer], masks_NKL: NDArray[np.bool_]) -> Likelihood:
    """The any-order upper bound on the NLL under a masked diffusion model, by exact-count stratified masks.

    The standard error uses successive differences between neighbouring strata (Wolter 2007, ch. 8), so that the spread
    *between* strata, which stratification removes, is not counted.
    """
    examples, draws, length = masks_NKL.shape
    flat_tokens = np.repeat(np.asarray(tokens_NL), draws, axis=0)
    flat_masks = masks_NKL.reshape(-1, length)
    parts = []
    with torch.inference_mode():
        for batch, masks in zip(_batches(flat_tokens, model), _batches(flat_masks, model), strict=True):
            parts.append(masked_nll(model, batch, masks).double().mean(dim=1))
    value_NK = torch.cat(parts).cpu().numpy().reshape(examples, draws)
    per_example = value_NK.mean(axis=1)
    return Likelihood(float(per_example.mean()), _stratified_stderr(value_NK), "upper bound", draws, per_example)


def _stratified_stderr(value_NK: NDArray[np.float64]) -> float:
    examples, draws = value_NK.shape
    difference = np.diff(value_NK, axis=1)
    variance_N = (difference**2).sum(axis=1) / (2 * (draws - 1))
    return float(np.sqrt(variance_N.sum() / draws) / examples)


def chain_rule_nll(model: Transformer, tokens_NL: NDArray[np.integer]) -> Likelihood:
    """NLL of a masked diffusion model read left to right: token j given tokens before j, all from j on masked.

    Exact for that order; costs L forward passes an example, run as one batch. Nothing after j is ever visible.
    """
    length = tokens_NL.shape[1]
    future_LL = torch.ones(length, length, dtype=torch.bool).triu()
    per_example = []
    with torch.inference_mode():
        for row in np.asarray(tokens_NL).astype(np.int64):
            tokens_LL = torch.from_numpy(row).to(_device(model)).expand(length, length)
            nll_LL = token_nll(model(tokens_LL.masked_fill(future_LL.to(tokens_LL.device), model.mask_id)), tokens_LL)
            per_example.append(float(nll_LL.diagonal().double().mean()))
    values = np.asarray(per_example)
    return Likelihood(float(values.mean()), 0.0, "chain rule", 1, values)


def _device(model: Transformer) -> torch.device:
    return model.lm_head.weight.device


def _batches(rows: NDArray[np.integer] | NDArray[np.bool_], model: Transformer) -> list[Tensor]:
    """Cut (n, L) into batches on the model's device; integers become int64."""
    kind = np.bool_ if rows.dtype == np.bool_ else np.int64
    whole = torch.from_numpy(np.ascontiguousarray(rows, dtype=kind))
    return [part.to(_device(model)) for part in torch.split(whole, SEQUENCES_PER_FORWARD)]
