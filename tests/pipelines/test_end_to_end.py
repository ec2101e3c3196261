"""The whole compiled pipeline with kfp.local, started as a user would, on a tiny study; and when it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest

from crossover.registry import Registry, upgrade
from tests.postgres import server

PASSWORD = "pa55-of-the-registry"  # noqa: S105 - of a server for this test


def command(study: str | Path, home: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "crossover.cli", "run", str(study), "--out", str(home / "ws"), *flags]


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"CROSSOVER_HOME": str(home), "CROSSOVER_THREADS": "1", "CROSSOVER_PARALLELISM": "2"}


def run(study: str | Path, home: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(study, home, *flags), env=environment(home), capture_output=True, text=True, check=False
    )


def run_watched(study: str, home: Path, url: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run with a registry's URL; also returns the command lines of all processes but the run itself, meanwhile."""
    seen: set[str] = set()
    with subprocess.Popen(
        command(study, home, "--promote", "always", "--seeds-per-task", "2", "--registry", url),
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while True:
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):  # of a process that ended meanwhile
                    if path.parent.name != str(process.pid):
                        seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            with suppress(subprocess.TimeoutExpired):
                output, error = process.communicate(timeout=0.2)
                return subprocess.CompletedProcess([], process.returncode, output, error), seen


def has_resume_point(runs: Path) -> bool:
    """Whether a run has saved something to go on from; folders may vanish while we look."""
    return any(
        Path(folder).parent.name == "resume" and "manifest.json" in files and not Path(folder).name.startswith(".")
        for folder, _, files in os.walk(runs)
    )


def long_study(home: Path, epochs: int) -> Path:
    study = home / "long.yaml"
    study.write_text(
        "name: long\ndata: {sequence_length: 32, validation_tokens: 512}\n"
        "grid: {unique_tokens: [2048], models: [pico]}\n"
        f"seeds: 2\ntraining: {{epochs: {epochs}, batch_size: 16}}\n"
        "evaluation: {points: 4, nelbo_draws: 2, chain_rule_examples: 0, cloze_items: 4, cloze_draws: 1}\n"
    )
    return study


def query(home: Path, sql: str, url: str = "") -> tuple[tuple[object, ...], ...]:
    with Registry.open(url or f"sqlite:///{home}/registry.sqlite") as registry:
        return registry.query(sql).rows


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """URL of an empty database on a server that takes any password."""
    with server() as template:
        yield template.format(database="postgres").replace("@/", f":{PASSWORD}@/")


def processes_of(home: Path) -> list[str]:
    """Command lines of all processes that name a folder, as every stage and the pipeline do."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # of a process that ended meanwhile
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if str(home) in line]


def test_two_seeds_run_end_to_end_and_yield_insufficient_evidence(tmp_path: Path, postgres: str) -> None:
    """The registry's URL holds a password, which must be in no file, no line of output and no child's command line."""
    upgrade(postgres)
    result, command_lines = run_watched("smoke", tmp_path, postgres)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "ANSWER: Insufficient evidence" in result.stdout
    rows = partial(query, tmp_path, url=postgres)
    assert {outcome for (outcome,) in rows("SELECT outcome FROM v_verdicts")} == {"insufficient evidence"}
    assert rows("SELECT COUNT(*) FROM v_runs WHERE status = 'done'") == ((4,),)
    assert rows("SELECT COUNT(*) FROM v_deployments") == ((1,),)
    counts = {row[0]: row[1] for row in rows("SELECT metric, COUNT(*) FROM v_curves GROUP BY metric")}
    assert counts["validation_bpb"] == counts["domain-cloze_margin"] == 12
    page = (tmp_path / "ws" / "analysis" / "report.html").read_text("utf-8")
    HTMLParser().feed(page)
    assert "insufficient evidence" in page
    executor = next((tmp_path / "ws" / "pipeline").rglob("crossover-analysis/executor_output.json"))
    artifacts = json.loads(executor.read_text())["artifacts"]
    assert {"report", "summary", "verdicts", "baseline", "candidate", "analysis"} <= set(artifacts)
    deployment = json.loads((tmp_path / "ws" / "serving" / "current.json").read_text())
    assert (Path(deployment["uri"]) / "model.safetensors").is_file()

    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "ws" / "runs").rglob("*") if p.is_file()}
    again = run("smoke", tmp_path, "--json", "--seeds-per-task", "2", "--registry", postgres)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["decision"]["decision"] == "hold"
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps, "a finished study is not trained or measured again"

    assert any("crossover_pipelines.local" in line for line in command_lines), "the children were seen"
    assert [line for line in command_lines if PASSWORD in line] == []
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {".log", ".json"} <= {p.suffix for p in files}
    assert [p for p in files if PASSWORD.encode() in p.read_bytes()] == []
    assert PASSWORD not in result.stdout + result.stderr + again.stdout + again.stderr


def test_a_failing_stage_is_named_with_its_own_error(tmp_path: Path) -> None:
    study = tmp_path / "bad.yaml"
    study.write_text("name: bad\ndata: {source: 'text:/nowhere/*.txt'}\nseeds: 2\n")
    result = run(study, tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    message = "crossover: stage data_preparation: data.source: '/nowhere/*.txt' matches no file; "
    assert result.stderr.startswith(message)
    assert len(list((tmp_path / "ws" / "logs").glob("run-*.log"))) == 1


def test_ctrl_c_in_the_middle_then_the_next_run_goes_on(tmp_path: Path) -> None:
    study = long_study(tmp_path, epochs=60)
    tasks = ("--seeds-per-task", "2")  # half the processes of the default
    with subprocess.Popen(
        command(study, tmp_path, *tasks),
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # a shell ignores Ctrl-C in what it starts in the background, tests included
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    ) as process:
        while not has_resume_point(tmp_path / "ws" / "runs"):
            assert process.poll() is None
            time.sleep(0.05)
        busy = run(study, tmp_path)
        assert busy.returncode == 2
        assert "another `crossover run` is working on it" in busy.stderr
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
    assert process.returncode == 130
    assert "run the same command again to go on" in error
    left = subprocess.run(
        ["/usr/bin/env", "pgrep", "-f", str(tmp_path / "ws")], capture_output=True, text=True, check=False
    )
    assert left.stdout == "", "nothing is left running"
    result = run(study, tmp_path, *tasks)
    assert result.returncode == 0, result.stderr
    assert query(tmp_path, "SELECT COUNT(*) FROM v_runs WHERE status = 'done'") == ((4,),)
    doubled = (
        "SELECT COUNT(*) FROM (SELECT 1 FROM v_curves GROUP BY cell, arm, seed, metric, step HAVING COUNT(*) > 1) d"
    )
    assert query(tmp_path, doubled) == ((0,),)


def test_the_pipeline_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    """It would go on training and hold the workspace's lock, and the same command would be refused."""
    study = long_study(tmp_path, epochs=2000)
    with subprocess.Popen(command(study, tmp_path), env=environment(tmp_path), stdout=subprocess.DEVNULL) as process:
        while not has_resume_point(tmp_path / "ws" / "runs"):
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    deadline = time.monotonic() + 12
    while left := processes_of(tmp_path):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
