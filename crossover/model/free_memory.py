"""Memory that this process may still use."""

from __future__ import annotations

from pathlib import Path

import torch

CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Limit and use of a container, by cgroup v2 and v1."""


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device: of a processor, the least of what the machine has and the container may use."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    bounds = [_available()]
    for limit, used in CGROUP_FILES:
        values = [_number(Path(name)) for name in (limit, used)]
        if values[0] is not None and values[1] is not None:
            bounds.append(max(0, values[0] - values[1]))
    return min(bounds)


def _available() -> int:
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo has no MemAvailable")


def _number(path: Path) -> int | None:
    """The number in a file; None where there is none, such as `max`."""
    try:
        text = path.read_text("ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
