"""One run on two nodes that share nothing but the bucket, started as in the pods of a TrainJob."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossover.stages.study_text import encoded_study
from crossover.study.study_config import StudyConfig
from tests.seaweed import free_ports, server


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


def test_two_nodes_without_a_common_disk_train_one_run(
    tiny_study: StudyConfig, tmp_path: Path, environment: dict[str, str]
) -> None:
    study, out = encoded_study(tiny_study), ["--out", "s3://studies/two"]

    def start(node: str, *command: str, **variables: str) -> subprocess.Popen[str]:
        variables |= environment | {"CROSSOVER_SCRATCH": str(tmp_path / node)}
        return subprocess.Popen(
            [sys.executable, *command, *out],
            env=os.environ | variables,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(*processes: subprocess.Popen[str]) -> list[str]:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(outputs)
        return outputs

    finish(start("prepared", "-m", "crossover.cli", "prepare", study))
    cell = tiny_study.cells[0].name
    pretrain = ["-m", "crossover.cli", "pretrain", study, "--cell", cell, "--arm", "dlm", "--seed", "0"]
    for attempt in ("first", "second"):
        common = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", "PET_MASTER_ADDR": "127.0.0.1"}
        common["PET_MASTER_PORT"] = str(free_ports(1)[0])
        nodes = [
            start(f"{attempt}-{rank}", "-m", "torch.distributed.run", *pretrain, PET_NODE_RANK=str(rank), **common)
            for rank in (0, 1)
        ]
        leading, other = finish(*nodes)
        assert f"trained {cell}/dlm/seed-0" in leading
        assert "trained" not in other
