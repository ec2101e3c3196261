"""Given texts and holes as one row of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossover.decoding.generation_request import Generation, Hole, Infilling
from crossover.decoding.segment import Tokens
from crossover.decoding.text_pieces import token_ids
from crossover.errors import PromptTooLongError, RequestError
from crossover.tokenization.tokenizer import Tokenizer


class MaskedCanvas(NamedTuple):
    """The tokens of a request to a diffusion model.

    Shapes: L tokens, H of them in holes.
    """

    tokens_L: Tokens
    """MASK in holes."""
    open_H: NDArray[np.int64]
    """Positions in holes, ascending."""
    sizes: tuple[int, ...]
    """Tokens of each hole."""
    truncated: int
    """Tokens of prompt and suffix that did not fit."""
    open_end: bool
    """One hole at the end: the text may end in it."""

    def texts(self, tokenizer: Tokenizer) -> tuple[str, list[str]]:
        """The text of all tokens, and that of each hole."""
        ends = np.cumsum(self.sizes)[:-1]
        holes = np.split(self.tokens_L[self.open_H], ends)
        return tokenizer.decode(self.tokens_L), [tokenizer.decode(hole) for hole in holes]


def of_generation(request: Generation, max_length: int, tokenizer: Tokenizer) -> MaskedCanvas:
    """Prompt, a hole of `max_tokens`, suffix; what does not fit is cut off the outer ends.

    Raises:
        RequestError: the hole is longer than the context.
    """
    hole = request.max_tokens
    if hole > max_length:
        raise RequestError(
            "request.too-many-tokens",
            field="max_tokens",
            problem=f"this diffusion model's context is {max_length} tokens",
            remedy=f"ask for at most {max_length}",
        )
    prompt, suffix = token_ids(request.prompt, tokenizer), token_ids(request.suffix or "", tokenizer)
    left, right = truncate_both(len(prompt), len(suffix), max_length - hole)
    canvas = _canvas((prompt[len(prompt) - left :], hole, suffix[:right]), tokenizer.mask, open_end=not len(suffix))
    return canvas._replace(truncated=len(prompt) + len(suffix) - left - right)


def of_infilling(request: Infilling, max_length: int, tokenizer: Tokenizer) -> MaskedCanvas:
    """The parts in their order.

    Raises:
        PromptTooLongError: they are longer than the context.
    """
    parts = [part.tokens if isinstance(part, Hole) else token_ids(part, tokenizer) for part in request.parts]
    canvas = _canvas(parts, tokenizer.mask, open_end=False)
    if len(canvas.tokens_L) > max_length:
        given = len(canvas.tokens_L) - len(canvas.open_H)
        raise PromptTooLongError(
            "request.prompt-too-long",
            field="parts",
            problem=f"{given} tokens of text and {len(canvas.open_H)} of holes are {len(canvas.tokens_L)}, and the "
            f"model's context is {max_length} tokens",
            remedy="shorten the text or the holes",
        )
    return canvas


def _canvas(parts: Sequence[Tokens | int], mask: int, *, open_end: bool) -> MaskedCanvas:
    rows, holes, begin, open_H = [], [], 0, []
    for part in parts:
        if isinstance(part, int):
            rows.append(np.full(part, mask, dtype=np.int64))
            holes.append(part)
            open_H.append(np.arange(begin, begin + part))
        else:
            rows.append(np.asarray(part, dtype=np.int64))
        begin += len(rows[-1])
    return MaskedCanvas(np.concatenate(rows), np.concatenate(open_H), tuple(holes), 0, open_end)


def truncate_both(left: int, right: int, room: int) -> tuple[int, int]:
    """How many tokens of two texts to keep within `room` tokens.

    All where they fit; else half of the room each, and what one text leaves free goes to the other.
    """
    if left + right <= room:
        return left, right
    half = room // 2
    if left <= half:
        return left, room - left
    if right <= half:
        return room - right, right
    return room - half, half
