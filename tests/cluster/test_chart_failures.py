"""What goes wrong with releases on a real API server: the message names the cause, and a second try succeeds."""

from __future__ import annotations

from collections.abc import Callable

import helm_python
import pytest

from tests.charts.rendering import CHART, values_of
from tests.cluster.kube import Kube, Object
from tests.cluster.releases import Place, Release, labelled, place_for_a_release
from tests.cluster.stand_ins import kubelet

EXTERNAL: Object = {"database": {"mode": "external", "external": {"existingSecret": "database"}}}
KSERVE: Object = {"s3": {"bucket": "models"}, "kserve": {"enabled": True}}


def image_of(kube: Kube, namespace: str) -> str:
    (found,) = kube.list("apps/v1", "Deployment", namespace)
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


def test_missing_definitions_are_named_and_nothing_is_left(
    kube_without_definitions: Kube, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kube = kube_without_definitions
    release = Release(kube, "default")
    with pytest.raises(helm_python.HelmError, match=r'no matches for kind "ServingRuntime" in version .*\nensure CRDs'):
        release.install(values_of(CHART / "ci" / "no-monitoring-values.yaml"))
    assert labelled(kube, ["default"]) == set()
    with kubelet(kube, "default"):
        release.install(EXTERNAL)


def test_failed_migration_keeps_the_version_that_runs(place: Place) -> None:
    release = Release(place.kube, place.namespace)
    with kubelet(place.kube, place.namespace):
        release.install(EXTERNAL)
    before = image_of(place.kube, place.namespace)
    newer = {**EXTERNAL, "images": {"registry": {"tag": "9.9.9"}}, "migration": {"backoffLimit": 0}}
    with (
        kubelet(place.kube, place.namespace, fail="migration"),
        pytest.raises(helm_python.HelmError, match=r"trial-crossover-migration not ready. status: Failed"),
    ):
        release.upgrade(newer)
    assert image_of(place.kube, place.namespace) == before
    with kubelet(place.kube, place.namespace):
        release.upgrade(newer)
    assert image_of(place.kube, place.namespace).endswith(":9.9.9")


def test_failed_upload_is_named_and_an_upgrade_tries_again(place: Place) -> None:
    values = {"s3": {"bucket": "studies"}, "pipeline": {"mode": "api", "backoffLimit": 0}}
    release = Release(place.kube, place.namespace)
    with (
        kubelet(place.kube, place.namespace, fail="upload"),
        pytest.raises(helm_python.HelmError, match=r"trial-crossover-upload not ready. status: Failed"),
    ):
        release.install(values)
    with kubelet(place.kube, place.namespace):
        release.upgrade(values)
    assert release.revisions()[-1][1] == "deployed"


def test_the_same_release_name_in_two_namespaces(kube: Kube, place: Place, make_namespace: Callable[..., str]) -> None:
    with place_for_a_release(kube, make_namespace, []) as other, kubelet(kube, place.namespace, other.namespace):
        first, second = Release(kube, place.namespace), Release(kube, other.namespace)
        first.install({})
        second.install({})
        second.uninstall()
        assert f"ClusterRoleBinding/trial-crossover-{place.namespace}-token-review" in labelled(kube, place.namespaces)
        left = labelled(kube, other.namespaces)
        assert f"ClusterRoleBinding/trial-crossover-{other.namespace}-token-review" not in left
        first.upgrade({"registry": {"podLabels": {"a": "b"}}})


def test_a_second_release_does_not_take_the_first_ones_storage_container(
    kube: Kube, place: Place, make_namespace: Callable[..., str]
) -> None:
    with place_for_a_release(kube, make_namespace, []) as other, kubelet(kube, place.namespace, other.namespace):
        Release(kube, place.namespace).install(KSERVE)
        second = Release(kube, other.namespace)
        with pytest.raises(helm_python.HelmError, match=r'ClusterStorageContainer "crossover-storage".*exists'):
            second.install(KSERVE)
        second.install({**KSERVE, "kserve": {"enabled": True, "storageContainer": {"name": "another-storage"}}})
