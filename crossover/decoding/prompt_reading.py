"""Reading a prompt: in chunks that begin at multiples of their size, reused where an earlier request had them.

A chunk is computed by the same products whoever computes it, so its keys and values have the same bits, and an answer
does not depend on what was asked before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from crossover.decoding.key_value_cache import KeyValueCache, PrefixCache
from crossover.decoding.segment import Segment, Tokens

CHUNK = 64
"""Positions of a chunk."""


class Reading(NamedTuple):
    """Chunks to compute in the next forward pass."""

    segments: list[Segment]
    end: int
    """Positions that are computed after it."""
    reused: int
    """Positions that were copied."""


class PromptReader:
    """Reads one prompt.

    Args:
        prefixes: chunks of earlier prompts.
        cache: the sequence's.
        chunk: positions of a chunk.
        last: no chunk beyond this position is reused or kept.
    """

    def __init__(self, prefixes: PrefixCache, cache: KeyValueCache, chunk: int, last: int) -> None:
        self._prefixes, self._cache, self._chunk, self._last = prefixes, cache, chunk, last

    def plan(self, tokens: Tokens, begin: int, room: int, *, every: bool = False) -> Reading:
        """The next chunks of at most `room` positions in all, at least one chunk; none while another request reads it.

        Args:
            tokens: of the sequence, all that shall be computed.
            begin: positions that are computed.
            room: largest number of positions.
            every: the logits of every position are wanted, so that none is copied.
        """
        segments: list[Segment] = []
        start = begin
        reused = 0
        while start < len(tokens):
            end = min((start // self._chunk + 1) * self._chunk, len(tokens))
            if not every and self._is_kept(start, end):
                key = _key(tokens, end)
                if self._prefixes.load(key, self._cache, start):
                    reused += end - start
                    start = end
                    continue
                if not self._prefixes.claim(key):
                    break
            if segments and end - start > room:
                break
            wanted = np.arange(end - start) if every else np.empty(0, dtype=np.int64)
            segments.append(Segment(tokens[start:end], start, wanted, self._cache))
            room -= end - start
            start = end
        return Reading(segments, start, reused)

    def keep(self, tokens: Tokens, segments: list[Segment]) -> None:
        """Keep the chunks that were computed for later requests."""
        for segment in segments:
            end = segment.start + len(segment.tokens_L)
            if self._is_kept(segment.start, end):
                self._prefixes.store(_key(tokens, end), self._cache, segment.start, end)

    def _is_kept(self, start: int, end: int) -> bool:
        return end - start == self._chunk and start % self._chunk == 0 and end <= self._last


def _key(tokens: Tokens, end: int) -> bytes:
    return tokens[:end].astype(np.int32).tobytes()
