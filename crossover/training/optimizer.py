"""Optimizers: AdamW, or AdamW with Muon for the blocks' matrices; and their state as flat named tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from crossover.study.study_parts import TrainingConfig

_KINDS = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")
MUON_RATE_MATCH = "match_rms_adamw"
"""Scales Muon's updates to the RMS of AdamW's (Moonshot, arXiv 2502.16982), so that both share a learning rate."""


def build_optimizers(
    parameters: Iterable[tuple[str, nn.Parameter | Tensor]], config: TrainingConfig
) -> list[torch.optim.Optimizer]:
    """Build the optimizers of named parameters. Matrices have weight decay, gains of norms have none.

    Args:
        parameters: name and tensor of each.
        config: optimizer and hyperparameters of the arm. With `muon`, Muon (Jordan et al. 2024) optimizes the
            two-dimensional matrices of the blocks, and AdamW the embedding, the head, experts and norms.
    """
    muon: list[Tensor] = []
    matrices: list[Tensor] = []
    gains: list[Tensor] = []
    for name, parameter in parameters:
        if name.endswith("norm.weight"):
            gains.append(parameter)
        elif config.optimizer == "muon" and name.endswith("_proj.weight"):
            muon.append(parameter)
        else:
            matrices.append(parameter)
    rate, decay = config.learning_rate, config.weight_decay
    groups = [{"params": matrices, "weight_decay": decay}, {"params": gains, "weight_decay": 0.0}]
    betas = (config.beta1, config.beta2)
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)]
    if muon:
        optimizers.append(
            torch.optim.Muon(muon, lr=rate, weight_decay=decay, momentum=config.beta2, adjust_lr_fn=MUON_RATE_MATCH)
        )
    return optimizers


def set_rate(optimizers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """Set the learning rate of every parameter group."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def optimizer_state(optimizers: Iterable[torch.optim.Optimizer], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The optimizers' state tensors, not copied, named `<kind>.<parameter>`."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    return {
        f"{kind}.{names[id(parameter)]}": state[kind]
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        for kind in _KINDS
        if kind in state
    }


def restore_optimizers(
    optimizers: Iterable[torch.optim.Optimizer], parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """Restore the state that `optimizer_state` returned; parameters without saved state get none."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    for optimizer in optimizers:
        optimizer.state.clear()
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                saved = {kind: tensors.get(f"{kind}.{names[id(parameter)]}") for kind in _KINDS}
                if any(tensor is not None for tensor in saved.values()):
                    optimizer.state[parameter] = {k: t.clone() for k, t in saved.items() if t is not None}
