"""Every pod, and every pod that KServe and Trainer will make, passes the Pod Security Standard `restricted`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.charts.rendering import CHART, CI_VALUES, Object, containers_of, find, pod_specs, render, values_of

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
every_file = pytest.mark.parametrize("path", CI_VALUES, ids=lambda path: path.stem)


def breaches(spec: dict[str, Any]) -> list[str]:
    """What `restricted` refuses in a pod: https://kubernetes.io/docs/concepts/security/pod-security-standards."""
    found = [field for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    found += [f"volume {v['name']}" for v in spec.get("volumes", []) if not VOLUMES & set(v)]
    pod = spec.get("securityContext", {})
    for container in containers_of(spec):
        own = container.get("securityContext", {})
        merged, name = pod | own, container["name"]
        if merged.get("runAsNonRoot") is not True or merged.get("runAsUser", 1) == 0:
            found.append(f"{name}: may run as root")
        if merged.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            found.append(f"{name}: seccomp")
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            found.append(f"{name}: privilege escalation")
        if own.get("capabilities") != {"drop": ["ALL"]}:
            found.append(f"{name}: capabilities")
        found += [f"{name}: host port" for port in container.get("ports", []) if "hostPort" in port]
    return found


@every_file
def test_restricted(path: Path) -> None:
    pods = dict(pod_specs(render(values_of(path))))
    assert len(pods) >= 2
    assert {name: breaches(spec) for name, spec in pods.items()} == {name: [] for name in pods}


def test_the_check_itself_finds_what_is_wrong() -> None:
    bad = {
        "hostNetwork": True,
        "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        "containers": [{"name": "c", "ports": [{"hostPort": 1}], "securityContext": {"runAsUser": 0}}],
    }
    assert len(breaches(bad)) == 7


@every_file
def test_read_only_root_limits_and_images(path: Path) -> None:
    for name, spec in pod_specs(render(values_of(path))):
        for container in containers_of(spec):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert "memory" in container["resources"]["limits"], name
            assert not container["image"].endswith(":latest"), name
            assert "@sha256:" in container["image"] or ":" in container["image"].rpartition("/")[2], name


@every_file
def test_no_pod_but_the_registry_and_training_has_a_token(path: Path) -> None:
    for name, spec in pod_specs(render(values_of(path))):
        if "Runtime" in name or "StorageContainer" in name:
            continue  # theirs to decide, by the service account
        assert spec["automountServiceAccountToken"] is name.startswith("Deployment/"), name
        assert spec["enableServiceLinks"] is False, name


def ids(objects: list[Object]) -> list[set[str]]:
    contexts = [spec.get("securityContext", {}) for _, spec in pod_specs(objects)]
    containers = [c["securityContext"] for _, spec in pod_specs(objects) for c in spec["containers"]]
    return [{"runAsUser", "runAsGroup", "fsGroup"} & set(context) for context in [*contexts, *containers]]


def test_the_user_is_a_number_unless_the_platform_assigns_one() -> None:
    everything = values_of(CHART / "ci" / "ha-values.yaml")
    context = find(render(everything), "Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert [context[name] for name in ("runAsUser", "runAsGroup", "fsGroup")] == [10001] * 3
    nobody = {"podSecurity": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}
    assert not any(ids(render(everything | nobody)))
