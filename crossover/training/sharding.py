"""FSDP2 applied to the model from outside; and whole tensors in and out of sharded ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from crossover.model.transformer import Transformer


def shard(model: Transformer, precision: str, device: torch.device) -> None:
    """Shard each block and what is left over all processes; parameters in bf16 where asked, reductions in fp32."""
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    policy = MixedPrecisionPolicy(param_dtype=kind, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in model.model.layers:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(parameter: Tensor, value: Tensor) -> Tensor:
    """A whole value, placed and sharded like a parameter. Every process holds the same whole value."""
    if not isinstance(parameter, DTensor):
        return value.to(parameter.device)
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )


def assign(parameter: Tensor, value: Tensor) -> None:
    """Set a parameter to a whole value."""
    parameter.copy_(like(parameter, value))
