"""The energy that the device of a process has used, where the driver reports it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

_RAPL = Path("/sys/class/powercap/intel-rapl:0")
Counter = Callable[[], float | None]
"""Reads a counter in joules; None while it cannot be read."""


class EnergyMeter:
    """Energy of the GPU or of the CPU package since the meter was created.

    A machine's processes have a GPU each, but share the CPU package: the first of them reads its counter (RAPL, which
    needs read permission), the others report zero, so that the sum over processes counts it once.

    Args:
        device: of this process.
        local_rank: of this process on its machine.
    """

    note = ""
    """Why the energy of a GPU is unknown; empty otherwise."""

    def __init__(self, device: torch.device, local_rank: int = 0) -> None:
        self._read: Counter = _unknown
        if device.type == "cuda":
            self._read, self.note = _gpu_counter(device)
        elif device.type == "cpu":
            self._read = _zero if local_rank else _rapl_joules
        self._start = self._read()

    def joules(self) -> float | None:
        """Energy so far in joules; None if unknown. Restarts at 0 when the counter wraps around."""
        now = self._read()
        if now is None or self._start is None:
            return None
        self._start = min(self._start, now)
        return now - self._start


def _unknown() -> None:
    return None


def _zero() -> float:
    return 0.0


def _rapl_joules() -> float | None:
    try:
        return int((_RAPL / "energy_uj").read_text()) / 1e6
    except (OSError, ValueError):
        return None


def _gpu_counter(device: torch.device) -> tuple[Counter, str]:
    """The counter of a GPU, and a note where it has none.

    The GPU is looked up by its UUID: NVML's indices are those of the machine, torch's those of CUDA_VISIBLE_DEVICES.
    """
    name = torch.cuda.get_device_name(device)
    if " MIG " in name:
        return _unknown, f"{name}: NVML counts the energy of full GPUs only"
    try:
        import pynvml  # type: ignore[import-not-found]  # has no types, and is optional
    except ImportError:
        return _unknown, f"{name}: pynvml is not installed"
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        return _unknown, f"{name}: NVML: {error}"

    def read() -> float | None:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except pynvml.NVMLError:
            return None

    return read, ""
