"""One sum of gradients, the same to the bit however the batch is spread over processes.

Floating point addition does not associate, so a sum depends on its tree. Here the tree is fixed by the microbatches
alone: neighbours first, then neighbouring pairs, and so on. A process sums the subtree of its own microbatches; then
processes swap and add along the same tree (recursive doubling). With a power of two of processes and of microbatches
on each, the result has the same bits on any number of processes.

docs/adr/0004-one-gradient-on-any-number-of-processes.md says why this is not `DistributedDataParallel`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

SWAP_NUMBERS = 2**26
"""Numbers in one exchange between two processes: 256 MiB of float32."""


class TreeSum:
    """Adds lists of tensors pairwise, as a balanced tree over the order in which they come.

    Holds one list per level at most, hence log2(n) + 1 of them for n lists.
    """

    def __init__(self) -> None:
        self._stack: list[tuple[int, list[Tensor]]] = []

    def push(self, leaf: list[Tensor]) -> None:
        """Take the next list; its tensors may be changed."""
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
    """Sum over all processes, in place: along the fixed tree where their number is a power of two."""
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
    theirs = torch.empty_like(flat)
    distance = 1
    while distance < size:
        peer = rank ^ distance
        swaps = [dist.P2POp(dist.isend, flat, peer), dist.P2POp(dist.irecv, theirs, peer)]
        for request in dist.batch_isend_irecv(swaps if rank < peer else swaps[::-1]):
            request.wait()
        flat.add_(theirs)
        distance *= 2


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    buckets: list[list[Tensor]] = [[]]
    room = SWAP_NUMBERS
    for tensor in tensors:
        if tensor.numel() > room and buckets[-1]:
            buckets.append([])
            room = SWAP_NUMBERS
        buckets[-1].append(tensor)
        room -= tensor.numel()
    return buckets
