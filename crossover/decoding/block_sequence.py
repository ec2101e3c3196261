"""Decoding with a block diffusion model, whose blocks attend to those before them and to themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from crossover.decoding import masked_canvas
from crossover.decoding.diffusion_sequence import DiffusionSequence
from crossover.decoding.generation_request import Generation
from crossover.decoding.inference_model import InferenceModel
from crossover.decoding.key_value_cache import PrefixCache
from crossover.decoding.prompt_reading import CHUNK, PromptReader
from crossover.decoding.segment import Segment
from crossover.decoding.token_sampling import Floats
from crossover.errors import RequestError


class BlockSequence(DiffusionSequence):
    """Fills the blocks after the prompt left to right; the keys and values of full blocks are exact and kept.

    Args:
        model: the model.
        request: the request.
        prefixes: chunks of earlier prompts.

    Raises:
        RequestError: a suffix, to which the model cannot attend.
    """

    def __init__(self, model: InferenceModel, request: Generation, prefixes: PrefixCache) -> None:
        if request.suffix:
            raise RequestError(
                "request.suffix-unsupported",
                field="suffix",
                problem="a block diffusion model generates its blocks left to right and cannot attend to a suffix",
                remedy="omit suffix, or use a masked diffusion model (arm dlm)",
            )
        self._length = model.block_length
        canvas = masked_canvas.of_generation(request, model.config.max_length, model.tokenizer)
        super().__init__(model, request, canvas, canvas.open_H // self._length)
        self._prefixes = prefixes
        self._given = int(self.open_H[0]) // self._length * self._length
        self._computed = 0
        self._reading: list[Segment] = []
        self._end = 0
        self._filling = False

    @property
    def positions(self) -> int:
        """All."""
        return len(self.tokens_L)

    @property
    def generated(self) -> bool:
        """After the full blocks of the prompt."""
        return self._filling

    @property
    def least_rows(self) -> int:
        """A chunk of the prompt, or two blocks."""
        return min(CHUNK, self._given - self._computed) if self._computed < self._given else 2 * self._length

    def begin(self) -> None:
        """Allocate the cache."""
        super().begin()
        assert self.cache is not None  # noqa: S101 - there is a hole
        chunk = self._length * math.ceil(CHUNK / self._length)
        self._reader = PromptReader(self._prefixes, self.cache, chunk, self._given)

    def segments(self, room: int) -> list[Segment]:
        """Full blocks of the prompt; after them the present block with the one that was filled before it."""
        self._reading, begin = [], self._computed
        if begin < self._given:
            self._reading, begin, reused = self._reader.plan(self.tokens_L[: self._given], begin, room)
            self.cached_tokens += reused
        self._filling = begin >= self._given
        if not self._filling:
            self._end = begin
            if not self._reading:
                self._computed = begin
            return self._reading
        index_P = self.masked_P
        self._end = int(self._block_H[index_P[0]]) * self._length
        tokens = self.tokens_L[begin : self._end + self._length]
        return [*self._reading, Segment(tokens, begin, self.open_H[index_P] - begin, self.cache)]

    def advance(self, logits: Sequence[Floats]) -> None:
        """Note what is computed, then fill some of the block's masks."""
        self._reader.keep(self.tokens_L, self._reading)
        self._computed = self._end
        super().advance(logits)
