"""FSDP2 sharding of a model, and conversion between full and sharded tensors.

torch's distributed tensors are imported when a model trains: evaluation imports this module too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from crossover.errors import StudyError
from crossover.model.model_config import ModelConfig
from crossover.model.transformer import Transformer
from crossover.study.study_parts import TrainingConfig
from crossover.training.distributed import World


def shard(model: Transformer, precision: str, device: torch.device, world: World, expert_parallel: int = 1) -> None:
    """Shard each block and the remaining parameters over all processes, or over those of a node (HSDP).

    Where nodes have several processes each, every node holds a whole copy and sums gradients with the other nodes.

    Reductions are in fp32. The blocks' parameters are gathered in the precision that their products have anyway, those
    of the embedding and the head in fp32, so that their gradients are summed over tokens as without sharding.

    Under expert parallelism each of so many neighbouring processes has its part of a block's experts, and the rows of
    these are sharded over the processes that have the same ones.

    Args:
        model: on the meta device.
        precision: of matrix products, fp32 or bf16.
        device: this process's device.
        world: the process group.
        expert_parallel: processes that divide the experts of a block; see `check_expert_parallel`.
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
    in_blocks = replace(policy, param_dtype=kind)
    if expert_parallel > 1:
        from crossover.training.expert_parallel import divide_experts

        divide_experts(model, in_blocks, device, world, expert_parallel)
    for block in model.model.layers:
        fully_shard(block, mesh=mesh, mp_policy=in_blocks)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is this process's rows of one."""
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def full_tensor(tensor: Tensor) -> Tensor:
    """The full tensor of a possibly sharded one; a collective, so every process must call it."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def by_mesh(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Tensors in lists of those that one operation can take together: those sharded over the same mesh."""
    from torch.distributed.tensor import DTensor

    groups: dict[object, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.device_mesh if isinstance(tensor, DTensor) else None, []).append(tensor)
    return list(groups.values())


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """L2 norm of all elements of possibly sharded tensors; a collective."""
    norms = [full_tensor(torch.nn.utils.get_total_norm(group)) for group in by_mesh(tensors)]
    return norms[0] if len(norms) == 1 else torch.nn.utils.get_total_norm(norms)


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


def check_expert_parallel(config: TrainingConfig, shape: ModelConfig, world: World) -> None:
    """Refuse a number of processes that `training.expert_parallel` does not divide; one process has all experts.

    Raises:
        StudyError: it does not.
    """
    processes, here = config.expert_parallel, world.size // world.nodes
    sharing = max(1, here // processes)
    fits = here % processes == shape.hidden_size % sharing == shape.intermediate_size % sharing == 0
    if processes == 1 or world.size == 1 or fits:
        return
    raise StudyError(
        "training.experts-do-not-divide",
        field="training.expert_parallel",
        problem=f"{processes} does not divide the {here} processes of a node"
        if here % processes
        else f"{processes} of {here} processes leaves {sharing} to share each expert, which do not divide its "
        f"{shape.hidden_size} x {shape.intermediate_size} matrices",
        remedy="set it to a divisor of the processes of a node, or start another number of processes",
    )
