"""Unmasking: given texts and holes of MASKs, which are filled block by block.

Shapes: L tokens of the sequence, H of them in holes, P masked ones of the present block, V vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossover.decoding.decoding_sequence import DecodingSequence
from crossover.decoding.engine_events import Canvas, CanvasToken
from crossover.decoding.generation_request import Completion, Generation, Infilling, TokenLogprob
from crossover.decoding.inference_model import InferenceModel
from crossover.decoding.masked_canvas import MaskedCanvas
from crossover.decoding.token_sampling import Floats, logprobs_of


class DiffusionSequence(DecodingSequence):
    """What masked and block diffusion models have in common: which masks a forward pass fills, and with what.

    A token is final when all before it in its hole's block are, and with `remask` when its block is: from then on it
    is streamed. Decoding ends at EOS or a stop text, with the rest of the canvas unfilled.

    Args:
        model: the model.
        request: the request.
        canvas: given texts and holes.
        block_H: block of each token to fill, ascending.
    """

    def __init__(
        self, model: InferenceModel, request: Generation | Infilling, canvas: MaskedCanvas, block_H: NDArray[np.int64]
    ) -> None:
        tokens_L = canvas.tokens_L
        super().__init__(model, request, tokens_L[tokens_L != model.tokenizer.mask])
        self.board, self.tokens_L, self.open_H, self._block_H = canvas, canvas.tokens_L, canvas.open_H, block_H
        self._logp_H = np.zeros(len(self.open_H))
        self._given_logprobs = [TokenLogprob(model.tokenizer.mask, None)] * len(self.open_H)
        self._final = 0
        self._remasked = -1
        self._per_pass = 1 if not request.steps else max(1, -(-len(self.open_H) // request.steps))

    @property
    def first_end(self) -> int:
        """No EOS where text follows."""
        return super().first_end if self.board.open_end else np.iinfo(np.int64).max

    @property
    def masked_P(self) -> NDArray[np.int64]:
        """Indices, among the tokens to fill, of the masked ones of the first block that has any."""
        masked = np.flatnonzero(self.tokens_L[self.open_H] == self.model.tokenizer.mask)
        first: NDArray[np.int64] = masked[self._block_H[masked] == self._block_H[masked[0]]]
        return first

    @property
    @abstractmethod
    def generated(self) -> bool:
        """Whether the last forward pass had the logits of the block's masks."""

    def advance(self, logits: Sequence[Floats]) -> None:
        """Fill some of the block's masks."""
        self.passes += 1
        if not self.generated:
            return
        index_P = self.masked_P
        tokens_P, logp_PV = self.sampled(logits[-1], index_P.tolist())
        logp_P = np.take_along_axis(logp_PV, tokens_P[:, None], axis=-1)[:, 0]
        ranked = np.argsort(-self._priority(logp_P, logp_PV, index_P), kind="stable")
        chosen = np.zeros(len(index_P), dtype=np.bool_)
        chosen[ranked[: self._per_pass]] = True
        if self.request.confidence_threshold:
            chosen |= np.exp(logp_P) >= self.request.confidence_threshold
        self._fill(index_P[chosen], tokens_P[chosen], logp_PV[chosen])
        self._settle(int(self._block_H[index_P[0]]))

    def _priority(self, logp_P: Floats, logp_PV: Floats, index_P: NDArray[np.int64]) -> Floats:
        order = self.request.order
        if order == "random":
            return self.draw.random(len(index_P))
        if order == "left-to-right":
            return -index_P.astype(np.float64)
        if order == "confidence":
            return logp_P
        probability_PV = np.exp(logp_PV)
        if order == "margin":
            best_P2 = np.partition(probability_PV, -2, axis=-1)[:, -2:]
            margin_P: Floats = best_P2[:, 1] - best_P2[:, 0]
            return margin_P
        entropy_P: Floats = -(probability_PV * np.where(probability_PV > 0, logp_PV, 0.0)).sum(axis=-1)
        return -entropy_P

    def _fill(self, index_C: NDArray[np.int64], tokens_C: NDArray[np.int64], logp_CV: Floats) -> None:
        self.tokens_L[self.open_H[index_C]] = tokens_C
        self._logp_H[index_C] = np.take_along_axis(logp_CV, tokens_C[:, None], axis=-1)[:, 0]
        if self.request.logprobs is not None:
            scored = logprobs_of(tokens_C.tolist(), logp_CV, self.request.logprobs)
            for index, item in zip(index_C.tolist(), scored, strict=True):
                self._given_logprobs[index] = item
        for token in tokens_C.tolist():
            self.changes.count(token)
        self._draw(index_C)

    def _draw(self, index_C: NDArray[np.int64]) -> None:
        """Report positions that changed."""
        if self.canvas is None:
            return
        updates = [
            CanvasToken(
                index,
                None
                if token == self.model.tokenizer.mask
                else self.model.tokenizer.token_bytes(token).decode("utf-8", "replace"),
                float(np.exp(self._logp_H[index])),
            )
            for index, token in zip(index_C.tolist(), self.tokens_L[self.open_H[index_C]].tolist(), strict=True)
        ]
        self.canvas.append(Canvas(self.passes, tuple(updates)))

    def _settle(self, block: int) -> None:
        """Mask again what the request wants so, then pass on what is final."""
        members = np.flatnonzero(self._block_H == block)
        full = not (self.tokens_L[self.open_H[members]] == self.model.tokenizer.mask).any()
        if full and self.request.remask and self._remasked != block:
            self._remasked = block
            count = int(self.request.remask * len(members))
            again = members[np.argsort(self._logp_H[members], kind="stable")[:count]]
            for token in self.tokens_L[self.open_H[again]].tolist():
                self.changes.count(token, -1)
            self.tokens_L[self.open_H[again]] = self.model.tokenizer.mask
            self._draw(again)
            full = not count
        if full or not self.request.remask:
            self._pass_on()

    def _pass_on(self) -> None:
        filled = self.tokens_L[self.open_H]
        masked = np.flatnonzero(filled == self.model.tokenizer.mask)
        final = int(masked[0]) if masked.size else len(filled)
        new = slice(self._final, final)
        self.confidences += self._logp_H[new].tolist()
        if self.request.logprobs is not None:
            self.logprobs += self._given_logprobs[new]
        self.pieces.add(filled[new].tolist())
        self._final = final
        if self.pieces.ended or not masked.size:
            self.stopped = self.pieces.ended
            self.pieces.finish()
            self.done = True

    def completion(self) -> Completion:
        """The completion; of an `Infilling` the filled text and each hole's."""
        result = self.completed(len(self.tokens_L) - len(self.open_H), self.board.truncated)
        if isinstance(self.request, Infilling):
            result.text, result.holes = self.board.texts(self.model.tokenizer)
        return result
