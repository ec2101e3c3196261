"""`python -m crossover_services.registry`: serve a registry until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import sys

from crossover.errors import CrossoverError
from crossover.registry import Registry
from crossover.settings import get_settings


def main() -> int:
    """Open the registry, then the port; returns 0 after a graceful stop, 2 for a wrong registry or port."""
    import uvicorn
    from crossover_services.registry.app import create_app

    options = _arguments()
    try:
        with Registry.open(options.registry or get_settings().registry) as registry:
            uvicorn.run(create_app(registry), host=options.host, port=options.port, log_level="warning")
    except CrossoverError as error:
        print(f"crossover: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m crossover_services.registry", description="Serve a registry.")
    parser.add_argument("--registry", default="", help="SQLAlchemy URL (default: the setting's)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8090, help="0 takes a free port")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
