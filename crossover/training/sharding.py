"""FSDP2 sharding of a model, and conversion between full and sharded tensors.

torch's distributed tensors are imported when a model trains: evaluation imports this module too.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from crossover.model.transformer import Transformer
from crossover.training.distributed import World


def shard(model: Transformer, precision: str, device: torch.device, world: World) -> None:
    """Shard each block and the remaining parameters over all processes, or over those of a node (HSDP).

    Where nodes have several processes each, every node holds a whole copy and sums gradients with the other nodes.

    Reductions are in fp32. The blocks' parameters are gathered in the precision that their products have anyway, those
    of the embedding and the head in fp32, so that their gradients are summed over tokens as without sharding.

    Args:
        model: on the meta device.
        precision: of matrix products, fp32 or bf16.
        device: this process's device.
        world: the process group.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    hybrid = 1 < world.nodes < world.size
    mesh = init_device_mesh(
        device.type,
        (world.nodes, world.size // world.nodes) if hybrid else (world.size,),
        mesh_dim_names=("replicate", "shard") if hybrid else ("shard",),
    )
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    policy = MixedPrecisionPolicy(param_dtype=torch.float32, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in model.model.layers:
        fully_shard(block, mesh=mesh, mp_policy=replace(policy, param_dtype=kind))
    fully_shard(model, mesh=mesh, mp_policy=policy)


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is this process's rows of one."""
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def full_tensor(tensor: Tensor) -> Tensor:
    """The full tensor of a possibly sharded one; a collective, so every process must call it."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(parameter: Tensor, value: Tensor) -> Tensor:
    """A tensor moved and sharded like a parameter: a full one, the same on every process, or this process's rows."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(parameter, DTensor) or isinstance(value, DTensor):
        return value.to(parameter.device)
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )


def assign(parameter: Tensor, value: Tensor) -> None:
    """Set a possibly sharded parameter to a full tensor."""
    parameter.copy_(shard_like(parameter, value))
