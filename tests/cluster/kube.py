"""Clients of an API server, as its administrator or as a ServiceAccount."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import yaml
from kubernetes.client import ApiClient, ApiException, Configuration
from kubernetes.config import load_kube_config

Object = dict[str, Any]
Found = TypeVar("Found")
FIELD_MANAGER = "crossover-tests"


def wait_for(read: Callable[[], Found | None], what: str, seconds: float = 60) -> Found:
    """Call until the answer is true, and return it.

    Args:
        read: called ten times a second.
        what: what is waited for, for the message.
        seconds: how long.

    Raises:
        AssertionError: it did not come.
    """
    until = time.monotonic() + seconds
    while not (found := read()):
        assert time.monotonic() < until, f"no {what} after {seconds} s"
        time.sleep(0.1)
    return found


@dataclass(frozen=True)
class Kube:
    """A cluster as one user sees it.

    Args:
        kubeconfig: path of a file that names the cluster and the user; what starts programs hands them this.
    """

    kubeconfig: Path

    def api_client(self) -> ApiClient:
        """A client of the official library, which others make theirs of."""
        configuration = Configuration()
        load_kube_config(str(self.kubeconfig), client_configuration=configuration)
        return ApiClient(configuration)

    def raw(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Object:
        """Send one request and return what comes.

        Raises:
            kubernetes.client.ApiException: the server refused it.
        """
        headers = {"Accept": "application/json", "Content-Type": content_type}
        with self.api_client() as client:
            answer = client.call_api(
                path, method, header_params=headers, body=body, auth_settings=["BearerToken"], response_type="object"
            )
        found: Object = answer[0]
        return found

    def path(self, api_version: str, kind: str, namespace: str | None = None, *parts: str) -> str:
        """The path of a collection, or with a name and a subresource as parts that of one object."""
        group, resource = self._resource(api_version, kind)
        return "/".join([group, *(("namespaces", namespace) if namespace else ()), resource["name"], *parts])

    def namespaced(self, api_version: str, kind: str) -> bool:
        """Whether objects of a kind are in namespaces."""
        return bool(self._resource(api_version, kind)[1]["namespaced"])

    def _resource(self, api_version: str, kind: str) -> tuple[str, Object]:
        group = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        served = self.raw("GET", group)["resources"]
        (found,) = [item for item in served if item["kind"] == kind and "/" not in item["name"]]
        return group, found

    def apply(
        self, body: Object, *, manager: str = FIELD_MANAGER, dry_run: bool = False, force: bool = False
    ) -> Object:
        """Apply an object by server-side apply; unknown fields are refused.

        Args:
            body: the object; its kind must be known to the server.
            manager: field manager.
            dry_run: let the server judge it, and keep nothing.
            force: take fields over from other managers.
        """
        at = body["metadata"]
        path = self.path(body["apiVersion"], body["kind"], at.get("namespace"), at["name"])
        query = f"fieldManager={manager}&fieldValidation=Strict&force={str(force).lower()}{'&dryRun=All' * dry_run}"
        return self.raw("PATCH", f"{path}?{query}", body, "application/apply-patch+yaml")

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """One object, or none."""
        try:
            return self.raw("GET", self.path(api_version, kind, namespace, name))
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def list(self, api_version: str, kind: str, namespace: str | None = None, query: str = "") -> list[Object]:
        """All objects of a kind, in one namespace or in all; `labelSelector=…` or `fieldSelector=…` choose."""
        found: list[Object] = self.raw("GET", f"{self.path(api_version, kind, namespace)}?{query}")["items"]
        return found

    def delete(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> None:
        """Delete an object that is there."""
        self.raw("DELETE", self.path(api_version, kind, namespace, name))

    def allowed(self, verb: str, group: str, resource: str, namespace: str = "", subresource: str = "") -> bool:
        """Whether this user may do that, by SelfSubjectAccessReview."""
        attributes = {
            "verb": verb,
            "group": group,
            "resource": resource,
            "namespace": namespace,
            "subresource": subresource,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(self.raw("POST", path, review)["status"]["allowed"])

    def token(self, namespace: str, service_account: str, audience: str = "") -> str:
        """A token of a ServiceAccount, by TokenRequest.

        Args:
            namespace: of the account.
            service_account: its name; it must exist.
            audience: of the token; empty is the API server's own.
        """
        spec = {"audiences": [audience]} if audience else {}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        return str(self.raw("POST", path, body)["status"]["token"])

    def as_service_account(self, namespace: str, service_account: str, folder: Path) -> Kube:
        """The same cluster as a ServiceAccount sees it, with a token of its own.

        Args:
            namespace: of the account; also that of the kubeconfig's context.
            service_account: its name.
            folder: where the kubeconfig is written.
        """
        content = yaml.safe_load(self.kubeconfig.read_text("utf-8"))
        chosen = content["current-context"]
        (context,) = [item["context"] for item in content["contexts"] if item["name"] == chosen]
        clusters = [item for item in content["clusters"] if item["name"] == context["cluster"]]
        user = f"system:serviceaccount:{namespace}:{service_account}"
        written = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": user,
            "clusters": clusters,
            "users": [{"name": user, "user": {"token": self.token(namespace, service_account)}}],
            "contexts": [
                {"name": user, "context": {"cluster": clusters[0]["name"], "user": user, "namespace": namespace}}
            ],
        }
        path = folder / f"{namespace}-{service_account}.kubeconfig"
        path.write_text(yaml.safe_dump(written))
        path.chmod(0o600)
        return Kube(path)
