"""The two losses. Both are means over all B x L tokens, in nats a token, and score the very same tokens.

Shapes: B batch, L length, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crossover.model.transformer import Transformer


def shifted_inputs(tokens_BL: Tensor, bos_id: int) -> Tensor:
    """What the AR arm reads to predict `tokens_BL`: BOS, then all but the last token. Shape (B, L)."""
    bos_B1 = torch.full_like(tokens_BL[:, :1], bos_id)
    return torch.cat((bos_B1, tokens_BL[:, :-1]), dim=1)


def token_nll(logits_BLV: Tensor, tokens_BL: Tensor) -> Tensor:
    """Negative log likelihood of each token under its logits, in nats. Shape (B, L), float32."""
    return F.cross_entropy(logits_BLV.transpose(1, 2), tokens_BL, reduction="none")


def ar_nll(model: Transformer, tokens_BL: Tensor, bos_id: int) -> Tensor:
    """Exact NLL of each token given all before it. Shape (B, L), nats."""
    return token_nll(model(shifted_inputs(tokens_BL, bos_id)), tokens_BL)


def masked_nll(model: Transformer, tokens_BL: Tensor, masked_BL: Tensor) -> Tensor:
    """Exact-count NELBO terms of each token: (L / k) x NLL where masked, 0 elsewhere. Shape (B, L), nats.

    Its mean over tokens is an unbiased draw of the any-order upper bound on the NLL, when the row's count k is uniform
    on 1..L and its positions uniform given k.
    """
    inputs_BL = tokens_BL.masked_fill(masked_BL, model.mask_id)
    weight_B1 = tokens_BL.shape[1] / masked_BL.sum(dim=1, keepdim=True)
    return token_nll(model(inputs_BL), tokens_BL) * masked_BL * weight_B1
