"""Requests of KServe v1 and v2, read as JSON whatever the content type, and checked field by field."""

from __future__ import annotations

import math
import struct
from typing import Any, Literal

from cloudevents.sdk.converters.util import has_binary_headers
from crossover_services.predictor.request_fields import RequestBody, SamplingFields, malformed, parse_body
from fastapi import APIRouter, Request, Response
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER, PredictorProtocol
from kserve.errors import InferenceError, InvalidInput
from kserve.model_repository import ModelRepository
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.infer_type import InferInput, InferRequest
from kserve.protocol.rest.v2_datamodels import RequestInput, RequestOutput
from kserve.protocol.rest.v2_endpoints import V2Endpoints
from pydantic import Field
from pydantic_core import from_json

from crossover.decoding import Generation


class Instance(SamplingFields):
    """One request of KServe v1."""

    prompt: str
    suffix: str | None = None


class PredictBody(RequestBody):
    """POST :predict of KServe v1."""

    instances: list[Any] = Field(min_length=1)


class Tensor(RequestInput):
    """An input of KServe v2; `data` is absent where the tensor follows the JSON as bytes."""

    name: Literal["prompt", "suffix"]
    datatype: Literal["BYTES"]
    data: list[Any] = Field(default=[])


class InferBody(RequestBody):
    """POST /infer of KServe v2."""

    id: str | None = None
    parameters: dict[str, Any] = Field(default={})
    inputs: list[Tensor]
    outputs: list[RequestOutput] = Field(default=[])


class RequestDataPlane(DataPlane):
    """KServe's data plane, except that it reads every body as JSON, and that a malformed one is a RequestError.

    Args:
        models: KServe's repository of models.
        version: of the only model, in its metadata.
    """

    def __init__(self, models: ModelRepository, version: str) -> None:
        super().__init__(models)
        self.version = version

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """KServe's metadata, with the version."""
        metadata: dict[str, Any] = await super().model_metadata(model_name)
        return metadata | {"versions": [self.version]}

    def decode(
        self,
        body: Any,  # noqa: ANN401 - as KServe has it
        headers: dict[str, str],
        protocol_version: str = PredictorProtocol.REST_V1.value,
        model_name: str = "",
    ) -> tuple[Any, dict[str, Any]]:
        """The request, and the attributes of a CloudEvent.

        Raises:
            RequestError: the body is malformed.
        """
        if protocol_version == PredictorProtocol.REST_V2.value:
            return _decode_tensors(body, headers.get(INFERENCE_CONTENT_LENGTH_HEADER), model_name), {}
        try:
            if has_binary_headers(headers):
                return super().decode(body, headers)
            return self.decode_cloudevent(from_json(body))
        except InvalidInput as error:  # of a CloudEvent
            raise malformed("body", str(error)) from error
        except ValueError as error:
            raise malformed("body", f"is not JSON ({error})") from error

    def router(self) -> APIRouter:
        """The route of v2, before KServe's own, which reads the body by its content type and answers 422."""
        endpoints, router = V2Endpoints(self), APIRouter()

        async def infer(raw_request: Request, raw_response: Response, model_name: str) -> Any:  # noqa: ANN401
            return await endpoints.infer(raw_request, raw_response, model_name, await raw_request.body())

        router.add_api_route("/v2/models/{model_name}/infer", infer, methods=["POST"], response_model=None)
        return router


def _decode_tensors(body: bytes, json_length: str | None, model_name: str) -> InferRequest:
    """A v2 request from its JSON and, where a header gives the JSON's length, the bytes of tensors after it."""
    try:
        length = len(body) if json_length is None else int(json_length)
        parse_body(InferBody, body[:length])
        return InferRequest.from_bytes(body, length, model_name)
    except (InvalidInput, InferenceError, ValueError, TypeError, struct.error) as error:  # KServe reads bytes unchecked
        raise malformed("inputs", str(error)) from error


def from_instances(payload: object, *, causal: bool) -> list[Generation]:
    """The requests of a v1 body: each a text, or an object with the fields of `Instance`.

    Raises:
        RequestError: the body is malformed, or the model's family does not have one of its fields.
    """
    result = []
    for i, item in enumerate(parse_body(PredictBody, payload).instances):
        instance = parse_body(Instance, {"prompt": item} if isinstance(item, str) else item, f"instances.{i}")
        result.append(instance.generation(instance.prompt, instance.suffix, causal=causal))
    return result


def from_tensors(request: InferRequest, *, causal: bool) -> list[Generation]:
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
    suffixes = texts.get("suffix", [None] * len(prompts))
    if len(suffixes) != len(prompts):
        raise malformed("inputs.suffix", f"has {len(suffixes)} elements, and `prompt` has {len(prompts)}")
    fields = parse_body(SamplingFields, request.parameters or {}, "parameters")
    return [fields.generation(*pair, causal=causal) for pair in zip(prompts, suffixes, strict=True)]


def _texts(tensor: InferInput) -> list[str]:
    """The elements of an input tensor."""
    place, data = f"inputs.{tensor.name}", tensor.data
    if min(tensor.shape, default=0) < 1 or math.prod(tensor.shape) != len(data):
        raise malformed(place, f"has the shape {tensor.shape} and {len(data)} elements")
    if wrong := [value for value in data if not isinstance(value, str | bytes)]:
        raise malformed(place, f"{wrong[0]} is not text; `data` is a flat list of texts")
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in data]
