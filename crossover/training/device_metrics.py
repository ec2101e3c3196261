"""Peak FLOP/s and peak memory of a training device, and whether a precision suits it.

MFU is model FLOPs utilization (PaLM, Chowdhery et al. 2022, arXiv 2204.02311, appendix B): model FLOPs per second over
the peak of all devices. Model FLOPs (`ModelConfig.forward_flops`) count attention for the mask in use, logits of the
scored tokens, and the backward pass as twice the forward pass; recomputation is not counted.
"""

from __future__ import annotations

import resource

import torch

from crossover.errors import StudyError

PEAK_TFLOPS: dict[str, tuple[float, float]] = {
    # torch.cuda.get_device_name without "NVIDIA ": dense peak TFLOP/s in bf16 and fp32, from NVIDIA's data sheets,
    # whose figures "with sparsity" are halved
    "GB200": (2500.0, 90.0),  # Blackwell architecture technical brief, 1,200 W
    "B200": (2250.0, 80.0),  # the same, HGX, 1,000 W
    "GH200 480GB": (990.0, 67.0),  # GH200 data sheet
    "GH200 144G HBM3e": (990.0, 67.0),
    "H200": (989.0, 67.0),  # H200 data sheet
    "H200 NVL": (835.0, 60.0),
    "H100 80GB HBM3": (989.0, 67.0),  # H100 data sheet; this is the SXM module
    "H100 NVL": (835.0, 60.0),
    "H100 PCIe": (756.0, 51.0),  # H100 PCIe product brief
    **dict.fromkeys(  # A100 data sheet: the same for all of them
        ("A100-SXM4-40GB", "A100-SXM4-80GB", "A100-PCIE-40GB", "A100 80GB PCIe"), (312.0, 19.5)
    ),
    "L40S": (362.0, 91.6),  # data sheets of each
    "L40": (181.0, 90.5),
    "L4": (121.0, 30.3),
    "A10": (125.0, 31.2),
    "Tesla T4": (0.0, 8.1),
}


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
    bf16, fp32 = PEAK_TFLOPS.get(torch.cuda.get_device_name(device).removeprefix("NVIDIA "), (0.0, 0.0))
    return (bf16 if precision == "bf16" else fp32) * 1e12


def check_precision(device: torch.device, precision: str) -> str:
    """Check that a device computes in a precision.

    Returns:
        What it costs to train in fp32 on a card whose bf16 is several times as fast, for people; empty otherwise.

    Raises:
        StudyError: the card has no bf16.
    """
    if device.type != "cuda":
        return ""
    if precision == "bf16":
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise StudyError(
                "device.no-bf16",
                field="training.precision",
                problem=f"is bf16, which {torch.cuda.get_device_name(device)} does not compute in",
                remedy="set it to fp32, or use a card of compute capability 8.0 or higher",
            )
        return ""
    fast, slow = (peak_flops(device, kind) for kind in ("bf16", "fp32"))
    if fast < 2 * slow:
        return ""
    return (
        f"training.precision is fp32, in which this card's peak is {slow / fast:.0%} of that in bf16; "
        "set it to bf16 or leave it out, unless the study needs fp32"
    )


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes: allocated on a GPU, or resident in this process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
