"""CPU limits of containers, from trees that stand for /proc and /sys/fs/cgroup."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from crossover import settings
from crossover.cpu_quota import cpu_quota

V2 = "30 25 0:26 {mounted} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "31 25 0:27 {mounted} /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct"
OTHERS = (
    "25 1 8:1 / / rw - ext4 /dev/sda1 rw",
    "32 25 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset",
    "33 25 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
)


def tree(root: Path, mount: str, groups: str, files: dict[str, str]) -> Path:
    """A root folder with these mounts, groups of this process, and files below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text("\n".join((*OTHERS, mount)) + "\n")
    (root / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


def v1(folder: str, quota: int, period: int = 100_000) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": str(quota), f"{folder}/cpu.cfs_period_us": str(period)}


@pytest.mark.parametrize(
    ("mounted", "group", "files", "cores"),
    [
        ("/", "/", {}, math.inf),
        ("/", "/", {"cpu.max": "max 100000"}, math.inf),
        ("/", "/", {"cpu.max": "50000 100000"}, 0.5),
        ("/", "/a/b", {"a/b/cpu.max": "250000 100000"}, 2.5),
        ("/", "/a/b", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "400000 100000"}, 1.0),
        ("/", "/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3.0),
        ("/", "/a/b", {"other/cpu.max": "100000 100000"}, math.inf),
        ("/../..", "/", {"cpu.max": "20000 10000"}, 2.0),
        ("/kubepods/pod1", "/kubepods/pod1/c", {"c/cpu.max": "150000 100000", "cpu.max": "max 100000"}, 1.5),
    ],
)
def test_version_2(mounted: str, group: str, files: dict[str, str], cores: float, tmp_path: Path) -> None:
    assert cpu_quota(tree(tmp_path, V2.format(mounted=mounted), f"0::{group}\n", files)) == cores


@pytest.mark.parametrize(
    ("mounted", "group", "files", "cores"),
    [
        ("/", "/", {}, math.inf),
        ("/", "/a", v1("cpu,cpuacct/a", -1), math.inf),
        ("/", "/a", v1("cpu,cpuacct/a", 50_000), 0.5),
        ("/", "/a/b", {**v1("cpu,cpuacct/a", 200_000), **v1("cpu,cpuacct/a/b", -1)}, 2.0),
        ("/", "/a", v1("cpuset/a", 100_000), math.inf),
        # a container of Docker or Kubernetes: its own group is mounted as the root
        ("/kubepods/pod1/c", "/kubepods/pod1/c", v1("cpu,cpuacct", 30_000, 20_000), 1.5),
        ("/docker/1", "/not/visible/here", v1("cpu,cpuacct", 100_000), 1.0),
    ],
)
def test_version_1(mounted: str, group: str, files: dict[str, str], cores: float, tmp_path: Path) -> None:
    groups = f"5:cpuset:/elsewhere\n4:cpu,cpuacct:{group}\n1:name=systemd:/x\n0::/y\n"
    assert cpu_quota(tree(tmp_path, V1.format(mounted=mounted), groups, files)) == cores


def test_without_linux_there_is_no_limit(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) == math.inf


@pytest.mark.parametrize(
    ("quota", "cores"), [(0.1, 1), (0.5, 1), (1.0, 1), (1.01, 2), (2.5, 3), (99.0, 4), (math.inf, 4)]
)
def test_cores_are_the_limit_rounded_up(quota: float, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(settings, "cpu_quota", lambda: quota)
    assert settings.available_cores() == cores
    assert settings.Settings(threads=0, parallelism=1).step_threads == cores
