"""Forward passes of evaluation: the NLL of selected tokens only, in batches of bounded size.

Shapes: B batch, R rows, T positions of the input, N scored tokens, L tokens of text, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from crossover.model.attention import AttentionContext
from crossover.model.transformer import Transformer, suppress
from crossover.training.training_objectives import clean_and_noisy

FEATURES_PER_FORWARD = {"cpu": 2**17, "cuda": 2**26}
"""Approximate positions x hidden size of one forward pass; on a CPU, measured: what fits its caches."""
LEAST_POSITIONS = 1024
"""Smallest number of positions of one forward pass, however wide the model."""


def rows_per_forward(model: Transformer, width: int) -> int:
    """Number of rows of `width` positions in one forward pass."""
    positions = FEATURES_PER_FORWARD[device_of(model).type] // model.lm_head.in_features
    return max(1, max(LEAST_POSITIONS, positions) // width)


def device_of(model: Transformer) -> torch.device:
    """Device of the model's weights."""
    return model.lm_head.weight.device


def scored_nll(
    model: Transformer,
    inputs_BT: Tensor,
    scored_N: Tensor,
    targets_N: Tensor,
    *,
    visible_BT: Tensor | None = None,
    documents_BT: Tensor | None = None,
    mask: Tensor | None = None,
    positions: Tensor | None = None,
    attention: AttentionContext | None = None,
) -> tuple[Tensor, Tensor]:
    """NLL of the target tokens; logits are computed at the scored positions only.

    Args:
        model: of either family.
        inputs_BT: input token ids.
        scored_N: flat indices into (B x T) of the positions whose logits are scored.
        targets_N: target token ids.
        visible_BT: False where an input is padding.
        documents_BT: number of each input's document, where attention stays within documents.
        mask: attention mask (T, T), True where a key is visible; default: the family's own.
        positions: RoPE position of each input (T,); default: its index.
        attention: mask and rotary tables of the forward pass, in place of the four arguments above.

    Returns:
        NLL in nats, float64, shape (N,); and whether each target is the argmax, shape (N,), always False for a DLM.
    """

    def readout(hidden_BTD: Tensor, head_VD: Tensor, _: Tensor | None) -> Tensor:
        logits_NV = suppress(F.linear(hidden_BTD.flatten(0, 1)[scored_N], head_VD).float(), model.mask_id)
        nll_N = F.cross_entropy(logits_NV, targets_N, reduction="none").double()
        likeliest_N = logits_NV.argmax(dim=-1) == targets_N if model.causal else torch.zeros_like(nll_N)
        return torch.stack((nll_N, likeliest_N.double()))

    nll_N, greedy_N = model(
        inputs_BT,
        visible_BT,
        documents_BL=documents_BT,
        mask_LL=mask,
        positions_L=positions,
        attention=attention,
        readout=readout,
    )
    return nll_N, greedy_N.bool()


def masked_losses(
    model: Transformer, tokens_RL: NDArray[np.integer], masked_RL: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """NLL of each masked token given the visible ones, 0 elsewhere. Shape (R, L), nats.

    A block diffusion model sees the blocks before a token's own unmasked.

    Args:
        model: a DLM.
        tokens_RL: token ids.
        masked_RL: True where a token is masked.
    """
    rows, length = masked_RL.shape
    passes = 2 if model.block_length else 1
    size = rows_per_forward(model, passes * length)
    nll_RL = np.zeros((rows, length))
    with torch.inference_mode():
        for start in range(0, rows, size):
            masked = masked_RL[start : start + size]
            tokens = np.asarray(tokens_RL[start : start + size]).astype(np.int64)
            nll_RL[start : start + size][masked] = _masked_batch(model, tokens, masked)
    return nll_RL


def _masked_batch(
    model: Transformer, tokens_BL: NDArray[np.int64], masked_BL: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """NLL in nats of the masked tokens of one batch, in row-major order."""
    device, length = device_of(model), tokens_BL.shape[1]
    inputs_BT = np.where(masked_BL, model.mask_id, tokens_BL)
    row_N, column_N = masked_BL.nonzero()
    mask, positions = None, None
    documents = model.documents(torch.from_numpy(tokens_BL).to(device))
    if model.block_length:
        inputs_BT = np.concatenate((tokens_BL, inputs_BT), axis=1)
        column_N = column_N + length
        mask, positions = clean_and_noisy(length, model.block_length, device)
        documents = None if documents is None else documents.repeat(1, 2)
    arrays = (inputs_BT, row_N * inputs_BT.shape[1] + column_N, tokens_BL[masked_BL])
    inputs, scored, targets = (torch.from_numpy(array).to(device) for array in arrays)
    nll_N, _ = scored_nll(model, inputs, scored, targets, documents_BT=documents, mask=mask, positions=positions)
    values: NDArray[np.float64] = nll_N.cpu().numpy()
    return values
