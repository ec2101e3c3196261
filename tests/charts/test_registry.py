"""The registry's objects: modes of the database, roll-outs, hooks, networks."""

from __future__ import annotations

from typing import Any

import pytest
from crossover_services.predictor.server_options import server_options
from crossover_services.registry.__main__ import _arguments as registry_arguments

from crossover.cli import build_parser
from tests.charts.rendering import (
    CHART,
    CI_VALUES,
    NAMESPACE,
    Object,
    containers_of,
    find,
    pod_specs,
    render,
    values_of,
)

HA = values_of(CHART / "ci" / "ha-values.yaml")
TEAMS = values_of(CHART / "ci" / "external-services-values.yaml")
EVERYTHING = values_of(CHART / "ci" / "no-monitoring-values.yaml")


def pod(objects: list[Object]) -> dict[str, Any]:
    """The registry's pod."""
    spec: dict[str, Any] = find(objects, "Deployment")["spec"]["template"]["spec"]
    return spec


def env(container: dict[str, Any]) -> dict[str, Any]:
    """Variables of a container: the value, or the name of the secret."""
    return {e["name"]: e.get("value") or e["valueFrom"]["secretKeyRef"]["name"] for e in container.get("env", [])}


def test_embedded_migrates_before_it_starts_and_never_runs_twice() -> None:
    objects = render()
    deployment, spec = find(objects, "Deployment"), pod(objects)
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    (migration,) = spec["initContainers"]
    assert migration["args"] == ["registry", "upgrade"]
    assert env(migration) == env(spec["containers"][0]) == {"CROSSOVER_REGISTRY_URL": "sqlite:////data/registry.sqlite"}
    assert not [o for o in objects if o["kind"] in ("Job", "PodDisruptionBudget", "HorizontalPodAutoscaler")]
    assert find(objects, "PersistentVolumeClaim")["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_external_migrates_before_anything_of_the_release_is_there() -> None:
    objects = render(HA)
    job = find(objects, "Job", "migration")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    spec = job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in spec, "that of the chart is not there yet"
    assert all("configMap" not in volume for volume in spec["volumes"])
    assert env(spec["containers"][0]) == {"CROSSOVER_REGISTRY_URL": "crossover-database"}
    assert env(pod(objects)["containers"][0])["CROSSOVER_REGISTRY_SQL_URL"] == "crossover-database-sql"
    assert "initContainers" not in pod(objects)
    assert find(objects, "Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert "replicas" not in find(objects, "Deployment")["spec"], "the autoscaler's"


def test_a_budget_where_there_are_replicas() -> None:
    for values, budgets in ((TEAMS, 1), (HA, 1), (TEAMS | {"registry": {"replicas": 1}}, 0)):
        assert len([o for o in render(values) if o["kind"] == "PodDisruptionBudget"]) == budgets


def test_the_registry_may_review_tokens_and_nothing_else() -> None:
    for path in CI_VALUES:
        objects = render(values_of(path))
        bindings = [o for o in objects if o["kind"] == "ClusterRoleBinding"]
        assert [b["roleRef"]["name"] for b in bindings] == ["system:auth-delegator"]
        assert not [o for o in objects if o["kind"] == "ClusterRole"]
    none = render({"registry": {"kubernetesAudience": ""}})
    assert not [o for o in none if o["kind"] == "ClusterRoleBinding"]
    assert pod(none)["automountServiceAccountToken"] is False


def test_probes_ask_what_they_decide_about() -> None:
    (container,) = pod(render())["containers"]
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    paths = [container[probe]["httpGet"]["path"] for probe in probes]
    assert paths == ["/healthz", "/readyz", "/healthz"], "a database that is away restarts nothing"
    assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": 10}}


def test_host_names_let_probes_and_pods_in() -> None:
    spec = pod(render(TEAMS))
    args, container = spec["containers"][0]["args"], spec["containers"][0]
    hosts = {arg.partition("=")[2] for arg in args if arg.startswith("--allowed-host=")}
    assert {"registry.example.org", f"trial-crossover-registry.{NAMESPACE}"} <= hosts
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        (header,) = container[probe]["httpGet"]["httpHeaders"]
        assert header["value"] in hosts


def test_commands_are_those_that_the_programs_take(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in CI_VALUES:
        objects = render(values_of(path))
        containers = [c for _, spec in pod_specs(objects) for c in containers_of(spec)]
        for container in containers:
            name, args = container["name"], container.get("args", [])
            if name == "registry":
                monkeypatch.setattr("sys.argv", ["serve", *args[2:]])
                assert registry_arguments().port == 8090
            elif name == "kserve-container":
                options = server_options(args)
                assert (options.max_queue, options.grpc_port, options.timeout) == (256, 8081, 600)
            elif name in ("migration", "purge", "compact", "upload"):
                build_parser().parse_args(args)


def test_everything_is_denied_and_then_what_is_needed_allowed() -> None:
    for path in CI_VALUES:
        objects = render(values_of(path))
        policies = [o for o in objects if o["kind"] == "NetworkPolicy"]
        assert all(set(p["spec"]["policyTypes"]) == {"Ingress", "Egress"} for p in policies)
        deny = find(objects, "NetworkPolicy", "default-deny")["spec"]
        assert set(deny) == {"podSelector", "policyTypes"}
        names = {o["metadata"]["name"].rpartition("-")[2] for o in objects if o["kind"] in ("Job", "CronJob")}
        for component in names | {"registry"}:
            policy = find(objects, "NetworkPolicy", f"-{component}")
            assert policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == component


def test_only_named_namespaces_call_the_registry() -> None:
    (rule,) = find(render(TEAMS), "NetworkPolicy", "-registry")["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchExpressions"][0]["values"] == [NAMESPACE, "team-a", "team-b", "gateways"]


def test_the_embedded_registry_is_kept_small_on_its_own_node() -> None:
    spec = find(render({"retention": {"enabled": True}}), "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (rule,) = spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == "registry"
    purge, compact = spec["initContainers"][0], spec["containers"][0]
    assert purge["args"] == ["registry", "purge", "--older-than=30"]
    assert compact["args"] == ["registry", "compact", "--closed-for=24"]
    assert purge["env"] == compact["env"]
    assert "affinity" not in dict(pod_specs(render(HA)))["CronJob/trial-crossover-retention"]


def test_kserve_gets_what_a_restricted_namespace_lets_in() -> None:
    objects = render(EVERYTHING)
    container = find(objects, "ClusterStorageContainer", "crossover-storage")["spec"]
    assert container["supportedUriFormats"] == [{"prefix": "s3://crossover/"}]
    assert container["container"]["securityContext"]["readOnlyRootFilesystem"] is True
    account = find(objects, "ServiceAccount", "crossover-predictor")
    assert account["secrets"] == [{"name": "crossover-s3"}]
    runtime = find(objects, "ServingRuntime")["spec"]
    assert runtime["supportedModelFormats"] == [
        {"name": "crossover", "version": "1", "autoSelect": True, "priority": 1}
    ]
    assert runtime["protocolVersions"] == ["v2", "grpc-v2", "v1"]
    (served,) = runtime["containers"]
    assert (served["name"], "--model-name={{.Name}}" in served["args"]) == ("kserve-container", True)
    assert served["readinessProbe"]["httpGet"]["path"] == "/v2/models/{{.Name}}/ready"
    assert [(port["name"], port["containerPort"]) for port in served["ports"]] == [("http1", 8080), ("grpc", 8081)]


def test_a_runtime_without_grpc_has_one_port() -> None:
    """Knative refuses two."""
    objects = render({**EVERYTHING, "kserve": {**EVERYTHING["kserve"], "runtime": {"grpcPort": 0}}})
    runtime = find(objects, "ServingRuntime")["spec"]
    assert runtime["protocolVersions"] == ["v2", "v1"]
    (served,) = runtime["containers"]
    assert [port["name"] for port in served["ports"]] == ["http1"]
    assert server_options(served["args"]).grpc_port == 0
    policies = [o for o in objects if o["kind"] == "NetworkPolicy" and o["metadata"]["name"].endswith("-predictor")]
    assert policies
    for policy in policies:
        assert policy["spec"]["ingress"] == [{"ports": [{"port": 8080, "protocol": "TCP"}]}]


def test_a_training_runtime_starts_torchrun() -> None:
    (job,) = find(render(EVERYTHING), "TrainingRuntime")["spec"]["template"]["spec"]["replicatedJobs"]
    labels = job["template"]["metadata"]["labels"]
    assert labels["trainer.kubeflow.org/trainjob-ancestor-step"] == "trainer"
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    assert (container["name"], container["command"][0]) == ("node", "torchrun")
    assert not [flag for flag in container["command"] if "max-restarts" in flag]  # the pods' Job starts them again
    assert job["template"]["spec"]["backoffLimit"] == 6
