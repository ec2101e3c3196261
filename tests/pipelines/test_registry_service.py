"""A whole study whose steps write over HTTP, with a token, while the service is killed and started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from crossover.registry import Registry
from crossover.registry.access_tokens import create_token
from tests.conftest import write_corpus
from tests.services.registry_server import serving

STUDY = """
name: served
data: {{source: "text:{corpus}/*.txt", sequence_length: 16, validation_fraction: 0.3, validation_tokens: 128}}
grid: {{unique_tokens: [512], models: [pico]}}
seeds: 2
training: {{epochs: 4, batch_size: 8, warmup_steps: 2}}
evaluation:
  {{points: 3, nelbo_draws: 4, chain_rule_examples: 0, cloze_items: 8, cloze_draws: 2, samples: 2, passages: 2}}
analysis: {{metrics: [validation_bpb]}}
"""
TIMED = "('tokens_per_second', 'data_wait', 'peak_memory_gib', 'mfu', 'energy_joules')"
VALUES = "SELECT cell, arm, seed, metric, step, value, state FROM v_curves"
CURVES = f"{VALUES} WHERE metric NOT IN {TIMED} ORDER BY 1, 2, 3, 4, 5"
RUNS = "SELECT cell, arm, seed, status, last_step, last_tokens FROM v_runs ORDER BY 1, 2, 3"
VERDICTS = "SELECT cell, metric, axis, comparison, outcome FROM v_verdicts ORDER BY 1, 2, 3, 4"
DEPLOYMENTS = "SELECT cell, arm, seed, step, current FROM v_deployments"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "served.yaml"
    path.write_text(STUDY.format(corpus=write_corpus(tmp_path / "corpus")))
    yaml.safe_load(path.read_text())
    return path


def start(study: Path, home: Path, **environment: str) -> subprocess.Popen[str]:
    common = {"CROSSOVER_HOME": str(home), "CROSSOVER_THREADS": "1", "CROSSOVER_PARALLELISM": "2"}
    command = [sys.executable, "-m", "crossover.cli", "run", str(study), "--promote", "always"]
    return subprocess.Popen(
        command, env=os.environ | common | environment, stdout=-1, stderr=subprocess.STDOUT, text=True
    )


def test_a_study_over_http_has_the_rows_of_one_in_a_file(study: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/service.sqlite"
    with Registry.open(url) as registry:
        scopes = ("read", "write", "promote", "sql")
        _, token = create_token(registry, "pipeline", scopes=scopes, namespaces=None, actor="test")
    (tmp_path / "token").write_text(f"{token}\n")
    with serving(url, tmp_path, "--tokens") as server:
        settings = {"CROSSOVER_REGISTRY_URL": server.url, "CROSSOVER_REGISTRY_TOKEN_FILE": str(tmp_path / "token")}
        with start(study, tmp_path / "remote", **settings) as process:
            killed = 0
            while process.poll() is None:
                if killed < 4:
                    time.sleep(4)
                    server.kill()
                    time.sleep(1)
                    server.start()
                    killed += 1
                time.sleep(0.2)
            output = process.stdout.read() if process.stdout else ""
        assert process.returncode == 0, output
        assert killed >= 2
        assert token not in output + server.log
    assert not (tmp_path / "remote" / "registry.sqlite").exists()
    assert not list((tmp_path / "remote").rglob("*.jsonl"))
    with start(study, tmp_path / "local") as process:
        output = process.stdout.read() if process.stdout else ""
    assert process.returncode == 0, output
    with Registry.open(url) as remote, Registry.open(f"sqlite:///{tmp_path}/local/registry.sqlite") as local:
        for sql in (CURVES, RUNS, VERDICTS, DEPLOYMENTS):
            rows = remote.query(sql).rows
            assert rows == local.query(sql).rows
            assert rows
        assert remote.query("SELECT COUNT(*) FROM v_attempts WHERE end_reason <> 'done'").rows == ((0,),)


def test_a_wrong_token_is_one_line_and_exit_code_2(study: Path, tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path}/service.sqlite", tmp_path, "--tokens") as server:
        settings = {"CROSSOVER_REGISTRY_URL": server.url, "CROSSOVER_REGISTRY_TOKEN": "xo_1_wrong"}
        with start(study, tmp_path / "home", **settings) as process:
            output = process.stdout.read() if process.stdout else ""
        assert process.returncode == 2
        assert "unknown, has expired or was revoked" in output
        assert "Traceback" not in output
        assert output.strip().endswith("[access.unknown-caller]")
