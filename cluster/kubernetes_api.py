"""The API server: where it is, requests to it, and its errors as ours."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes import config
from kubernetes.client import ApiClient, ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from crossover.errors import ClusterError, first_line
from crossover.settings import in_pod

Json = dict[str, Any]
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_SECONDS = 30.0
"""Most seconds of one request."""


@dataclass(frozen=True)
class Cluster:
    """A connection, and the namespace that it is about."""

    api: ApiClient
    namespace: str
    pause: Callable[[float], None] = field(default=time.sleep, repr=False)
    """Waits so many seconds; replaced in tests."""

    def request(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        body: object = None,
        query: Mapping[str, str] | None = None,
        content: str = "application/json",
        seconds: float = _SECONDS,
    ) -> Json:
        """One request.

        Args:
            method: of HTTP.
            path: on the server.
            doing: what it is for, for messages: `patch inferenceservices.serving.kserve.io winner`.
            body: JSON.
            query: parameters.
            content: type of the body.
            seconds: most of them.

        Raises:
            ApiException: 404, 409 and 500, which callers may expect.
            ClusterError: any other answer, or none.
        """
        try:
            answer: Json = self.api.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": content},
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=seconds,
            )
        except ApiException as error:
            if error.status in (404, 409, 500):
                raise
            raise refusal(doing, error, self.namespace) from error
        except (HTTPError, OSError) as error:
            raise ClusterError(
                "cluster.unreachable",
                field=doing,
                problem=f"the API server at {self.api.configuration.host} does not answer ({_cause(error)})",
                remedy="check the network and the kubeconfig: `kubectl version` must answer; then try again",
            ) from error
        return answer

    def get(self, path: str, *, doing: str, query: Mapping[str, str] | None = None) -> Json | None:
        """An object or a list; None where there is none.

        Raises:
            ClusterError: as of `request`.
        """
        try:
            return self.request("GET", path, doing=doing, query=query)
        except ApiException as error:
            if error.status == 404:
                return None
            raise refusal(doing, error, self.namespace) from error


def open_cluster(namespace: str = "") -> Cluster:
    """Connect by the rules of the Kubernetes client: $KUBECONFIG or ~/.kube/config, else the pod's service account.

    Args:
        namespace: empty is that of the kubeconfig's context, or of the pod.

    Raises:
        ClusterError: neither is there, or the kubeconfig cannot be used.
    """
    try:
        try:
            config.load_kube_config()
        except ConfigException:
            if not in_pod():
                raise
            config.load_incluster_config()
        api = ApiClient()
    except (ConfigException, OSError, ValueError) as error:
        raise ClusterError(
            "cluster.no-configuration",
            field="KUBECONFIG",
            problem=f"no cluster is configured ({first_line(error)})",
            remedy="set KUBECONFIG to the file of a cluster, or run this in a pod with a service account",
        ) from error
    api.configuration.retries = False
    return Cluster(api, namespace or own_namespace())


def own_namespace() -> str:
    """That of the kubeconfig's context, of the pod, or `default`."""
    try:
        named = config.list_kube_config_contexts()[1]["context"].get("namespace")
        return str(named or "default")
    except (ConfigException, OSError, TypeError):
        return NAMESPACE_FILE.read_text("utf-8").strip() if NAMESPACE_FILE.exists() else "default"


def said(error: ApiException) -> str:
    """What the server said, on one line."""
    try:
        text = str(json.loads(error.body or "").get("message") or "")
    except (ValueError, AttributeError):
        text = str(error.body or error.reason or "")
    return " ".join(text.split())[:1000]


def refusal(doing: str, error: ApiException, namespace: str) -> ClusterError:
    """An answer that is no success, as an error that names cause and remedy."""
    text, status = said(error), error.status
    if status == 401:
        return ClusterError(
            "cluster.unauthorized",
            field=doing,
            problem="the token or certificate is missing, wrong, or has expired",
            remedy="log in to the cluster again, or give the pod a service account whose token is mounted",
        )
    if status == 403 and "exceeded quota" in text:
        return ClusterError(
            "cluster.quota",
            field=doing,
            problem=f"a ResourceQuota of namespace {namespace} is used up: {text}",
            remedy="ask for less, delete what is not needed, or let an administrator raise the quota; then try again",
        )
    if status == 403:
        return ClusterError(
            "cluster.forbidden",
            field=doing,
            problem=text,
            remedy=f"let an administrator grant it in namespace {namespace}: the chart's Role of the runner has "
            "it (pipelineRunner.rbac, kserve.enabled, trainer.enabled); docs/promotion.md lists every verb",
        )
    if status == 404 and f'namespaces "{namespace}" not found' in text:
        return ClusterError(
            "cluster.no-namespace",
            field=doing,
            problem=f"there is no namespace {namespace}",
            remedy="name another one with --namespace, or create it and install the chart's runtime there",
        )
    if status in (400, 422) or "not declared in schema" in text:  # which server-side apply answers with 500
        return ClusterError(
            "cluster.invalid",
            field=doing,
            problem=f"the API server refuses the object: {text}",
            remedy="compare the versions of KServe and Crossover, or correct the name or the number",
        )
    return ClusterError(
        "cluster.failed",
        field=doing,
        problem=f"HTTP {status}: {text}",
        remedy="try again; if it stays, look at the log of the controller that it names",
    )


def _cause(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).rpartition(": ")[2]
