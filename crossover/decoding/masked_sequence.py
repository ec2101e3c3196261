"""Decoding with a masked diffusion model, whose positions attend to all others."""

from __future__ import annotations

import numpy as np

from crossover.decoding import masked_canvas
from crossover.decoding.diffusion_sequence import DiffusionSequence
from crossover.decoding.generation_request import Generation, Infilling
from crossover.decoding.inference_model import InferenceModel
from crossover.decoding.segment import Segment


class MaskedSequence(DiffusionSequence):
    """Fills holes anywhere between given tokens.

    With `cache: exact` each pass computes all positions. Otherwise the first pass of a block does, and the later ones
    only those from the block on (`prefix`) or the block's (`dual`; Fast-dLLM, arXiv 2505.22618). A mixture of experts
    whose experts choose their tokens has no other mode than `exact`: its routing needs all positions.

    Args:
        model: the model.
        request: the request.
    """

    generated = True

    def __init__(self, model: InferenceModel, request: Generation | Infilling) -> None:
        longest, tokenizer = model.config.max_length, model.tokenizer
        canvas = (
            masked_canvas.of_generation(request, longest, tokenizer)
            if isinstance(request, Generation)
            else masked_canvas.of_infilling(request, longest, tokenizer)
        )
        filled = len(canvas.open_H)
        super().__init__(model, request, canvas, np.arange(filled) // (min(filled, request.block_length) or filled))
        self._exact = request.cache == "exact" or model.expert_choice
        self._block = -1

    @property
    def positions(self) -> int:
        """All, unless every pass computes all."""
        return 0 if self._exact else len(self.tokens_L)

    @property
    def least_rows(self) -> int:
        """Those of the next pass."""
        begin, end = self._span(int(self._block_H[self.masked_P[0]]))
        return end - begin

    def segments(self, room: int) -> list[Segment]:
        """All positions, or those that are not cached; they cannot be divided."""
        del room
        index_P = self.masked_P
        wanted = self.open_H[index_P]
        block = int(self._block_H[index_P[0]])
        begin, end = self._span(block)
        self._block = block
        cache = None if self._exact else self.cache
        return [Segment(self.tokens_L[begin:end], begin, wanted - begin, cache, len(self.tokens_L))]

    def _span(self, block: int) -> tuple[int, int]:
        """Positions that a pass on a block computes: the first one on it computes all."""
        if self._exact or block != self._block:
            return 0, len(self.tokens_L)
        members = self.open_H[self._block_H == block]
        return int(members[0]), int(members[-1]) + 1 if self.request.cache == "dual" else len(self.tokens_L)
