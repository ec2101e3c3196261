"""Generates text for a batch of requests of any lengths, or for one request as a stream.

Shapes: B requests, L tokens, D hidden size, V vocabulary; P positions of a request whose logits are wanted, N of all.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from crossover.data import tokenizer
from crossover.decoding.decoding_sequences import ARSequence, DecodingSequence, DLMSequence, stop_position
from crossover.decoding.generation_request import Completion, Generation
from crossover.model.transformer import Transformer, suppress

MAX_BATCH = 16
"""Requests in one forward pass."""


def start(model: Transformer, request: Generation) -> DecodingSequence:
    """The decoding state of a request, for the model's family.

    Raises:
        RequestError: the model's family does not support the request.
    """
    length = model.config.max_length
    if model.causal:
        return ARSequence(request, length)
    return DLMSequence(request, length, model.block_length)


def generate(model: Transformer, requests: Sequence[Generation]) -> list[Completion]:
    """Complete requests; a completion does not depend on the other requests of its batch.

    Raises:
        RequestError: the model's family does not support one of the requests.
    """
    sequences = [start(model, request) for request in requests]
    while active := [sequence for sequence in sequences if not sequence.done]:
        _step(model, active[:MAX_BATCH])
    return [sequence.completion() for sequence in sequences]


def stream(model: Transformer, request: Generation) -> Iterator[str | Completion]:
    """Complete one request as a stream.

    The pieces joined are the completion's text; none ends inside a UTF-8 character. With stop sequences, text is held
    back by the length of the longest one, and nothing after one is yielded, although a DLM decodes on.

    Args:
        model: of either family.
        request: the request.

    Yields:
        Pieces of text as they become final, then the completion.

    Raises:
        RequestError: the model's family does not support the request.
    """
    sequence = start(model, request)
    held = max((len(text) for text in request.stop), default=1) - 1
    sent = ""
    while not sequence.done:
        _step(model, [sequence])
        ready = _complete_characters(sequence.committed())
        ready = ready[: max(0, min(len(ready) - held, stop_position(ready, request.stop)))]
        if not sequence.done and len(ready) > len(sent):
            yield ready[len(sent) :]
            sent = ready
    completion = sequence.completion()
    if completion.text[len(sent) :]:
        yield completion.text[len(sent) :]
    yield completion


def _complete_characters(tokens: list[int]) -> str:
    """Text of the tokens before EOS, without an incomplete character at the end."""
    cut = tokens[: tokens.index(tokenizer.EOS)] if tokenizer.EOS in tokens else tokens
    return codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(t for t in cut if t < tokenizer.BOS))


def _step(model: Transformer, sequences: Sequence[DecodingSequence]) -> None:
    """Run one forward pass over all sequences, shorter ones padded on the right, and advance each."""
    inputs = [sequence.inputs() for sequence in sequences]
    width = max(len(row) for row in inputs)
    tokens_BL = np.full((len(inputs), width), tokenizer.EOS, dtype=np.int64)
    visible_BL = np.zeros((len(inputs), width), dtype=np.bool_)
    for i, row in enumerate(inputs):
        tokens_BL[i, : len(row)] = row
        visible_BL[i, : len(row)] = True
    device = model.lm_head.weight.device
    visible = None if visible_BL.all() else torch.from_numpy(visible_BL).to(device)
    wanted = [sequence.wanted() for sequence in sequences]
    rows_N = torch.from_numpy(np.concatenate([i * width + positions for i, positions in enumerate(wanted)])).to(device)

    def readout(hidden_BLD: Tensor, head_VD: Tensor, _: Tensor | None) -> Tensor:
        return suppress(F.linear(hidden_BLD.flatten(0, 1)[rows_N], head_VD).float(), model.mask_id)

    with torch.inference_mode():
        logits_NV = model(torch.from_numpy(tokens_BL).to(device), visible, readout=readout).double().cpu().numpy()
    ends = np.cumsum([len(positions) for positions in wanted])
    for sequence, logits_PV in zip(sequences, np.split(logits_NV, ends[:-1]), strict=True):
        sequence.advance(logits_PV)
