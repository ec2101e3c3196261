"""The text of tokens as they become final: whole characters, up to EOS or a stop text, none of which is shown."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

import numpy as np

from crossover.decoding.generation_request import Text
from crossover.decoding.segment import Tokens
from crossover.tokenization.tokenizer import Tokenizer


def token_ids(text: Text, tokenizer: Tokenizer) -> Tokens:
    """The token ids of a text. Shape (L,)."""
    ids = tokenizer.encode(text) if isinstance(text, str) else text
    return np.asarray(ids, dtype=np.int64)


class TextPieces:
    """Text of a growing list of tokens.

    Args:
        tokenizer: of the tokens.
        stops: texts that end it.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = ()) -> None:
        self._tokenizer, self._stops = tokenizer, stops
        self._held = max((len(stop) for stop in stops), default=1) - 1
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begins: list[int] = []
        self._sent = self._tokens_sent = 0
        self.tokens: list[int] = []
        """Before EOS and, once `ended`, those that are part of `text`."""
        self.text = ""
        """Whole characters of `tokens`, before a stop text."""
        self.ended = False
        """At EOS or a stop text."""

    def add(self, tokens: Sequence[int]) -> None:
        """Append tokens; those after the end are dropped."""
        for token in tokens:
            if self.ended:
                return
            if token == self._tokenizer.eos:
                self._append(self._decoder.decode(b"", final=True))
                self.ended = True
                return
            self._begins.append(len(self.text))
            self.tokens.append(token)
            self._append(self._decoder.decode(self._tokenizer.token_bytes(token)))

    def finish(self) -> None:
        """No token follows: bytes that are no whole character become U+FFFD."""
        if not self.ended:
            self._append(self._decoder.decode(b"", final=True))
        self._held = 0
        self.ended = True

    def take(self) -> tuple[str, int, int]:
        """Text that is final and not taken yet, and the tokens that it completes, as their range in `tokens`."""
        ready = len(self.text) if self.ended else max(self._sent, len(self.text) - self._held)
        piece, begin = self.text[self._sent : ready], self._tokens_sent
        self._sent = ready
        while self._tokens_sent < len(self.tokens) and (
            self.ended or (piece and self._end_of(self._tokens_sent) <= ready)
        ):
            self._tokens_sent += 1
        return piece, begin, self._tokens_sent

    def _end_of(self, index: int) -> int:
        return self._begins[index + 1] if index + 1 < len(self._begins) else len(self.text)

    def _append(self, piece: str) -> None:
        if not piece:
            return
        searched = max(0, len(self.text) - self._held)
        self.text += piece
        places = [place for stop in self._stops if (place := self.text.find(stop, searched)) >= 0]
        if places:
            self.text = self.text[: min(places)]
            kept = sum(begin < len(self.text) for begin in self._begins)
            del self.tokens[kept:], self._begins[kept:]
            self.ended = True
