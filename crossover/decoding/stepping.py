"""One forward pass over many requests, each at its own place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from crossover.decoding.ar_sequence import ARSequence
from crossover.decoding.block_sequence import BlockSequence
from crossover.decoding.decoding_sequence import DecodingSequence
from crossover.decoding.generation_request import Generation, Infilling
from crossover.decoding.inference_model import InferenceModel
from crossover.decoding.key_value_cache import PrefixCache
from crossover.decoding.masked_sequence import MaskedSequence
from crossover.decoding.segment import Segment
from crossover.errors import RequestError


def start(model: InferenceModel, request: Generation | Infilling, prefixes: PrefixCache) -> DecodingSequence:
    """The decoding state of a request, for the model's family.

    Raises:
        RequestError: the model's family does not support the request.
    """
    if not model.model.causal and not model.block_length:
        _refuse_prompt_logprobs(request)
        return MaskedSequence(model, request)
    if isinstance(request, Infilling):
        raise RequestError(
            "request.infill-unsupported",
            field="parts",
            problem="this model generates left to right and cannot attend to text after a hole",
            remedy="serve a masked diffusion model (arm dlm)",
        )
    if model.model.causal:
        return ARSequence(model, request, prefixes)
    _refuse_prompt_logprobs(request)
    return BlockSequence(model, request, prefixes)


def _refuse_prompt_logprobs(request: Generation | Infilling) -> None:
    if isinstance(request, Generation) and request.prompt_logprobs:
        raise RequestError(
            "request.prompt-logprobs-unsupported",
            field="logprobs",
            problem="a diffusion model has no log-probability of each token given those before it",
            remedy="score texts by /v1/score or `crossover lm-eval`, which estimate the likelihood",
        )


@dataclass
class Step:
    """What one forward pass did."""

    advanced: list[DecodingSequence] = field(default_factory=list)
    failed: list[tuple[DecodingSequence, Exception]] = field(default_factory=list)
    rows: int = 0


def step(model: InferenceModel, sequences: Sequence[DecodingSequence], prefixes: PrefixCache, rows: int) -> Step:
    """Compute what the sequences need next, first those that need a single position, then in their order.

    Args:
        model: of the sequences.
        sequences: not done.
        prefixes: of the sequences.
        rows: largest number of positions, unless one sequence needs more at once.
    """
    prefixes.next_step()
    result = Step()
    batch: list[tuple[DecodingSequence, list[Segment]]] = []
    room = rows
    for sequence in sorted(sequences, key=lambda sequence: sequence.least_rows > 1):
        if batch and sequence.least_rows > room:
            continue
        try:
            segments = sequence.segments(room)
        except Exception as error:  # of this request alone; reported to its caller
            result.failed.append((sequence, error))
            continue
        if segments:
            batch.append((sequence, segments))
            room -= sum(len(segment.tokens_L) for segment in segments)
    logits = model.forward([segment for _, segments in batch for segment in segments])
    begin = 0
    for sequence, segments in batch:
        end = begin + len(segments)
        try:
            sequence.advance(logits[begin:end])
        except Exception as error:  # of this request alone; reported to its caller
            result.failed.append((sequence, error))
        else:
            result.advanced.append(sequence)
        begin = end
    result.rows = rows - room
    return result
