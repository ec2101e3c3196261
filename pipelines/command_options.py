"""The options of a verb, which `crossover` hands to a process of this package as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossover.errors import PipelinesError
from crossover.settings import get_settings


@dataclass(frozen=True)
class Options:
    """Values by name, as argparse read them."""

    values: dict[str, Any]

    def text(self, name: str) -> str | None:
        """A text; None where it is empty or was not given."""
        return self.values.get(name) or None

    def path(self, name: str) -> Path | None:
        """A path; None where it was not given."""
        return Path(self.values[name]) if self.values.get(name) else None


def options_of(arguments: list[str]) -> Options:
    """The options of this process: its only argument."""
    return Options(json.loads(arguments[1]))


def host_of(options: Options) -> str:
    """URL of Kubeflow Pipelines.

    Raises:
        PipelinesError: none was given.
    """
    host = options.text("host") or get_settings().kfp_host
    if not host.startswith(("http://", "https://")):
        raise PipelinesError(
            "pipelines.no-host",
            field="--host",
            problem=f"{host!r} is no http(s) URL" if host else "is missing",
            remedy="give the URL of Kubeflow Pipelines, or set CROSSOVER_KFP_HOST; from outside of the cluster: "
            "`kubectl port-forward --namespace kubeflow service/ml-pipeline 8888`, and http://127.0.0.1:8888",
        )
    return host
