"""Worker processes: the same shards, the same errors, and no process that outlives the one that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crossover.data.shards.shard_plan import plan_shards
from crossover.data.shards.shard_processes import make_shards
from crossover.errors import WorkspaceError
from crossover.study.data_config import DataConfig
from tests.crossover.data.shards.planted_corpus import content_of, shards_of, write_corpus

ROOT = Path(__file__).parents[4]
LONG = """
import sys
from pathlib import Path
from crossover.data.shards.shard_plan import plan_shards
from crossover.data.shards.shard_processes import make_shards
from crossover.failures import exiting_on_failure
from crossover.study.data_config import DataConfig
from crossover.termination import terminable

if __name__ == "__main__":
    data = DataConfig(source=f"text:{sys.argv[1]}/*.txt", separator="\\n\\n")
    with exiting_on_failure(), terminable():
        make_shards(data, plan_shards(data, 2), Path(sys.argv[2]), 2)
"""


def test_processes_write_the_same_shards(tmp_path: Path) -> None:
    data = DataConfig(source=f"jsonl:{write_corpus(tmp_path / 'in')}", bad_documents="skip")
    alone, shared = (shards_of(data, 5, tmp_path / str(workers), workers) for workers in (1, 3))
    assert [content_of(folder) for folder in alone] == [content_of(folder) for folder in shared]


def test_progress_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        (tmp_path / f"{number}.txt").write_text("a few words of text \n" * 400_000)
    shards_of(DataConfig(source=f"text:{tmp_path}/*.txt"), 2, tmp_path / "out", workers=2)
    assert "16/16" in capfd.readouterr().err


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    data = DataConfig(source=f"jsonl:{write_corpus(tmp_path / 'in')}", bad_documents="skip")
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="cannot be written"):
        make_shards(data, plan_shards(data, 2), tmp_path / "file" / "shards", 2)


def children_of(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="of Linux's /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(how: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):  # takes half a minute
        text = "\n\n".join(f"document {document} of {number} " + "with its words " * 40 for document in range(300_000))
        (tmp_path / "in" / f"{number}.txt").write_text(text)
    command = [sys.executable, "-c", LONG, str(tmp_path / "in"), str(tmp_path / "out")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "out").glob("*/.0.documents.*"))) < 2:
            assert time.monotonic() < deadline and process.poll() is None
            os.sched_yield()
        workers = children_of(process.pid)
        process.send_signal(how)
        assert process.wait(20) == (143 if how == signal.SIGTERM else -how)
        while any(map(is_alive, workers)):
            assert time.monotonic() < deadline
            os.sched_yield()
        assert len(workers) >= 2
    finally:
        process.kill()
        assert process.stderr is not None
        process.stderr.close()


@pytest.mark.parametrize(
    ("end", "words"), [("os._exit(9)", "exit code 9; its own"), ("os.kill(os.getpid(), 9)", "SIGKILL.*may lack memory")]
)
def test_a_worker_that_ends_is_an_error_of_the_user(
    end: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that cannot even be imported says nothing on its pipe."""
    data = DataConfig(source=f"jsonl:{write_corpus(tmp_path / 'in')}", bad_documents="skip")
    (tmp_path / "sitecustomize.py").write_text(f"import os, sys\nif '--multiprocessing-fork' in sys.argv: {end}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(WorkspaceError, match=words):
        make_shards(data, plan_shards(data, 2), tmp_path / "out", 2)
