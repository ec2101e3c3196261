"""Matrix products of the serving forward pass: weights in the layout that the processor reads fastest.

Shapes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Linear = Callable[[Tensor], Tensor]
"""Maps (N, I) to (N, O)."""
Precision = Literal["fp32", "bf16", "int8"]
COMPUTE = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.bfloat16}
"""Type of activations in matrix products and attention, and of keys and values."""
INT8_INPUTS = 16
"""torch's 8-bit product reads beyond the end of a row whose length is no multiple of it."""


def linear(weight_OI: Tensor, precision: Precision) -> Linear:
    """A matrix product with a weight.

    On a processor with oneDNN the weight is packed once: other than the product of `F.linear`, which packs it in every
    call, it then reads it once a call, and a row's result does not depend on the number of rows (from two on).

    Args:
        weight_OI: the weight.
        precision: `int8` rounds each output's weights to 8 bits (symmetric, weights only).
    """
    if precision == "int8":
        return _int8(weight_OI)
    weight_OI = weight_OI.detach().to(COMPUTE[precision]).contiguous()
    if weight_OI.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return lambda x_NI: F.linear(x_NI, weight_OI)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI, None)  # as torch's compiler freezes a linear layer
    product = torch.ops.mkldnn._linear_pointwise
    return lambda x_NI: product(x_NI, packed, None, "none", [], "")


def _int8(weight_OI: Tensor) -> Linear:
    scale_O = weight_OI.detach().float().abs().amax(dim=1).clamp_min(1e-12) / 127
    rounded_OI = (weight_OI.detach().float() / scale_O[:, None]).round().clamp(-127, 127).to(torch.int8)
    scale_O, missing = scale_O.bfloat16(), -weight_OI.shape[1] % INT8_INPUTS
    if not missing:
        return lambda x_NI: torch._weight_int8pack_mm(x_NI.bfloat16(), rounded_OI, scale_O)
    padded_OI = F.pad(rounded_OI, (0, missing))
    return lambda x_NI: torch._weight_int8pack_mm(F.pad(x_NI.bfloat16(), (0, missing)), padded_OI, scale_O)


def default_precision(device: torch.device) -> Precision:
    """What `auto` means: fp32 on a processor, whose answers are then those of the evaluation; bf16 on a GPU."""
    return "bf16" if device.type == "cuda" else "fp32"
