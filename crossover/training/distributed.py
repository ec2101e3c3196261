"""The process group that trains one run.

`torchrun` sets WORLD_SIZE, RANK, LOCAL_RANK and the rendezvous; without it there is one process. A TrainJob of the
Kubeflow Trainer sets only PET_NNODES, PET_NPROC_PER_NODE, PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT, which are
torchrun's own options, so the command of its pods must be torchrun too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from crossover.errors import StudyError, first_line
from crossover.training.attendance import Attendance

COLLECTIVE_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class World:
    """Rank of this process, and size of the process group."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    nodes: int = 1
    """Machines that have as many processes each."""
    attendance: Attendance | None = field(default=None, compare=False)
    """Names the missing processes where a collective fails; None for one process."""

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which writes checkpoints, the registry and the terminal."""
        return self.rank == 0

    @property
    def shards(self) -> int:
        """Processes that a sharded model is divided among: those of a node where several nodes have several (HSDP)."""
        return self.size // self.nodes if 1 < self.nodes < self.size else self.size

    def device(self, kind: str) -> torch.device:
        """This process's device.

        Raises:
            StudyError: CUDA is requested, and there are too few CUDA devices.
        """
        if kind != "cuda":
            return torch.device(kind)
        available = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if self.local_rank >= available:
            raise StudyError(
                "device.missing",
                field="training.device",
                problem=f"is cuda, and this machine has {available} CUDA devices for {self.local_rank + 1} processes"
                + _why_no_cuda(),
                remedy="set training.device to cpu, start fewer processes, or run on a machine with enough GPUs",
            )
        return torch.device("cuda", self.local_rank)

    def exchange(self, step: int | None = None) -> AbstractContextManager[None]:
        """A block of collectives, of a step or between steps, whose failure names the missing processes."""
        return nullcontext() if self.attendance is None else self.attendance.exchange(step)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            with self.exchange():
                dist.barrier()

    def share(self, value: Any) -> Any:  # noqa: ANN401 - any picklable value
        """Broadcast rank 0's value to every process."""
        if self.size == 1:
            return value
        values = [value]
        with self.exchange():
            dist.broadcast_object_list(values, src=0)
        return values[0]

    def most(self, value: int) -> int:
        """The largest of all processes' values."""
        if self.size == 1:
            return value
        largest = torch.tensor(value)
        with self.exchange():
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def total(self, value: float | None) -> float | None:
        """The sum over all processes; None where any of them has None."""
        if self.size == 1:
            return value
        total = torch.tensor(math.nan if value is None else value, dtype=torch.float64)
        with self.exchange():
            dist.all_reduce(total)
        return None if torch.isnan(total) else float(total)


def _why_no_cuda() -> str:
    """What torch says of a driver that is missing or too old; empty where CUDA works."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # an assertion where torch was built without CUDA
        return f" ({first_line(error).rstrip('.')})"
    return ""


@contextmanager
def open_world(kind: str = "cpu") -> Iterator[World]:
    """Join the process group that the environment describes, if any, and leave it at the end.

    Args:
        kind: device type, cpu or cuda.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    device = World(rank, size, local_rank).device(kind)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    meeting = dist.rendezvous("env://", timeout=COLLECTIVE_TIMEOUT)  # type: ignore[attr-defined]  # in torch's docs
    store, _, _ = next(iter(meeting))
    backends = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backends, store=store, rank=rank, world_size=size, timeout=COLLECTIVE_TIMEOUT)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    attendance = Attendance(store, rank, size, COLLECTIVE_TIMEOUT.total_seconds())
    world = World(rank, size, local_rank, 1 if size % here else size // here, attendance)
    try:
        yield world
    finally:
        dist.destroy_process_group()
