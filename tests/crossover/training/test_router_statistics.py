"""What routers tell of themselves in training: against plain loops, whatever the microbatches, and in the records."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from crossover.model.mixture_of_experts import ROUTER_STATISTICS, MixtureOfExperts
from crossover.model.model_config import ModelConfig
from crossover.study.arms import ARMS
from crossover.study.study_config import StudyConfig
from crossover.study.study_parts import TrainingConfig
from crossover.training.batch_order import batch_at
from crossover.training.distributed import World, open_world
from crossover.training.recorder import NoRecorder, Progress
from crossover.training.run_spec import RunSpec
from crossover.training.train_engine import StepLosses, TrainEngine
from crossover.training.trainer import Trainer
from tests.processes import run_ranks

SHAPE = ModelConfig(
    vocab_size=259,
    hidden_size=16,
    num_layers=3,
    num_heads=2,
    intermediate_size=8,
    max_length=16,
    num_experts=4,
    experts_per_token=2,
)
EXPERT_CHOICE = ARMS["dlm"].model_copy(update={"expert_choice": True})


def mixture(shape: ModelConfig, *, expert_choice: bool) -> tuple[MixtureOfExperts, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    moe = MixtureOfExperts(shape, expert_choice=expert_choice)
    with torch.no_grad():
        for parameter in moe.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return moe, torch.randn(3, 40, 16, generator=generator)


def entropy(scores: torch.Tensor) -> float:
    return float(np.mean([-sum(p * np.log(p) for p in row) for row in scores.flatten(0, 1).tolist()]))


def test_of_token_choice_by_counting() -> None:
    moe, x = mixture(SHAPE, expert_choice=False)
    scores = moe.gate(x).softmax(dim=-1)
    busiest = [np.bincount(row.topk(2).indices.flatten().numpy(), minlength=4).max() / (40 * 2 / 4) for row in scores]
    _, told = moe(x)
    assert told[2:].tolist() == pytest.approx([np.mean(busiest), entropy(scores), 0.0], rel=1e-5)
    assert np.mean(busiest) > 1
    assert len(moe.eval()(x)[1]) == 2  # nothing is computed that nobody reads


def test_of_expert_choice_by_counting() -> None:
    moe, x = mixture(SHAPE.model_copy(update={"experts_per_token": 1}), expert_choice=True)
    scores = moe.gate(x).softmax(dim=-1)
    taken = [set(row.T.topk(10).indices.flatten().tolist()) for row in scores]  # 40 / 4 tokens an expert
    dropped = np.mean([1 - len(tokens) / 40 for tokens in taken])
    assert moe(x)[1][2:].tolist() == pytest.approx([1.0, entropy(scores), dropped], rel=1e-5)
    assert 0 < dropped < 1


def step(examples: np.ndarray, arm: Any, **training: object) -> StepLosses:  # noqa: ANN401 - an arm of any kind
    config = TrainingConfig.model_validate({"batch_size": 8} | training)
    engine = TrainEngine(config, SHAPE, arm, seed=0, length=16, world=World())
    engine.set_weights(engine.model.draws(torch.Generator().manual_seed(0)))
    return engine.gradients(0, batch_at(0, 0, batch_size=8, examples=len(examples)), examples)


@pytest.mark.parametrize("arm", [ARMS["ar"], EXPERT_CHOICE])
def test_microbatches_and_recomputing_tell_the_same(arm: Any, examples: np.ndarray) -> None:  # noqa: ANN401 - an arm
    whole = step(examples, arm).router
    assert whole is not None
    assert tuple(whole) == ROUTER_STATISTICS
    assert (whole["router_load"] > 1) == (whole["router_dropped"] == 0) == (arm is not EXPERT_CHOICE)
    for changes in ({"microbatch_size": 2}, {"activation_checkpointing": True}):
        assert step(examples, arm, **changes).router == pytest.approx(whole, rel=1e-5)


class _Syncs(TorchDispatchMode):
    """Counts what would make the host wait for a GPU."""

    found: tuple[str, ...] = ()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - torch's
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            self.found += (str(func),)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("arm", [ARMS["ar"], EXPERT_CHOICE])
def test_no_layer_waits_for_them(arm: Any, examples: np.ndarray) -> None:  # noqa: ANN401 - an arm
    config = TrainingConfig(batch_size=8, precision="bf16")
    engine = TrainEngine(config, SHAPE, arm, seed=0, length=16, world=World())
    engine.set_weights(engine.model.draws(torch.Generator().manual_seed(0)))
    batch = batch_at(0, 0, batch_size=8, examples=len(examples))
    part = engine.microbatch(0, batch, engine.slots[0], examples[batch.examples_B].astype(np.int64))
    with _Syncs() as syncs:  # type: ignore[no-untyped-call]  # torch's
        told = engine.backward(part, engine.slots[0])
    assert told.shape == (4,)
    assert syncs.found == ()
    with syncs:
        told[0].item()
    assert syncs.found == ("aten._local_scalar_dense.default",)  # it would have been seen


class Points(NoRecorder):
    """Keeps the routers' points, or writes them to a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def point(self, at: Progress, metric: str, value: float) -> None:
        """Write one."""
        if metric.startswith("router"):
            with self.file.open("a") as lines:
                lines.write(f"{metric} {at.step} {value}\n")


def train(spec: RunSpec, examples: np.ndarray, folder: Path) -> None:
    """Train as one of several ranks, or alone."""
    with open_world() as world:
        Trainer(spec, examples, folder / "run", Points(folder / "points"), world=world).run()


def test_they_are_recorded_and_summed_over_processes(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    raw = tiny_study.model_dump() | {"grid": {"unique_tokens": [640], "models": ["mini-moe"]}}
    raw["training"] |= {"epochs": 2, "microbatch_size": 4}
    study = StudyConfig.model_validate(raw)
    spec = RunSpec(study=study, cell=study.cells[0], arm="ar", seed=0)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    train(spec, examples[:40], tmp_path / "one")
    run_ranks(2, train, spec, examples[:40], tmp_path / "two")
    told = (tmp_path / "one" / "points").read_text()
    assert [line.split()[:2] for line in told.splitlines()[:3]] == [[name, "1"] for name in ROUTER_STATISTICS]
    assert (tmp_path / "two" / "points").read_text() == told
