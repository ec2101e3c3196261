"""`crossover registry serve`, `python -m crossover_services.registry`: serve a registry until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

from crossover_services.listening import listen

from crossover.errors import CrossoverError, WorkspaceError
from crossover.files import write_text
from crossover.registry import Registry
from crossover.registry.access_tokens import SCOPES, create_token, has_tokens
from crossover.settings import get_settings

LOOPBACK = ("localhost", "127.0.0.1")
GRACE_SECONDS = 20
KEY_LIFETIME, HOUSEKEEPING_SECONDS = timedelta(days=7), 3_600.0
"""A client repeats a request for ten minutes; a spool may be left behind for longer."""


def main() -> int:
    """Open the registry, then the port; returns 0 after a graceful stop, 2 for a wrong registry or port."""
    for number in (signal.SIGTERM, signal.SIGINT):  # until uvicorn takes over
        signal.signal(number, lambda *_: sys.exit(0))
    options = _arguments()
    try:
        with Registry.open(options.registry or get_settings().registry) as registry:
            _serve(registry, options)
    except CrossoverError as error:
        print(f"crossover: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="crossover registry serve", description="Serve a registry over HTTP.")
    parser.add_argument("--registry", default="", help="SQLAlchemy URL (default: the setting's)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 in a container")
    parser.add_argument("--port", type=int, default=8090, help="0 takes a free port")
    parser.add_argument("--port-file", type=Path, help="written with the port once connections are accepted")
    parser.add_argument("--tokens", action="store_true", help="demand a token on the loopback interface too")
    parser.add_argument("--admin-token-file", type=Path, help="a mounted secret: the token of the administrator")
    text = "take tokens of Kubernetes service accounts for this audience, each in its own namespace (TokenReview); "
    text += "`cluster` is the API server's own, which the token in every pod is for"
    parser.add_argument("--kubernetes-audience", default="", help=text)
    text = "address or network of an authenticating proxy, whose header is trusted; may be repeated"
    parser.add_argument("--proxy", action="append", default=[], type=ipaddress.ip_network, metavar="CIDR", help=text)
    parser.add_argument("--user-header", default="X-Forwarded-User", help="in which the proxy names the person")
    parser.add_argument("--allowed-host", action="append", default=[], help="name of this server; may be repeated")
    parser.add_argument("--requests-per-second", type=float, default=0.0, help="of one address; 0 for no limit")
    return parser.parse_args()


def _serve(registry: Registry, options: argparse.Namespace) -> None:
    import uvicorn
    from crossover_services.registry.access_control import AccessRules
    from crossover_services.registry.app import create_app
    from crossover_services.registry.kubernetes_tokens import TokenReviewer
    from crossover_services.registry.tracing import tracing_from_environment

    from crossover.report.svg_rendering import warm_up

    local = options.host in ("127.0.0.1", "::1", "localhost")
    rules = AccessRules(
        open=local and not options.tokens,
        admin_token=_admin_token(options.admin_token_file),
        proxies=tuple(options.proxy),
        user_header=options.user_header,
        reviewer=TokenReviewer(options.kubernetes_audience) if options.kubernetes_audience else None,
    )
    _log_json()
    app = create_app(
        registry,
        rules,
        hosts=options.allowed_host or (LOOPBACK if rules.open else ("*",)),
        requests_per_second=options.requests_per_second,
    )
    tracing = tracing_from_environment()
    if tracing is not None:
        tracing.instrument(app)

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: object) -> None:
            app.state.stopping.set()  # ends live tails, and readiness
            super().handle_exit(sig, frame)  # type: ignore[arg-type]  # uvicorn names another frame type

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_SECONDS, server_header=False
    )
    with listen(options.host, options.port, backlog=512) as listener:
        port = listener.getsockname()[1]
        print(f"registry {registry.url} on http://{options.host}:{port}", flush=True)
        if not rules.open and not rules.admin_token and not has_tokens(registry):
            _, token = create_token(registry, "first start", scopes=SCOPES, namespaces=None, actor="first start")
            print(f"administrator's token, shown this once: {token}", flush=True)
        if options.port_file:
            write_text(options.port_file, str(port))
        threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
        threading.Thread(target=_housekeeping, args=(registry,), name="housekeeping", daemon=True).start()
        Server(config).run(sockets=[listener])
    if tracing is not None:
        tracing.close()


def _housekeeping(registry: Registry) -> None:
    """Drop keys of old requests now and then; a failure is logged and tried again."""
    import structlog

    while True:
        try:
            registry.within(registry.namespace).forget_requests(KEY_LIFETIME)
        except CrossoverError as error:
            structlog.get_logger("crossover.registry").warning("housekeeping", problem=str(error))
        time.sleep(HOUSEKEEPING_SECONDS)


def _admin_token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        token = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem, remedy = f"{path}: cannot be read ({error})", "mount the secret, or leave the flag out"
        raise WorkspaceError("serve.no-token", field="--admin-token-file", problem=problem, remedy=remedy) from error
    if len(token) < 32:
        problem, remedy = f"{path}: holds {len(token)} characters", "put 32 random characters or more into it"
        raise WorkspaceError("serve.weak-token", field="--admin-token-file", problem=problem, remedy=remedy)
    return token


def _log_json() -> None:
    """Lines of JSON on standard error, with the time, the level and the event."""
    import structlog

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    sys.exit(main())
