"""KServe's application with our model, routes and error handlers."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from crossover_services.predictor.kserve_model import CrossoverModel
from crossover_services.predictor.kserve_requests import RequestDataPlane
from crossover_services.predictor.openai_routes import OpenAIRoutes, kserve_error
from crossover_services.predictor.request_metrics import Metrics
from fastapi import FastAPI
from kserve import model_server
from kserve.model_repository import ModelRepository
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer

from crossover.errors import RequestError
from crossover.study.study_digests import short


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
        model = CrossoverModel(options.model_name, checkpoint, options.max_queue)
        models = ModelRepository()
        models.update(model)
        data_plane = RequestDataPlane(models, version=short(model.digest))
        super().__init__("kserve.model_server:app", data_plane, ModelRepositoryExtension(models), options.port)
        self.title = f"{model.info.arm} ({model.info.family})"
        routes = OpenAIRoutes(options.model_name, model.batcher, metrics, model.identity)
        self.app.include_router(routes.router())
        self.app.include_router(data_plane.router())
        self.create_application()
        self.app.add_exception_handler(RequestError, kserve_error)

    def _add_middlewares(self, app: FastAPI) -> None:
        """None of KServe's, which writes two lines for each request."""

    def close(self) -> None:
        """Stop."""
