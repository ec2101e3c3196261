"""KServe's gRPC service (v2) in the event loop of the HTTP server; KServe's own server cannot choose its address."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
from crossover_services.predictor.access_log import AccessLog
from crossover_services.predictor.error_answers import status_of
from crossover_services.predictor.grpc_servicer import Servicer
from crossover_services.predictor.kserve_routes import RequestDataPlane
from kserve.errors import ModelNotFound
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from crossover.errors import RequestError, WorkspaceError

CODES = {
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""Of HTTP statuses; any other is INVALID_ARGUMENT."""
PROBES = ("ServerLive", "ServerReady", "ModelReady")


class GrpcServer:
    """Serves the models of a data plane.

    Args:
        address: `host:port`.
        data_plane: KServe's.
        repository: KServe's.
        log: of requests.
        most_bytes: of a request.
    """

    def __init__(
        self,
        address: str,
        data_plane: RequestDataPlane,
        repository: ModelRepositoryExtension,
        log: AccessLog,
        most_bytes: int,
    ) -> None:
        self._address, self._log, self._most = address, log, most_bytes
        self._servicer = Servicer(data_plane, repository)
        self._server: grpc.aio.Server | None = None

    async def start(self) -> int:
        """Listen; returns the port.

        Raises:
            WorkspaceError: the address cannot be used.
        """
        options = [("grpc.max_receive_message_length", self._most), ("grpc.so_reuseport", 0)]
        self._server = grpc.aio.server(interceptors=[_Interceptor(self._log)], options=options)
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self._servicer, self._server)
        try:
            port = self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise WorkspaceError(
                "serve.cannot-listen",
                field="--grpc-port",
                problem=f"cannot listen on {self._address}",
                remedy="give another --grpc-port, or 0 for no gRPC",
            ) from error
        await self._server.start()
        return port

    async def stop(self, seconds: float) -> None:
        """Refuse new calls, and wait so long for those that run."""
        if self._server is not None:
            await self._server.stop(seconds)


class _Interceptor(ExceptionToStatusInterceptor):
    """KServe's, which also knows our errors, and writes the line of a call."""

    def __init__(self, log: AccessLog) -> None:
        super().__init__()
        self._log = log

    async def intercept(
        self,
        method: Callable[..., Any],
        request_or_iterator: Any,  # noqa: ANN401 - a message
        context: grpc.aio.ServicerContext,
        method_name: str,
    ) -> Any:  # noqa: ANN401 - a message
        """One call."""
        record, began, name = self._log.begin(), time.perf_counter(), method_name.rpartition("/")[2]
        given = dict(context.invocation_metadata() or ())
        status = "CANCELLED"
        try:
            result = await super().intercept(method, request_or_iterator, context, method_name)
            status = "OK"
            return result
        except Exception:
            status = getattr(context.code(), "name", "INTERNAL")
            raise
        finally:
            route = f"grpc:{name}"
            self._log.end(record, route, status, began, quiet=name in PROBES, request_id=given.get("x-request-id", ""))

    async def handle_exception(
        self,
        ex: Exception,
        request_or_iterator: Any,  # noqa: ANN401 - a message
        context: grpc.aio.ServicerContext,
        method_name: str,
    ) -> None:
        """Answer with the status of the error."""
        if isinstance(ex, RequestError):
            await context.abort(CODES.get(status_of(ex), grpc.StatusCode.INVALID_ARGUMENT), str(ex))
        if isinstance(ex, ModelNotFound):  # which KServe logs with a traceback
            await context.abort(grpc.StatusCode.NOT_FOUND, ex.reason)
        await super().handle_exception(ex, request_or_iterator, context, method_name)
