"""Expert parallelism: gradients and losses of one process, each process with its own experts, resuming elsewhere."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.distributed.tensor import DTensor

from crossover.errors import StudyError
from crossover.model.model_config import ModelConfig
from crossover.model.model_presets import PRESETS, preset
from crossover.model.transformer import Transformer
from crossover.study.arms import ARMS, Arm
from crossover.study.study_config import StudyConfig
from crossover.study.study_parts import TrainingConfig
from crossover.training import sharding
from crossover.training.batch_order import batch_at
from crossover.training.checkpoint_info import step_folder
from crossover.training.distributed import World, open_world
from crossover.training.expert_parallel import ParallelExperts
from crossover.training.memory_estimate import UNSHARDED_BLOCKS, step_memory
from crossover.training.train_engine import TrainEngine
from tests.crossover.training import child
from tests.crossover.training.test_distributed import weights, with_training
from tests.processes import run_ranks

SMALL = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "intermediate_size": 16}
"""Makes of `mini-moe`, of eight experts, a model that trains in a second."""
STOPPED = 6
SAME = 2e-5
EXPERT_CHOICE = ARMS["dlm"].model_copy(update={"expert_choice": True})


def shape_of() -> ModelConfig:
    return preset("mini-moe", vocab_size=259, max_length=16).model_copy(update=SMALL)


def config_of(**changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"batch_size": 8, "microbatch_size": 1, "data_parallel": "shard"} | changes)


def two_steps(folder: Path, config: TrainingConfig, arm: Arm, router: str, examples: np.ndarray) -> None:
    """Two steps; rank 0 writes gradients, weights and losses, and each rank how much it holds of the experts."""
    torch.set_num_threads(1)
    with open_world() as world:
        engine = TrainEngine(config, shape_of(), arm, seed=0, length=16, world=world)
        engine.set_weights(engine.model.draws(torch.Generator().manual_seed(0)))
        if router == "one-sided":  # the logits of all tokens are zero, of which topk takes the first
            gates = [name for name in engine.parameters if name.endswith("gate.weight")]
            engine.set_weights((name, torch.zeros(engine.parameters[name].shape)) for name in gates)
        results: dict[str, Any] = {}
        for step in range(2):
            losses = engine.gradients(step, batch_at(0, step, batch_size=8, examples=len(examples)), examples)
            grads = {name: sharding.full_tensor(p.grad) for name, p in engine.parameters.items() if p.grad is not None}
            if not step:
                results |= {f"gradient.{name}": value.clone() for name, value in grads.items()}
            results[f"losses.{step}"] = torch.tensor(
                [losses.nll, losses.gradient_norm, *(losses.router or {}).values()]
            )
            engine.apply(1e-4, step)
        results |= {f"weight.{name}": sharding.full_tensor(p).detach() for name, p in engine.parameters.items()}
        if world.leads:
            torch.save(results, folder / "results.pt")
        if world.size > 1:
            check_share(engine, folder)


def check_share(engine: TrainEngine, folder: Path) -> None:
    """This process holds rows of its own experts alone, and gathers no others; its bytes are written."""
    own = 8 // engine.config.expert_parallel
    tensors = dict(engine.parameters)
    for kind, optimizer in enumerate(engine.optimizers):
        for parameter, state in optimizer.state.items():
            tensors |= {f"{kind}.{id(parameter)}.{name}": value for name, value in state.items()}
    local = {name: t.to_local() if isinstance(t, DTensor) else t for name, t in tensors.items()}
    (folder / f"bytes-{engine.world.rank}").write_text(str(sum(tensor.nbytes for tensor in local.values())))
    processes = engine.world.size // engine.world.nodes
    for module in engine.model.modules():
        if isinstance(module, ParallelExperts):
            for name, parameter in module.named_parameters():
                assert isinstance(parameter, DTensor)
                rows = parameter.to_local()
                assert (rows.shape[0], rows.numel() * processes) == (own, parameter.numel()), name
            module.unshard()  # type: ignore[operator]  # of FSDP
            assert [weight.shape[0] for weight in module.weights()] == [own] * 3
            module.reshard()  # type: ignore[operator]  # of FSDP


def on_two_nodes(*arguments: Any) -> None:  # noqa: ANN401 - passed on
    os.environ["LOCAL_WORLD_SIZE"] = "2"
    two_steps(*arguments)


@pytest.mark.parametrize(
    ("arm", "processes", "groups", "changes"),
    [
        (ARMS["dlm"], 2, 2, {}),
        (ARMS["ar"], 4, 2, {"activation_checkpointing": True}),
        (EXPERT_CHOICE, 4, 2, {}),
        (EXPERT_CHOICE, 4, 4, {}),
    ],
)
def test_gradients_are_those_of_one_process(
    arm: Arm, processes: int, groups: int, changes: dict[str, object], examples: np.ndarray, tmp_path: Path
) -> None:
    config = config_of(expert_parallel=groups, **changes)
    compare(two_steps, arm, processes, config, "", examples, tmp_path)
    planned = step_memory(config, shape_of(), arm, length=16, world=World(size=processes)).state
    held = [int(path.read_text()) for path in (tmp_path / "many").glob("bytes-*")]
    assert len(held) == processes
    assert held == pytest.approx([planned] * processes, rel=0.02)


def test_gradients_on_two_nodes(examples: np.ndarray, tmp_path: Path) -> None:
    """Each node has all experts, and their gradients are summed over nodes."""
    compare(on_two_nodes, ARMS["dlm"], 4, config_of(expert_parallel=2), "", examples, tmp_path)


def test_processes_whose_experts_get_no_token(examples: np.ndarray, tmp_path: Path) -> None:
    compare(two_steps, ARMS["dlm"], 4, config_of(expert_parallel=4), "one-sided", examples, tmp_path)


def compare(
    steps: Any,  # noqa: ANN401 - a function for ranks
    arm: Arm,
    processes: int,
    config: TrainingConfig,
    router: str,
    examples: np.ndarray,
    folder: Path,
) -> None:
    for name in ("one", "many"):
        (folder / name).mkdir()
    two_steps(folder / "one", config, arm, router, examples)
    run_ranks(processes, steps, folder / "many", config, arm, router, examples)
    one, many = (torch.load(folder / name / "results.pt") for name in ("one", "many"))
    assert one.keys() == many.keys()
    for name, value in one.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(many[name], value, rtol=1e-5, atol=1e-5 * scale, msg=f"{name} differs")


def train(folder: Path, groups: int, stop: bool) -> None:
    """Train as a rank, or alone, with a small `mini-moe`, whose experts so many processes divide."""

    def shard(model: Transformer, precision: str, device: torch.device, world: World, expert_parallel: int = 1) -> None:
        real(model, precision, device, world, expert_parallel=groups)

    real, sharding.shard = sharding.shard, shard  # the digest of a run has the field, so that only a test changes it
    PRESETS["mini-moe"] |= SMALL
    if stop:
        child.train_until_a_signal(folder, "dlm", 3, STOPPED)
    else:
        child.train(folder, "dlm")


def place(study: StudyConfig, examples: np.ndarray, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(study.model_dump_json())
    np.save(folder / "examples.npy", examples)


def losses_of(folder: Path) -> list[float]:
    return list(dict(json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()).values())


@pytest.fixture
def study(tiny_study: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> StudyConfig:
    monkeypatch.setitem(PRESETS, "mini-moe", dict(PRESETS["mini-moe"]))
    monkeypatch.setattr(sharding, "shard", sharding.shard)
    raw = tiny_study.model_dump() | {"grid": {"unique_tokens": [1024], "models": ["mini-moe"]}}
    raw["training"] |= {"data_parallel": "shard", "microbatch_size": 1, "ema": 0.9, "epochs": 2, "learning_rate": 1e-4}
    return StudyConfig.model_validate(raw)


def test_a_run_goes_on_in_another_layout(study: StudyConfig, examples: np.ndarray, tmp_path: Path) -> None:
    """From parts; losses and the measured average are those of one process."""
    place(study, examples, tmp_path / "full")
    train(tmp_path / "full", 1, stop=False)
    full = losses_of(tmp_path / "full")
    place(study, examples, tmp_path / "cut")
    run_ranks(4, train, tmp_path / "cut", 2, True)
    point = step_folder(tmp_path / "cut" / "run" / "resume", STOPPED)
    sizes = [part.stat().st_size for part in point.glob("shard-*")]
    assert len(sizes) == 4
    assert max(sizes) < 0.3 * sum(sizes)
    for processes, groups in ((4, 4), (2, 2)):
        folder = tmp_path / f"{processes}-{groups}"
        shutil.copytree(tmp_path / "cut", folder)
        run_ranks(processes, train, folder, groups, False)
        np.testing.assert_allclose(losses_of(folder), full, rtol=SAME)
        for name, value in weights(folder).items():
            np.testing.assert_allclose(value, weights(tmp_path / "full")[name], atol=SAME)


def test_the_plan_gathers_only_a_process_s_experts() -> None:
    """Against sharding alone: three blocks of a part of the experts, and two copies of the rows in transit."""
    shape = shape_of()
    world, arm = World(size=4), ARMS["dlm"]
    plan = {n: step_memory(config_of(expert_parallel=n), shape, arm, length=16, world=world) for n in (1, 4)}
    experts = 4 * 8 * 3 * 32 * 16
    in_transit = 4 * 2 * (16 * 2 * 32)
    assert plan[1].state == plan[4].state
    assert plan[1].peak - plan[4].peak == UNSHARDED_BLOCKS * (experts - experts // 4) - in_transit


@pytest.mark.parametrize(
    ("training", "models", "said"),
    [
        ({"expert_parallel": 2}, ["mini-moe"], "expert_parallel and data_parallel: experts are divided under shard"),
        ({"expert_parallel": 2, "data_parallel": "shard"}, ["mini-moe", "pico"], "pico has no experts to divide"),
        ({"expert_parallel": 3, "data_parallel": "shard"}, ["mini-moe"], "cannot divide the 8 experts of mini-moe"),
        ({"expert_parallel": 0}, ["mini-moe"], "greater than or equal to 1"),
    ],
)
def test_studies_that_cannot_be_divided(
    training: dict[str, object], models: list[str], said: str, tiny_study: StudyConfig
) -> None:
    raw = tiny_study.model_dump()
    raw["training"] |= training
    raw["grid"] |= {"models": models}
    with pytest.raises(ValidationError, match=said):
        StudyConfig.model_validate(raw)


@pytest.mark.parametrize(
    ("world", "groups", "said"),
    [
        (World(0, 6), 4, "4 does not divide the 6 processes of a node"),
        (World(0, 2), 4, "4 does not divide the 2 processes of a node"),
        (World(0, 4, nodes=2), 4, "4 does not divide the 2 processes of a node"),
        (World(0, 6), 2, "leaves 3 to share each expert, which do not divide its 32 x 16"),
    ],
)
def test_processes_that_cannot_divide(world: World, groups: int, said: str) -> None:
    with pytest.raises(StudyError, match=said) as caught:
        sharding.check_expert_parallel(config_of(expert_parallel=groups), shape_of(), world)
    assert (caught.value.code, caught.value.field) == ("training.experts-do-not-divide", "training.expert_parallel")


def test_what_can_be_divided_is_not_refused() -> None:
    for world in (World(0, 8), World(0, 8, nodes=2), World()):  # one process has all experts
        sharding.check_expert_parallel(config_of(expert_parallel=4), shape_of(), world)


def test_a_study_without_it_is_what_it_was(study: StudyConfig) -> None:
    assert "expert_parallel" not in study.model_dump_json()
    assert '"expert_parallel":2' in with_training(study, expert_parallel=2).model_dump_json()
