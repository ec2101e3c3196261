"""Requests to a predictor: which checkpoint it serves, whether it answers, and how well."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import httpx
from crossover_cluster.kubernetes_api import Cluster, Json
from crossover_cluster.promotion_records import Measured
from kubernetes.client import ApiException

from crossover.errors import ClusterError
from crossover.settings import in_pod

SECONDS = 60.0
"""Most seconds of one answer; a connection is up within 5."""
PROMPTS = ("The ", "In the year ", "She said that ", "1, 2, 3, ", "There was once ", "def ")
TOKENS = 16


class Channel(Protocol):
    """Sends one request to a predictor."""

    def __call__(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Json:
        """The JSON of the answer.

        Raises:
            OSError: no answer, or none of success.
        """


def url_of(service: Json, namespace: str, predictor: str) -> str:
    """Base URL of a predictor's Service inside of the cluster, as KServe tells it.

    Args:
        service: the InferenceService.
        namespace: its own.
        predictor: name of the Service, such as winner-predictor.
    """
    address = ((service.get("status") or {}).get("address") or {}).get("url") or ""
    parts = urlsplit(address)
    if not parts.hostname:
        return f"http://{predictor}.{namespace}.svc"
    host = predictor + "." + parts.hostname.partition(".")[2]
    return urlunsplit((parts.scheme, host + (f":{parts.port}" if parts.port else ""), "", "", ""))


def open_channel(cluster: Cluster, url: str) -> Channel:
    """To a predictor: directly in a pod; from outside through the API server, with the user's rights."""
    parts = urlsplit(url)
    if in_pod():
        return _direct(url)
    service = (parts.hostname or "").partition(".")[0]
    root = f"/api/v1/namespaces/{cluster.namespace}/services/http:{service}:{parts.port or 80}/proxy"

    def send(method: str, path: str, body: Mapping[str, Any] | None = None) -> Json:
        try:
            return cluster.request(method, root + path, doing=f"proxy of services {service}", body=body)
        except ApiException as error:
            raise OSError(f"HTTP {error.status}: {error.body or error.reason}") from error

    return send


def _direct(url: str) -> Channel:
    def send(method: str, path: str, body: Mapping[str, Any] | None = None) -> Json:
        # a connection for each request: a Service chooses a pod when one is opened
        try:
            answer = httpx.request(method, url + path, json=body, timeout=httpx.Timeout(SECONDS, connect=5.0))
            answer.raise_for_status()
            content: Json = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise OSError(f"{method} {url}{path}: {error}") from error
        return content

    return send


def served_digest(send: Channel) -> str:
    """Digest of the checkpoint that a predictor says it serves; empty where it does not say.

    Raises:
        OSError: no answer.
    """
    return str(send("GET", "/v1/models")["data"][0].get("digest", ""))


def try_requests(send: Channel, model: str) -> None:
    """One completion and one v2 inference.

    Args:
        send: to the predictor.
        model: its name.

    Raises:
        ClusterError: an answer is missing, or is none.
    """
    tensor = {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": [PROMPTS[0]]}
    try:
        choices = send("POST", "/v1/completions", _completion(model, PROMPTS[0]))["choices"]
        outputs = send("POST", f"/v2/models/{model}/infer", {"inputs": [tensor], "parameters": {"max_tokens": TOKENS}})
        if not isinstance(choices[0]["text"], str) or not isinstance(outputs["outputs"][0]["data"][0], str):
            raise TypeError("an answer holds no text")
    except (OSError, LookupError, TypeError) as error:
        raise ClusterError(
            "promotion.trial-failed",
            field=f"model {model}",
            problem=f"the endpoint serves the checkpoint, and does not answer a trial request ({error})",
            remedy="look at the log of the predictor's pod",
        ) from error


def measure(sends: Sequence[Channel], model: str, rounds: int = 4) -> list[Measured]:
    """Ask several predictors the same, in turns.

    Args:
        sends: to each predictor.
        model: name of the model in all of them.
        rounds: times that each prompt is sent.
    """
    times: list[list[float]] = [[] for _ in sends]
    errors = [0 for _ in sends]
    for prompt in PROMPTS * rounds:
        for place, send in enumerate(sends):
            began = time.perf_counter()
            try:
                send("POST", "/v1/completions", _completion(model, prompt))
                times[place].append(time.perf_counter() - began)
            except OSError:
                errors[place] += 1
    return [
        Measured(requests=len(t) + e, errors=e, p50_seconds=_quantile(t, 0.5), p95_seconds=_quantile(t, 0.95))
        for t, e in zip(times, errors, strict=True)
    ]


def _completion(model: str, prompt: str) -> Json:
    return {"model": model, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0}


def _quantile(values: Sequence[float], share: float) -> float:
    """A value of the list, by rank; infinite where nothing was measured."""
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)] if values else math.inf
