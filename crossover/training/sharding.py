"""FSDP2 sharding of a model, and conversion between full and sharded tensors.

torch's distributed tensors are imported when a model trains: evaluation imports this module too.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from crossover.model.transformer import Transformer


def shard(model: Transformer, precision: str, device: torch.device) -> None:
    """Shard each block and the remaining parameters over all processes.

    Reductions are in fp32. The blocks' parameters are gathered in the precision that their products have anyway, those
    of the embedding and the head in fp32, so that their gradients are summed over tokens as without sharding.

    Args:
        model: on the meta device.
        precision: of matrix products, fp32 or bf16.
        device: this process's device.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    policy = MixedPrecisionPolicy(param_dtype=torch.float32, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in model.model.layers:
        fully_shard(block, mesh=mesh, mp_policy=replace(policy, param_dtype=kind))
    fully_shard(model, mesh=mesh, mp_policy=policy)


def full_tensor(tensor: Tensor) -> Tensor:
    """The full tensor of a possibly sharded one; a collective, so every process must call it."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(parameter: Tensor, value: Tensor) -> Tensor:
    """A full tensor, the same on every process, moved and sharded like a parameter."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(parameter, DTensor):
        return value.to(parameter.device)
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )


def assign(parameter: Tensor, value: Tensor) -> None:
    """Set a possibly sharded parameter to a full tensor."""
    parameter.copy_(shard_like(parameter, value))
