"""Runs requests through a model: batches of any lengths, or one request as a stream of text.

Shapes: B requests, L tokens, V vocabulary.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from crossover.data import tokenizer
from crossover.decoding.decoding_sequences import ARSequence, DecodingSequence, DLMSequence
from crossover.decoding.generation_request import Completion, Generation
from crossover.model.transformer import Transformer

MAX_BATCH = 16


def start(model: Transformer, request: Generation) -> DecodingSequence:
    """A request ready to be decoded by this family of model.

    Raises:
        RequestError: the family cannot do what is asked.
    """
    length = model.config.max_length
    if model.causal:
        return ARSequence(request, length)
    return DLMSequence(request, length, model.block_length)


def generate(model: Transformer, requests: Sequence[Generation]) -> list[Completion]:
    """Complete requests; each answer is the same in a batch as alone.

    Raises:
        RequestError: the family cannot do what one of them asks.
    """
    sequences = [start(model, request) for request in requests]
    while active := [sequence for sequence in sequences if not sequence.done]:
        _step(model, active[:MAX_BATCH])
    return [sequence.completion() for sequence in sequences]


def stream(model: Transformer, request: Generation) -> Iterator[str | Completion]:
    """Yield the completion's text piece by piece as it becomes final, then the completion itself.

    A piece never ends inside a UTF-8 character, and the pieces joined are the completion's text. With stop texts all
    but the last piece is held back by the length of the longest, so that no part of a stop text is ever sent.
    """
    sequence = start(model, request)
    held = max((len(text) for text in request.stop), default=1) - 1
    sent = ""
    while not sequence.done:
        _step(model, [sequence])
        ready = _whole_characters(sequence.committed())
        ready = ready[: len(ready) - held] if held else ready
        if not sequence.done and len(ready) > len(sent):
            yield ready[len(sent) :]
            sent = ready
    completion = sequence.completion()
    if completion.text[len(sent) :]:
        yield completion.text[len(sent) :]
    yield completion


def _whole_characters(tokens: list[int]) -> str:
    """Text of the tokens before EOS, without an unfinished character at the end."""
    cut = tokens[: tokens.index(tokenizer.EOS)] if tokenizer.EOS in tokens else tokens
    return codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(t for t in cut if t < tokenizer.BOS))


def _step(model: Transformer, sequences: Sequence[DecodingSequence]) -> None:
    """One forward pass for all; shorter inputs are padded on the right, where nothing attends to."""
    inputs = [sequence.inputs() for sequence in sequences]
    width = max(len(row) for row in inputs)
    tokens_BL = np.full((len(inputs), width), tokenizer.EOS, dtype=np.int64)
    visible_BL = np.zeros((len(inputs), width), dtype=np.bool_)
    for place, row in enumerate(inputs):
        tokens_BL[place, : len(row)] = row
        visible_BL[place, : len(row)] = True
    device = model.lm_head.weight.device
    visible = None if visible_BL.all() else torch.from_numpy(visible_BL).to(device)
    with torch.inference_mode():
        logits_BLV = model(torch.from_numpy(tokens_BL).to(device), visible).double().cpu().numpy()
    for sequence, row, logits_LV in zip(sequences, inputs, logits_BLV, strict=True):
        sequence.advance(logits_LV[: len(row)])
