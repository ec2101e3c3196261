"""Sharded training: nodes with several processes each hold a copy (HSDP), and gradients are never whole."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.tensor import DTensor

from crossover.model.transformer import Transformer
from crossover.study.study_config import StudyConfig
from crossover.training.checkpoint_info import read_manifest, step_folder
from crossover.training.distributed import open_world
from crossover.training.run_spec import cell_model
from crossover.training.train_engine import TrainEngine
from tests.crossover.training import child
from tests.crossover.training.test_distributed import trace, with_training
from tests.processes import run_ranks

STOPPED = 20


def train_on_two_nodes(folder: Path, stop: bool) -> None:
    """Train as two nodes of two processes each; in the end each process says how it holds a matrix."""

    def apply(self: TrainEngine, rate: float, step: int = 0) -> None:
        real(self, rate, step)
        weight = self.parameters["lm_head.weight"]
        assert isinstance(weight, DTensor)
        assert weight.device_mesh.shape == (2, 2)
        assert 3 * weight.to_local().numel() > weight.numel()  # half of it, not a quarter

    real, TrainEngine.apply = TrainEngine.apply, apply  # type: ignore[method-assign]  # replaced for the test
    os.environ["LOCAL_WORLD_SIZE"] = "2"
    if stop:
        child.train_until_a_signal(folder, "dlm", 3, STOPPED)
    else:
        child.train(folder, "dlm")


def test_two_nodes_of_two_processes_train_as_one(tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path) -> None:
    """To rounding; and a run of them goes on with two processes of one node."""
    study = with_training(tiny_study, data_parallel="shard")
    full = trace(study, "dlm", examples, tmp_path / "full", 1)
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "study.json").write_text(study.model_dump_json())
    np.save(cut / "examples.npy", examples)
    run_ranks(4, train_on_two_nodes, cut, True)
    manifest = read_manifest(step_folder(cut / "run" / "resume", STOPPED))
    assert manifest is not None
    sizes = [(cut / "run" / "resume" / f"step-{STOPPED:08d}" / name).stat().st_size for name in manifest["files"]]
    state = 3 * 4 * sum(np.prod(shape) for shape in shapes(study))
    assert state < sum(sizes) < 1.2 * state  # each row once, although two processes hold it
    shutil.copytree(cut, tmp_path / "two")
    run_ranks(4, train_on_two_nodes, cut, False)
    for losses in (trace_of(cut), trace(study, "dlm", examples, tmp_path / "two", 2)):
        np.testing.assert_allclose([losses[step] for step in full], list(full.values()), rtol=1e-5)


def trace_of(folder: Path) -> dict[int, float]:
    return dict(json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines())


def shapes(study: StudyConfig) -> list[torch.Size]:
    with torch.device("meta"):
        model = Transformer(cell_model(study, study.cells[-1]), causal=True, mask_id=258)
    return [parameter.shape for parameter in model.parameters()]


def check_accumulation(folder: Path) -> None:
    """Train; after each microbatch every gradient is this process's rows."""

    def backward(self: TrainEngine, *arguments: object) -> torch.Tensor:
        nll = real(self, *arguments)  # type: ignore[arg-type]  # passed on as they came
        assert len(self.slots) == 4
        for parameter in self.parameters.values():
            assert isinstance(parameter.grad, DTensor)
            assert parameter.grad.to_local().shape == parameter.to_local().shape  # type: ignore[attr-defined]  # a DTensor
        return nll

    real, TrainEngine.backward = TrainEngine.backward, backward  # type: ignore[method-assign,assignment]  # replaced for the test
    child.train(folder, "dlm")


def test_accumulated_gradients_stay_sharded(tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path) -> None:
    study = with_training(tiny_study, data_parallel="shard", microbatch_size=1)
    assert study.training.batch_size == 8
    (tmp_path / "study.json").write_text(study.model_dump_json())
    np.save(tmp_path / "examples.npy", examples)
    run_ranks(2, check_accumulation, tmp_path)
    full = trace(study, "dlm", examples, tmp_path / "full", 1)
    np.testing.assert_allclose(list(trace_of(tmp_path).values()), list(full.values()), rtol=1e-5)


@pytest.mark.parametrize(("size", "here", "nodes"), [(4, "2", 2), (4, "4", 1), (4, "1", 4), (6, "4", 1), (4, "", 1)])
def test_nodes_are_counted_from_what_torchrun_sets(
    size: int, here: str, nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": size, "RANK": 0, "LOCAL_WORLD_SIZE": here}.items():
        monkeypatch.setenv(name, str(value))
    if not here:
        monkeypatch.delenv("LOCAL_WORLD_SIZE")
    for name in ("rendezvous", "init_process_group", "destroy_process_group"):
        monkeypatch.setattr(torch.distributed, name, lambda *_, **__: iter([(None, 0, size)]))
    with open_world() as world:
        assert (world.size, world.nodes) == (size, nodes)
