"""KServe's application with our model, routes and error handlers."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from crossover_services.predictor.engine_client import EngineClient
from crossover_services.predictor.engine_metrics import EngineCollector
from crossover_services.predictor.kserve_model import CrossoverModel
from crossover_services.predictor.kserve_routes import RequestDataPlane, add_error_handlers, kserve_routes
from crossover_services.predictor.openai_chat import chat_template
from crossover_services.predictor.openai_routes import OpenAIRoutes
from crossover_services.predictor.playground.playground_routes import playground_router, read_examples
from crossover_services.predictor.request_metrics import Metrics
from fastapi import FastAPI
from kserve import model_server
from kserve.model_repository import ModelRepository
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer
from prometheus_client import REGISTRY

from crossover.decoding.engine import Engine, EngineLimits
from crossover.errors import WorkspaceError
from crossover.settings import available_cores, get_settings
from crossover.training.checkpoint import load_checkpoint
from crossover.training.checkpoint_info import checkpoint_digest


class Application(RESTServer):
    """What is served; KServe's server gives its routes, and not its uvicorn.

    Args:
        options: of `server_options`.
        checkpoint: the folder.
        metrics: counts the requests.

    Raises:
        CheckpointError: incomplete, altered, or not a checkpoint.
        WorkspaceError: there is no such device, or the file of examples holds none.
    """

    dataplane: RequestDataPlane

    def __init__(self, options: argparse.Namespace, checkpoint: Path, metrics: Metrics) -> None:
        for name in ("kserve", "kserve.trace", "uvicorn.error"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.app: FastAPI = model_server.app
        torch.set_num_threads(cpu_threads())
        transformer, info = load_checkpoint(checkpoint, device=_device(options.device))
        limits = EngineLimits(running=options.max_running, waiting=options.max_queue, memory_bytes=options.memory)
        precision = None if options.dtype == "auto" else options.dtype
        self._engine = Engine(transformer, limits, precision=precision)
        self._engine.warm_up()
        REGISTRY.register(EngineCollector(self._engine.state))
        client = EngineClient(self._engine, metrics, options.timeout)
        identity = {
            "digest": checkpoint_digest(checkpoint),
            "run": info.run,
            "run_digest": info.run_digest,
            "step": info.step,
        }
        model = CrossoverModel(options.model_name, client, identity)
        models = ModelRepository()
        models.update(model)
        data_plane = RequestDataPlane(models, model)
        super().__init__("kserve.model_server:app", data_plane, ModelRepositoryExtension(models), options.port)
        self.title = f"{info.arm} ({info.family})"
        routes = OpenAIRoutes(options.model_name, client, identity, chat_template(checkpoint))
        self.app.include_router(playground_router(read_examples(options.examples) if options.examples else ()))
        self.app.include_router(routes.router())
        self.app.include_router(kserve_routes(data_plane))
        self.create_application()  # type: ignore[no-untyped-call]  # untyped there
        add_error_handlers(self.app)

    def _add_middlewares(self, app: FastAPI) -> None:
        """None of KServe's, which writes two lines for each request."""

    def close(self) -> None:
        """Stop the engine."""
        self._engine.close()


def cpu_threads() -> int:
    """CPU threads of the engine: torch knows the cores of the machine, and not the limit of the container."""
    return min(torch.get_num_threads(), get_settings().threads or available_cores())


def _device(name: str) -> str:
    """The device, after a look whether it is there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise WorkspaceError(
            "serve.no-gpu",
            field="--device",
            problem="there is no GPU that this torch can use",
            remedy="serve on the CPU, or install a torch for this GPU's driver",
        )
    return name
