"""How likely is each continuation of its context? Exact for AR, an upper bound for a DLM, in few forward passes.

AR reads a context once for all options of an item: options branch off it, and no branch sees another. A DLM is asked
under masks that all options of an item share (common random numbers), so that the noise of their difference is small;
short options have all their masks enumerated, and inputs that are equal, as those of single tokens are, run once.

Shapes: T positions that run, M tokens of a continuation, K draws, N scored tokens.
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
from crossover.data import tokenizer
from crossover.errors import DataError
from crossover.evaluation.nelbo_estimator import bound_of_draws, squared_stderr
from crossover.evaluation.scored_forward import device_of, rows_per_forward, scored_nll
from crossover.evaluation.tasks.task_interface import Continuation, Scored, Text
from crossover.model.attention import View
from crossover.model.transformer import Transformer
from crossover.training.token_masking import block_lengths, mask_blocks
from crossover.training.training_objectives import clean_and_noisy

Tokens = NDArray[np.int64]
ITEMS_AT_ONCE = 64
"""Items whose inputs are held at once; they are sorted by length among themselves."""


class ItemLikelihoods(NamedTuple):
    """The continuations of one item."""

    scored: list[Scored]
    truncated: int
    """Tokens of context that did not fit and were left out, over all continuations."""
    greedy: list[bool]
    """Whether each continuation is what AR would write; False for a DLM, which has no such order."""


class _Sight(TypedDict, total=False):
    """What `scored_nll` takes besides tokens."""

    visible_BT: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    view: View


@dataclass
class _Input:
    """One sequence to run, and what is asked of it."""

    tokens_T: Tokens
    places: list[int] = field(default_factory=list)
    """Positions that predict."""
    targets: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    """Lengths of the branches at its end, which see the trunk and themselves; none where all is one text."""
    nll: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    greedy: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_))

    def ask(self, places: Sequence[int], targets: Sequence[int]) -> slice:
        """Ask for these targets at these places; returns where the answers will stand."""
        start = len(self.places)
        self.places.extend(places)
        self.targets.extend(targets)
        return slice(start, len(self.places))


def encode_pair(
    context: Text, continuation: Text, encode: Callable[[str], NDArray[np.integer]] = tokenizer.encode
) -> tuple[Tokens, Tokens]:
    """Tokens of a context and its continuation; together they are the tokens of the whole text.

    Blanks at the end of the context belong to the continuation. Where a token spans the boundary, the continuation
    starts with it: every character of it is scored, under every option alike.
    """
    if not isinstance(context, str) or not isinstance(continuation, str):
        parts = (encode(part) if isinstance(part, str) else np.asarray(part) for part in (context, continuation))
        first, second = parts
        return first.astype(np.int64), second.astype(np.int64)
    bare = context.rstrip(" ")
    whole = encode(context + continuation).astype(np.int64)
    before = encode(bare).astype(np.int64)
    common = min(len(before), len(whole))
    differs = np.flatnonzero(before[:common] != whole[:common])
    split = int(differs[0]) if differs.size else common
    return whole[:split], whole[split:]


def score_items(
    model: Transformer, items: Sequence[Sequence[Continuation]], *, draws: int, first: int = 0
) -> Iterator[ItemLikelihoods]:
    """Score the continuations of every item, in order.

    Args:
        model: of either family.
        items: each with its continuations.
        draws: masks of a continuation under a DLM; fewer where it has fewer.
        first: index of the first item, on which the masks depend.

    Raises:
        DataError: a continuation is longer than the model's context.
    """
    for start in range(0, len(items), ITEMS_AT_ONCE):
        plans = [
            _plan(model, item, draws, first + start + number)
            for number, item in enumerate(items[start : start + ITEMS_AT_ONCE])
        ]
        _run(model, [row for plan in plans for row in plan.inputs])
        for plan in plans:
            yield plan.finish()


@dataclass
class _Plan:
    """What to run for one item, and how to read the results."""

    inputs: list[_Input]
    finish: Callable[[], ItemLikelihoods]


def _plan(model: Transformer, item: Sequence[Continuation], draws: int, index: int) -> _Plan:
    pairs = [encode_pair(one.context, one.continuation) for one in item]
    longest = max(len(option) for _, option in pairs)
    room = model.config.max_length - longest
    if room < 0:
        raise DataError(
            "tasks.too-long",
            field="evaluation.tasks",
            problem=f"a continuation of {longest} tokens is longer than the model's context of {longest + room}",
            remedy="raise data.sequence_length or leave such items out",
        )
    truncated = sum(max(0, len(context) - room) for context, _ in pairs)
    pairs = [(context[max(0, len(context) - room) :], option) for context, option in pairs]
    characters = [_characters(one.continuation) for one in item]
    if model.causal:
        return _causal_plan(pairs, characters, truncated)
    return _masked_plan(model, pairs, characters, truncated, draws, index)


def _characters(text: Text) -> int:
    return len(text.strip()) if isinstance(text, str) else len(text)


def _causal_plan(pairs: list[tuple[Tokens, Tokens]], characters: list[int], truncated: int) -> _Plan:
    """One input a context, its options as branches; or one an option, where contexts are too short to gain by it.

    The trunk goes on as far as the options agree: single letters need no branch at all.
    """
    inputs: dict[bytes, _Input] = {}
    asked = []
    longest = max(len(option) for _, option in pairs)
    common = _common_prefix([option[:-1] for _, option in pairs])
    for number, (context, option) in enumerate(pairs):
        shared = len(context) >= longest
        trunk = np.concatenate(([tokenizer.BOS], context, option[:common])).astype(np.int64)
        row = inputs.setdefault(trunk.tobytes() if shared else str(number).encode(), _Input(trunk))
        own, end = option[common:-1], len(row.tokens_T)
        row.tokens_T = np.concatenate((row.tokens_T, own))
        row.branches += [len(own)] if shared and len(own) else []
        places = [*range(len(context), len(trunk)), *range(end, end + len(own))]
        asked.append((row, row.ask(places, option.tolist())))
    for row in inputs.values():
        row.branches = row.branches if len(row.branches) > 1 else []

    def finish() -> ItemLikelihoods:
        scored = [
            Scored(float(row.nll[part].sum()), 0.0, part.stop - part.start, letters, 1)
            for (row, part), letters in zip(asked, characters, strict=True)
        ]
        return ItemLikelihoods(scored, truncated, [bool(row.greedy[part].all()) for row, part in asked])

    return _Plan(list(inputs.values()), finish)


def _common_prefix(texts: Sequence[Tokens]) -> int:
    """How many tokens all texts begin with."""
    for place, tokens in enumerate(zip(*texts, strict=False)):
        if len(set(tokens)) > 1:
            return place
    return min(len(text) for text in texts)


class _Masks(NamedTuple):
    """Masks of one continuation (K, M), and each one's probability where they are all there are."""

    masked_KM: NDArray[np.bool_]
    lengths: NDArray[np.int64]
    """Tokens in each of the model's blocks."""
    probability_K: NDArray[np.float64] | None


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
    asked: list[tuple[_Masks, list[tuple[_Input, slice]]]] = []
    for context, option in pairs:
        masks = _masks(len(context), len(option), model.block_length, offset, noise_KM)
        parts = []
        for masked_M in masks.masked_KM:
            row = _masked_input(model, inputs, context, np.where(masked_M, model.mask_id, option), option)
            noisy = len(row.tokens_T) - len(option)
            parts.append((row, row.ask((noisy + np.flatnonzero(masked_M)).tolist(), option[masked_M].tolist())))
        asked.append((masks, parts))

    def finish() -> ItemLikelihoods:
        scored = []
        for (masks, parts), letters in zip(asked, characters, strict=True):
            nll_KM = np.zeros(masks.masked_KM.shape)
            for place, (row, part) in enumerate(parts):
                nll_KM[place, masks.masked_KM[place]] = row.nll[part]
            value, stderr = _bound(masks, nll_KM)
            draws, tokens = masks.masked_KM.shape
            scored.append(Scored(value, stderr, tokens, letters, draws))
        return ItemLikelihoods(scored, truncated, [False] * len(scored))

    return _Plan(list(inputs.values()), finish)


def _masked_input(
    model: Transformer, inputs: dict[bytes, _Input], context: Tokens, corrupted: Tokens, option: Tokens
) -> _Input:
    """The input that shows this; one that is there already where it can be."""
    tokens_T = np.concatenate((context, corrupted))
    if model.block_length:
        tokens_T = np.concatenate((context, option, tokens_T))
    return inputs.setdefault(tokens_T.tobytes(), _Input(tokens_T))


def _masks(context: int, option: int, block_length: int, offset: float, noise_KM: NDArray[np.float64]) -> _Masks:
    """All masks of an option if they are no more than the draws; else exact counts in strata."""
    lengths = option_blocks(context, option, block_length)
    draws = len(noise_KM)
    if len(lengths) == 1 and 2**option - 1 <= draws:
        every = np.array([mask for mask in itertools.product([False, True], repeat=option) if any(mask)])
        probability = [1 / (option * math.comb(option, int(count))) for count in every.sum(axis=1)]
        return _Masks(every, lengths, np.array(probability))
    offset_K = (offset + np.arange(draws) / (draws * len(lengths))) % 1.0
    masked_KM, _ = mask_blocks(offset_K, noise_KM[:, :option], lengths)
    return _Masks(masked_KM, lengths, None)


def option_blocks(context: int, option: int, block_length: int) -> NDArray[np.int64]:
    """How many of an option's tokens lie in each of the model's blocks; without blocks, all in one."""
    first = min(option, block_length - context % block_length) if block_length else option
    rest = block_lengths(option - first, block_length) if option > first else np.empty(0, dtype=np.int64)
    return np.concatenate(([first], rest)).astype(np.int64)


def _bound(masks: _Masks, nll_KM: NDArray[np.float64]) -> tuple[float, float]:
    """The bound on the whole option's NLL in nats, and its Monte Carlo standard error."""
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


def _run(model: Transformer, rows: list[_Input]) -> None:
    """Fill every input's answers, in batches of similar lengths."""
    rows = sorted(rows, key=lambda row: (bool(row.branches), -len(row.tokens_T)))
    start = 0
    while start < len(rows):
        width = len(rows[start].tokens_T)
        end, most = start, rows_per_forward(model, width)
        while end < len(rows) and end - start < most and _fits(model, rows[start], rows[end]):
            end += 1
        _run_batch(model, rows[start:end], width)
        start = end


def _fits(model: Transformer, first: _Input, other: _Input) -> bool:
    """Whether both may stand in one batch: a block model's clean and noisy halves must align, branches need a mask."""
    same = bool(first.branches) == bool(other.branches)
    return same and (not model.block_length or len(first.tokens_T) == len(other.tokens_T))


def _run_batch(model: Transformer, rows: list[_Input], width: int) -> None:
    device = device_of(model)
    inputs_BT = np.full((len(rows), width), tokenizer.EOS, dtype=np.int64)
    for place, row in enumerate(rows):
        inputs_BT[place, : len(row.tokens_T)] = row.tokens_T
    scored = np.concatenate([place * width + np.asarray(row.places) for place, row in enumerate(rows)])
    targets = np.concatenate([row.targets for row in rows])
    arrays = [torch.from_numpy(part).to(device) for part in (inputs_BT, scored, targets)]
    with torch.inference_mode():
        nll_N, greedy_N = scored_nll(model, *arrays, **_view(model, rows, width, device))
    nll, greedy = nll_N.cpu().numpy(), greedy_N.cpu().numpy()
    ends = np.cumsum([len(row.places) for row in rows])
    for row, end in zip(rows, ends, strict=True):
        part = slice(end - len(row.places), end)
        row.nll, row.greedy = nll[part], greedy[part]


def _view(model: Transformer, rows: list[_Input], width: int, device: torch.device) -> _Sight:
    """Who sees whom, and where everyone stands, where it is not the family's own rule over unpadded rows."""
    if rows[0].branches:
        return {"view": _branching(model, rows, width)}
    if model.block_length:
        mask, positions = clean_and_noisy(width // 2, model.block_length, device)
        return {"mask": mask, "positions": positions}
    if model.causal or all(len(row.tokens_T) == width for row in rows):
        return {}  # padding on the right is after everything that a causal model scores
    visible_BT = np.arange(width)[None, :] < np.array([len(row.tokens_T) for row in rows])[:, None]
    return {"visible_BT": torch.from_numpy(visible_BT).to(device)}


def _branching(model: Transformer, rows: list[_Input], width: int) -> View:
    """A branch sees the trunk and itself, and stands as if it followed the trunk."""
    branch_BT = np.full((len(rows), width), -1, dtype=np.int64)
    position_BT = np.zeros((len(rows), width), dtype=np.int64)
    for place, row in enumerate(rows):
        trunk = end = len(row.tokens_T) - sum(row.branches)
        branch_BT[place, :trunk], position_BT[place, :trunk] = 0, np.arange(trunk)
        for number, length in enumerate(row.branches, start=1):
            branch_BT[place, end : end + length] = number
            position_BT[place, end : end + length] = np.arange(trunk, trunk + length)
            end += length
    keys_B1T = torch.from_numpy(branch_BT).to(device_of(model))[:, None]
    seen_BTT = ((keys_B1T == keys_B1T.mT) | (keys_B1T == 0)).tril()
    mask = torch.zeros(seen_BTT.shape, device=seen_BTT.device).masked_fill(~seen_BTT, -torch.inf)
    positions = torch.from_numpy(position_BT).to(model.cos_LK.device)
    return View(model.cos_LK[positions][:, None], model.sin_LK[positions][:, None], mask[:, None], is_causal=False)
