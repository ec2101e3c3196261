"""The check before a study, on a real API server: rights, KServe, runtimes and GPUs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from crossover_cluster.cluster_checks import PROMOTION_RIGHTS, TRAIN_JOB_RIGHTS, Right
from crossover_cluster.kubernetes_api import Cluster
from crossover_cluster.prerequisites import check_prerequisites

from crossover.errors import ClusterError
from crossover.study.study_config import StudyConfig
from tests.cluster.kube import Kube, Object

RUNTIME_LIST: list[Object] = [
    {"apiGroups": ["serving.kserve.io"], "resources": ["servingruntimes"], "verbs": ["list"]},
]


def rules(rights: tuple[Right, ...]) -> list[Object]:
    return [
        {
            "apiGroups": [right.group],
            "resources": [right.resource + (f"/{right.subresource}" if right.subresource else "")],
            "verbs": [right.verb],
        }
        for right in rights
    ]


def check(study: StudyConfig, tmp_path: Path, user: Kube, namespace: str, **options: bool) -> None:
    check_prerequisites(
        study,
        workspace=str(tmp_path / "workspace"),
        registry=f"sqlite:///{tmp_path}/registry.sqlite",
        endpoint="winner",
        cluster=Cluster(user.api_client(), namespace),
        **options,
    )


def test_with_every_right_nothing_is_missing(
    tiny_study: StudyConfig, tmp_path: Path, namespace: str, service_account: Callable[..., Kube]
) -> None:
    user = service_account(namespace, "runner", rules(PROMOTION_RIGHTS + TRAIN_JOB_RIGHTS))
    check(tiny_study, tmp_path, user, namespace, train_jobs=True)
    assert not (tmp_path / "workspace" / "prerequisites.json").exists()


@pytest.mark.parametrize("right", dict.fromkeys(PROMOTION_RIGHTS + TRAIN_JOB_RIGHTS), ids=str)
def test_a_missing_right_is_named(
    tiny_study: StudyConfig, tmp_path: Path, namespace: str, service_account: Callable[..., Kube], right: Right
) -> None:
    others = tuple(one for one in PROMOTION_RIGHTS + TRAIN_JOB_RIGHTS if one != right)
    user = service_account(namespace, "runner", rules(others))
    with pytest.raises(ClusterError, match=rf"may not {right}"):
        check(tiny_study, tmp_path, user, namespace, train_jobs=True)


def test_all_that_is_missing_is_told_at_once(
    tiny_study: StudyConfig, tmp_path: Path, namespace: str, service_account: Callable[..., Kube]
) -> None:
    (tmp_path / "workspace").write_text("a file")
    training = tiny_study.training.model_copy(update={"device": "cuda"})
    study = tiny_study.model_copy(update={"training": training})
    user = service_account(namespace, "runner", rules(PROMOTION_RIGHTS[:1]) + RUNTIME_LIST)
    with pytest.raises(ClusterError, match=r"3 things are missing") as missing:
        check(study, tmp_path, user, namespace)
    for part in ("workspace", "may not create inferenceservices.serving.kserve.io, patch", "no ServingRuntime in"):
        assert part in str(missing.value)
    assert missing.value.exit_code == 2


def test_a_cluster_without_gpus_is_named(kube: Kube, tiny_study: StudyConfig, tmp_path: Path, namespace: str) -> None:
    if kube.list("v1", "Node"):
        pytest.skip("this cluster has nodes, maybe with GPUs")
    training = tiny_study.training.model_copy(update={"device": "cuda"})
    with pytest.raises(ClusterError, match=r"none of 0 nodes has a GPU.*nvidia.com/gpu"):
        check_prerequisites(
            tiny_study.model_copy(update={"training": training}),
            workspace=str(tmp_path / "w"),
            registry=f"sqlite:///{tmp_path}/registry.sqlite",
            cluster=Cluster(kube.api_client(), namespace),
        )
