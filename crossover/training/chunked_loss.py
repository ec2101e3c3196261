"""Weighted negative log likelihood straight from hidden states, without ever holding all logits.

Shapes: N scored positions, D hidden, V vocabulary, C positions of one chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from crossover.model.transformer import suppress

WHOLE_LOGITS = 2**25
"""Numbers of float32 logits (128 MiB) up to which they are held at once; above, they are made chunk by chunk."""


def fits_whole(positions: int, vocab_size: int) -> bool:
    """Whether a microbatch's logits are few enough to be held at once."""
    return positions * vocab_size <= WHOLE_LOGITS


def weighted_nll(
    hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, weights_N: Tensor, *, mask_id: int, chunked: bool
) -> Tensor:
    """Sum over positions of weight x NLL of the target, in nats; logits and loss in float32.

    Args:
        hidden_ND: last hidden states of the scored positions.
        head_VD: the output head.
        targets_N: token ids.
        weights_N: float32.
        mask_id: the column that nobody may predict.
        chunked: recompute nothing and hold `WHOLE_LOGITS` / 4 logits at most: the gradients are made with the loss.
    """
    if chunked:
        loss: Tensor = _ChunkedNLL.apply(hidden_ND, head_VD, targets_N, weights_N, mask_id)  # type: ignore[no-untyped-call]
        return loss
    logits_NV = suppress(F.linear(hidden_ND, head_VD).float(), mask_id)
    return (F.cross_entropy(logits_NV, targets_N, reduction="none") * weights_N).sum()


class _ChunkedNLL(torch.autograd.Function):
    """Forward makes both gradients, as in Liger's fused linear cross-entropy (Hsu et al. 2024, arXiv 2410.10989)."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives no type for it
        hidden_ND: Tensor,
        head_VD: Tensor,
        targets_N: Tensor,
        weights_N: Tensor,
        mask_id: int,
    ) -> Tensor:
        rows = max(1, WHOLE_LOGITS // 4 // head_VD.shape[0])
        kind = hidden_ND.device.type
        compute = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_ND.dtype
        head = head_VD.to(compute)
        d_hidden_ND = torch.empty_like(hidden_ND)
        d_head_VD = torch.zeros(head_VD.shape, dtype=torch.float32, device=head_VD.device)
        loss = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        with torch.autocast(kind, enabled=False):
            for start in range(0, len(targets_N), rows):
                part = slice(start, start + rows)
                hidden_CD, targets_C1 = hidden_ND[part].to(compute), targets_N[part, None]
                logits_CV = F.linear(hidden_CD, head).float()
                logits_CV[:, mask_id] = -torch.inf
                logp_CV = logits_CV.log_softmax(dim=-1)
                loss -= (logp_CV.gather(1, targets_C1)[:, 0] * weights_N[part]).sum()
                slope_CV = logp_CV.exp_().scatter_add_(
                    1, targets_C1, torch.full_like(targets_C1, -1.0, dtype=torch.float32)
                )
                slope_CV = slope_CV.mul_(weights_N[part, None]).to(compute)
                d_hidden_ND[part] = (slope_CV @ head).to(d_hidden_ND.dtype)
                d_head_VD += slope_CV.T @ hidden_CD
        ctx.save_for_backward(d_hidden_ND, d_head_VD.to(head_VD.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # noqa: ANN401
        d_hidden_ND, d_head_VD = ctx.saved_tensors
        return d_hidden_ND * slopes[0], d_head_VD * slopes[0], None, None, None
