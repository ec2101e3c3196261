"""KServe's application with our model, routes and error handlers."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from crossover_services.predictor.engine_client import EngineClient
from crossover_services.predictor.kserve_model import CrossoverModel
from crossover_services.predictor.kserve_routes import RequestDataPlane, add_error_handlers, kserve_routes
from crossover_services.predictor.openai_chat import chat_template
from crossover_services.predictor.openai_routes import OpenAIRoutes
from crossover_services.predictor.request_metrics import Metrics
from fastapi import FastAPI
from kserve import model_server
from kserve.model_repository import ModelRepository
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer

from crossover.decoding.engine import Engine, EngineLimits
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
    """

    def __init__(self, options: argparse.Namespace, checkpoint: Path, metrics: Metrics) -> None:
        for name in ("kserve", "kserve.trace", "uvicorn.error"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.app: FastAPI = model_server.app
        transformer, info = load_checkpoint(checkpoint)
        limits = EngineLimits(running=options.max_running, waiting=options.max_queue, memory_bytes=options.memory)
        self._engine = Engine(transformer, limits)
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
        self.app.include_router(routes.router())
        self.app.include_router(kserve_routes(data_plane))
        self.create_application()
        add_error_handlers(self.app)

    def _add_middlewares(self, app: FastAPI) -> None:
        """None of KServe's, which writes two lines for each request."""

    def close(self) -> None:
        """Stop the engine."""
        self._engine.close()
