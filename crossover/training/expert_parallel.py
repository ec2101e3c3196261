"""Expert parallelism: each process of a group has some experts of every block and computes them for the group's tokens.

Tokens travel to the processes of their experts, and outputs back, by all-to-all (Lepikhin et al. 2020, arXiv
2006.16668). docs/adr/0015-experts-over-the-processes-of-a-node.md explains the layout.

Shapes: those of `mixture_of_experts`; P processes in the group, R rows that this process receives.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed._functional_collectives import all_to_all_single, all_to_all_single_autograd
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.nn import functional as F

from crossover.model.mixture_of_experts import Experts, MixtureOfExperts, compute_dtype
from crossover.model.model_config import ModelConfig
from crossover.model.transformer import Transformer
from crossover.training.distributed import World


class ParallelExperts(Experts):
    """The experts of a block, divided over the processes of a group; every process of it must call each method.

    Args:
        config: the architecture, whose number of experts P divides.
        mesh: the group, of one dimension.
    """

    def __init__(self, config: ModelConfig, mesh: DeviceMesh) -> None:
        super().__init__(config)
        self._group, self._processes = mesh.get_group(), mesh.size()
        for name, parameter in list(self.named_parameters()):
            rows = distribute_tensor(parameter.detach(), mesh, [Shard(0)], src_data_rank=None)
            self.register_parameter(name, nn.Parameter(rows))

    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Those of this process's experts."""
        gate, up, down = (weight.to_local() if isinstance(weight, DTensor) else weight for weight in super().weights())
        return gate, up, down

    def grouped(self, x_ND: Tensor, ends_E: Tensor) -> Tensor:
        """As `Experts.grouped`, however many rows each expert gets: counts travel first, then rows."""
        counts_PE = ends_E.diff(prepend=ends_E.new_zeros(1)).view(self._processes, -1)  # E/P columns
        received_PE = all_to_all_single(counts_PE, None, None, self._group).view_as(counts_PE)
        sent, received = torch.stack((counts_PE.sum(dim=1), received_PE.sum(dim=1))).tolist()
        x_RD = self._exchange(x_ND.to(compute_dtype(x_ND)), received, sent)
        own_E = torch.arange(counts_PE.shape[1], device=x_ND.device)
        expert_R = own_E.repeat(self._processes).repeat_interleave(received_PE.flatten(), output_size=sum(received))
        order_R = expert_R.argsort(stable=True)
        ends_of_own = received_PE.sum(dim=0).cumsum(dim=0).to(torch.int32)
        if not len(x_RD):  # torch's grouped product has no gradient then
            order_R, x_RD, ends_of_own = order_R.new_zeros(1), F.pad(x_RD, (0, 0, 0, 1)), ends_of_own + 1
        y_RD = super().grouped(x_RD[order_R], ends_of_own)
        return self._exchange(y_RD[order_R.argsort()][: sum(received)], sent, received)

    def batched(self, x_END: Tensor) -> Tensor:
        """As `Experts.batched`; N is the same in every process."""
        shape = (self._processes, -1, *x_END.shape[1:])
        x_PEND = self._exchange(x_END.to(compute_dtype(x_END))).view(shape)
        y_END = super().batched(x_PEND.transpose(0, 1).flatten(1, 2))
        y_PEND = y_END.unflatten(1, (self._processes, -1)).transpose(0, 1)
        return self._exchange(y_PEND.flatten(0, 1))

    def _exchange(self, rows: Tensor, received: list[int] | None = None, sent: list[int] | None = None) -> Tensor:
        """All-to-all along the first dimension; in equal parts without numbers of rows per process."""
        return all_to_all_single_autograd(rows.contiguous(), received, sent, self._group)


def divide_experts(
    model: Transformer, policy: MixedPrecisionPolicy, device: torch.device, world: World, processes: int
) -> None:
    """Put `ParallelExperts` into every block, each sharded over the processes that have the same experts.

    Args:
        model: sparse, on the meta device.
        policy: of the blocks.
        device: this process's device.
        world: the process group.
        processes: of a group, P; they are neighbours, of one node.
    """
    sharing = world.size // world.nodes // processes
    mesh = init_device_mesh(
        device.type, (world.nodes, sharing, processes), mesh_dim_names=("replicate", "shard", "expert")
    )
    mesh["shard", "expert"]._flatten()  # lets a norm be reduced over both at once
    rows = mesh["replicate", "shard"] if world.nodes > 1 else mesh["shard"]
    for layer in list(model.modules()):
        if not isinstance(layer, MixtureOfExperts):
            continue
        with torch.device("meta"):
            layer.experts = ParallelExperts(model.config, mesh["expert"])
        # along the second dimension: the first is divided over the group
        sharded = fully_shard(layer.experts, mesh=rows, mp_policy=policy, shard_placement_fn=lambda _: Shard(1))
        for method in ("grouped", "batched"):
            register_fsdp_forward_method(layer.experts, method)
            setattr(sharded, method, torch.compiler.disable(getattr(sharded, method)))  # numbers of rows vary
        # a process has the gradients of its group's tokens, and FSDP's mean would be over fewer processes than train
        sharded.set_gradient_divide_factor(world.size)
        sharded.set_force_sum_reduction_for_comms(sharing > 1)  # gloo needs it for a factor; alone, torch divides twice
