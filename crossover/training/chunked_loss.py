"""Weighted negative log-likelihood from hidden states, in chunks so that the full logits never exist.

Shapes: N scored positions, D hidden size, V vocabulary, C positions of one chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from crossover.model.transformer import suppress

MAX_LOGITS = 2**25
"""Largest number of float32 logits (128 MiB) computed at once; more are computed in chunks."""
CHUNK_LOGITS = {"cpu": MAX_LOGITS // 4, "cuda": 2**27}
"""Logits of a chunk. On a GPU they are many: each chunk reads and writes the head's whole float32 gradient, which takes
longer than the products of a few hundred rows."""


def fits_unchunked(positions: int, vocab_size: int) -> bool:
    """Whether a microbatch's logits are computed at once, without chunks."""
    return positions * vocab_size <= MAX_LOGITS


def weighted_nll(
    hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, weights_N: Tensor, *, mask_id: int, chunk: int
) -> Tensor:
    """Sum over positions of weight x NLL of the target in nats; logits and loss in float32.

    Args:
        hidden_ND: last hidden states of the scored positions.
        head_VD: the output head.
        targets_N: token ids.
        weights_N: weight of each position, float32.
        mask_id: id of MASK, whose logit is -inf.
        chunk: hold at most so many logits, and compute the gradients in the forward pass; 0 holds all of them.
    """
    if chunk:
        rows = max(1, chunk // head_VD.shape[0])
        loss: Tensor = _ChunkedNLL.apply(hidden_ND, head_VD, targets_N, weights_N, mask_id, rows)  # type: ignore[no-untyped-call]  # torch's apply is not typed
        return loss
    logits_NV = suppress(F.linear(hidden_ND, head_VD).float(), mask_id)
    return (F.cross_entropy(logits_NV, targets_N, reduction="none") * weights_N).sum()


class _ChunkedNLL(torch.autograd.Function):
    """Computes both gradients in the forward pass, like Liger (Hsu et al. 2024, arXiv 2410.10989)."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - untyped in torch
        hidden_ND: Tensor,
        head_VD: Tensor,
        targets_N: Tensor,
        weights_N: Tensor,
        mask_id: int,
        rows: int,
    ) -> Tensor:
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
                d_logits_CV = logp_CV.exp_().scatter_add_(
                    1, targets_C1, torch.full_like(targets_C1, -1.0, dtype=torch.float32)
                )
                d_logits_CV = d_logits_CV.mul_(weights_N[part, None]).to(compute)
                d_hidden_ND[part] = (d_logits_CV @ head).to(d_hidden_ND.dtype)
                d_head_VD += d_logits_CV.T @ hidden_CD
        ctx.save_for_backward(d_hidden_ND, d_head_VD.to(head_VD.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, *d_losses: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:  # noqa: ANN401 - of torch
        d_hidden_ND, d_head_VD = ctx.saved_tensors
        return d_hidden_ND * d_losses[0], d_head_VD * d_losses[0], None, None, None, None
