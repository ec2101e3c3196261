"""Resume points of sharded training: parts by each process, read by any number of processes, torn ones passed over."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

from crossover.errors import StorageError, WorkspaceError
from crossover.storage.open_store import open_store
from crossover.study.study_config import StudyConfig
from crossover.training import resume_points
from crossover.training.checkpoint_info import checkpoint_digest, read_manifest, step_folder
from tests.crossover.training import child
from tests.crossover.training.test_distributed import trace, weights, with_training
from tests.processes import run_ranks

STOPPED = 20
SAME = 2e-5
"""Relative difference of losses of one run on another number of processes: sums in another order."""


@pytest.fixture
def study(tiny_study: StudyConfig) -> StudyConfig:
    return with_training(tiny_study, data_parallel="shard", microbatch_size=1, ema=0.9)


def placed(study: StudyConfig, examples: np.ndarray, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(study.model_dump_json())
    np.save(folder / "examples.npy", examples)


def stopped(study: StudyConfig, examples: np.ndarray, folder: Path, processes: int) -> Path:
    """A run that got SIGTERM, and its resume point."""
    placed(study, examples, folder)
    run_ranks(processes, child.train_until_a_signal, folder, "dlm", processes - 1, STOPPED)
    return step_folder(folder / "run" / "resume", STOPPED)


def test_saved_on_four_goes_on_with_two_and_one(study: StudyConfig, examples: np.ndarray, tmp_path: Path) -> None:
    full = trace(study, "dlm", examples, tmp_path / "full", 1)
    point = stopped(study, examples, tmp_path / "cut", 4)
    manifest = read_manifest(point)
    assert manifest is not None
    assert [name[:11] for name in sorted(manifest["files"])] == [f"shard-{n:05d}" for n in (1, 2, 3, 4)]
    sizes = [(point / name).stat().st_size for name in manifest["files"]]
    assert max(sizes) < sum(sizes) / 2  # no process wrote the whole
    for processes in (2, 1):
        folder = tmp_path / str(processes)
        shutil.copytree(tmp_path / "cut", folder)
        resumed = trace(study, "dlm", examples, folder, processes)
        np.testing.assert_allclose([resumed[step] for step in full], list(full.values()), rtol=SAME)
        for name, value in weights(folder).items():
            np.testing.assert_allclose(value, weights(tmp_path / "full")[name], atol=SAME)


@pytest.mark.parametrize("schedule", ["constant", "wsd"])
def test_the_same_number_of_processes_has_the_same_bits(
    schedule: str, study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    """Under `wsd` every branch comes back to its start, from copies of the process's own rows."""
    kind = with_training(study, schedule=schedule)
    full = trace(kind, "dlm", examples, tmp_path / "full", 2)
    stopped(kind, examples, tmp_path / "cut", 2)
    assert {**trace(kind, "dlm", examples, tmp_path / "cut", 2), **full} == full
    for name, value in weights(tmp_path / "cut").items():
        np.testing.assert_array_equal(value, weights(tmp_path / "full")[name])


def test_torn_points_are_passed_over(study: StudyConfig, examples: np.ndarray, tmp_path: Path) -> None:
    point = stopped(study, examples, tmp_path / "cut", 2)
    resume = point.parent
    for step, tear in enumerate(("missing", "altered", "unfinished"), start=STOPPED + 1):
        torn = shutil.copytree(
            point, resume / (f".step-{step:08d}.parts" if tear == "unfinished" else f"step-{step:08d}")
        )
        part = next(torn.glob("shard-00002-*"))
        content = part.read_bytes()
        part.unlink()
        if tear != "missing":
            part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (tmp_path / "cut" / "losses.jsonl").unlink()
    assert min(trace(study, "dlm", examples, tmp_path / "cut", 2)) == STOPPED + 1  # from the whole one
    assert len(list(resume.iterdir())) == 1


def apart(folder: Path) -> None:
    """Train as processes that do not see one folder, until rank 0 has saved at a milestone and stops."""
    resume_points.in_one_folder = lambda folder, world: False  # type: ignore[attr-defined]  # replaced for the test
    child.train_until_a_signal(folder, "dlm", 0, STOPPED)


def test_processes_without_a_common_folder_leave_it_to_rank_0(
    study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    full = trace(study, "dlm", examples, tmp_path / "full", 2)
    folder = tmp_path / "cut"
    placed(study, examples, folder)
    run_ranks(2, apart, folder)
    point = step_folder(folder / "run" / "resume", STOPPED)
    state = load_file(point / "training_state.safetensors")
    assert state["average.lm_head.weight"].shape == load_file(point / "model.safetensors")["lm_head.weight"].shape
    assert {**trace(study, "dlm", examples, folder, 2), **full} == full


def fill_the_disk(folder: Path) -> None:
    """Train; the second rank's disk is full."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    if os.environ["RANK"] == "1":
        HuggingFaceStorageWriter.write_data = full  # type: ignore[method-assign,assignment]  # replaced for the test
    try:
        child.train(folder, "dlm")
    except WorkspaceError as error:
        assert "the disk is full" in str(error)
        return
    raise AssertionError("the training did not stop")


def test_the_full_disk_of_one_ends_all(study: StudyConfig, examples: np.ndarray, tmp_path: Path) -> None:
    placed(study, examples, tmp_path)
    run_ranks(2, fill_the_disk, tmp_path)
    assert not list((tmp_path / "run" / "resume").iterdir())


def test_a_store_publishes_and_verifies_all_parts(study: StudyConfig, examples: np.ndarray, tmp_path: Path) -> None:
    point = stopped(study, examples, tmp_path / "cut", 2)
    store = open_store(str(tmp_path / "store"))
    store.path("resume").parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(point, store.path("resume"))
    digest = store.publish("resume")
    assert digest == checkpoint_digest(point)
    assert store.fetch("resume", digest) == store.path("resume")
    next(store.path("resume").glob("shard-00002-*")).unlink()
    with pytest.raises(StorageError, match=r"shard-00002-.* is missing"):
        store.fetch("resume", digest)
