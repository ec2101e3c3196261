"""Compiled blocks: one graph for all layers, whatever the arm, and never another one."""

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from crossover.model.model_config import ModelConfig
from crossover.study.arms import ARMS
from crossover.study.study_parts import TrainingConfig
from crossover.training.batch_order import batch_at
from crossover.training.distributed import World
from crossover.training.train_engine import TrainEngine

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*script_method. is deprecated:DeprecationWarning"),  # torch's own compiler
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]
LAYERS = 12
"""More than the number of graphs that torch makes of one function before it stops compiling it."""


@pytest.mark.parametrize(
    ("arm", "experts", "precision"),
    [
        ("ar", 0, "fp32"),  # and ar-masked-input, of whose mask the blocks know nothing
        ("ar-dropout", 0, "fp32"),
        ("dlm", 0, "bf16"),
        ("bd", 0, "fp32"),  # and dlm-fixed-order, whose mask is of the same shape
        ("dlm", 4, "bf16"),
        ("dlm", 4, "fp32"),
    ],
)
def test_all_layers_and_steps_share_their_graphs(arm: str, experts: int, precision: str, examples: np.ndarray) -> None:
    """One graph, or, around the grouped products of experts in fp32, which are not compiled, the first step's."""
    assert torch._dynamo.config.recompile_limit < LAYERS
    torch._dynamo.reset()
    counters.clear()
    shape = ModelConfig(
        vocab_size=259,
        hidden_size=16,
        num_layers=LAYERS,
        num_heads=2,
        intermediate_size=24,
        max_length=16,
        num_experts=experts,
        experts_per_token=2 if experts else 0,
    )
    config = TrainingConfig(batch_size=4, compile=True, precision=precision)
    engine = TrainEngine(config, shape, ARMS[arm], seed=0, length=16, world=World())
    engine.set_weights(engine.model.draws(torch.Generator().manual_seed(0)))
    losses, graphs = [], []
    for step in range(20):
        batch = batch_at(0, step, batch_size=4, examples=len(examples))
        losses.append(engine.gradients(step, batch, examples).nll)
        engine.apply(0.003)
        graphs.append(counters["stats"]["unique_graphs"])
    assert set(graphs) == {graphs[0]}
    assert graphs[0] == 1 or (experts and precision == "fp32")
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_a_process_that_trains_many_models_compiles_every_one(
    examples: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a task with several runs and `crossover plan` do; torch stops after eight graphs of one function."""
    real = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: real(self, backend="eager", **how))
    counters.clear()
    for model in range(torch._dynamo.config.recompile_limit + 2):
        shape = ModelConfig(
            vocab_size=259, hidden_size=8 + 4 * model, num_layers=1, num_heads=2, intermediate_size=8, max_length=16
        )
        engine = TrainEngine(
            TrainingConfig(batch_size=4, compile=True), shape, ARMS["ar"], seed=0, length=16, world=World()
        )
        engine.set_weights(engine.model.draws(torch.Generator().manual_seed(0)))
        engine.gradients(0, batch_at(0, 0, batch_size=4, examples=len(examples)), examples)
        assert counters["stats"]["unique_graphs"] == model + 1
