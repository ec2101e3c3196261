"""AdamW with a constant rate after warm-up, and its state as flat named tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from crossover.study import TrainingConfig
from crossover.training.arms import Arm

_STATE = ("step", "exp_avg", "exp_avg_sq")


def build_optimizer(model: nn.Module, config: TrainingConfig, arm: Arm) -> torch.optim.AdamW:
    """AdamW; matrices decay, gains of norms do not. The arm may replace the weight decay."""
    decay = config.weight_decay if arm.weight_decay is None else arm.weight_decay
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    gains = [p for p in model.parameters() if p.ndim < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": decay}, {"params": gains, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=True,
    )


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Rate of a step, counted from 0: linear warm-up, then constant, so that every point is a budget of its own."""
    return config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))


def optimizer_state(optimizer: torch.optim.AdamW, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's tensors by parameter name: `<kind>.<parameter>`."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        f"{kind}.{names[id(parameter)]}": state[kind].detach().clone()
        for parameter, state in optimizer.state.items()
        for kind in _STATE
    }


def restore_optimizer(optimizer: torch.optim.AdamW, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_state` took."""
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {kind: tensors[f"{kind}.{name}"].clone() for kind in _STATE}
