"""A real API server for a test run, with the definitions of crds/, and namespaces that enforce `restricted`.

Without a cluster that CROSSOVER_TEST_KUBECONFIG names, the control plane of tests/cluster/server is started, if it has
been built: `make test-cluster` does both. A named cluster is used as it is: the definitions of crds/ are created where
they are missing, and stay; namespaces `xo-…` come and go, and cluster-wide objects of the chart with them.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from kubernetes.client import ApiException

from tests.cluster.binary import cached_path
from tests.cluster.control_plane import running
from tests.cluster.custom_resources import BuiltIns, definitions
from tests.cluster.kube import Kube, Object, wait_for
from tests.cluster.releases import Place, named_in, place_for_a_release

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def built() -> Path:
    """The control plane's binary; the test is skipped where it is not built."""
    binary = cached_path()
    if not binary.exists():
        pytest.skip("the control plane is not built: `make test-cluster` builds it, once")
    return binary


@pytest.fixture
def kube_without_definitions(tmp_path: Path) -> Iterator[Kube]:
    """The administrator of another cluster, which knows no kinds but Kubernetes' own."""
    with running(built(), tmp_path) as plane:
        yield Kube(plane.kubeconfig)


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Kubeconfig of an administrator of the cluster; each worker of xdist has a control plane of its own."""
    given = os.environ.get("CROSSOVER_TEST_KUBECONFIG")
    if given:
        yield Path(given)
        return
    with running(built(), tmp_path_factory.mktemp("control-plane")) as plane:
        yield plane.kubeconfig


@pytest.fixture(scope="session")
def kube(kubeconfig: Path) -> Kube:
    """The administrator, in a cluster that has the definitions of crds/."""
    admin = Kube(kubeconfig)
    schemas: dict[str, Object] = {}
    for document in ("api/v1", "apis/batch/v1"):
        schemas |= admin.raw("GET", f"/openapi/v3/{document}")["components"]["schemas"]
    there = {item["metadata"]["name"] for item in admin.raw("GET", DEFINITIONS)["items"]}
    made = [one for one in definitions(BuiltIns(schemas)) if one["metadata"]["name"] not in there]
    for one in made:
        admin.raw("POST", DEFINITIONS, one)
    for one in made:
        wait_for(partial(served, admin, one), f"served {one['metadata']['name']}")
    return admin


def served(kube: Kube, definition: Object) -> bool:
    """Whether the API server serves a definition's kind; its schema must be structural."""
    spec = definition["spec"]
    status = kube.raw("GET", f"{DEFINITIONS}/{definition['metadata']['name']}").get("status", {})
    found = {item["type"]: item for item in status.get("conditions", ())}
    assert found.get("NonStructuralSchema", {}).get("status") != "True", found["NonStructuralSchema"]["message"]
    if found.get("Established", {}).get("status") != "True":
        return False
    try:
        kube.list(f"{spec['group']}/{spec['versions'][0]['name']}", spec["names"]["kind"])
    except (ApiException, ValueError):  # established, but not in every part of the server yet
        return False
    return True


@pytest.fixture
def make_namespace(kube: Kube) -> Iterator[Callable[..., str]]:
    """Makes namespaces that enforce `restricted`, or another Pod Security level, and deletes them afterwards."""
    made: list[str] = []

    def make(suffix: str = "", level: str = "restricted") -> str:
        name = f"xo-{secrets.token_hex(4)}{'-' if suffix else ''}{suffix}"
        labels = {"pod-security.kubernetes.io/enforce": level}
        kube.raw("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        made.append(name)
        wait_for(lambda: kube.get("v1", "ServiceAccount", "default", name), f"default account in {name}")
        return name

    yield make
    for name in made:
        kube.raw("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def namespace(make_namespace: Callable[..., str]) -> str:
    """A namespace that enforces `restricted`."""
    return make_namespace()


@pytest.fixture
def service_account(kube: Kube, tmp_path: Path) -> Callable[..., Kube]:
    """Makes a ServiceAccount with chosen rules in a namespace, and returns the cluster as it sees it.

    `service_account(namespace, name, rules)`: `rules` are those of a Role, such as
    `[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]`; without them nothing is bound.
    """

    def make(namespace: str, name: str, rules: list[Object] | None = None) -> Kube:
        at = {"name": name, "namespace": namespace}
        group = "rbac.authorization.k8s.io"
        kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": at})
        if rules is not None:
            kube.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": at, "rules": rules})
            kube.apply(
                {
                    "apiVersion": f"{group}/v1",
                    "kind": "RoleBinding",
                    "metadata": at,
                    "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
                    "subjects": [{"kind": "ServiceAccount", **at}],
                }
            )
        return kube.as_service_account(namespace, name, tmp_path)

    return make


@pytest.fixture
def place(kube: Kube, make_namespace: Callable[..., str], request: pytest.FixtureRequest) -> Iterator[Place]:
    """Where a release is installed; an indirect parameter is the file of values whose namespaces are made, too."""
    values: Path | None = getattr(request, "param", None)
    with place_for_a_release(kube, make_namespace, named_in(values) if values else []) as made:
        yield made
