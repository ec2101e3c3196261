"""The CPU limit of the container that this process runs in, as Linux's cgroups of either version give it.

A limit (CFS quota) is microseconds of CPU time per period, in `cpu.max` (version 2) or `cpu.cfs_quota_us` and
`cpu.cfs_period_us` (version 1). A process is also held by the limits of the groups above its own. See cgroups(7) and
proc_pid_mountinfo(5).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def cpu_quota(root: Path = Path("/")) -> float:
    """The smallest CPU limit of this process's groups, in cores; infinity without one.

    Args:
        root: where /proc and the mounted cgroups are.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:  # not Linux
        return math.inf
    return min((_quota(folder) for folder in _folders(root, groups, mounts)), default=math.inf)


def _folders(root: Path, groups: list[str], mounts: list[str]) -> Iterator[Path]:
    """The folders of this process's groups that have a CPU controller, and of those above, as far as they are mounted.

    Args:
        root: where the cgroups are mounted.
        groups: lines `number:controllers:path`; version 2 has no controllers.
        mounts: lines of mountinfo: `id parent device root mount-point … - type source options`.
    """
    for line in mounts:
        fields, _, kind = line.partition(" - ")
        mounted, place = (PurePosixPath(field) for field in fields.split()[3:5])
        version, _, options = kind.split(" ", 2)
        if version == "cgroup2":
            controller = ""
        elif version == "cgroup" and "cpu" in options.split(","):
            controller = "cpu"
        else:
            continue
        for group in groups:
            _, controllers, name = group.split(":", 2)
            if controller not in controllers.split(","):
                continue
            # of a group outside of what is mounted here, the mount is the container's own
            inside = PurePosixPath(name)
            own = inside.relative_to(mounted) if inside.is_relative_to(mounted) else PurePosixPath()
            for relative in (own, *own.parents):
                yield root / place.relative_to("/") / relative


def _quota(folder: Path) -> float:
    """A group's own limit in cores; infinity without one."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except OSError:  # the group is gone, or is the root, which has no limit
        return math.inf
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)
