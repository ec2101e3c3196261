"""The tokens of a context and of its continuation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from crossover.tokenization.tokenizer import BYTES

Text = str | tuple[int, ...]
"""A string, or token ids where the piece is cut inside a character and so has no string."""
Tokens = NDArray[np.int64]


def encode_pair(
    context: Text, continuation: Text, encode: Callable[[str], NDArray[np.integer]] = BYTES.encode
) -> tuple[Tokens, Tokens]:
    """Tokens of a context and of its continuation; concatenated they are the tokens of the full text.

    Trailing spaces of the context belong to the continuation. A token that spans the boundary belongs to the
    continuation, so that all its characters are scored under every option.

    Args:
        context: text or token ids.
        continuation: text or token ids.
        encode: the tokenizer.
    """
    if not isinstance(context, str) or not isinstance(continuation, str):
        texts = (context, continuation)
        first, second = (encode(text) if isinstance(text, str) else np.asarray(text) for text in texts)
        return first.astype(np.int64), second.astype(np.int64)
    full = encode(context + continuation).astype(np.int64)
    prefix = encode(context.rstrip(" ")).astype(np.int64)
    common = min(len(prefix), len(full))
    differs = np.flatnonzero(prefix[:common] != full[:common])
    split = int(differs[0]) if differs.size else common
    return full[:split], full[split:]
