"""Generates text for a list of requests at once, or for one request as a stream, without a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crossover.decoding.decoding_sequence import DecodingSequence
from crossover.decoding.generation_request import Completion, Generation, Infilling
from crossover.decoding.inference_model import InferenceModel
from crossover.decoding.key_value_cache import PrefixCache
from crossover.decoding.stepping import start, step
from crossover.model.transformer import Transformer

MAX_BATCH = 32
"""Requests that are decoded at once."""
ROWS = 1024
"""Positions in one forward pass."""
PREFIX_BYTES = 2**28
"""Of beginnings that prompts share, such as the examples of a task."""


def generate(model: Transformer | InferenceModel, requests: Sequence[Generation | Infilling]) -> list[Completion]:
    """Complete requests; a completion does not depend on the other requests, on a CPU to the bit.

    Args:
        model: of either family; `InferenceModel(model, rows=ROWS)` where it is called again and again.
        requests: to complete.

    Raises:
        RequestError: the model's family does not support one of the requests.
    """
    prepared = InferenceModel(model, rows=ROWS) if isinstance(model, Transformer) else model
    prefixes = PrefixCache(PREFIX_BYTES)
    sequences = [start(prepared, request, prefixes) for request in requests]
    waiting, active = list(reversed(sequences)), list[DecodingSequence]()
    while waiting or active:
        while waiting and len(active) < MAX_BATCH:
            active.append(waiting.pop())
            active[-1].begin()
        _step(prepared, active, prefixes)
        for sequence in active:
            if sequence.done:
                sequence.cache = None
        active = [sequence for sequence in active if not sequence.done]
    return [sequence.completion() for sequence in sequences]


def stream(model: Transformer, request: Generation) -> Iterator[str | Completion]:
    """Complete one request as a stream.

    The pieces joined are the completion's text; none ends inside a UTF-8 character, and none has a part of a stop text.

    Args:
        model: of either family.
        request: the request.

    Yields:
        Pieces of text as they become final, then the completion.

    Raises:
        RequestError: the model's family does not support the request.
    """
    prepared, prefixes = InferenceModel(model, rows=ROWS), PrefixCache(0)
    sequence = start(prepared, request, prefixes)
    sequence.begin()
    while not sequence.done:
        _step(prepared, [sequence], prefixes)
        if piece := sequence.take_piece():
            yield piece.text
    yield sequence.completion()


def _step(model: InferenceModel, sequences: Sequence[DecodingSequence], prefixes: PrefixCache) -> None:
    for _, error in step(model, sequences, prefixes, ROWS).failed:
        raise error
