"""Child processes that start in milliseconds: forked from one server that imported torch and the stage once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch exports it at run time

from crossover.settings import get_settings

PRELOAD = ["crossover.stages.pretrain_stage", "torch._dynamo"]
"""The first optimizer imports torch's compiler, which takes as long as torch itself."""


def _enter(environment: dict[str, str], target: Callable[..., None], arguments: tuple[object, ...]) -> None:
    """Run a target under an environment of its own: a forked process has that of the server's first start."""
    os.environ.clear()
    os.environ.update(environment)
    get_settings.cache_clear()
    target(*arguments)


def start(target: Callable[..., None], *arguments: object, **variables: str) -> ForkServerProcess:
    """Start a process that calls a target.

    Args:
        target: A function of a module.
        arguments: Its arguments.
        variables: Environment variables of the process, beside those of this one.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=_enter, args=({**os.environ, **variables}, target, arguments))
    process.start()
    return process


def start_ranks(processes: int, target: Callable[..., None], *arguments: object) -> list[ForkServerProcess]:
    """Start a target on that many ranks, with the environment that torchrun gives them.

    Args:
        processes: Number of ranks.
        target: A function of a module; each rank calls it.
        arguments: Its arguments, the same for every rank.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun's agent keeps it
    common = {
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    ranks = [start(target, *arguments, RANK=str(n), LOCAL_RANK=str(n), **common) for n in range(processes)]
    ranks[0].store = store  # type: ignore[attr-defined]  # lives as long as the ranks
    return ranks


def run_ranks(processes: int, target: Callable[..., None], *arguments: object) -> None:
    """As `start_ranks`, and wait for all.

    Raises:
        AssertionError: A rank ended with an error; the others, which would wait for it, are killed.
    """
    ranks = start_ranks(processes, target, *arguments)
    running = {rank.sentinel: rank for rank in ranks}
    try:
        while running:
            for sentinel in wait(list(running)):
                assert isinstance(sentinel, int)
                rank = running.pop(sentinel)
                rank.join()
                assert rank.exitcode == 0, f"{rank.name} ended with {rank.exitcode}"
    finally:
        for rank in running.values():
            rank.kill()
            rank.join()
