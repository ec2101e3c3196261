"""The loss in chunks against the loss at once."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from crossover.model.model_presets import preset
from crossover.study.arms import ARMS
from crossover.study.study_parts import TrainingConfig
from crossover.training import chunked_loss as loss_module
from crossover.training.chunked_loss import fits_unchunked, weighted_nll
from crossover.training.memory_estimate import step_memory

POSITIONS, HIDDEN, VOCAB, MASK = 23, 16, 11, 10
CHUNK = 5  # four whole chunks and one of three


class Result(NamedTuple):
    """A loss and its gradients, for the hidden states and for the head."""

    loss: Tensor
    hidden: Tensor
    head: Tensor


def parts(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden states, head, targets and weights."""
    draw = torch.Generator().manual_seed(seed)
    weights = torch.rand(POSITIONS, generator=draw) * 4
    hidden, head = (torch.randn(rows, HIDDEN, generator=draw) for rows in (POSITIONS, VOCAB))
    return hidden, head, torch.randint(0, MASK, (POSITIONS,), generator=draw), weights


def run(
    hidden: Tensor,
    head: Tensor,
    targets: Tensor,
    weights: Tensor,
    *,
    chunked: bool,
    scale: float = 1.0,
    chunk: int = VOCAB * CHUNK,
) -> Result:
    hidden, head = hidden.clone().requires_grad_(), head.clone().requires_grad_()
    loss = weighted_nll(hidden, head, targets, weights, mask_id=MASK, chunk=chunk if chunked else 0)
    return Result(loss.detach(), *torch.autograd.grad(loss * scale, (hidden, head)))


def test_the_whole_loss_is_the_weighted_sum_without_mask() -> None:
    hidden, head, targets, weights = parts()
    logp = (hidden.double() @ head.double().T)[:, :MASK].log_softmax(dim=-1)  # MASK is the last column
    expected = -(logp[torch.arange(POSITIONS), targets] * weights).sum()
    for chunked in (False, True):
        assert float(run(hidden, head, targets, weights, chunked=chunked).loss) == pytest.approx(float(expected))


@pytest.mark.parametrize("positions", [1, CHUNK, 2 * CHUNK, POSITIONS])
def test_a_chunked_loss_has_the_same_value_and_gradients(positions: int) -> None:
    hidden, head, targets, weights = parts()
    given = (hidden[:positions], head, targets[:positions], weights[:positions])
    whole, chunked = (run(*given, chunked=chunked, scale=0.25) for chunked in (False, True))
    for one, other in zip(whole, chunked, strict=True):
        assert one.dtype == other.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_logits_are_never_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    linear = F.linear

    def counted(x: Tensor, *rest: Tensor) -> Tensor:
        rows.append(len(x))
        return linear(x, *rest)

    monkeypatch.setattr(F, "linear", counted)
    run(*parts(), chunked=True)
    assert rows == [CHUNK] * 4 + [3]
    rows.clear()
    run(*parts(), chunked=False)
    assert rows == [POSITIONS]


def test_what_fits_is_held_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "MAX_LOGITS", 4 * VOCAB * CHUNK)
    assert fits_unchunked(4 * CHUNK, VOCAB)
    assert not fits_unchunked(4 * CHUNK + 1, VOCAB)


def test_a_vocabulary_above_the_limit_still_goes_row_by_row() -> None:
    given = parts()
    expected = run(*given, chunked=False)
    for one, other in zip(expected, run(*given, chunked=True, chunk=1), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_under_autocast_both_stay_close_to_float32() -> None:
    given = parts()
    exact = run(*given, chunked=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [run(*given, chunked=chunked) for chunked in (False, True)]
    for result in found:
        assert {value.dtype for value in result} == {torch.float32}
        assert float(result.loss) == pytest.approx(float(exact.loss), rel=0.02)
        for one, other in zip(result[1:], exact[1:], strict=True):
            assert float((one - other).norm() / other.norm()) < 0.03
    assert not torch.equal(found[1].hidden, exact.hidden)  # bfloat16 products did run


@pytest.mark.parametrize("chunked", [False, True])
def test_mask_learns_nothing(chunked: bool) -> None:
    hidden, head, targets, weights = parts()
    result = run(hidden, head, targets, weights, chunked=chunked)
    assert torch.equal(result.head[MASK], torch.zeros(HIDDEN))
    assert result.head[:MASK].abs().sum(dim=1).min() > 0
    changed = head.clone()
    changed[MASK] += 100.0
    for one, other in zip(result, run(hidden, changed, targets, weights, chunked=chunked), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("chunked", [False, True])
def test_positions_without_weight_might_as_well_not_be_there(chunked: bool) -> None:
    hidden, head, targets, weights = parts()
    kept = torch.arange(POSITIONS) % 3 == 0
    full = run(hidden, head, targets, weights * kept, chunked=chunked)
    short = run(hidden[kept], head, targets[kept], weights[kept], chunked=chunked)
    assert torch.equal(full.hidden[~kept], torch.zeros_like(hidden[~kept]))
    torch.testing.assert_close(full.hidden[kept], short.hidden)
    torch.testing.assert_close((full.loss, full.head), (short.loss, short.head))


@pytest.mark.parametrize("chunked", [False, True])
def test_no_position_is_no_loss(chunked: bool) -> None:
    hidden, head, targets, weights = parts()
    result = run(hidden[:0], head, targets[:0], weights[:0], chunked=chunked)
    assert (float(result.loss), float(result.head.abs().sum())) == (0.0, 0.0)


def test_the_plan_counts_the_chunks_of_the_device() -> None:
    """A GPU's chunk holds 120 million logits more than a CPU's, 0.5 GiB in float32, and as much again on the way."""
    shape = preset("pico", vocab_size=50304, max_length=128)
    peak = {}
    for device in ("cpu", "cuda"):
        config = TrainingConfig(batch_size=64, device=device, precision="bf16")
        peak[device] = step_memory(config, shape, ARMS["ar"], length=128).peak / 2**30
    assert 0.5 < peak["cuda"] - peak["cpu"] < 3
