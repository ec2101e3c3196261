"""NLL of continuations given their contexts: exact for AR, an upper bound for a DLM, in few forward passes.

AR: the options of an item that share a context run as branches of one sequence; a branch attends to the context and to
itself only. DLM: all options of an item share their masks (common random numbers), which reduces the variance of their
differences; the masks of short options are enumerated, and equal inputs run once.

Shapes: B batch, T positions of the input, M tokens of a continuation, K draws, N scored tokens.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from crossover.counter_rng import Stream, generator
from crossover.errors import DataError
from crossover.evaluation.encoded_pair import Text, Tokens, encode_pair
from crossover.evaluation.nelbo_estimator import bound_of_draws, squared_stderr
from crossover.evaluation.scored_forward import device_of, rows_per_forward, scored_nll
from crossover.evaluation.tasks.task_interface import Continuation, Scored
from crossover.model.attention import AttentionContext
from crossover.model.transformer import Transformer
from crossover.training.token_masking import block_lengths, mask_blocks
from crossover.training.training_objectives import clean_and_noisy

ITEMS_AT_ONCE = 64
"""Items whose inputs are batched together, sorted by length."""


class ItemLikelihoods(NamedTuple):
    """Results of the continuations of one item."""

    scored: list[Scored]
    truncated: int
    """Tokens of context that did not fit into the model and were cut, over all continuations."""
    greedy: list[bool]
    """Whether greedy AR decoding generates each continuation; always False for a DLM."""


class _AttentionArguments(TypedDict, total=False):
    """Optional arguments of `scored_nll`."""

    visible_BT: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    attention: AttentionContext


@dataclass
class _Input:
    """One input sequence, the tokens scored on it, and their results."""

    tokens_T: Tokens
    positions: list[int] = field(default_factory=list)
    """Positions whose logits are scored."""
    targets: list[int] = field(default_factory=list)
    """Target token of each scored position."""
    branches: list[int] = field(default_factory=list)
    """Lengths of the branches at the end of the sequence; empty without branches."""
    nll: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """NLL of each target in nats, once the input has run."""
    greedy: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_))
    """Whether each target is the argmax, once the input has run."""

    def add_targets(self, positions: Sequence[int], targets: Sequence[int]) -> slice:
        """Score these targets at these positions.

        Returns:
            Where their results will be in `nll` and `greedy`.
        """
        start = len(self.positions)
        self.positions.extend(positions)
        self.targets.extend(targets)
        return slice(start, len(self.positions))


def score_items(
    model: Transformer, items: Sequence[Sequence[Continuation]], *, draws: int, first: int = 0
) -> Iterator[ItemLikelihoods]:
    """Score the continuations of every item, in order.

    Args:
        model: of either family.
        items: continuations of each item.
        draws: masks per continuation under a DLM; fewer where all masks are enumerated.
        first: index of the first item; an item's masks depend on its index.

    Raises:
        DataError: a continuation is longer than the model's context.
    """
    for start in range(0, len(items), ITEMS_AT_ONCE):
        plans = [
            _plan(model, item, draws, first + start + number)
            for number, item in enumerate(items[start : start + ITEMS_AT_ONCE])
        ]
        for _ in _run(model, [item_input for plan in plans for item_input in plan.inputs]):
            pass
        for plan in plans:
            yield plan.finish()


def score_in_turns(
    model: Transformer, item: Sequence[Continuation], *, draws: int, first: int = 0
) -> Iterator[ItemLikelihoods | None]:
    """Score one item as `score_items` does, with a pause after every batch.

    Yields:
        None after each forward pass, then the result.

    Raises:
        DataError: a continuation is longer than the model's context.
    """
    plan = _plan(model, item, draws, first)
    yield from _run(model, plan.inputs)
    yield plan.finish()


@dataclass
class _Plan:
    """Inputs of one item, and the function that computes its results once they have run."""

    inputs: list[_Input]
    finish: Callable[[], ItemLikelihoods]


def _plan(model: Transformer, item: Sequence[Continuation], draws: int, index: int) -> _Plan:
    pairs = [encode_pair(request.context, request.continuation, model.tokenizer.encode) for request in item]
    longest = max(len(option) for _, option in pairs)
    budget = model.config.max_length - longest
    if budget < 0:
        raise DataError(
            "tasks.too-long",
            field="evaluation.tasks",
            problem=f"a continuation of {longest} tokens is longer than the model's context of {longest + budget}",
            remedy="raise data.sequence_length or drop such items",
        )
    truncated = sum(max(0, len(context) - budget) for context, _ in pairs)
    pairs = [(context[max(0, len(context) - budget) :], option) for context, option in pairs]
    characters = [_characters(request.continuation) for request in item]
    if model.causal:
        return _causal_plan(model.tokenizer.bos, pairs, characters, truncated)
    return _masked_plan(model, pairs, characters, truncated, draws, index)


def _characters(text: Text) -> int:
    return len(text.strip()) if isinstance(text, str) else len(text)


def _causal_plan(bos: int, pairs: list[tuple[Tokens, Tokens]], characters: list[int], truncated: int) -> _Plan:
    """One input per context with the options as branches, or one per option where the context is short.

    The trunk is the context and the common prefix of all options, so that single-token options need no branch.
    """
    inputs: dict[bytes, _Input] = {}
    targets = []
    longest = max(len(option) for _, option in pairs)
    common = _common_prefix([option[:-1] for _, option in pairs])
    for number, (context, option) in enumerate(pairs):
        shared = len(context) >= longest
        trunk = np.concatenate(([bos], context, option[:common])).astype(np.int64)
        row = inputs.setdefault(trunk.tobytes() if shared else str(number).encode(), _Input(trunk))
        branch, end = option[common:-1], len(row.tokens_T)
        row.tokens_T = np.concatenate((row.tokens_T, branch))
        row.branches += [len(branch)] if shared and len(branch) else []
        positions = [*range(len(context), len(trunk)), *range(end, end + len(branch))]
        targets.append((row, row.add_targets(positions, option.tolist())))
    for row in inputs.values():
        row.branches = row.branches if len(row.branches) > 1 else []

    def finish() -> ItemLikelihoods:
        scored = [
            Scored(float(row.nll[part].sum()), 0.0, part.stop - part.start, letters, 1)
            for (row, part), letters in zip(targets, characters, strict=True)
        ]
        return ItemLikelihoods(scored, truncated, [bool(row.greedy[part].all()) for row, part in targets])

    return _Plan(list(inputs.values()), finish)


def _common_prefix(texts: Sequence[Tokens]) -> int:
    """Length of the common prefix of token sequences."""
    for i, tokens in enumerate(zip(*texts, strict=False)):
        if len(set(tokens)) > 1:
            return i
    return min(len(text) for text in texts)


class _Masks(NamedTuple):
    """Masks of one continuation."""

    masked_KM: NDArray[np.bool_]
    """True where a token is masked."""
    lengths: NDArray[np.int64]
    """Tokens in each of the model's blocks."""
    probability_K: NDArray[np.float64] | None
    """Probability of each mask where all masks are enumerated; None for random draws."""


def _masked_plan(
    model: Transformer,
    pairs: list[tuple[Tokens, Tokens]],
    characters: list[int],
    truncated: int,
    draws: int,
    index: int,
) -> _Plan:
    longest = max(len(option) for _, option in pairs)
    draw = generator(0, Stream.TASKS, epoch=1, example=index)
    offset, noise_KM = float(draw.random()), draw.random((draws, longest))
    inputs: dict[bytes, _Input] = {}
    targets: list[tuple[_Masks, list[tuple[_Input, slice]]]] = []
    for context, option in pairs:
        masks = _masks(len(context), len(option), model.block_length, offset, noise_KM)
        parts = []
        for masked_M in masks.masked_KM:
            row = _masked_input(model, inputs, context, np.where(masked_M, model.mask_id, option), option)
            noisy = len(row.tokens_T) - len(option)
            parts.append((row, row.add_targets((noisy + np.flatnonzero(masked_M)).tolist(), option[masked_M].tolist())))
        targets.append((masks, parts))

    def finish() -> ItemLikelihoods:
        scored = []
        for (masks, parts), letters in zip(targets, characters, strict=True):
            nll_KM = np.zeros(masks.masked_KM.shape)
            for k, (row, part) in enumerate(parts):
                nll_KM[k, masks.masked_KM[k]] = row.nll[part]
            value, stderr = _bound(masks, nll_KM)
            draws, tokens = masks.masked_KM.shape
            scored.append(Scored(value, stderr, tokens, letters, draws))
        return ItemLikelihoods(scored, truncated, [False] * len(scored))

    return _Plan(list(inputs.values()), finish)


def _masked_input(
    model: Transformer, inputs: dict[bytes, _Input], context: Tokens, corrupted: Tokens, option: Tokens
) -> _Input:
    """The input with this corrupted option; an equal input that exists already is reused."""
    tokens_T = np.concatenate((context, corrupted))
    if model.block_length:
        tokens_T = np.concatenate((context, option, tokens_T))
    return inputs.setdefault(tokens_T.tobytes(), _Input(tokens_T))


def _masks(context: int, option: int, block_length: int, offset: float, noise_KM: NDArray[np.float64]) -> _Masks:
    """All masks of an option if there are at most as many as draws; else exact-count masks with stratified counts."""
    lengths = option_blocks(context, option, block_length)
    draws = len(noise_KM)
    if len(lengths) == 1 and 2**option - 1 <= draws:
        masked_KM = np.array([mask for mask in itertools.product([False, True], repeat=option) if any(mask)])
        probability = [1 / (option * math.comb(option, int(count))) for count in masked_KM.sum(axis=1)]
        return _Masks(masked_KM, lengths, np.array(probability))
    offset_K = (offset + np.arange(draws) / (draws * len(lengths))) % 1.0
    masked_KM, _ = mask_blocks(offset_K, noise_KM[:, :option], lengths)
    return _Masks(masked_KM, lengths, None)


def option_blocks(context: int, option: int, block_length: int) -> NDArray[np.int64]:
    """Number of an option's tokens in each block of the model; without blocks, one entry with all of them."""
    first = min(option, block_length - context % block_length) if block_length else option
    rest = block_lengths(option - first, block_length) if option > first else np.empty(0, dtype=np.int64)
    return np.concatenate(([first], rest)).astype(np.int64)


def _bound(masks: _Masks, nll_KM: NDArray[np.float64]) -> tuple[float, float]:
    """Upper bound on the NLL of all tokens of an option in nats, and its Monte Carlo standard error."""
    counts_K = masks.masked_KM.sum(axis=1)
    if masks.probability_K is not None:
        option = nll_KM.shape[1]
        return float((masks.probability_K * nll_KM.sum(axis=1) * option / counts_K).sum()), 0.0
    total, squared = 0.0, 0.0
    for end, size in zip(masks.lengths.cumsum(), masks.lengths, strict=True):
        block = slice(int(end - size), int(end))
        value_K = bound_of_draws(nll_KM[:, block], masks.masked_KM[:, block])
        order_K = masks.masked_KM[:, block].sum(axis=1)
        total += float(value_K.mean()) * int(size)
        squared += float(squared_stderr(value_K[None], order_K[None])[0]) * int(size) ** 2
    return total, math.sqrt(squared)


def _run(model: Transformer, rows: list[_Input]) -> Iterator[None]:
    """Compute the results of every input, in batches of similar lengths; pauses after each."""
    rows = sorted(rows, key=lambda row: (bool(row.branches), -len(row.tokens_T)))
    start = 0
    while start < len(rows):
        width = len(rows[start].tokens_T)
        end, limit = start, rows_per_forward(model, width)
        while end < len(rows) and end - start < limit and _can_batch(model, rows[start], rows[end]):
            end += 1
        _run_batch(model, rows[start:end], width)
        start = end
        yield


def _can_batch(model: Transformer, first: _Input, other: _Input) -> bool:
    """Whether two inputs can share a batch: the halves of a block model must align, and branches need a mask."""
    same_kind = bool(first.branches) == bool(other.branches)
    return same_kind and (not model.block_length or len(first.tokens_T) == len(other.tokens_T))


def _run_batch(model: Transformer, rows: list[_Input], width: int) -> None:
    device = device_of(model)
    inputs_BT = np.full((len(rows), width), model.tokenizer.eos, dtype=np.int64)
    for i, row in enumerate(rows):
        inputs_BT[i, : len(row.tokens_T)] = row.tokens_T
    scored = np.concatenate([i * width + np.asarray(row.positions) for i, row in enumerate(rows)])
    targets = np.concatenate([row.targets for row in rows])
    arrays = [torch.from_numpy(array).to(device) for array in (inputs_BT, scored, targets)]
    with torch.inference_mode():
        nll_N, greedy_N = scored_nll(model, *arrays, **_attention(model, rows, width, device))
    nll, greedy = nll_N.cpu().numpy(), greedy_N.cpu().numpy()
    ends = np.cumsum([len(row.positions) for row in rows])
    for row, end in zip(rows, ends, strict=True):
        part = slice(end - len(row.positions), end)
        row.nll, row.greedy = nll[part], greedy[part]


def _attention(model: Transformer, rows: list[_Input], width: int, device: torch.device) -> _AttentionArguments:
    """Masks and positions of a batch; empty where the family's own attention over unpadded rows is right."""
    if rows[0].branches:
        return {"attention": _branched_attention(model, rows, width)}
    if model.block_length:
        mask, positions = clean_and_noisy(width // 2, model.block_length, device)
        return {"mask": mask, "positions": positions}
    if model.causal or all(len(row.tokens_T) == width for row in rows):
        return {}  # a causal model's scored positions cannot see the padding on their right
    visible_BT = np.arange(width)[None, :] < np.array([len(row.tokens_T) for row in rows])[:, None]
    return {"visible_BT": torch.from_numpy(visible_BT).to(device)}


def _branched_attention(model: Transformer, rows: list[_Input], width: int) -> AttentionContext:
    """A branch attends to the trunk and to itself, with positions that continue the trunk's."""
    branch_BT = np.full((len(rows), width), -1, dtype=np.int64)
    position_BT = np.zeros((len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        trunk = end = len(row.tokens_T) - sum(row.branches)
        branch_BT[i, :trunk], position_BT[i, :trunk] = 0, np.arange(trunk)
        for number, length in enumerate(row.branches, start=1):
            branch_BT[i, end : end + length] = number
            position_BT[i, end : end + length] = np.arange(trunk, trunk + length)
            end += length
    keys_B1T = torch.from_numpy(branch_BT).to(device_of(model))[:, None]
    visible_BTT = ((keys_B1T == keys_B1T.mT) | (keys_B1T == 0)).tril()
    mask = torch.zeros(visible_BTT.shape, device=visible_BTT.device).masked_fill(~visible_BTT, -torch.inf)
    positions = torch.from_numpy(position_BT).to(model.cos_LK.device)
    cos, sin = model.cos_LK[positions][:, None], model.sin_LK[positions][:, None]
    return AttentionContext(cos, sin, mask[:, None], is_causal=False)
