"""Which checkpoint `crossover serve` takes: a folder, the promoted one, or an arm's best."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from crossover.commands.serve_command import find_checkpoint
from crossover.commands.serve_samples import EXAMPLE_PASSAGE, held_out_passages, readable
from crossover.data.domain_cloze import ClozeItem
from crossover.data.task_items import write_cloze_items
from crossover.errors import WorkspaceError
from crossover.stages.stage_manifests import AnalysisRef, Candidate, CheckpointRef, DeploymentRef
from crossover.storage import ANY, open_store
from crossover.study.identity import RunId
from tests.services.conftest import write_checkpoint


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with the best checkpoint of two arms, that of `ar` promoted."""
    store = open_store(str(tmp_path / "ws"))
    best = {}
    for arm in ("ar", "dlm"):
        name = f"runs/c/{arm}/seed-0/x/checkpoints/step-00000001"
        write_checkpoint(store.path(name), causal=arm == "ar")
        checkpoint = CheckpointRef(step=1, uri=store.uri_of(name), digest=store.publish(name))
        run = RunId(cell="c", arm=arm, seed=0)
        best[arm] = Candidate(run=run, run_digest="x", checkpoint=checkpoint, metric="validation_bpb", value=1.0)
    winner = best["ar"]
    analysis = AnalysisRef(
        study="x",
        uri=store.uri_of("analysis"),
        digest="x",
        report="report.html",
        decision="promote",
        reason="",
        winner=winner,
        winner_analysis="x",
        best=best,
    )
    deployment = DeploymentRef(
        study="x", uri=winner.checkpoint.uri, digest=winner.checkpoint.digest, candidate=winner, reason=""
    )
    store.write_document("analysis/decision.json", analysis.model_dump(mode="json"), replaces=ANY)
    store.write_document("serving/current.json", deployment.model_dump(mode="json"), replaces=ANY)
    return tmp_path / "ws"


def test_the_promoted_checkpoint_or_an_arm_s_best(workspace: Path) -> None:
    folders = {arm: workspace / f"runs/c/{arm}/seed-0/x/checkpoints/step-00000001" for arm in ("ar", "dlm")}
    assert find_checkpoint(str(workspace), None) == folders["ar"]
    assert find_checkpoint(str(workspace), "dlm") == folders["dlm"]
    assert find_checkpoint(str(folders["dlm"]), None) == folders["dlm"]
    with pytest.raises(WorkspaceError, match="choose from ar, dlm"):
        find_checkpoint(str(workspace), "bd")


def test_samples_continue_held_out_text_of_the_study(tmp_path: Path) -> None:
    """Running text, from a sentence's begin and cut between words; the example where the study has no such task."""
    store = open_store(str(tmp_path))
    assert held_out_passages(store) == [EXAMPLE_PASSAGE]
    texts = [("\x1b[2J four words or more", "two words"), ("a", "b c"), ("He had never seen the ", "sea before.")]
    texts.append(("er the hill. The dog ran into the pa", "rk again. And th"))  # an item is cut anywhere
    items = [
        ClozeItem(
            id=str(number),
            cluster="document",
            context=tuple(context.encode()),
            options=(tuple(b"none"), tuple(truth.encode())),
            gold=1,
        )
        for number, (context, truth) in enumerate(texts)
    ]
    write_cloze_items(store.path("tasks/domain-cloze/x"), items)
    store.publish("tasks/domain-cloze/x")
    assert held_out_passages(store, 6) == [
        ("He had never seen the ", "sea before."),
        ("The dog ran into the ", "park again. And"),
    ]


@pytest.mark.parametrize("arm", [None, "ar"])
def test_an_empty_folder_has_nothing_to_serve(arm: str | None, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="neither a checkpoint nor a workspace"):
        find_checkpoint(str(tmp_path), arm)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [("x = 1\n", "x = 1\n"), ("", "''"), ("  \n", r"'  \n'"), ("a\x1b[2J\t\ufffd", "a\\x1b[2J\\t\ufffd"), ("é", "é")],
)
def test_text_for_a_terminal(text: str, shown: str) -> None:
    assert readable(text) == shown


def test_serve_hands_held_out_text_and_origins_to_the_page(workspace: Path) -> None:
    items = [
        ClozeItem(id="0", cluster="d", context=tuple(b"She saw a red boat on "), options=(tuple(b"the lake."),), gold=0)
    ]
    store = open_store(str(workspace))
    write_cloze_items(store.path("tasks/domain-cloze/x"), items)
    store.publish("tasks/domain-cloze/x")
    command = [sys.executable, "-m", "crossover.cli", "serve", str(workspace), "--port", "0"]
    command += ["--allow-origin", "http://a.example", "--dtype", "bf16", "--max-queue", "7", "--log-prompts"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            answer = httpx.get(f"{url}/playground/examples.json", headers={"Origin": "http://a.example"})
            card = httpx.get(f"{url}/v1/models").json()["data"][0]
            body = {"model": "crossover", "prompt": "shown", "max_tokens": 2}
            assert httpx.post(f"{url}/v1/completions", json=body).status_code == 200
        finally:
            process.terminate()  # SIGTERM to `crossover serve` ends the server, which it has become
            _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert card["dtype"] == "bf16"
    assert '"prompts": ["shown"]' in log
    assert answer.json() == [{"prompt": "She saw a red boat on ", "continuation": "the lake."}]
    assert answer.headers["access-control-allow-origin"] == "http://a.example"
