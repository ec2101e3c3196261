"""Mixture of experts: routing, and the experts' grouped matrix products.

Token choice (Shazeer et al. 2017, arXiv 1701.06538; dropless): each token is routed to its top `experts_per_token`
experts. Expert choice (Zhou et al. 2022, arXiv 2202.09368): each expert takes its top tokens of each sequence, which
balances the load by construction but routes over the full sequence, so causal attention rules it out.

Shapes: B batch, L length, D hidden size, F width of an expert, E experts, K experts per token, C tokens per expert,
N = B x L x K.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossover.model.model_config import ModelConfig

ROUTER_STATISTICS = ("router_load", "router_entropy", "router_dropped")
"""What a router tells of itself in training, beside its two losses."""


class Experts(nn.Module):
    """E SwiGLUs with stacked weights, computed by one grouped matrix product."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        experts, hidden, width = config.num_experts, config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Parameter(torch.empty(experts, hidden, width))
        self.up_proj = nn.Parameter(torch.empty(experts, hidden, width))
        self.down_proj = nn.Parameter(torch.empty(experts, width, hidden))
        self._unless_bf16 = _product_in_any_type

    def prepare_for_compiler(self) -> None:
        """Leave products in other types than bfloat16 out of compiled graphs: torch's compiler knows none of them."""
        self._unless_bf16 = torch.compiler.disable(_product_in_any_type)

    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Gate and up projection (E, D, F), and down projection (E, F, D)."""
        return self.gate_proj, self.up_proj, self.down_proj

    def grouped(self, x_ND: Tensor, ends_E: Tensor) -> Tensor:
        """Outputs (N, D) for rows sorted by expert; expert e takes the rows ends_E[e-1]..ends_E[e]."""
        x_ND, gate, up, down = (t.to(compute_dtype(x_ND)) for t in (x_ND, *self.weights()))
        product = _grouped if x_ND.dtype == torch.bfloat16 else self._unless_bf16
        return product(x_ND, gate, up, down, ends_E)

    def batched(self, x_END: Tensor) -> Tensor:
        """Outputs (E, N, D) for the same number of rows per expert."""
        gate, up, down = self.weights()
        return torch.bmm(F.silu(torch.bmm(x_END, gate)) * torch.bmm(x_END, up), down)


def _grouped(x_ND: Tensor, gate_EDF: Tensor, up_EDF: Tensor, down_EFD: Tensor, ends_E: Tensor) -> Tensor:
    inner_NF = F.silu(F.grouped_mm(x_ND, gate_EDF, offs=ends_E)) * F.grouped_mm(x_ND, up_EDF, offs=ends_E)
    return F.grouped_mm(inner_NF, down_EFD, offs=ends_E)


def _product_in_any_type(x_ND: Tensor, gate_EDF: Tensor, up_EDF: Tensor, down_EFD: Tensor, ends_E: Tensor) -> Tensor:
    """CUDA has a grouped product for bfloat16 only."""
    if not x_ND.is_cuda:
        return _grouped(x_ND, gate_EDF, up_EDF, down_EFD, ends_E)
    parts = enumerate(torch.tensor_split(x_ND, ends_E[:-1].cpu()))
    return torch.cat([(F.silu(part @ gate_EDF[e]) * (part @ up_EDF[e])) @ down_EFD[e] for e, part in parts])


def compute_dtype(x: Tensor) -> torch.dtype:
    """Data type of matrix products: that of autocast where it is enabled, since grouped products ignore autocast."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


class MixtureOfExperts(nn.Module):
    """A router and its experts, in place of a dense feed-forward.

    Args:
        config: the architecture.
        expert_choice: expert choice instead of token choice; only with full attention.
    """

    def __init__(self, config: ModelConfig, *, expert_choice: bool) -> None:
        super().__init__()
        self.num_experts, self.per_token, self.expert_choice = (
            config.num_experts,
            config.experts_per_token,
            expert_choice,
        )
        self.gate = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.experts = Experts(config)

    def forward(self, x_BLD: Tensor, visible_BL: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Route each token and combine the outputs of its experts.

        Args:
            x_BLD: activations.
            visible_BL: False where a token is padding; None without padding.

        Returns:
            Output (B, L, D), and the router losses: load balance (Fedus et al. 2021, arXiv 2101.03961) and squared
            log-partition. Both are computed per sequence and averaged, so that they do not depend on the microbatches.
            The load balance is 1 when even, and always under expert choice. In training the statistics
            `ROUTER_STATISTICS` follow, without gradients, (5,) in all: tokens of a sequence that the busiest expert
            gets, over the mean; entropy of a token's scores in nats; share of tokens that no expert takes.
        """
        with torch.autocast(x_BLD.device.type, enabled=False):
            logits_BLE = F.linear(x_BLD.float(), self.gate.weight.float())
        scores_BLE = logits_BLE.softmax(dim=-1)
        if visible_BL is not None:
            scores_BLE = scores_BLE * visible_BL[:, :, None]
        z_loss = logits_BLE.logsumexp(dim=-1).square().mean()
        entropy = -torch.special.xlogy(scores_BLE, scores_BLE).detach().sum(dim=-1).mean() if self.training else None
        if self.expert_choice:
            output_BLD, token_BEC = self._expert_choice(x_BLD, scores_BLE, visible_BL)
            one, statistics = torch.ones_like(z_loss), []
            if entropy is not None:
                missed_BL = torch.ones_like(scores_BLE[..., 0]).scatter(1, token_BEC.flatten(1), 0.0)
                statistics = [one, entropy, missed_BL.mean()]
            return output_BLD, torch.stack((one, z_loss, *statistics))
        output_BLD, taken_BLK = self._token_choice(x_BLD, scores_BLE)
        experts_E = torch.arange(self.num_experts, device=x_BLD.device)
        chosen_BE = (taken_BLK[..., None] == experts_E).float().mean(dim=(1, 2))
        balance = self.num_experts * (chosen_BE * scores_BLE.mean(dim=1)).sum(dim=-1).mean()
        if entropy is None:
            return output_BLD, torch.stack((balance, z_loss))
        load = self.num_experts * chosen_BE.amax(dim=-1).mean()
        return output_BLD, torch.stack((balance, z_loss, load, entropy, torch.zeros_like(load)))

    def _token_choice(self, x_BLD: Tensor, scores_BLE: Tensor) -> tuple[Tensor, Tensor]:
        weight_BLK, taken_BLK = scores_BLE.topk(self.per_token, dim=-1)
        weight_BLK = weight_BLK / weight_BLK.sum(dim=-1, keepdim=True).clamp_min(1e-20)
        order_N = taken_BLK.flatten().argsort(stable=True)
        experts_E = torch.arange(self.num_experts, device=x_BLD.device)
        ends_E = (taken_BLK.flatten()[:, None] == experts_E).sum(dim=0).cumsum(dim=0).to(torch.int32)
        y_ND = self.experts.grouped(x_BLD.flatten(0, 1)[order_N // self.per_token], ends_E)
        back_ND = y_ND[order_N.argsort()].view(*taken_BLK.shape, -1)
        return (back_ND * weight_BLK[..., None].to(back_ND.dtype)).sum(dim=2), taken_BLK

    def _expert_choice(self, x_BLD: Tensor, scores_BLE: Tensor, visible_BL: Tensor | None) -> tuple[Tensor, Tensor]:
        """Output (B, L, D), and the tokens that each expert takes of each sequence (B, E, C)."""
        batch, length, hidden = x_BLD.shape
        capacity = min(length, math.ceil(self.per_token * length / self.num_experts))
        token_BEC = scores_BLE.detach().transpose(1, 2).topk(capacity, dim=-1).indices
        # not topk's values: torch 2.13 compiles the gradient of a transposed softmax wrongly on a CPU where B is 1
        weight_BEC = scores_BLE.gather(1, token_BEC.transpose(1, 2)).transpose(1, 2)
        if visible_BL is not None:  # capacity follows a sequence's own length, without padding
            takes_B = (visible_BL.sum(dim=1) * self.per_token / self.num_experts).ceil()
            taken_BC = torch.arange(capacity, device=x_BLD.device) < takes_B[:, None]
            weight_BEC = weight_BEC * taken_BC[:, None]
        rows = token_BEC.flatten(1)[..., None].expand(-1, -1, hidden)
        x_BECD = x_BLD.gather(1, rows).view(batch, self.num_experts, capacity, hidden)
        y_ECD = self.experts.batched(x_BECD.transpose(0, 1).flatten(1, 2))
        y_BECD = y_ECD.view(self.num_experts, batch, capacity, hidden).transpose(0, 1)
        weighted = (y_BECD * weight_BEC[..., None].to(y_BECD.dtype)).flatten(1, 2)
        empty_BLD = torch.zeros(batch, length, hidden, dtype=weighted.dtype, device=weighted.device)
        return empty_BLD.scatter_add(1, rows, weighted), token_BEC
