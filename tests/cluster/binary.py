"""The control plane of the tests: a Go program over k8s.io/kubernetes, built once and kept outside of the repository.

`python -m tests.cluster.binary` builds it and prints its path; the build takes 12 to 30 minutes on two cores.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = Path(__file__).parent / "server"
KUBERNETES = "1.33.13"
"""Release of k8s.io/kubernetes, as in server/go.mod; the binary names it as its version."""


def cached_path(tags: str = "") -> Path:
    """Where the binary of the module's present files is, or would be.

    Args:
        tags: Go build tags: `node` adds kubelet, kube-proxy and kube-scheduler.
    """
    digest = hashlib.sha256(tags.encode())
    for path in [*sorted(MODULE.glob("*.go")), MODULE / "go.mod", MODULE / "go.sum"]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "crossover" / "control-plane" / digest.hexdigest()[:16] / "control-plane"


def version_flags() -> str:
    """Linker flags that set the version: without them clients meet v0.0.0, which no chart's `kubeVersion` admits."""
    major, minor, _ = KUBERNETES.split(".")
    values = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(
        ["-s -w", *(f"-X {package}.{key}={value}" for package in packages for key, value in values.items())]
    )


def build(tags: str = "") -> Path:
    """Build the binary if it is not in the cache, and return its path.

    Args:
        tags: as `cached_path`.

    Raises:
        SystemExit: Go is not installed, or the build failed.
    """
    path = cached_path(tags)
    if path.exists():
        return path
    go = shutil.which("go")
    if go is None:
        raise SystemExit("no Go: install Go 1.24 or newer, or name a cluster by CROSSOVER_TEST_KUBECONFIG")
    print(f"building the control plane in {MODULE}: 12 to 30 minutes on two cores, once", file=sys.stderr, flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built = Path(folder) / path.name
        command = [go, "build", "-trimpath", "-buildvcs=false", "-ldflags", version_flags(), "-tags", tags]
        environment = os.environ | {"CGO_ENABLED": "0"}
        if subprocess.run([*command, "-o", built, "."], cwd=MODULE, env=environment, check=False).returncode:
            raise SystemExit("the control plane was not built: see above")
        built.rename(path)
    return path


if __name__ == "__main__":
    print(build(*sys.argv[1:2]))
