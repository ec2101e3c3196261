"""The processes that train one run together: who this one is, and how they begin and end.

Started by `torchrun` (or a TrainJob), which sets WORLD_SIZE, RANK, LOCAL_RANK and the rendezvous; alone without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from crossover.errors import StudyError

COLLECTIVE_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class World:
    """This process among those of the run."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes: checkpoints, registry, terminal."""
        return self.rank == 0

    def device(self, kind: str) -> torch.device:
        """This process's device.

        Raises:
            StudyError: CUDA is asked for and there is none, or not enough of it.
        """
        if kind != "cuda":
            return torch.device(kind)
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if self.local_rank >= found:
            raise StudyError(
                "device.missing",
                field="training.device",
                problem=f"asks for cuda, and this machine has {found} CUDA devices for {self.local_rank + 1} processes",
                remedy="set training.device to cpu, start fewer processes, or run where there are GPUs",
            )
        return torch.device("cuda", self.local_rank)

    def barrier(self) -> None:
        """Wait for all."""
        if self.size > 1:
            dist.barrier()

    def share(self, value: Any) -> Any:  # noqa: ANN401 - what goes in comes out
        """The leading process's value, on every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


@contextmanager
def open_world(kind: str = "cpu") -> Iterator[World]:
    """Join the other processes, if the environment says that there are any, and leave them at the end."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    world = World(int(os.environ["RANK"]), size, int(os.environ.get("LOCAL_RANK", "0")))
    device = world.device(kind)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=COLLECTIVE_TIMEOUT)
    try:
        yield world
    finally:
        dist.destroy_process_group()
