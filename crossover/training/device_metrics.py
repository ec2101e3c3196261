"""Peak FLOP/s, peak memory and energy of a training device.

MFU is model FLOPs utilization (PaLM, Chowdhery et al. 2022, arXiv 2204.02311, appendix B): model FLOPs per second over
the peak of all devices. Model FLOPs (`ModelConfig.forward_flops`) count attention for the mask in use, logits of the
scored tokens, and the backward pass as twice the forward pass; recomputation is not counted.
"""

from __future__ import annotations

import resource
from pathlib import Path

import torch

PEAK_TFLOPS: dict[str, tuple[float, float]] = {
    # part of torch.cuda.get_device_name: dense peak TFLOP/s in bf16 and fp32, from the vendor's data sheets
    "B200": (2250.0, 80.0),
    "H200": (989.0, 67.0),
    "H100 PCIe": (756.0, 51.0),
    "H100": (989.0, 67.0),
    "A100": (312.0, 19.5),
    "L40S": (362.0, 91.6),
    "L4": (121.0, 30.3),
    "A10": (125.0, 31.2),
    "T4": (0.0, 8.1),
}
_RAPL = Path("/sys/class/powercap/intel-rapl:0")


def peak_flops(device: torch.device, precision: str, override_tflops: float = 0.0) -> float:
    """Peak FLOP/s of one device; 0.0 if unknown, in which case no MFU is recorded.

    Args:
        device: of the training.
        precision: fp32 or bf16.
        override_tflops: the setting `peak_tflops`; used if positive.
    """
    if override_tflops:
        return override_tflops * 1e12
    if device.type != "cuda":
        return 0.0
    name = torch.cuda.get_device_name(device)
    peaks = next((peaks for key, peaks in PEAK_TFLOPS.items() if key in name), (0.0, 0.0))
    return peaks[0 if precision == "bf16" else 1] * 1e12


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes: allocated on a GPU, or resident in this process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class EnergyMeter:
    """Energy of the GPU or the CPU package since the meter was created, where the driver reports it.

    The CPU's counter (RAPL) covers the full package and needs read permission.
    """

    def __init__(self, device: torch.device) -> None:
        self._handle: object = None
        if device.type == "cuda":
            self._handle = _nvml_handle(device)
        self._on_cpu = device.type == "cpu" and _rapl_joules() is not None
        self._start = self._reading()

    def joules(self) -> float | None:
        """Energy so far in joules; None if unknown. Restarts at 0 when the counter wraps around."""
        now = self._reading()
        if now is None or self._start is None:
            return None
        self._start = min(self._start, now)
        return now - self._start

    def _reading(self) -> float | None:
        if self._handle is not None:
            import pynvml  # type: ignore[import-not-found]

            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3
        return _rapl_joules() if self._on_cpu else None


def _rapl_joules() -> float | None:
    try:
        return int((_RAPL / "energy_uj").read_text()) / 1e6
    except (OSError, ValueError):
        return None


def _nvml_handle(device: torch.device) -> object:
    """NVML handle of the GPU; None without NVML or where the GPU has no energy counter."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle: object = pynvml.nvmlDeviceGetHandleByIndex(device.index or 0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # NVML raises its own exception types, and energy is optional
        return None
    return handle
