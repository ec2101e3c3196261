"""A request while it is being decoded: AR from left to right, DLM by unmasking. The engine runs the forward passes.

Shapes: L tokens of the input, V vocabulary.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossover.counter_rng import Stream, generator
from crossover.data import tokenizer
from crossover.decoding.generation_request import Completion, Generation
from crossover.decoding.token_sampling import Floats, choose
from crossover.errors import RequestError

Tokens = NDArray[np.int64]


class DecodingSequence(Protocol):
    """One request in progress."""

    done: bool

    def inputs(self) -> Tokens:
        """What the model must see next. Shape (L,)."""

    def advance(self, logits_LV: Floats) -> None:
        """Take the logits of those inputs and commit at least one token."""

    def committed(self) -> list[int]:
        """The tokens that are final, from the left without a gap."""

    def completion(self) -> Completion:
        """The answer, once done."""


class ARSequence:
    """Left to right. The window slides when prompt and completion outgrow the model's context.

    Raises:
        RequestError: a suffix was given; a causal model cannot see it.
    """

    def __init__(self, request: Generation, max_length: int) -> None:
        if request.suffix:
            raise RequestError(
                "request.suffix-unsupported",
                field="suffix",
                problem="an autoregressive model cannot see what follows a hole",
                remedy="serve the diffusion model, or leave suffix out",
            )
        self.request, self.max_length = request, max_length
        self.prompt = tokenizer.encode(request.prompt).astype(np.int64)
        self.new: list[int] = []
        self.logprobs: list[float] = []
        self.passes = 0
        self.done = False
        self._ended = False
        self._draw = generator(request.seed, Stream.SAMPLING)

    def inputs(self) -> Tokens:
        """BOS and as many of the last tokens as fit, with room for one more."""
        seen = np.concatenate((self.prompt, np.asarray(self.new, dtype=np.int64)))[-self.max_length :]
        return np.concatenate(([tokenizer.BOS], seen)).astype(np.int64)

    def advance(self, logits_LV: Floats) -> None:
        """Commit the next token."""
        self.passes += 1
        last = logits_LV[-1:].copy()
        last[:, [tokenizer.BOS, tokenizer.MASK]] = -np.inf
        token, logprob = choose(last, self.request.temperature, self.request.top_p, self._draw)
        self.new.append(int(token[0]))
        self.logprobs.append(float(logprob[0]))
        text = tokenizer.decode(self.new)
        self._ended = self.new[-1] == tokenizer.EOS or any(stop in text for stop in self.request.stop)
        self.done = self._ended or len(self.new) >= self.request.max_tokens

    def committed(self) -> list[int]:
        """All tokens so far."""
        return self.new

    def completion(self) -> Completion:
        """The answer."""
        kept = min(len(self.prompt), self.max_length)
        return _finish(self.request, self.new, self.logprobs, kept, len(self.prompt) - kept, self.passes)


class DLMSequence:
    """Prompt, a hole of MASKs, suffix: the hole is filled block by block, the surest places first.

    Args:
        request: what is asked.
        max_length: the model's context.
        block_length: of a block diffusion model, whose own blocks set the order; 0 otherwise.

    Raises:
        RequestError: the hole is longer than the model's context, or a suffix that the model cannot see.
    """

    def __init__(self, request: Generation, max_length: int, block_length: int = 0) -> None:
        hole = request.max_tokens
        if block_length and request.suffix:
            raise RequestError(
                "request.suffix",
                field="suffix",
                problem="a block diffusion model writes from left to right and cannot see what follows",
                remedy="leave the suffix out, or ask a masked diffusion model (arm dlm)",
            )
        if hole > max_length:
            raise RequestError(
                "request.max-tokens",
                field="max_tokens",
                problem=f"this diffusion model's context is {max_length} tokens",
                remedy=f"ask for at most {max_length}",
            )
        self.request, self.hole = request, hole
        prompt = tokenizer.encode(request.prompt).astype(np.int64)
        suffix = tokenizer.encode(request.suffix or "").astype(np.int64)
        left, right = fair_shares(len(prompt), len(suffix), max_length - hole)
        self.truncated = len(prompt) + len(suffix) - left - right
        self.begin = left
        masks = np.full(hole, tokenizer.MASK, dtype=np.int64)
        self.tokens = np.concatenate((prompt[len(prompt) - left :], masks, suffix[:right]))
        self.logprobs = np.zeros(hole)
        self.block = block_length or min(hole, request.block_length or hole)
        self._origin = 0 if block_length else left
        self.passes = 0
        self.done = False
        self._forbidden = [tokenizer.BOS, tokenizer.MASK, *([tokenizer.EOS] if request.suffix else [])]
        self._draw = generator(request.seed, Stream.SAMPLING)

    def inputs(self) -> Tokens:
        """The whole canvas."""
        return self.tokens

    def advance(self, logits_LV: Floats) -> None:
        """Commit an even share of the current block's masked places."""
        self.passes += 1
        masked = self._masked_in_block()
        logits_PV = logits_LV[masked].copy()
        logits_PV[:, self._forbidden] = -np.inf
        tokens_P, logprob_P = choose(logits_PV, self.request.temperature, self.request.top_p, self._draw)
        sureness = logprob_P if self.request.remasking == "confidence" else self._draw.random(len(masked))
        chosen = np.argsort(-sureness, kind="stable")[: self._share()]
        self.tokens[masked[chosen]] = tokens_P[chosen]
        self.logprobs[masked[chosen] - self.begin] = logprob_P[chosen]
        self.done = not (self.tokens[self._hole] == tokenizer.MASK).any()

    @property
    def _hole(self) -> slice:
        return slice(self.begin, self.begin + self.hole)

    def _masked_in_block(self) -> NDArray[np.int64]:
        """Masked places of the first block that has any, as indices into the canvas."""
        masked = self.begin + np.flatnonzero(self.tokens[self._hole] == tokenizer.MASK)
        block = (masked[0] - self._origin) // self.block
        first: NDArray[np.int64] = masked[(masked - self._origin) // self.block == block]
        return first

    def _share(self) -> int:
        """Places to commit in one pass, so that all the hole takes about `steps` passes."""
        return 1 if not self.request.steps else max(1, -(-self.hole // self.request.steps))

    def committed(self) -> list[int]:
        """Tokens of finished blocks."""
        hole = self.tokens[self._hole]
        masked = np.flatnonzero(hole == tokenizer.MASK)
        shift = self.begin - self._origin
        ready = self.hole if masked.size == 0 else max(0, (masked[0] + shift) // self.block * self.block - shift)
        return [int(token) for token in hole[:ready]]

    def completion(self) -> Completion:
        """The answer."""
        hole = [int(token) for token in self.tokens[self._hole]]
        seen = len(self.tokens) - self.hole
        return _finish(self.request, hole, self.logprobs.tolist(), seen, self.truncated, self.passes)


def fair_shares(left: int, right: int, room: int) -> tuple[int, int]:
    """How much of two lengths to keep in a room: all when it fits, else half each, and what one does not need."""
    if left + right <= room:
        return left, right
    half = room // 2
    if left <= half:
        return left, room - left
    if right <= half:
        return room - right, right
    return room - half, half


def _finish(
    request: Generation, tokens: list[int], logprobs: list[float], seen: int, truncated: int, passes: int
) -> Completion:
    """Cut at EOS and at the first stop text."""
    ended = tokenizer.EOS in tokens
    if ended:
        tokens = tokens[: tokens.index(tokenizer.EOS)]
    text = tokenizer.decode(tokens)
    places = [place for stop in request.stop if (place := text.find(stop)) >= 0]
    if places:
        ended, text = True, text[: min(places)]
        tokens = tokens[: len(text.encode())] if tokenizer.decode(tokens).isascii() else tokens
    return Completion(
        tokens=tokens,
        text=text,
        finish_reason="stop" if ended else "length",
        prompt_tokens=seen,
        truncated_tokens=truncated,
        forward_passes=passes,
        logprobs=logprobs[: len(tokens)],
    )
