"""The forward pass of serving against that of training, and its independence of what is computed beside it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from crossover.decoding.inference_model import InferenceModel
from crossover.decoding.packed_linear import Precision
from crossover.decoding.row_sizes import RowSizes
from crossover.decoding.segment import Segment
from crossover.model.model_presets import preset
from crossover.model.transformer import Transformer
from crossover.tokenization.tokenizer import MASK, VOCAB_SIZE

LENGTH = 96


def model_of(name: str = "nano", *, causal: bool, block: int = 0, experts: bool = False) -> Transformer:
    """Weights large enough for attention to matter."""
    config = preset("mini-moe" if experts else name, vocab_size=VOCAB_SIZE, max_length=LENGTH)
    model = Transformer(config, causal=causal, mask_id=MASK, block_length=block)
    model.initialise(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)
    return model.eval()


FAMILIES = pytest.mark.parametrize(
    "fields", [{"causal": True}, {"causal": False}, {"causal": False, "block": 8}], ids=["ar", "dlm", "block"]
)
TOKENS = np.random.default_rng(0).integers(0, 256, LENGTH)


def reference(model: Transformer, tokens: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(model(torch.from_numpy(tokens)[None])[0].double())


def without_mask(logits: np.ndarray) -> np.ndarray:
    assert np.isneginf(logits[:, MASK]).all()
    return np.delete(logits, MASK, axis=1)


@FAMILIES
@pytest.mark.parametrize("experts", [False, True], ids=["dense", "experts"])
def test_logits_are_those_of_the_training_model(fields: dict[str, Any], experts: bool) -> None:
    model = model_of(experts=experts, **fields)
    wanted = np.array([0, 5, LENGTH - 1])
    (logits,) = InferenceModel(model).forward([Segment(TOKENS, wanted_P=wanted)])
    np.testing.assert_allclose(
        without_mask(logits), without_mask(reference(model, TOKENS)[wanted]), atol=2e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"causal": True}, [0, 64, 70, 71, 72, LENGTH]),
        ({"causal": False, "block": 8}, [0, 64, 72, 88, LENGTH]),
    ],
    ids=["ar", "block"],
)
def test_what_is_cached_equals_what_is_computed_at_once(fields: dict[str, Any], parts: list[int]) -> None:
    model = model_of(**fields)
    prepared = InferenceModel(model)
    cache = prepared.new_cache(LENGTH)
    logits = [
        prepared.forward([Segment(TOKENS[begin:end], begin, np.arange(end - begin), cache)])[0]
        for begin, end in itertools.pairwise(parts)
    ]
    np.testing.assert_allclose(
        without_mask(np.concatenate(logits)), without_mask(reference(model, TOKENS)), atol=2e-4, rtol=1e-4
    )


def test_a_masked_model_sees_the_cached_rest_of_the_sequence() -> None:
    """Unchanged tokens have exact caches: then a few positions give the logits of the full pass."""
    model = model_of(causal=False)
    prepared = InferenceModel(model)
    cache, wanted = prepared.new_cache(LENGTH), np.arange(8)
    (first,) = prepared.forward([Segment(TOKENS, 0, 40 + wanted, cache, LENGTH)])
    (again,) = prepared.forward([Segment(TOKENS[40:48], 40, wanted, cache, LENGTH)])
    np.testing.assert_allclose(without_mask(again), without_mask(first), atol=2e-4, rtol=1e-4)


@FAMILIES
@pytest.mark.parametrize("experts", [False, True], ids=["dense", "experts"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_segment_has_the_same_bits_beside_any_others(
    fields: dict[str, Any], experts: bool, precision: Precision
) -> None:
    prepared = InferenceModel(model_of(experts=experts, **fields), precision, rows=256)
    segment = Segment(TOKENS[:32], wanted_P=np.array([31]))
    single = Segment(TOKENS[3:4], wanted_P=np.array([0]))
    alone = [prepared.forward([one])[0] for one in (segment, single)]
    for others in (1, 2, 5, 30):
        beside = [Segment(TOKENS[: 1 + i], wanted_P=np.array([0])) for i in range(others)]
        together = prepared.forward([*beside, segment, single])[-2:]
        assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True)), others


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_lower_precision_stays_near(precision: Precision) -> None:
    model = model_of(causal=True)
    (logits,) = InferenceModel(model, precision).forward([Segment(TOKENS, wanted_P=np.arange(LENGTH))])
    exact = without_mask(reference(model, TOKENS))
    error = np.abs(without_mask(logits) - exact).mean() / exact.std()
    assert 0 < error < {"bf16": 0.05, "int8": 0.1}[precision]


def test_row_sizes_are_those_that_agree() -> None:
    """A product that sums in another order below 4 rows, and above 32."""

    def outputs(rows: int) -> torch.Tensor:
        return torch.arange(64.0)[:rows, None] + (0.5 if rows < 4 else 0.25 if rows > 32 else 0.0)

    sizes = RowSizes.measured(outputs, 48)
    assert sizes.sizes == (4, 6, 8, 12, 16, 32)
    assert [sizes.at_least(rows) for rows in (1, 5, 17, 33)] == [4, 6, 32, 64]
