"""KServe's data plane and routes with our validation, and without the routes that answer 501 or change the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloudevents.sdk.converters.util import has_binary_headers
from crossover_services.predictor.error_answers import request_error, routing_error
from crossover_services.predictor.kserve_model import CrossoverModel
from crossover_services.predictor.kserve_requests import decode_tensors
from crossover_services.predictor.request_fields import malformed
from fastapi import APIRouter, FastAPI, Request, Response
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER, PredictorProtocol
from kserve.errors import InvalidInput, ModelNotFound
from kserve.model_repository import ModelRepository
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.rest.v2_endpoints import V2Endpoints
from pydantic_core import from_json
from starlette.exceptions import HTTPException

from crossover.errors import RequestError


class RequestDataPlane(DataPlane):
    """KServe's data plane, except that it reads every body as JSON, and that a malformed one is a RequestError.

    Args:
        models: KServe's repository of models, which has the only one.
        model: that one.
    """

    def __init__(self, models: ModelRepository, model: CrossoverModel) -> None:
        super().__init__(models)
        self.model = model

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """KServe's metadata, with the version, and with the checkpoint's digest, run and step."""
        metadata: dict[str, Any] = await super().model_metadata(model_name)
        properties = {name: str(value) for name, value in self.model.identity.items()}
        return metadata | {"versions": [self.model.version], "platform": "crossover", "properties": properties}

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
            return decode_tensors(body, headers.get(INFERENCE_CONTENT_LENGTH_HEADER), model_name), {}
        try:
            if has_binary_headers(headers):
                return super().decode(body, headers)
            return self.decode_cloudevent(from_json(body))
        except InvalidInput as error:  # of a CloudEvent
            raise malformed("body", str(error)) from error
        except ValueError as error:
            raise malformed("body", f"is not JSON ({error})") from error

    def check_version(self, name: str, version: str) -> None:
        """Refuse any other version than the only one.

        Raises:
            ModelNotFound: it is another.
        """
        if version != self.model.version:
            raise ModelNotFound(f"{name}, version {version}; the only one is {self.model.version}")


def kserve_routes(plane: RequestDataPlane) -> APIRouter:
    """Routes that come before KServe's own of the same addresses."""
    endpoints, router = V2Endpoints(plane), APIRouter()
    one, versioned = "/v2/models/{model_name}", "/v2/models/{model_name}/versions/{version}"

    async def infer(raw_request: Request, raw_response: Response, model_name: str) -> Any:  # noqa: ANN401 - as KServe and its clients have it
        return await endpoints.infer(raw_request, raw_response, model_name, await raw_request.body())

    async def infer_version(raw_request: Request, raw_response: Response, model_name: str, version: str) -> Any:  # noqa: ANN401 - as KServe and its clients have it
        plane.check_version(model_name, version)
        return await infer(raw_request, raw_response, model_name)

    async def metadata_of_version(model_name: str, version: str) -> Any:  # noqa: ANN401 - as KServe and its clients have it
        plane.check_version(model_name, version)
        return await plane.model_metadata(model_name)

    async def ready_version(model_name: str, version: str) -> Any:  # noqa: ANN401 - as KServe and its clients have it
        plane.check_version(model_name, version)
        return await endpoints.model_ready(model_name)

    async def explain(model_name: str) -> None:
        raise RequestError(
            "request.no-explainer", field="model", problem=f"{model_name!r} has no explainer", remedy="use :predict"
        )

    async def repository(model_name: str, verb: str) -> None:
        raise RequestError(
            "request.one-model",
            field="model",
            problem=f"this server has one model, and does not {verb} {model_name!r}",
            remedy="start a server for another checkpoint",
        )

    gets: dict[str, Callable[..., object]] = {
        one: plane.model_metadata,
        versioned: metadata_of_version,
        f"{versioned}/ready": ready_version,
    }
    posts: dict[str, Callable[..., object]] = {
        f"{one}/infer": infer,
        f"{versioned}/infer": infer_version,
        "/v1/models/{model_name}:explain": explain,
        "/v2/repository/models/{model_name}/{verb}": repository,
    }
    for method, routes in (("GET", gets), ("POST", posts)):
        for path, route in routes.items():
            router.add_api_route(path, route, methods=[method], response_model=None)
    return router


def add_error_handlers(app: FastAPI) -> None:
    """Errors of our own, and of addresses and methods that no route has, in the shape of their protocols."""
    app.add_exception_handler(RequestError, request_error)
    app.add_exception_handler(HTTPException, routing_error)
