"""Deterministic kernels: the same bits from run to run on one kind of card and torch, which is slower.

A CPU's kernels are deterministic as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from crossover.errors import StudyError, first_line

_WORKSPACE = ":4096:8"
"""cuBLAS reuses buffers of this size in a fixed order; NVIDIA's documentation names two such values."""


def use_deterministic_kernels(device: torch.device, wanted: bool) -> None:
    """Choose deterministic kernels of a GPU for this process, or leave the choice to speed; nothing on a CPU.

    Args:
        device: of this process; no product may have run on it.
        wanted: `training.deterministic`.
    """
    if device.type != "cuda":
        return
    from torch._inductor import config as inductor

    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", _WORKSPACE)
    torch.use_deterministic_algorithms(wanted)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set by its class
    inductor.deterministic = wanted  # its tuning by time would choose between reductions that round differently


@contextmanager
def explaining_kernels() -> Iterator[None]:
    """Turn an operation that has no deterministic kernel into an error of the study.

    Raises:
        StudyError: there is none.
    """
    try:
        yield
    except RuntimeError as error:
        text = first_line(error)
        if "use_deterministic_algorithms" not in text:
            raise
        raise StudyError(
            "training.no-deterministic-kernel",
            field="training.deterministic",
            problem=f"is true, and this card has no such kernel ({text})",
            remedy="set it to false, and CUBLAS_WORKSPACE_CONFIG to :4096:8 or not at all",
        ) from error
