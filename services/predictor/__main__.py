"""`python -m crossover_services.predictor`: serve one checkpoint until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import signal
import sys
import warnings

from crossover_services.listening import listen
from crossover_services.predictor.server_options import server_options

from crossover.errors import CrossoverError
from crossover.files import write_text


def main() -> int:
    """Load the model, then open the port; returns 0 after a graceful stop, 2 for a bad checkpoint or port."""
    for number in (signal.SIGTERM, signal.SIGINT):  # until the server takes over
        signal.signal(number, lambda *_: sys.exit(0))
    options = server_options()
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


def _serve(options: argparse.Namespace) -> None:
    from crossover_services.predictor.checkpoint_source import fetch_checkpoint

    checkpoint = fetch_checkpoint(options.checkpoint, options.digest, options.registry)
    from crossover_services.predictor.access_log import AccessLog
    from crossover_services.predictor.application import Application
    from crossover_services.predictor.grpc_server import GrpcServer
    from crossover_services.predictor.request_metrics import Metrics
    from crossover_services.predictor.server import make_server

    metrics = Metrics()
    log = AccessLog(metrics, prompts=options.log_prompts)
    application = Application(options, checkpoint, metrics)
    grpc = None
    if options.grpc_port:
        address = f"{options.host}:{options.grpc_port}"
        grpc = GrpcServer(address, application.dataplane, application.model_repository_extension, log, options.max_body)
    server = make_server(
        application.app, log, most_body_bytes=options.max_body, read_seconds=options.read_timeout, grpc=grpc
    )
    with listen(options.host, options.port, backlog=512) as listener:
        port = listener.getsockname()[1]
        print(f"serving {application.title} on http://{options.host}:{port}", flush=True)
        if options.port_file:
            write_text(options.port_file, str(port))
        server.run(sockets=[listener])
    application.close()


if __name__ == "__main__":
    sys.exit(main())
