"""Training objectives of all arms: each is a mean over the same B x L tokens of text, in nats per token.

An objective turns a batch of text into the model's input and the weight of each token's NLL; the loss function is the
same for all. Shapes: B global batch, n examples of a microbatch, L tokens of text, T positions of the input (2 L for
block diffusion, whose input has a clean copy of the text), N scored tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from crossover.counter_rng import Stream, generator
from crossover.model.attention import document_numbers
from crossover.model.dropout import Dropout
from crossover.model.mixture_of_experts import ROUTER_STATISTICS
from crossover.model.transformer import Transformer
from crossover.study.arms import Arm
from crossover.tokenization.tokenizer import BYTES, Tokenizer
from crossover.training.batch_order import Batch, cut_places
from crossover.training.chunked_loss import weighted_nll
from crossover.training.token_masking import block_lengths, example_noise, training_masks


class Microbatch(NamedTuple):
    """Inputs of one forward pass, as tensors on the model's device."""

    inputs_nT: Tensor
    targets_nL: Tensor
    weights_nL: Tensor | None
    """Weight of each token's NLL, float32; None where all are 1."""
    documents_nT: Tensor | None
    """Number of each position's document, within which it attends; None where an example is one sequence."""
    scored: Tensor | None
    """Flat indices into (n x L) of the tokens with a nonzero weight; None computes the logits of all tokens."""
    dropout: Dropout | None


@dataclass(frozen=True)
class TrainingObjective:
    """The objective of an arm.

    Args:
        arm: the recipe.
        length: tokens of text per example, L.
        seed: the run's seed.
        document_end: id of the token that ends a document, where attention stays within documents; None otherwise.
        tokenizer: whose ids the examples are.
    """

    arm: Arm
    length: int
    seed: int
    document_end: int | None = None
    tokenizer: Tokenizer = BYTES

    @property
    def passes(self) -> int:
        """Input positions per token of text."""
        return 2 if self.arm.block_length else 1

    @property
    def visible_keys(self) -> float:
        """Visible keys per input position, averaged over the input positions."""
        if self.arm.causal:
            return (self.length + 1) / 2
        if not self.arm.block_length:
            return float(self.length)
        lengths = block_lengths(self.length, self.arm.block_length)
        # a clean block sees the clean blocks up to itself, a noisy one as many: itself and the clean ones before it
        return float((lengths * lengths.cumsum()).sum() / self.length)

    @property
    def scored_fraction(self) -> float:
        """Expected fraction of tokens with a nonzero weight, whose logits a chunked loss computes."""
        if self.arm.causal:
            return 1.0
        if self.arm.mask_sampling == "bernoulli":
            return 0.5
        blocks = len(block_lengths(self.length, self.arm.block_length or self.length))
        return (self.length + blocks) / (2 * self.length)

    def microbatch(
        self, step: int, batch: Batch, slots: slice, tokens_nL: NDArray[np.int64], *, sparse: bool, device: torch.device
    ) -> Microbatch:
        """Inputs, targets and weights of a microbatch.

        Args:
            step: optimizer step, from 0.
            batch: the global batch.
            slots: slots of the global batch that form the microbatch.
            tokens_nL: their token ids.
            sparse: list the tokens with a nonzero weight, so that only their logits are computed.
            device: of the tensors.
        """
        weights_nL, scored = None, None
        cuts_n = cut_places(batch, slots, length=self.length, block_length=self.arm.block_length)
        documents_nT = self._documents(tokens_nL, cuts_n)
        if self.arm.causal:
            inputs_nT = self._shifted(batch, slots, tokens_nL, documents_nT)
        else:
            masked_nL, weights_nL = training_masks(
                seed=self.seed,
                step=step,
                batch=batch,
                slots=slots,
                length=self.length,
                mask_sampling=self.arm.mask_sampling,
                block_length=self.arm.block_length,
                cuts_n=cuts_n,
            )
            inputs_nT = np.where(masked_nL, self.tokenizer.mask, tokens_nL)
            if self.arm.block_length:
                inputs_nT = np.concatenate((tokens_nL, inputs_nT), axis=1)
                documents_nT = None if documents_nT is None else np.tile(documents_nT, 2)
            scored = np.flatnonzero(masked_nL) if sparse else None
        return Microbatch(
            _sent(inputs_nT, device),
            _sent(tokens_nL, device),
            None if weights_nL is None else _sent(weights_nL, device),
            None if documents_nT is None else _sent(documents_nT, device),
            None if scored is None else _sent(scored, device),
            self._dropout(batch, slots, device),
        )

    def _shifted(
        self, batch: Batch, slots: slice, tokens_nL: NDArray[np.int64], documents_nL: NDArray[np.int32] | None
    ) -> NDArray[np.int64]:
        """BOS, then all but the last token, some of them masked if the arm has `input_mask`.

        Where attention stays within documents, each of them is predicted from a BOS of its own.
        """
        inputs_nL = np.roll(tokens_nL, 1, axis=1)
        if self.arm.input_mask:
            hidden = example_noise(self.seed, Stream.INPUT_MASKS, batch, slots, self.length) < self.arm.input_mask
            inputs_nL[hidden] = self.tokenizer.mask
        inputs_nL[:, 0] = self.tokenizer.bos
        if documents_nL is not None:
            inputs_nL[:, 1:][documents_nL[:, 1:] != documents_nL[:, :-1]] = self.tokenizer.bos
        return inputs_nL

    def _documents(self, tokens_nL: NDArray[np.int64], cuts_n: NDArray[np.int64] | None) -> NDArray[np.int32] | None:
        """Number of each token's document in its example, where a cut begins another; None if all attend to all."""
        numbers_nL = np.zeros(tokens_nL.shape, dtype=np.int32)
        if self.document_end is None and cuts_n is None:
            return None
        if self.document_end is not None:
            numbers_nL += document_numbers(torch.from_numpy(tokens_nL), self.document_end).numpy()
        if cuts_n is not None:
            numbers_nL += np.arange(self.length) >= cuts_n[:, None]
        return numbers_nL if numbers_nL.any() else None

    def _dropout(self, batch: Batch, slots: slice, device: torch.device) -> Dropout | None:
        if not self.arm.dropout:
            return None
        keys = [
            generator(self.seed, Stream.DROPOUT, epoch=int(epoch), example=int(example)).integers(-(2**31), 2**31)
            for epoch, example in zip(batch.epochs_B[slots], batch.examples_B[slots], strict=True)
        ]
        keys_n = _sent(np.array(keys, dtype=np.int32), device)
        return Dropout(self.arm.dropout, keys_n, attention=self.arm.dropout_place == "residual")


def _sent(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on a device; a GPU copies it from pinned memory, for which no kernel has to end first."""
    tensor = torch.from_numpy(array)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def sum_of_losses(model: torch.nn.Module, part: Microbatch, arm: Arm, mask_id: int, *, chunk: int) -> Tensor:
    """Summed weighted NLL of a microbatch's tokens in nats, and router losses and statistics summed over blocks: (6,).

    Args:
        model: a `Transformer`, possibly wrapped; its forward pass is called once.
        part: from `TrainingObjective.microbatch`.
        arm: the recipe.
        mask_id: id of MASK, whose logit is -inf.
        chunk: logits computed at once; 0 computes all of them.
    """
    length = part.targets_nL.shape[1]

    def readout(hidden_nTD: Tensor, head_VD: Tensor, router: Tensor | None) -> Tensor:
        hidden_ND = hidden_nTD[:, -length:].flatten(0, 1)
        targets_N = part.targets_nL.flatten()
        weights_N = torch.ones_like(targets_N, dtype=torch.float32)
        if part.weights_nL is not None:
            weights_N = part.weights_nL.flatten()
        if part.scored is not None:
            hidden_ND, targets_N, weights_N = (t[part.scored] for t in (hidden_ND, targets_N, weights_N))
        nll = weighted_nll(hidden_ND, head_VD, targets_N, weights_N, mask_id=mask_id, chunk=chunk)
        extra = torch.zeros(2 + len(ROUTER_STATISTICS), device=nll.device) if router is None else router.sum(dim=0)
        return torch.cat((nll[None], extra))

    mask_TT, positions_T = None, None
    if arm.block_length:
        mask_TT, positions_T = clean_and_noisy(length, arm.block_length, part.inputs_nT.device)
    losses: Tensor = model(
        part.inputs_nT,
        documents_BL=part.documents_nT,
        mask_LL=mask_TT,
        positions_L=positions_T,
        dropout=part.dropout,
        readout=readout,
    )
    return losses


def clean_and_noisy(length: int, block_length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Attention mask and positions of block diffusion, whose input is a clean copy of the text, then the noisy text.

    A clean token sees the clean blocks up to its own; a noisy one sees its own noisy block and the clean blocks before
    it (BD3-LM, arXiv 2503.09573, section 3).

    Args:
        length: tokens of text, L.
        block_length: tokens of a block.
        device: of the tensors.

    Returns:
        Mask (2 L, 2 L), True where a key is visible, and positions (2 L,).
    """
    block_L = torch.arange(length, device=device) // block_length
    before_LL, same_LL = block_L[None, :] < block_L[:, None], block_L[None, :] == block_L[:, None]
    clean = torch.cat((before_LL | same_LL, torch.zeros_like(same_LL)), dim=1)
    noisy = torch.cat((before_LL, same_LL), dim=1)
    return torch.cat((clean, noisy)), torch.arange(length, device=device).repeat(2)


def shifted_inputs(tokens_BL: Tensor, bos_id: int, documents_BL: Tensor | None = None) -> Tensor:
    """Inputs of AR that predict `tokens_BL`: BOS at the start and where a document begins, else the token before."""
    begins_BL = torch.ones_like(tokens_BL, dtype=torch.bool)
    begins_BL[:, 1:] = False if documents_BL is None else documents_BL[:, 1:] != documents_BL[:, :-1]
    return tokens_BL.roll(1, dims=1).masked_fill(begins_BL, bos_id)


def token_nll(logits_BLV: Tensor, tokens_BL: Tensor) -> Tensor:
    """Negative log-likelihood of each token under its logits in nats. Shape (B, L), float32."""
    return F.cross_entropy(logits_BLV.transpose(1, 2), tokens_BL, reduction="none")


def ar_nll(model: Transformer, tokens_BL: Tensor, bos_id: int) -> Tensor:
    """Exact NLL of each token given all before it. Shape (B, L), nats."""
    documents_BL = model.documents(tokens_BL)
    return token_nll(model(shifted_inputs(tokens_BL, bos_id, documents_BL), documents_BL=documents_BL), tokens_BL)


def masked_nll(model: Transformer, tokens_BL: Tensor, masked_BL: Tensor) -> Tensor:
    """Exact-count NELBO terms of each token: (L / k) x NLL where masked, 0 elsewhere. Shape (B, L), nats.

    Its mean over tokens is an unbiased draw of the any-order upper bound on the NLL, when the row's count k is uniform
    on 1..L and its positions uniform given k. Under a block diffusion model L and k are those of the token's block.
    """
    size = model.block_length or tokens_BL.shape[1]
    parts_BL = [
        part * (part.shape[1] / part.sum(dim=1, keepdim=True).clamp_min(1))
        for part in torch.split(masked_BL, size, dim=1)
    ]
    return weighted_token_nll(model, tokens_BL, masked_BL, torch.cat(parts_BL, dim=1))


def weighted_token_nll(model: Transformer, tokens_BL: Tensor, masked_BL: Tensor, weights_BL: Tensor) -> Tensor:
    """Weight x NLL of each masked token given the visible ones, in nats. Shape (B, L).

    Under block diffusion the blocks before a token's own are clean.
    """
    inputs_BL, documents_BL = tokens_BL.masked_fill(masked_BL, model.mask_id), model.documents(tokens_BL)
    if not model.block_length:
        return token_nll(model(inputs_BL, documents_BL=documents_BL), tokens_BL) * weights_BL
    length = tokens_BL.shape[1]
    mask_TT, positions_T = clean_and_noisy(length, model.block_length, tokens_BL.device)
    documents_BT = None if documents_BL is None else documents_BL.repeat(1, 2)
    inputs_BT = torch.cat((tokens_BL, inputs_BL), dim=1)
    logits_BTV = model(inputs_BT, documents_BL=documents_BT, mask_LL=mask_TT, positions_L=positions_T)
    return token_nll(logits_BTV[:, length:], tokens_BL) * weights_BL
