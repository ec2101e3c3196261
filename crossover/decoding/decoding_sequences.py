"""Decoding state of one request: left to right for AR, unmasking for a DLM. `generate_text` runs the forward passes.

Shapes: L tokens of the input, P positions whose logits are wanted, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossover.counter_rng import Stream, generator
from crossover.data import tokenizer
from crossover.decoding.generation_request import Completion, Generation, Text, TokenLogprob
from crossover.decoding.token_sampling import Floats, choose
from crossover.errors import RequestError

Tokens = NDArray[np.int64]


class DecodingSequence(Protocol):
    """Decoding state of one request."""

    done: bool

    def inputs(self) -> Tokens:
        """Input token ids of the next forward pass, shape (L,)."""

    def wanted(self) -> NDArray[np.int64]:
        """Positions in `inputs()` whose logits `advance` needs, shape (P,)."""

    def advance(self, logits_PV: Floats) -> None:
        """Commit at least one token from the logits of the wanted positions."""

    def committed(self) -> list[int]:
        """Leading tokens of the completion that are final."""

    def completion(self) -> Completion:
        """The completion, once done."""


class ARSequence:
    """Left-to-right decoding; the context window slides when prompt and completion outgrow it.

    Args:
        request: the request.
        max_length: the model's context in tokens.

    Raises:
        RequestError: the request has a suffix, to which a causal model cannot attend.
    """

    def __init__(self, request: Generation, max_length: int) -> None:
        if request.suffix:
            raise RequestError(
                "request.suffix-unsupported",
                field="suffix",
                problem="an autoregressive model cannot attend to text after the completion",
                remedy="serve a masked diffusion model, or omit suffix",
            )
        self.request, self.max_length = request, max_length
        self.prompt = token_ids(request.prompt).astype(np.int64)
        self.new: list[int] = []
        self.logprobs: list[float] = []
        self.passes = 0
        self.done = False
        self._ended = False
        self._draw = generator(request.seed, Stream.SAMPLING)

    def inputs(self) -> Tokens:
        """BOS and the last tokens that fit into the context."""
        seen = np.concatenate((self.prompt, np.asarray(self.new, dtype=np.int64)))[-self.max_length :]
        return np.concatenate(([tokenizer.BOS], seen)).astype(np.int64)

    def wanted(self) -> NDArray[np.int64]:
        """The last position."""
        return np.array([len(self.inputs()) - 1])

    def advance(self, logits_PV: Floats) -> None:
        """Commit the next token."""
        self.passes += 1
        last = logits_PV.copy()
        last[:, [tokenizer.BOS, tokenizer.MASK]] = -np.inf
        token, logprob = choose(last, self.request.temperature, self.request.top_p, self._draw)
        self.new.append(int(token[0]))
        self.logprobs.append(float(logprob[0]))
        text = tokenizer.decode(self.new)
        self._ended = self.new[-1] == tokenizer.EOS or any(stop in text for stop in self.request.stop)
        self.done = self._ended or len(self.new) >= self.request.max_tokens

    def committed(self) -> list[int]:
        """All tokens generated so far."""
        return self.new

    def completion(self) -> Completion:
        """The completion."""
        kept = min(len(self.prompt), self.max_length)
        return _finish(self.request, self.new, self.logprobs, kept, len(self.prompt) - kept, self.passes)


class DLMSequence:
    """Unmasking: prompt, a hole of MASKs, suffix; the hole is filled block by block, by default by confidence.

    Args:
        request: the request.
        max_length: the model's context in tokens.
        block_length: of a block diffusion model, whose blocks set the order; 0 otherwise.

    Raises:
        RequestError: the hole is longer than the model's context, or a block diffusion model was given a suffix.
    """

    def __init__(self, request: Generation, max_length: int, block_length: int = 0) -> None:
        hole = request.max_tokens
        if block_length and request.suffix:
            raise RequestError(
                "request.suffix-unsupported",
                field="suffix",
                problem="a block diffusion model generates its blocks left to right and cannot attend to a suffix",
                remedy="omit suffix, or use a masked diffusion model (arm dlm)",
            )
        if hole > max_length:
            raise RequestError(
                "request.too-many-tokens",
                field="max_tokens",
                problem=f"this diffusion model's context is {max_length} tokens",
                remedy=f"ask for at most {max_length}",
            )
        self.request, self.hole = request, hole
        prompt = token_ids(request.prompt).astype(np.int64)
        suffix = token_ids(request.suffix or "").astype(np.int64)
        left, right = truncate_both(len(prompt), len(suffix), max_length - hole)
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
        """Prompt, hole and suffix."""
        return self.tokens

    def wanted(self) -> NDArray[np.int64]:
        """Masked positions of the first block that has any."""
        masked = self.begin + np.flatnonzero(self.tokens[self._hole] == tokenizer.MASK)
        block = (masked[0] - self._origin) // self.block
        first: NDArray[np.int64] = masked[(masked - self._origin) // self.block == block]
        return first

    def advance(self, logits_PV: Floats) -> None:
        """Commit the next tokens of the current block."""
        self.passes += 1
        masked, logits_PV = self.wanted(), logits_PV.copy()
        logits_PV[:, self._forbidden] = -np.inf
        tokens_P, logprob_P = choose(logits_PV, self.request.temperature, self.request.top_p, self._draw)
        priority = logprob_P if self.request.order == "confidence" else self._draw.random(len(masked))
        chosen = np.argsort(-priority, kind="stable")[: self._tokens_per_pass()]
        self.tokens[masked[chosen]] = tokens_P[chosen]
        self.logprobs[masked[chosen] - self.begin] = logprob_P[chosen]
        self.done = not (self.tokens[self._hole] == tokenizer.MASK).any()

    @property
    def _hole(self) -> slice:
        return slice(self.begin, self.begin + self.hole)

    def _tokens_per_pass(self) -> int:
        """Tokens to commit in one forward pass, so that the hole takes about `steps` passes."""
        return 1 if not self.request.steps else max(1, -(-self.hole // self.request.steps))

    def committed(self) -> list[int]:
        """Tokens of the completed blocks."""
        hole = self.tokens[self._hole]
        masked = np.flatnonzero(hole == tokenizer.MASK)
        shift = self.begin - self._origin
        ready = self.hole if masked.size == 0 else max(0, (masked[0] + shift) // self.block * self.block - shift)
        return [int(token) for token in hole[:ready]]

    def completion(self) -> Completion:
        """The completion."""
        hole = [int(token) for token in self.tokens[self._hole]]
        seen = len(self.tokens) - self.hole
        return _finish(self.request, hole, self.logprobs.tolist(), seen, self.truncated, self.passes)


def token_ids(text: Text) -> Tokens:
    """The token ids of a text. Shape (L,)."""
    return tokenizer.encode(text) if isinstance(text, str) else np.asarray(text, dtype=np.int64)


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


def stop_position(text: str, stops: Sequence[str]) -> int:
    """Where the first stop sequence of a text begins; the text's length if it has none."""
    return min((index for stop in stops if (index := text.find(stop)) >= 0), default=len(text))


def _finish(
    request: Generation, tokens: list[int], logprobs: list[float], seen: int, truncated: int, passes: int
) -> Completion:
    """The completion, cut at EOS and at the first stop sequence."""
    ended = tokenizer.EOS in tokens
    if ended:
        tokens = tokens[: tokens.index(tokenizer.EOS)]
    text = tokenizer.decode(tokens)
    end = stop_position(text, request.stop)
    if end < len(text):
        ended, text = True, text[:end]
        tokens = tokens[: len(text.encode())] if tokenizer.decode(tokens).isascii() else tokens
    return Completion(
        tokens=tokens,
        text=text,
        finish_reason="stop" if ended else "length",
        prompt_tokens=seen,
        truncated_tokens=truncated,
        forward_passes=passes,
        logprobs=[TokenLogprob(*pair) for pair in zip(tokens, logprobs, strict=False)],
    )
