"""One run on two nodes that share nothing but the bucket, started as in the pods of a TrainJob."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossover.registry import Registry
from crossover.stages.study_text import encoded_study
from crossover.study.study_config import StudyConfig
from crossover.training.checkpoint import STATE
from tests.seaweed import free_ports, server
from tests.services.predictor_process import until


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    with server(tmp_path / "weed", "studies") as address:
        yield {
            "CROSSOVER_HOME": "/proc/crossover-home",
            "CROSSOVER_S3_ENDPOINT": address,
            "CROSSOVER_S3_SECURE": "false",
            "CROSSOVER_S3_ACCESS_KEY": "any",
            "CROSSOVER_S3_SECRET_KEY": "any",
            "CROSSOVER_REGISTRY_URL": f"sqlite:///{tmp_path}/registry.sqlite",
            "CROSSOVER_THREADS": "1",
        }


class Nodes:
    """Starts verbs on machines that share a bucket and a registry.

    Args:
        study: of all verbs; prepared here.
        folder: with a scratch folder for each node.
        environment: of all processes.
    """

    def __init__(self, study: StudyConfig, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment, self.study = folder, environment, encoded_study(study)
        self.cell = study.cells[0].name
        finish(self.start("prepared", "-m", "crossover.cli", "prepare", self.study))

    def start(self, node: str, *command: str, **variables: str) -> subprocess.Popen[str]:
        variables |= self.environment | {"CROSSOVER_SCRATCH": str(self.folder / node)}
        return subprocess.Popen(
            [sys.executable, *command, "--out", "s3://studies/two"],
            env=os.environ | variables,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def train(self, name: str, port: int) -> list[subprocess.Popen[str]]:
        """The torchruns of two nodes, as the Trainer starts them."""
        pretrain = ["-m", "crossover.cli", "pretrain", self.study, "--cell", self.cell, "--arm", "dlm", "--seed", "0"]
        common = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", "PET_MASTER_ADDR": "127.0.0.1"}
        common["PET_MASTER_PORT"] = str(port)
        return [
            self.start(f"{name}-{rank}", "-m", "torch.distributed.run", *pretrain, PET_NODE_RANK=str(rank), **common)
            for rank in (0, 1)
        ]


def finish(*processes: subprocess.Popen[str]) -> list[str]:
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(outputs)
    return outputs


def kill_all(process: subprocess.Popen[str]) -> None:
    """A node that is lost: torchrun and what it started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (process.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    process.communicate()


def test_a_lost_node_ends_the_other_and_both_go_on(
    tiny_study: StudyConfig, tmp_path: Path, environment: dict[str, str]
) -> None:
    long = tiny_study.training.model_copy(update={"epochs": 400})
    study = tiny_study.model_copy(update={"training": long})
    nodes = Nodes(study, tmp_path, environment | {"CROSSOVER_RESUME_MINUTES": "0.02"})
    port = free_ports(1)[0]
    leading, other = nodes.train("node", port)
    until(lambda: list((tmp_path / "node-0").rglob(STATE)), 120)  # a resume point
    kill_all(other)
    output, _ = leading.communicate(timeout=120)
    assert leading.returncode == 1
    assert "rank 0 of 2: the exchange of step" in output
    output, _ = finish(*nodes.train("node", port))
    assert f"trained {nodes.cell}/dlm/seed-0" in output
    with Registry.open_read_only(environment["CROSSOVER_REGISTRY_URL"]) as registry:
        resumed = registry.query("SELECT MAX(started_step) FROM attempt").rows[0][0]
    assert isinstance(resumed, int)
    assert 0 < resumed < 1600


def test_two_nodes_without_a_common_disk_train_one_run(
    tiny_study: StudyConfig, tmp_path: Path, environment: dict[str, str]
) -> None:
    nodes = Nodes(tiny_study, tmp_path, environment)
    cell = nodes.cell
    for attempt in ("first", "second"):
        leading, other = finish(*nodes.train(attempt, free_ports(1)[0]))
        assert f"trained {cell}/dlm/seed-0" in leading
        assert "trained" not in other
