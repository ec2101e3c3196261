"""etcd, kube-apiserver and kube-controller-manager on loopback, for one test run."""

from __future__ import annotations

import os
import secrets
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from tests.cluster.certificates import write_certificates
from tests.seaweed import free_ports

START_SECONDS = 120


class ControlPlane:
    """Three processes of one binary, which end when this process ends, however it ends.

    Args:
        binary: tests.cluster.binary's.
        folder: empty; certificates, logs, data and the administrator's kubeconfig go there.
    """

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary, self._folder = binary, folder
        self._processes: list[subprocess.Popen[bytes]] = []
        client, peer, api = free_ports(3)
        self._etcd, self._peer = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        self.url = f"https://127.0.0.1:{api}"
        self.kubeconfig = folder / "admin.kubeconfig"
        write_certificates(folder)
        self._admin_token, manager_token = secrets.token_hex(16), secrets.token_hex(16)
        (folder / "tokens.csv").write_text(
            f'{self._admin_token},admin,admin,"system:masters"\n'
            f"{manager_token},system:kube-controller-manager,manager\n"
        )
        write_kubeconfig(self.kubeconfig, self.url, folder / "ca.crt", self._admin_token)
        write_kubeconfig(folder / "manager.kubeconfig", self.url, folder / "ca.crt", manager_token)

    def _start(self, program: str, *arguments: str) -> None:
        with (self._folder / f"{program}.log").open("wb") as log:
            command = [str(self._binary), program, *arguments]
            environment = os.environ | {"EXIT_WITH_STDIN": "1"}
            started = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        self._processes.append(started)

    def start(self) -> None:
        """Start all, and wait until the API server is ready."""
        folder = self._folder
        self._start(
            "etcd",
            f"--data-dir={folder}/etcd",
            f"--listen-client-urls={self._etcd}",
            f"--listen-peer-urls={self._peer}",
            "--unsafe-no-fsync",
        )
        self._start(
            "kube-apiserver",
            f"--etcd-servers={self._etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.url.rpartition(':')[2]}",
            "--endpoint-reconciler-type=none",  # an endpoint on loopback is refused
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--tls-cert-file={folder}/server.crt",
            f"--tls-private-key-file={folder}/server.key",
            f"--token-auth-file={folder}/tokens.csv",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={folder}/tokens.key",
            f"--service-account-signing-key-file={folder}/tokens.key",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",  # as on every real cluster: Pod Security admission judges
        )
        self._wait_ready()
        self._start(
            "kube-controller-manager",
            f"--kubeconfig={folder}/manager.kubeconfig",
            f"--service-account-private-key-file={folder}/tokens.key",
            f"--root-ca-file={folder}/ca.crt",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )

    def _wait_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        trusted = ssl.create_default_context(cafile=str(self._folder / "ca.crt"))
        headers = {"Authorization": f"Bearer {self._admin_token}"}
        with httpx.Client(base_url=self.url, verify=trusted, headers=headers, trust_env=False) as client:
            while True:
                for process in self._processes:
                    assert process.poll() is None, self.log()
                try:
                    if client.get("/readyz").status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    pass
                assert time.monotonic() < until, self.log()
                time.sleep(0.1)

    def log(self) -> str:
        """The last lines of all processes."""
        return "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in self._folder.glob("*.log"))

    def stop(self) -> None:
        """Kill all: their data are thrown away."""
        for process in reversed(self._processes):
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


def write_kubeconfig(path: Path, url: str, authority: Path, token: str) -> None:
    """Write a kubeconfig with one context, of the user whom the token names."""
    one = "crossover-tests"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": one,
                "clusters": [{"name": one, "cluster": {"server": url, "certificate-authority": str(authority)}}],
                "users": [{"name": one, "user": {"token": token}}],
                "contexts": [{"name": one, "context": {"cluster": one, "user": one}}],
            }
        )
    )
    path.chmod(0o600)


@contextmanager
def running(binary: Path, folder: Path) -> Iterator[ControlPlane]:
    """A started control plane; arguments as `ControlPlane`."""
    plane = ControlPlane(binary, folder)
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()
