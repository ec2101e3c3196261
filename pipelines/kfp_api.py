"""The HTTP API of Kubeflow Pipelines: a connection, and its errors as ours."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import kfp_server_api
from urllib3.exceptions import HTTPError

from crossover.errors import CrossoverError, PipelinesError
from crossover.settings import get_settings

Answer = TypeVar("Answer")
RETRIES = 5
"""Times that a request is repeated after 429, 502, 503, 504, or no answer, a second later and then twice as long."""
_AGAIN = (429, 502, 503, 504)
_MEANINGS = {
    401: ("the token is missing or has expired", "give a valid one with --token-file or CROSSOVER_KFP_TOKEN"),
    403: ("this account may not do that", "let the administrator bind it to a role with pipelines.kubeflow.org, runs"),
    404: ("it does not exist there", "check --host and --namespace; the API is that of the Service ml-pipeline"),
}


class KfpApi:
    """A connection to the API server.

    Args:
        host: its URL, such as http://127.0.0.1:8888 or https://kubeflow.example.org/pipeline.
        token_file: file with a bearer token, read anew for every request; None for the settings'.
        pause: waits so many seconds; replaced in tests.
    """

    def __init__(self, host: str, token_file: Path | None = None, pause: Callable[[float], None] = time.sleep) -> None:
        self.host = host.rstrip("/")
        self._pause, self._token_file = pause, token_file
        self._configuration = kfp_server_api.Configuration(host=self.host)
        self._configuration.retries = False
        client = kfp_server_api.ApiClient(self._configuration)
        self.pipelines = kfp_server_api.PipelineServiceApi(client)
        self.uploads = kfp_server_api.PipelineUploadServiceApi(client)
        self.experiments = kfp_server_api.ExperimentServiceApi(client)
        self.runs = kfp_server_api.RunServiceApi(client)

    def ask(self, action: str, call: Callable[..., Answer], *arguments: Any, **options: Any) -> Answer:  # noqa: ANN401  # arguments of the client's method
        """Call a method of the client; what may pass is repeated.

        Args:
            action: what is done, for messages.
            call: the client's method.
            arguments: its arguments.
            options: its options; None is left out.

        Raises:
            ApiException: 400, 404 or 409, which callers may expect.
            PipelinesError: any other answer, or none.
        """
        given = {name: value for name, value in options.items() if value is not None}
        for attempt in range(RETRIES + 1):
            self._authorize()
            try:
                return call(*arguments, **given)
            except kfp_server_api.ApiException as error:
                if error.status in (400, 404, 409):
                    raise
                if error.status not in _AGAIN or attempt == RETRIES:
                    raise self.refusal(action, error) from error
            except (HTTPError, OSError) as error:
                if attempt == RETRIES:
                    raise PipelinesError(
                        "pipelines.unreachable",
                        field="--host",
                        problem=f"{self.host} does not answer ({_cause(error)})",
                        remedy="start `kubectl port-forward --namespace kubeflow service/ml-pipeline 8888`, and give "
                        "--host http://127.0.0.1:8888",
                    ) from error
            if attempt == 0:
                print(f"{action}: {self.host} does not answer yet; trying again", file=sys.stderr, flush=True)
            self._pause(2.0**attempt)
        raise AssertionError

    def refusal(self, doing: str, error: kfp_server_api.ApiException) -> CrossoverError:
        """An answer that is no success, as an error for people."""
        meaning, remedy = _MEANINGS.get(error.status, ("", "look at the log of the ml-pipeline pod, and try again"))
        said = error_text(error)
        return PipelinesError(
            "pipelines.refused",
            field=f"{doing} at {self.host}",
            problem=f"HTTP {error.status}" + (f", {meaning}" if meaning else "") + (f": {said}" if said else ""),
            remedy=remedy,
        )

    def _authorize(self) -> None:
        settings = get_settings()
        token = settings.kfp_token.get_secret_value()
        path = self._token_file or settings.kfp_token_file
        if path is not None:
            try:
                token = path.read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise PipelinesError(
                    "pipelines.no-token",
                    field="--token-file",
                    problem=f"{path} cannot be read ({error})",
                    remedy="name a file that holds a bearer token, or leave it out where none is demanded",
                ) from error
        if token:
            self._configuration.api_key["authorization"] = token
            self._configuration.api_key_prefix["authorization"] = "Bearer"


def error_text(error: kfp_server_api.ApiException) -> str:
    """What the server said, on one line; empty where it said nothing."""
    try:
        body = json.loads(error.body or "")
        text = str(body.get("message") or body.get("error") or "")
    except (ValueError, AttributeError):
        text = str(error.body or "")
    return " ".join(text.split())[:500]


def exists_already(error: kfp_server_api.ApiException) -> bool:
    """Whether an object was refused because its name is taken."""
    return error.status == 409 or (error.status == 400 and "already exist" in error_text(error).lower())


def _cause(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).rpartition(": ")[2]
