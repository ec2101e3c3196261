"""The training image: the stages as the steps of the pipeline run them, kfp's executor, torchrun with two processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import write_corpus
from tests.images.containers import IMAGE_USER, Image, Pod, writable

STUDY = """
name: tiny
data: {source: "text:/corpus/*.txt", sequence_length: 16, validation_fraction: 0.3, validation_tokens: 128}
grid: {unique_tokens: [512], models: [pico]}
seeds: 2
training: {epochs: 2, batch_size: 8, warmup_steps: 2}
evaluation: {points: 2}
"""
ENV = {"CROSSOVER_SCRATCH": "/scratch/cache", "CROSSOVER_REGISTRY_URL": "sqlite:////scratch/registry.sqlite"}
PLACE = ["/study/study.yaml", "--out", "/scratch/studies"]
TORCHRUN = ["torchrun", "--standalone", "--nproc-per-node", "2", "-m", "crossover.cli"]


@pytest.fixture
def mounts(tmp_path: Path, user: tuple[int, int]) -> dict[str, Path]:
    write_corpus(tmp_path / "corpus")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.yaml").write_text(STUDY)
    folders = {"/corpus": tmp_path / "corpus", "/study": tmp_path / "study"}
    return folders | {"/scratch": writable(tmp_path / "scratch", user)}


def test_a_study_in_steps(training: Image, user: tuple[int, int], mounts: dict[str, Path], tmp_path: Path) -> None:
    """Prepare and pretrain, each in a pod of its own; half of the runs on two processes."""

    def pod(name: str, *command: str) -> Pod:
        return Pod(training, tmp_path / name, command=list(command), user=user, env=ENV, mounts=mounts)

    pod("prepare", "crossover", "prepare", *PLACE).output()
    pod("ar", "crossover", "pretrain", *PLACE, "--arm", "ar").output()
    pod("dlm", *TORCHRUN, "pretrain", *PLACE, "--arm", "dlm").output()
    runs = sorted((mounts["/scratch"] / "studies").rglob("model.safetensors"))
    assert {arm for path in runs for arm in ("ar", "dlm") if f"/{arm}/" in str(path)} == {"ar", "dlm"}
    assert {path.stat().st_uid for path in runs} == {user[0]}


def test_kfps_executor_starts(training: Image, user: tuple[int, int], tmp_path: Path) -> None:
    command = ["sh", "-ec", "python3 -m kfp.dsl.executor_main --help"]
    text = Pod(training, tmp_path / "executor", command=command, user=user).output()
    assert "--component_module_path" in text


def test_it_compiles_the_pipeline(training: Image, tmp_path: Path) -> None:
    assert "pipelineInfo" in Pod(training, tmp_path / "compile", args=["compile"]).output()


def test_it_has_what_makes_train_jobs_and_promotions(training: Image, tmp_path: Path) -> None:
    code = "import kubernetes, kubeflow.trainer, kfp.kubernetes, crossover_cluster; print(crossover_cluster.__file__)"
    text = Pod(training, tmp_path / "import", command=["python", "-c", code]).output()
    assert text.startswith("/opt/crossover/lib/")


def test_torch_computes_as_a_user_without_a_name(training: Image, user: tuple[int, int], tmp_path: Path) -> None:
    code = "import getpass, torch; print(getpass.getuser(), int(torch.ones(8, 8).matmul(torch.ones(8, 8)).sum()))"
    text = Pod(training, tmp_path / "torch", command=["python", "-c", code], user=user).output()
    assert text == "crossover 512\n"


def test_it_shows_its_help(training: Image, tmp_path: Path) -> None:
    assert Pod(training, tmp_path / "help", user=IMAGE_USER).output().startswith("usage: crossover")
