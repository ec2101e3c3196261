"""The state of one request while it is decoded; `stepping` runs the forward passes.

Shapes: P wanted positions of a forward pass, V vocabulary.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from crossover.counter_rng import Stream, generator
from crossover.decoding.engine_events import Canvas, Piece
from crossover.decoding.generation_request import Completion, Generation, Infilling, TokenLogprob
from crossover.decoding.inference_model import InferenceModel
from crossover.decoding.key_value_cache import KeyValueCache, bytes_per_token
from crossover.decoding.segment import Segment, Tokens
from crossover.decoding.text_pieces import TextPieces
from crossover.decoding.token_sampling import Floats, LogitChanges, choose, log_softmax
from crossover.errors import RequestError


class DecodingSequence(ABC):
    """Decoding of one request.

    Args:
        model: the model.
        request: the request.
        given: token ids of prompt and suffix.
    """

    def __init__(self, model: InferenceModel, request: Generation | Infilling, given: Tokens) -> None:
        vocabulary = model.config.vocab_size
        wrong = [token for token in (*given, *request.logit_bias) if not 0 <= token < vocabulary]
        if wrong:
            raise RequestError(
                "request.unknown-token",
                field=("parts" if isinstance(request, Infilling) else "prompt") if wrong[0] in given else "logit_bias",
                problem=f"there is no token {wrong[0]}; the vocabulary has {vocabulary}",
                remedy="send ids of this model's tokenizer, or text",
            )
        self.model, self.request = model, request
        self.cache: KeyValueCache | None = None
        self.done = False
        self.passes = 0
        self.cached_tokens = 0
        self.pieces = TextPieces(model.tokenizer, request.stop if isinstance(request, Generation) else ())
        self.stopped = False
        """At EOS or a stop text."""
        self.logprobs: list[TokenLogprob] = []
        """Of each token generated, if the request wants them."""
        self.confidences: list[float] = []
        """Log-probability of each token generated."""
        self.changes = LogitChanges(request, given, vocabulary)
        self.draw = generator(request.seed, Stream.SAMPLING)
        self.canvas: list[Canvas] | None = None
        """What passes committed, since it was taken; None where nobody looks."""

    @property
    @abstractmethod
    def positions(self) -> int:
        """Positions that the cache must hold; 0 where none is used."""

    @property
    @abstractmethod
    def least_rows(self) -> int:
        """Positions of the smallest part that can be computed next."""

    @abstractmethod
    def segments(self, room: int) -> list[Segment]:
        """What to compute next: at most `room` rows where it can be divided; empty to wait for the next step."""

    @abstractmethod
    def advance(self, logits: Sequence[Floats]) -> None:
        """Go on with the logits (P, V) of each of those segments."""

    @abstractmethod
    def completion(self) -> Completion:
        """The completion, once done."""

    @property
    def memory_bytes(self) -> int:
        """Of its keys and values."""
        return self.positions * bytes_per_token(self.model.config, self.model.dtype)

    def begin(self) -> None:
        """Allocate the cache."""
        if self.positions:
            self.cache = self.model.new_cache(self.positions)

    def sampled(self, logits_PV: Floats, index_P: Sequence[int]) -> tuple[Tokens, Floats]:
        """A token for each position.

        Args:
            logits_PV: the model's.
            index_P: of each position among the tokens to generate.

        Returns:
            Token ids (P,), and the model's log-probabilities (P, V).
        """
        logp_PV = log_softmax(logits_PV)
        logits_PV, tokenizer = logits_PV.copy(), self.model.tokenizer
        self.changes.apply(logits_PV)
        logits_PV[:, [token for token in tokenizer.special if token != tokenizer.eos]] = -np.inf
        first = self.first_end
        logits_PV[[index < first for index in index_P], tokenizer.eos] = -np.inf
        if np.isneginf(logits_PV.max(axis=-1)).any():
            raise RequestError(
                "request.no-token-left",
                field="logit_bias",
                problem="every token is removed",
                remedy="leave a token that can be generated",
            )
        return choose(logits_PV, self.request, self.draw), logp_PV

    @property
    def first_end(self) -> int:
        """Index of the first token that may be EOS."""
        return np.iinfo(np.int64).max if self.request.ignore_eos else self.request.min_tokens

    def take_piece(self) -> Piece | None:
        """Text that has become final since the last call."""
        text, begin, end = self.pieces.take()
        return Piece(text, tuple(self.logprobs[begin:end])) if text or begin < end else None

    def completed(
        self, prompt_tokens: int, truncated_tokens: int, *, prompt_logprobs: list[TokenLogprob] | None = None
    ) -> Completion:
        """The completion of the tokens before EOS and stop text."""
        count = len(self.pieces.tokens)
        return Completion(
            tokens=self.pieces.tokens,
            text=self.pieces.text,
            finish_reason="stop" if self.stopped else "length",
            prompt_tokens=prompt_tokens,
            truncated_tokens=truncated_tokens,
            cached_tokens=self.cached_tokens,
            forward_passes=self.passes,
            logprobs=self.logprobs[:count],
            prompt_logprobs=prompt_logprobs or [],
            confidence=float(np.mean(self.confidences[:count])) if count else math.nan,
        )
