"""Gradient sums that are bit-identical on any number of processes.

Floating-point addition is not associative, so a sum depends on its tree. Here the microbatches alone fix the tree:
neighbours are added first, then neighbouring pairs, and so on. A process sums the subtree of its own microbatches; then
the processes exchange and add partial sums along the same tree (recursive doubling). With a power of two of processes
and of microbatches per process, the result is bit-identical on any number of processes.

docs/adr/0004-one-gradient-on-any-number-of-processes.md explains why this is not `DistributedDataParallel`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

BUCKET_ELEMENTS = 2**26
"""Elements exchanged at once between two processes: 256 MiB of float32."""


class TreeSum:
    """Sums lists of tensors pairwise, as a balanced tree in the order of the lists.

    Holds at most one list per level of the tree, log2(n) + 1 for n lists.
    """

    def __init__(self) -> None:
        self._stack: list[tuple[int, list[Tensor]]] = []

    def push(self, leaf: list[Tensor]) -> None:
        """Add the next list; its tensors may be modified."""
        level, node = 0, leaf
        while self._stack and self._stack[-1][0] == level:
            _, left = self._stack.pop()
            torch._foreach_add_(left, node)
            level, node = level + 1, left
        self._stack.append((level, node))

    def total(self) -> list[Tensor]:
        """The sum of all lists so far."""
        _, node = self._stack.pop()
        while self._stack:
            _, left = self._stack.pop()
            torch._foreach_add_(left, node)
            node = left
        return node


def all_reduce(tensors: Sequence[Tensor]) -> None:
    """Sum over all processes in place, along the fixed tree if their number is a power of two."""
    size = dist.get_world_size() if dist.is_initialized() else 1
    if size == 1:
        return
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        if size & (size - 1):
            dist.all_reduce(flat)
        else:
            _recursive_doubling(flat, dist.get_rank(), size)
        for tensor, summed in zip(bucket, torch.split(flat, [t.numel() for t in bucket]), strict=True):
            tensor.copy_(summed.view_as(tensor))


def _recursive_doubling(flat: Tensor, rank: int, size: int) -> None:
    received = torch.empty_like(flat)
    distance = 1
    while distance < size:
        peer = rank ^ distance
        swaps = [dist.P2POp(dist.isend, flat, peer), dist.P2POp(dist.irecv, received, peer)]
        for request in dist.batch_isend_irecv(swaps if rank < peer else swaps[::-1]):
            request.wait()
        flat.add_(received)
        distance *= 2


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    buckets: list[list[Tensor]] = [[]]
    room = BUCKET_ELEMENTS
    for tensor in tensors:
        if tensor.numel() > room and buckets[-1]:
            buckets.append([])
            room = BUCKET_ELEMENTS
        buckets[-1].append(tensor)
        room -= tensor.numel()
    return buckets
