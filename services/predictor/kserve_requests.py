"""Requests of KServe v1 and v2, over REST and gRPC, checked field by field."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from crossover_services.predictor.completion_request import CompletionRequest, check_choices
from crossover_services.predictor.engine_client import EngineClient
from crossover_services.predictor.request_fields import RequestBody, Text, TextField, malformed, parse_body
from kserve.protocol.infer_type import InferInput, InferRequest, RequestedOutput
from kserve.protocol.rest.v2_datamodels import RequestInput
from pydantic import Field
from pydantic_core import from_json

from crossover.decoding.generation_request import Generation

OUTPUT_NAMES = Literal[
    "completion", "finish_reason", "prompt_tokens", "completion_tokens", "forward_passes", "seed", "logprobs"
]


class Instance(CompletionRequest):
    """One request of KServe v1."""

    prompt: TextField


class PredictBody(RequestBody):
    """POST :predict of KServe v1."""

    instances: list[Any] = Field(min_length=1)


class Tensor(RequestInput):
    """An input of KServe v2; `data` is absent where the tensor follows the JSON as bytes."""

    name: Literal["prompt", "suffix"]
    datatype: Literal["BYTES"]
    data: list[Any] | None = None  # type: ignore[assignment]  # narrower than the base class


class Output(RequestBody):
    """An output that a request of KServe v2 asks for."""

    name: OUTPUT_NAMES
    parameters: dict[str, Any] = Field(default={})


class InferBody(RequestBody):
    """POST /infer of KServe v2."""

    id: str | None = None
    model_name: str | None = Field(default=None, description="Ignored, as KServe does: the address names the model.")
    parameters: dict[str, Any] = Field(default={})
    inputs: list[Tensor]
    outputs: list[Output] = Field(default=[])


class Work(NamedTuple):
    """What a request asks of the engine."""

    generations: list[Generation]
    timeout: float | None
    """Seconds."""


def from_instances(payload: object, client: EngineClient) -> Work:
    """The requests of a v1 body: each a text, token ids, or an object with the fields of `Instance`.

    Raises:
        RequestError: the body is malformed, or the model's family does not have one of its fields.
    """
    generations, timeouts = [], []
    for i, item in enumerate(parse_body(PredictBody, payload).instances):
        fields = {"prompt": item} if isinstance(item, str | list) else item
        instance = parse_body(Instance, fields, f"instances.{i}")
        generations += _generations(instance, [instance.prompt], client)
        timeouts.append(instance.timeout)
    check_choices(len(generations), client.engine.limits.waiting, "instances")
    return Work(generations, min((t for t in timeouts if t is not None), default=None))


def from_tensors(request: InferRequest, client: EngineClient) -> Work:
    """The requests of a v2 body: one for each element of the tensor `prompt`, with the same parameters.

    Raises:
        RequestError: the body is malformed, or the model's family does not have one of its fields.
    """
    texts: dict[str, list[str]] = {}
    for tensor in request.inputs:
        if tensor.name in texts:
            raise malformed(f"inputs.{tensor.name}", "is there twice")
        texts[tensor.name] = _texts(tensor)
    if "prompt" not in texts:
        raise malformed("inputs", "has no tensor 'prompt', whose datatype is BYTES")
    prompts = texts["prompt"]
    suffixes: Sequence[str | None] = texts.get("suffix") or [None] * len(prompts)
    if len(suffixes) != len(prompts):
        raise malformed("inputs.suffix", f"has {len(suffixes)} elements, and `prompt` has {len(prompts)}")
    check_choices(len(prompts), client.engine.limits.waiting, "inputs.prompt")
    parameters = {k: _value(k, v) for k, v in (request.parameters or {}).items() if k != "binary_data_output"}
    if "suffix" in parameters and "suffix" in texts:
        raise malformed("parameters.suffix", "is a tensor of the inputs too")
    fields = parse_body(CompletionRequest, parameters, "parameters")
    generations: list[Generation] = []
    for prompt, suffix in zip(prompts, suffixes, strict=True):
        own = fields if suffix is None else fields.model_copy(update={"suffix": suffix})
        generations += _generations(own, [prompt], client)
    return Work(generations, fields.timeout)


def _generations(fields: CompletionRequest, prompts: list[Text], client: EngineClient) -> list[Generation]:
    engine = client.engine
    return fields.generations(prompts, engine.capabilities, engine.model.tokenizer, logprobs=fields.logprobs)


def _value(name: str, value: object) -> object:
    """A parameter, of which gRPC has scalars only: a list or an object is a JSON text."""
    if name in ("stop", "logit_bias") and isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return from_json(value)
        except ValueError:
            return value
    return value


def _texts(tensor: InferInput) -> list[str]:
    """The elements of an input tensor."""
    place, data = f"inputs.{tensor.name}", tensor.data
    if min(tensor.shape, default=0) < 1 or math.prod(tensor.shape) != len(data):
        raise malformed(place, f"has the shape {tensor.shape} and {len(data)} elements")
    return [_text(place, value) for value in data]


def _text(place: str, value: object) -> str:
    if not isinstance(value, str | bytes):
        raise malformed(place, f"{value} is not text; `data` is a flat list of texts")
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise malformed(place, f"{value[:60]!r} is not UTF-8 ({error.reason} at byte {error.start})") from error


def decode_tensors(body: bytes, json_length: str | None, model_name: str) -> InferRequest:
    """A v2 request from its JSON and, where a header gives the JSON's length, the bytes of tensors after it.

    Raises:
        RequestError: it is malformed.
    """
    length = len(body) if json_length is None else _length(json_length, len(body))
    parsed = parse_body(InferBody, body[:length])
    rest = body[length:]
    inputs = []
    for i, tensor in enumerate(parsed.inputs):
        data: list[Any] | None = tensor.data
        if data is None:
            size = (tensor.parameters or {}).get("binary_data_size")
            if type(size) is not int or not 0 <= size <= len(rest):
                raise malformed(
                    f"inputs.{i}",
                    f"has no `data`, and its binary_data_size {size} is no number up to the {len(rest)} bytes left",
                )
            data, rest = list(split_bytes(f"inputs.{tensor.name}", rest[:size])), rest[size:]
        inputs.append(InferInput(tensor.name, tensor.shape, tensor.datatype, data))
    if rest:
        raise malformed("inputs", f"has {len(rest)} bytes after the last tensor")
    outputs = [RequestedOutput(output.name, output.parameters) for output in parsed.outputs]
    return InferRequest(
        model_name, inputs, request_id=parsed.id, parameters=parsed.parameters, request_outputs=outputs or None
    )


def _length(header: str, whole: int) -> int:
    if not header.isascii() or not header.isdigit() or len(header) > 18 or int(header) > whole:
        raise malformed(
            "Inference-Header-Content-Length", f"{header[:60]!r} is no number of bytes up to the body's {whole}"
        )
    return int(header)


def split_bytes(place: str, content: bytes) -> Iterator[bytes]:
    """The elements of a BYTES tensor, each after its length as four bytes, the least significant first.

    Raises:
        RequestError: it ends within an element.
    """
    at = 0
    while at < len(content):
        (size,) = struct.unpack_from("<I", content, at) if at + 4 <= len(content) else (len(content),)
        at += 4 + size
        if at > len(content):
            raise malformed(
                place, "ends within an element; each is its length in 4 bytes, little endian, then its bytes"
            )
        yield content[at - size : at]


def check_outputs(names: Iterable[str]) -> None:
    """Refuse unknown outputs of a gRPC request.

    Raises:
        RequestError: there is one.
    """
    for name in names:
        parse_body(Output, {"name": name}, "outputs")
