"""KServe v2 over gRPC, with our validation."""

from __future__ import annotations

from typing import Any

from crossover_services.predictor.kserve_requests import check_outputs, split_bytes
from crossover_services.predictor.kserve_routes import RequestDataPlane
from crossover_services.predictor.request_fields import malformed
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.infer_type import InferInput, InferRequest, InferResponse


class Servicer(InferenceServicer):
    """KServe's, with our validation and the version in the metadata."""

    _data_plane: RequestDataPlane

    async def ModelMetadata(
        self,
        request: pb.ModelMetadataRequest,
        context: Any,  # noqa: ANN401 - as KServe and its clients have it
    ) -> pb.ModelMetadataResponse:
        """The inputs and outputs; gRPC's message has no place for the checkpoint's run and step."""
        self._check_version(request.name, request.version)
        metadata = await self._data_plane.model_metadata(request.name)
        del metadata["properties"]
        return pb.ModelMetadataResponse(**metadata)

    async def ModelInfer(
        self,
        request: pb.ModelInferRequest,
        context: Any,  # noqa: ANN401 - as KServe and its clients have it
    ) -> pb.ModelInferResponse:
        """Complete every element of the input `prompt`."""
        self._check_version(request.model_name, request.model_version)
        response, _ = await self._data_plane.infer(request.model_name, _request(request), {})
        assert isinstance(response, InferResponse)  # noqa: S101 - of v2
        message = response.to_grpc()
        if request.outputs:
            _select(message, [output.name for output in request.outputs])
        return message

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: ANN401 - as gRPC has it
        """Refused: the server has one model."""
        raise malformed("model_name", "cannot be loaded: this server has one model")

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: ANN401 - as gRPC has it
        """Refused: the server has one model."""
        raise malformed("model_name", "cannot be unloaded: this server has one model")

    def _check_version(self, name: str, version: str) -> None:
        if version:
            self._data_plane.check_version(name, version)


def _request(message: pb.ModelInferRequest) -> InferRequest:
    """The request of a message.

    Raises:
        RequestError: it is malformed.
    """
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise malformed("raw_input_contents", f"has {len(raw)} tensors, and `inputs` has {len(message.inputs)}")
    inputs = []
    for i, tensor in enumerate(message.inputs):
        if tensor.name not in ("prompt", "suffix"):
            raise malformed(f"inputs.{i}.name", f"{tensor.name!r} is not 'prompt' or 'suffix'")
        if tensor.datatype != "BYTES":
            raise malformed(f"inputs.{i}.datatype", f"{tensor.datatype!r} is not 'BYTES'")
        place = f"inputs.{tensor.name}"
        data = list(split_bytes(place, raw[i])) if raw else list(tensor.contents.bytes_contents)
        inputs.append(InferInput(tensor.name, list(tensor.shape), "BYTES", data))
    check_outputs(output.name for output in message.outputs)
    parameters = {name: _parameter(name, value) for name, value in message.parameters.items()}
    request = InferRequest(message.model_name, inputs, message.id, from_grpc=True, parameters=parameters)
    request._use_raw_outputs = bool(raw)
    return request


def _parameter(name: str, value: pb.InferParameter) -> object:
    kind = value.WhichOneof("parameter_choice")
    if kind is None:
        raise malformed(f"parameters.{name}", "has a type that KServe's protocol lacks; write a number as text")
    given: object = getattr(value, kind)
    return given


def _select(message: pb.ModelInferResponse, names: list[str]) -> None:
    """Keep the outputs that were asked for, in their order."""
    order = [i for name in names for i, output in enumerate(message.outputs) if output.name == name]
    outputs, raw = [message.outputs[i] for i in order], list(message.raw_output_contents)
    kept = pb.ModelInferResponse(outputs=outputs, raw_output_contents=[raw[i] for i in order] if raw else [])
    message.ClearField("outputs")
    message.ClearField("raw_output_contents")
    message.MergeFrom(kept)
