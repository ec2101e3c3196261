"""One run: deterministic to the bit, resumable to the bit, and the golden loss traces of both arms."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from crossover.errors import CheckpointError, WorkspaceError
from crossover.study.arms import ARMS
from crossover.study.study_config import StudyConfig
from crossover.training import train_engine as engine_module
from crossover.training.checkpoint_info import latest_checkpoint, read_info, step_folder
from crossover.training.recorder import NoRecorder, Progress
from crossover.training.run_spec import DivergedError, RunSpec, resume_step
from crossover.training.trainer import Trainer
from tests.crossover.training.saved import saved_milestones

GOLDEN = Path(__file__).with_name("golden_losses.json")


class Trace(NoRecorder):
    """Keeps the training losses."""

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}

    def point(self, at: Progress, metric: str, value: float) -> None:
        if metric == "training_loss":
            self.losses[at.step] = value


def spec_of(study: StudyConfig, arm: str, seed: int = 0) -> RunSpec:
    return RunSpec(study=study, cell=study.cells[1], arm=arm, seed=seed)


def train(spec: RunSpec, examples: np.ndarray, folder: Path) -> dict[int, float]:
    trace = Trace()
    Trainer(spec, examples, folder, trace).run()
    return trace.losses


def weights(folder: Path) -> bytes:
    newest, _ = latest_checkpoint(folder / "checkpoints")
    assert newest is not None
    return (newest / "model.safetensors").read_bytes()


@pytest.mark.parametrize("trace", ["ar", "dlm", "ar, random lengths", "dlm, random lengths"])
def test_golden_losses(trace: str, tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path) -> None:
    """Bit-identical on a rerun; and the recorded trace within what another processor may differ by."""
    arm, _, random = trace.partition(", ")
    training = tiny_study.training if random else tiny_study.training.model_copy(update={"random_lengths": 0.0})
    spec = spec_of(tiny_study.model_copy(update={"training": training}), arm)
    first = train(spec, examples, tmp_path / "a")
    again = train(spec, examples, tmp_path / "b")
    assert first == again
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    recorded = {int(step): loss for step, loss in json.loads(GOLDEN.read_text())[trace].items()}
    assert first.keys() == recorded.keys()
    np.testing.assert_allclose([first[s] for s in recorded], list(recorded.values()), rtol=2e-5)


@pytest.mark.parametrize("arm", list(ARMS))
def test_an_interrupted_run_ends_with_the_same_bits(
    arm: str, tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    whole = train(spec_of(tiny_study, arm), examples, tmp_path / "whole")

    def interrupt(step: int, total: int, loss: float) -> None:
        if step == 23:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(spec_of(tiny_study, arm), examples, tmp_path / "cut", Trace(), interrupt).run()
    resumed_from = resume_step(tmp_path / "cut")
    assert 0 < resumed_from < 23
    rest = train(spec_of(tiny_study, arm), examples, tmp_path / "cut")
    assert rest == {step: loss for step, loss in whole.items() if step > resumed_from}
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_a_torn_resume_point_is_passed_over(tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path) -> None:
    spec = spec_of(tiny_study, "dlm")
    train(spec, examples, tmp_path / "run")
    whole = weights(tmp_path / "run")
    torn = step_folder(tmp_path / "run" / "resume", 32)
    content = (torn / "training_state.safetensors").read_bytes()
    (torn / "training_state.safetensors").write_bytes(content[:-8])
    assert resume_step(tmp_path / "run") == 0
    train(spec, examples, tmp_path / "run")
    assert weights(tmp_path / "run") == whole


def test_pairs_share_initial_weights_and_the_rest_differs(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(arm: str, seed: int) -> dict[str, torch.Tensor]:
        trainer = Trainer(spec_of(tiny_study, arm, seed), examples, tmp_path / f"{arm}{seed}", NoRecorder())
        trainer.engine = trainer._build()
        trainer._start()
        return {name: value.clone() for name, value in trainer.engine.model.state_dict().items()}

    ar, dlm, other = start("ar", 0), start("dlm", 0), start("ar", 1)
    assert all(torch.equal(ar[name], dlm[name]) for name in ar)
    assert not torch.equal(ar["lm_head.weight"], other["lm_head.weight"])


def test_weight_decay_arm_differs_only_by_its_decay(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    plain = train(spec_of(tiny_study, "ar"), examples, tmp_path / "ar")
    decayed = train(spec_of(tiny_study, "ar-decay"), examples, tmp_path / "ar-decay")
    assert plain[1] == decayed[1]
    assert plain[32] != decayed[32]


def test_milestones_stand_at_the_evaluation_steps(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    spec = spec_of(tiny_study, "ar")
    train(spec, examples, tmp_path / "run")
    folders = saved_milestones(spec, tmp_path / "run")
    assert tuple(read_info(folder).step for folder in folders) == tiny_study.evaluation_steps(spec.cell)
    info = read_info(folders[-1])
    assert (info.step, info.tokens) == (32, 32 * 8 * 16)
    assert not (folders[-1] / "training_state.safetensors").exists()
    (folders[0] / "model.safetensors").unlink()
    assert saved_milestones(spec, tmp_path / "run") == folders[1:]
    train(spec, examples, tmp_path / "run")
    assert saved_milestones(spec, tmp_path / "run") == folders


def test_divergence_stops_the_run(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan = torch.tensor([float("nan"), 0.0, 0.0], requires_grad=True)
    monkeypatch.setattr(engine_module, "sum_of_losses", lambda *_, **__: nan)
    with pytest.raises(
        DivergedError, match=r"the loss is nan at step 1 \(epoch 0, examples .*lower training\.learning_rate"
    ):
        train(spec_of(tiny_study, "ar"), examples, tmp_path / "run")


def test_a_checkpoint_of_another_run_is_refused(tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path) -> None:
    train(spec_of(tiny_study, "ar"), examples, tmp_path / "run")
    training = tiny_study.training.model_copy(update={"learning_rate": 1e-4})
    other = tiny_study.model_copy(update={"training": training})
    with pytest.raises(CheckpointError, match="is a checkpoint of another run"):
        train(spec_of(other, "ar"), examples, tmp_path / "run")


def test_a_full_disk_keeps_the_last_checkpoint(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(tiny_study, "ar")
    from crossover.training import checkpoint

    real = checkpoint._write
    saved: list[str] = []

    def full_after_first(path: Path, content: bytes) -> None:
        if len(saved) >= 9:  # four files of the first measured point and five of its resume point
            raise OSError(28, "No space left on device")
        saved.append(path.name)
        real(path, content)

    monkeypatch.setattr(checkpoint, "_write", full_after_first)
    with pytest.raises(WorkspaceError, match="the disk is full"):
        train(spec, examples, tmp_path / "run")
    monkeypatch.setattr(checkpoint, "_write", real)
    assert resume_step(tmp_path / "run") == tiny_study.evaluation_steps(spec.cell)[0]
    assert not list((tmp_path / "run").rglob(".*"))
    train(spec, examples, tmp_path / "run")
    assert load_file(step_folder(tmp_path / "run" / "checkpoints", 32) / "model.safetensors")


def test_tensors_are_written_as_bytes_are(tmp_path: Path) -> None:
    """The same bytes as from memory, readable by all, and the operating system's own error."""
    from crossover.training import checkpoint

    tensors = {"b": torch.arange(5.0), "a": torch.ones(2, 3)}
    checkpoint._write(tmp_path / "file", tensors)
    assert (tmp_path / "file").read_bytes() == save(tensors, {"format": "pt"})
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    with pytest.raises(FileNotFoundError):
        checkpoint._write(tmp_path / "missing" / "file", tensors)
