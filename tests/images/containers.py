"""Containers of built images, as a pod of the `restricted` standard runs them: runc, read-only root, no capability.

Each has a network of its own with nothing but loopback, a tmpfs at /tmp, and whatever folders a test mounts.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IMAGE_USER, RANDOM_USER = (10001, 10001), (1000680000, 0)
"""The images' own user and group; and those that OpenShift draws for a namespace, which no image knows."""
GET = """
import sys, urllib.request
body = sys.argv[2].encode() or None
request = urllib.request.Request(sys.argv[1], body, {"Content-Type": "application/json"})
sys.stdout.write(urllib.request.urlopen(request, timeout=20).read().decode())
"""


def run(*command: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)


def output(*command: str) -> str:
    """Standard output of a command that must succeed."""
    result = run(*command)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@dataclass(frozen=True)
class Image:
    """A built image: its name, its OCI document (`config`, `history`, `rootfs`) and its unpacked files."""

    name: str
    oci: dict[str, Any]
    root: Path

    @property
    def config(self) -> dict[str, Any]:
        """User, Env, Entrypoint, Cmd, WorkingDir, Labels."""
        config: dict[str, Any] = self.oci["config"]
        return config


@contextmanager
def mounted(name: str) -> Iterator[Image]:
    """An image of buildah's storage, which `make images` has filled."""
    found = run("buildah", "inspect", "--type", "image", name)
    assert found.returncode == 0, f"{name}: not built; run make images first\n{found.stderr}"
    container = output("buildah", "from", "--pull-never", name).strip()
    try:
        yield Image(name, json.loads(found.stdout)["OCIv1"], Path(output("buildah", "mount", container).strip()))
    finally:
        output("buildah", "rm", container)


@dataclass
class Pod:
    """How a pod runs an image: whatever Kubernetes lets its author set."""

    image: Image
    bundle: Path
    """An empty folder for runc's files."""
    args: list[str] | None = None
    """In the place of the image's CMD."""
    command: list[str] | None = None
    """In the place of the image's ENTRYPOINT and CMD."""
    user: tuple[int, int] = IMAGE_USER
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, Path] = field(default_factory=dict)
    """Folders or files of this machine, by their place in the container; those below /scratch can be written."""

    def __post_init__(self) -> None:
        """Write the bundle."""
        self.bundle.mkdir(parents=True)
        self.id = f"crossover-test-{uuid.uuid4().hex[:12]}"
        output("runc", "spec", "--bundle", str(self.bundle))
        path = self.bundle / "config.json"
        spec = json.loads(path.read_text())
        config = self.image.config
        (self.bundle / "hosts").write_text("127.0.0.1 localhost pod\n")
        default = config["Entrypoint"] + (self.args if self.args is not None else config["Cmd"])
        spec["root"] = {"path": str(self.image.root), "readonly": True}
        spec["hostname"] = "pod"
        spec["process"] |= {
            "terminal": False,
            "user": dict(zip(("uid", "gid"), self.user, strict=True)),
            "args": self.command or default,
            "env": [*config["Env"], *(f"{name}={value}" for name, value in self.env.items())],
            "cwd": config["WorkingDir"],
            "capabilities": {kind: [] for kind in ("bounding", "effective", "permitted")},
            "noNewPrivileges": True,
        }
        spec["mounts"].append(_mount("tmpfs", "tmpfs", "/tmp", "mode=1777"))  # noqa: S108 - of the container
        for place, source in {"/etc/hosts": self.bundle / "hosts", **self.mounts}.items():
            access = "rw" if place.startswith("/scratch") else "ro"
            spec["mounts"].append(_mount("bind", str(source), place, "rbind", access))
        path.write_text(json.dumps(spec))

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run it to its end; returns its exit code and what it wrote."""
        return run("runc", "run", "--bundle", str(self.bundle), self.id)

    def output(self) -> str:
        """Standard output of a run that must succeed."""
        result = self.run()
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    @contextmanager
    def started(self) -> Iterator[Running]:
        """Run it within the block."""
        log = self.bundle / "log"
        with log.open("w") as stream:
            command = ["runc", "run", "--bundle", str(self.bundle), self.id]
            process = subprocess.Popen(command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)
            try:
                yield Running(self.id, process, log)
            finally:
                run("runc", "delete", "--force", self.id)
                process.wait(60)


def _mount(kind: str, source: str, destination: str, *options: str) -> dict[str, Any]:
    return {"type": kind, "source": source, "destination": destination, "options": ["nosuid", "nodev", *options]}


@dataclass(frozen=True)
class Running:
    """A container that runs."""

    id: str
    process: subprocess.Popen[bytes]
    log: Path

    def request(self, url: str, body: str = "") -> subprocess.CompletedProcess[str]:
        """GET, or POST of a body, from within the container, as another container of its pod would."""
        return run("runc", "exec", self.id, "python", "-c", GET, url, body)

    def wait_for(self, url: str, seconds: float = 240) -> str:
        """The body of the first answer that is a success."""
        deadline = time.monotonic() + seconds
        while True:
            result = self.request(url)
            if result.returncode == 0:
                return result.stdout
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, result.stderr + self.log.read_text()
            time.sleep(0.2)  # a probe's period

    def number(self) -> int:
        """The process number of its PID 1 as this machine sees it."""
        while True:
            state = run("runc", "state", self.id)
            if state.returncode == 0 and json.loads(state.stdout)["status"] == "running":
                number: int = json.loads(state.stdout)["pid"]
                return number
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.005)  # until runc has made it

    def terminate(self) -> tuple[int, float]:
        """Send SIGTERM as a kubelet does; the exit code and the seconds that it took."""
        output("runc", "kill", self.id, "TERM")
        began = time.monotonic()
        return self.process.wait(60), time.monotonic() - began


def writable(folder: Path, user: tuple[int, int]) -> Path:
    """A folder that a pod of this user can write, as a volume is with its fsGroup."""
    folder.mkdir()
    os.chown(folder, *user)
    return folder
