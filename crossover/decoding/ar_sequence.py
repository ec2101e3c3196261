"""Left-to-right decoding with keys and values kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crossover.decoding.decoding_sequence import DecodingSequence
from crossover.decoding.generation_request import Completion, Generation, TokenLogprob
from crossover.decoding.inference_model import InferenceModel
from crossover.decoding.key_value_cache import PrefixCache
from crossover.decoding.prompt_reading import CHUNK, PromptReader
from crossover.decoding.segment import Segment
from crossover.decoding.text_pieces import token_ids
from crossover.decoding.token_sampling import Floats, log_softmax, logprobs_of
from crossover.errors import RequestError


class ARSequence(DecodingSequence):
    """Left-to-right decoding; the context window slides when prompt and completion outgrow it.

    Within the window each position is computed once. When it slides, every position moves, so all of it is computed
    for every token.

    Args:
        model: the model.
        request: the request.
        prefixes: chunks of earlier prompts.

    Raises:
        RequestError: the request has a suffix, to which a causal model cannot attend.
    """

    def __init__(self, model: InferenceModel, request: Generation, prefixes: PrefixCache) -> None:
        if request.suffix:
            raise RequestError(
                "request.suffix-unsupported",
                field="suffix",
                problem="an autoregressive model cannot attend to text after the completion",
                remedy="serve a masked diffusion model, or omit suffix",
            )
        prompt = token_ids(request.prompt, model.tokenizer)
        self._given_bos = len(prompt) > 0 and prompt[0] == model.tokenizer.bos  # lm-evaluation-harness sends it
        prompt = prompt[int(self._given_bos) :]
        super().__init__(model, request, prompt)
        self._generation, self._prefixes = request, prefixes
        self._window = model.config.max_length + 1
        kept = prompt[max(0, len(prompt) - model.config.max_length) :]
        self._truncated = len(prompt) - len(kept)
        self._prompt = 1 + len(kept)
        self._tokens = np.full(self._prompt + request.max_tokens, model.tokenizer.bos, dtype=np.int64)
        self._tokens[1 : self._prompt] = kept
        self._length = self._prompt
        self._computed = self._planned_end = 0
        self._planned: list[Segment] = []
        self._prompt_logprobs: list[TokenLogprob] = []

    @property
    def positions(self) -> int:
        """All of prompt and completion that fits into the window."""
        return min(self._window, len(self._tokens))

    @property
    def least_rows(self) -> int:
        """A chunk of the prompt, or one position; all of the window once it slides."""
        return self._window if self._length > self._window else min(CHUNK, self._length - self._computed)

    def begin(self) -> None:
        """Allocate the cache."""
        super().begin()
        assert self.cache is not None  # noqa: S101 - there is at least BOS
        self._reader = PromptReader(self._prefixes, self.cache, CHUNK, self._prompt - 1)

    def segments(self, room: int) -> list[Segment]:
        """The prompt in chunks, then one position at a time."""
        if self._length > self._window:
            tokens = np.append(self.model.tokenizer.bos, self._tokens[self._length + 1 - self._window : self._length])
            return [Segment(tokens, wanted_P=np.array([len(tokens) - 1]))]
        tokens = self._tokens[: self._length]
        if self._computed == self._length - 1 and self._computed:
            reading, end = [Segment(tokens[-1:], self._computed, cache=self.cache)], self._length
        else:
            reading, end, reused = self._reader.plan(
                tokens, self._computed, room, every=self._generation.prompt_logprobs
            )
            self.cached_tokens += reused
            if not reading:
                self._computed = end
        reads_prompt = self._computed < self._prompt and self._generation.prompt_logprobs
        if reading and end == self._length and not reads_prompt:
            reading[-1].wanted_P = np.array([len(reading[-1].tokens_L) - 1])
        self._planned, self._planned_end = reading, end
        return reading

    def advance(self, logits: Sequence[Floats]) -> None:
        """Commit the next token, once all of the prompt is computed."""
        self.passes += 1
        if self._length <= self._window:
            if self._computed < self._prompt:
                self._reader.keep(self._tokens, self._planned)
                if self._generation.prompt_logprobs:
                    self._score_prompt(logits)
            self._computed = self._planned_end
            if self._computed < self._length:
                return
        if not self._generation.max_tokens:
            self._finish()
            return
        tokens, logp_PV = self.sampled(logits[-1][-1:], [self._new])
        self._commit(int(tokens[0]), logp_PV)

    @property
    def _new(self) -> int:
        return self._length - self._prompt

    def _score_prompt(self, logits: Sequence[Floats]) -> None:
        for segment, logits_PV in zip(self._planned, logits, strict=True):
            targets = self._tokens[segment.start + 1 : min(segment.start + 1 + len(logits_PV), self._prompt)]
            scored = logprobs_of(targets.tolist(), log_softmax(logits_PV[: len(targets)]), self.request.logprobs or 0)
            if segment.start == 0 and self._given_bos:
                scored.insert(0, TokenLogprob(self.model.tokenizer.bos, None))
            elif segment.start == 0 and scored:
                scored[0] = TokenLogprob(scored[0].token, None)
            self._prompt_logprobs += scored

    def _commit(self, token: int, logp_PV: Floats) -> None:
        self._tokens[self._length] = token
        self._length += 1
        self.changes.count(token)
        self.confidences.append(float(logp_PV[0, token]))
        if self.request.logprobs is not None:
            self.logprobs += logprobs_of([token], logp_PV, self.request.logprobs)
        self.pieces.add([token])
        if self.pieces.ended or self._new >= self._generation.max_tokens:
            self._finish()

    def _finish(self) -> None:
        self.stopped = self.pieces.ended
        self.pieces.finish()
        self.done = True

    def completion(self) -> Completion:
        """The completion."""
        return self.completed(self._prompt - 1, self._truncated, prompt_logprobs=self._prompt_logprobs)
