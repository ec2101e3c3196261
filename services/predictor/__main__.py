"""`python -m crossover_services.predictor`: serve one checkpoint until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import warnings
from pathlib import Path

from crossover_services.listening import listen

from crossover.errors import CrossoverError, RequestError
from crossover.files import write_text


def main() -> int:
    """Load the model, then open the port; returns 0 after a graceful stop, 2 for a bad checkpoint or port."""
    # for a signal before uvicorn takes over, and for the one that it raises again once it has stopped gracefully
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    options = _arguments()
    # kserve parses sys.argv when it is imported; it answers with a deprecated class, and has a route /v1/models too
    sys.argv = [sys.argv[0], "--enable_docs_url=true"]
    for message in ("ORJSONResponse is deprecated", "Duplicate Operation ID"):
        warnings.filterwarnings("ignore", message=message)
    try:
        _serve(options)
    except CrossoverError as error:
        print(f"crossover: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m crossover_services.predictor", description="Serve one checkpoint.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint folder (KServe mounts /mnt/models)")
    parser.add_argument("--model-name", default="crossover", help="name that clients use")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 in a container")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free port")
    parser.add_argument("--port-file", type=Path, help="written with the port once connections are accepted")
    parser.add_argument(
        "--max-queue", type=int, default=256, help="completions that wait or run before requests are refused (HTTP 503)"
    )
    return parser.parse_args()


def _serve(options: argparse.Namespace) -> None:
    from crossover_services.predictor.kserve_model import CrossoverModel
    from crossover_services.predictor.kserve_requests import RequestDataPlane
    from crossover_services.predictor.openai_routes import OpenAIRoutes, kserve_error
    from crossover_services.predictor.request_metrics import Metrics
    from kserve import model_server
    from kserve.model_server import ModelServer
    from kserve.protocol.rest.server import RESTServer

    from crossover.study.study_digests import short

    model = CrossoverModel(options.model_name, options.checkpoint, options.max_queue)
    routes = OpenAIRoutes(options.model_name, model.batcher, Metrics(), model.identity)
    model_server.app.include_router(routes.router())
    model_server.app.add_exception_handler(RequestError, kserve_error)
    server = ModelServer(http_port=options.port, workers=1, enable_grpc=False, enable_latency_logging=False)
    for name in ("kserve", "kserve.trace", "uvicorn.error"):  # leaves one line a request, of uvicorn.access
        logging.getLogger(name).setLevel(logging.WARNING)
    server.register_model(model)
    data_plane = RequestDataPlane(server.registered_models, version=short(model.digest))
    model_server.app.include_router(data_plane.router())
    rest = RESTServer(
        "kserve.model_server:app", data_plane, server.model_repository_extension, options.port, grace_period=30
    )
    with listen(options.host, options.port) as listener:
        port = listener.getsockname()[1]
        print(f"serving {model.info.arm} ({model.info.family}) on http://{options.host}:{port}", flush=True)
        if options.port_file:
            write_text(options.port_file, str(port))
        rest.run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
