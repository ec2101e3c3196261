"""The pipeline's upload, its native objects, the profile, and the rights of those who run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from crossover_cluster.cluster_checks import PROMOTION_RIGHTS, TRAIN_JOB_RIGHTS, Right
from crossover_pipelines.cluster_profile import read_profile

from tests.charts.rendering import CHART, CI_VALUES, NAMESPACE, ROOT, Object, find, pod_specs, render, values_of

HA = values_of(CHART / "ci" / "ha-values.yaml")
TEAMS = values_of(CHART / "ci" / "external-services-values.yaml")
PACKAGED = CHART / "files" / "crossover_study.yaml"


def profile(values: dict[str, Any]) -> dict[str, Any]:
    """The ClusterProfile of the upload."""
    text = find(render(values), "ConfigMap", "profile")["data"]["profile.yaml"]
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def test_the_packaged_pipeline_is_the_golden_one() -> None:
    golden = ROOT / "tests" / "pipelines" / "golden" / "crossover_study.yaml"
    assert PACKAGED.read_bytes() == golden.read_bytes(), "run `make golden`"


def test_native_objects_hold_the_pipeline_with_the_image_of_the_chart() -> None:
    objects = render(values_of(CHART / "ci" / "native-values.yaml"))
    pipeline, version = find(objects, "Pipeline"), find(objects, "PipelineVersion")
    assert pipeline["apiVersion"] == version["apiVersion"] == "pipelines.kubeflow.org/v2beta1"
    assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"]
    assert version["metadata"]["name"].startswith(f"{pipeline['metadata']['name']}-")
    packaged = next(yaml.safe_load_all(PACKAGED.read_text("utf-8")))
    rendered = version["spec"]["pipelineSpec"]
    executors = rendered.pop("deploymentSpec")["executors"]
    assert {e["container"]["image"] for e in executors.values()} == {"ghcr.io/crossover/crossover-training:0.1.0"}
    expected = packaged.pop("deploymentSpec")["executors"]
    assert {name: e["container"]["args"] for name, e in executors.items()} == {
        name: e["container"]["args"] for name, e in expected.items()
    }
    assert rendered == packaged


def test_a_compiled_pipeline_of_ones_own_brings_its_platform() -> None:
    text = "pipelineInfo: {name: mine}\n---\nplatforms: {kubernetes: {}}\n"
    values = {"s3": {"bucket": "bucket"}, "pipeline": {"mode": "native", "native": {"compiled": text}}}
    version = find(render(values), "PipelineVersion")
    assert version["spec"]["platformSpec"] == {"platforms": {"kubernetes": {}}}
    other = values | {"pipeline": {"mode": "native", "native": {"compiled": text + "# other"}}}
    assert find(render(other), "PipelineVersion")["metadata"]["name"] != version["metadata"]["name"]


def test_the_upload_runs_after_the_release_and_may_be_repeated() -> None:
    job = find(render(TEAMS), "Job", "upload")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade"
    assert "before-hook-creation" in job["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["args"] == [
        "upload",
        "--host=http://ml-pipeline.kubeflow:8888",
        "--profile=/etc/crossover/profile.yaml",
        "--namespace=team-a",
        "--token-file=/var/run/secrets/pipelines/token",
    ]
    (token,) = [v["projected"]["sources"][0] for v in spec["volumes"] if "projected" in v]
    assert token["serviceAccountToken"]["audience"] == "pipelines.kubeflow.org"
    verbs = ["create", "get", "list", "update"]
    rule = {"apiGroups": ["pipelines.kubeflow.org"], "resources": ["pipelines"], "verbs": verbs}
    role = find(render(TEAMS), "Role", "upload")
    assert (role["metadata"]["namespace"], role["rules"]) == (
        "team-a",
        [rule],
    )


def test_without_many_users_there_is_no_token_and_no_role() -> None:
    objects = render(HA)
    assert not any("projected" in v for v in find(objects, "Job", "upload")["spec"]["template"]["spec"]["volumes"])
    assert not [o for o in objects if o["kind"] == "Role" and o["metadata"]["name"].endswith("upload")]


def test_the_profile_is_laid_over_what_the_chart_knows() -> None:
    assert profile(HA)["registry"] == f"http://trial-crossover-registry.{NAMESPACE}:8090"
    assert profile(HA)["workspace"] == "s3://crossover/studies/demo"
    assert profile(HA)["env"]["CROSSOVER_S3_SECURE"] == "true"
    given = profile(TEAMS)
    assert given["image"] == "registry.example.org/crossover-training:0.1.0"
    assert given["image_pull_secrets"] == ["pull"]
    assert given["steps"]["pretraining"] == {"memory": "16Gi", "timeout_seconds": 86400}
    assert given["env_from_secrets"]["CROSSOVER_S3_SECRET_KEY"] == {"name": "seaweed", "key": "AWS_SECRET_ACCESS_KEY"}
    assert given["service_account"] == "default-editor"


@pytest.mark.parametrize("path", CI_VALUES, ids=lambda path: path.stem)
def test_the_profile_is_one_that_compiles(path: Path, tmp_path: Path) -> None:
    for document in render(values_of(path)):
        if document["kind"] == "ConfigMap" and document["metadata"]["name"].endswith("-profile"):
            (tmp_path / "profile.yaml").write_text(document["data"]["profile.yaml"], "utf-8")
            found = read_profile(tmp_path / "profile.yaml")
            assert found.registry == f"http://trial-crossover-registry.{NAMESPACE}:8090"
            assert found.workspace.startswith("s3://")


def rules(objects: list[Object]) -> set[tuple[str, str, str]]:
    """What the runner may do: group, resource, verb."""
    return {
        (group, resource, verb)
        for rule in find(objects, "Role", "pipeline-runner")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def needed(rights: tuple[Right, ...]) -> set[tuple[str, str, str]]:
    """The same of what the code says that it needs."""
    return {(r.group, "/".join(filter(None, (r.resource, r.subresource))), r.verb) for r in rights}


def test_the_runner_may_do_what_it_needs_and_nothing_more() -> None:
    optional = {  # a canary's autoscaler, and a runtime that is looked for before a study
        ("autoscaling", "horizontalpodautoscalers", "delete"),
        ("serving.kserve.io", "servingruntimes", "list"),
    }
    serving, training = {"kserve": {"enabled": True}}, {"trainer": {"enabled": True}}
    bucket = {"s3": {"bucket": "bucket"}}
    assert rules(render(bucket | serving)) == needed(PROMOTION_RIGHTS) | optional
    assert rules(render(bucket | training)) == needed(TRAIN_JOB_RIGHTS)
    assert rules(render(bucket | serving | training)) == needed(PROMOTION_RIGHTS + TRAIN_JOB_RIGHTS) | optional
    neither = [o for o in render(bucket) if o["kind"] == "Role"]
    assert not neither


def test_every_namespace_of_pipelines_gets_its_own() -> None:
    objects = render(TEAMS)
    for kind in ("RoleBinding", "TrainingRuntime", "ServiceAccount"):
        names = [o["metadata"]["namespace"] for o in objects if o["kind"] == kind]
        assert {"team-a", "team-b"} <= set(names), kind
    binding = next(o for o in objects if o["kind"] == "RoleBinding" and o["metadata"]["namespace"] == "team-b")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "default-editor", "namespace": "team-b"}]
    assert len([o for o in objects if o["kind"] == "ClusterServingRuntime"]) == 1


def test_steps_and_train_jobs_have_the_token_that_the_registry_takes() -> None:
    values = {"s3": {"bucket": "bucket"}, "pipelineRunner": {"create": True}, "trainer": {"enabled": True}}
    account = find(render(values), "ServiceAccount", "pipeline-runner")
    assert account["automountServiceAccountToken"] is True
    ((_, train),) = [(n, s) for n, s in pod_specs(render(values)) if n.startswith("TrainingRuntime")]
    names = {variable["name"] for variable in train["containers"][0]["env"]}
    assert train["serviceAccountName"] == "pipeline-runner"
    assert (train["automountServiceAccountToken"], "CROSSOVER_REGISTRY_TOKEN_FILE" in names) == (True, True)
    other = render(values | {"registry": {"kubernetesAudience": "crossover"}})
    ((_, train),) = [(n, s) for n, s in pod_specs(other) if n.startswith("TrainingRuntime")]
    names = {variable["name"] for variable in train["containers"][0]["env"]}
    assert (train["automountServiceAccountToken"], "CROSSOVER_REGISTRY_TOKEN_FILE" in names) == (False, False)
