"""Matrix products of serving: close to the plain product, whatever the shape of the weight."""

import pytest
import torch

from crossover.decoding.packed_linear import Precision, linear

ERRORS: dict[Precision, float] = {"fp32": 1e-5, "bf16": 0.02, "int8": 0.03}


@pytest.mark.parametrize("precision", ERRORS)
@pytest.mark.parametrize("inputs", [344, 384, 1032, 7])
@pytest.mark.parametrize("rows", [1, 5])
def test_close_to_the_plain_product(precision: Precision, inputs: int, rows: int) -> None:
    """344 and 1032 are feed-forward sizes of presets, and no multiple of 16."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(384, inputs, generator=generator)
    x = torch.randn(rows, inputs, generator=generator)
    exact = x @ weight.T
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    error = (linear(weight, precision)(x.to(dtype)).float() - exact).abs().max() / exact.abs().max()
    assert float(error) < ERRORS[precision]
