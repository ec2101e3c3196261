"""Shards in a workspace: written one by one, reused after a failure, merged, and deleted."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from crossover.cli import main
from crossover.data.shards import shard_processes
from crossover.errors import StudyError
from crossover.settings import get_settings
from crossover.stages.prepare_stage import open_dataset, prepare_stage
from crossover.stages.shard_stage import SHARDS, check_shards, shard_items, shard_stage
from crossover.stages.study_context import StudyContext, open_study
from crossover.study.study_config import StudyConfig
from tests.crossover.data.shards.planted_corpus import content_of, study_of, write_corpus
from tests.crossover.storage.conftest import Place, endpoint, place

__all__ = ["endpoint", "place"]
ROOT = Path(__file__).parents[3]
KILLED = """
import os, signal, sys
from pathlib import Path
from crossover.data.shards import shard_files, shard_plan
from crossover.data import split_corpus
from crossover.stages import prepare_stage
from crossover.storage.folder_store import FolderStore
from crossover.study.load_study import parse_study
from crossover.stages.study_context import open_study

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def after(function, calls=1):
    def call(*arguments, **named):
        nonlocal calls
        result, calls = function(*arguments, **named), calls - 1
        return result if calls else die()
    return call

shard_plan.SHARD_BYTES = 6000
phase, study, out = sys.argv[1:]
if phase == "shard":
    shard_files.text_digest = after(shard_files.text_digest, 60)
elif phase == "merge":
    split_corpus.fill_sides = die
elif phase == "tokens":
    split_corpus.SplitSide._encode = after(split_corpus.SplitSide._encode)
elif phase == "publish":
    FolderStore.publish = die
elif phase == "published":
    FolderStore.publish = after(FolderStore.publish)
else:
    prepare_stage.delete_shards = die
with open_study(parse_study(Path(study).read_text()), out) as context:
    prepare_stage.prepare_stage(context)
"""
"""Prepares a corpus in several shards and is killed in one phase."""


@pytest.fixture
def study(tmp_path: Path) -> StudyConfig:
    return study_of({"source": f"jsonl:{write_corpus(tmp_path / 'in')}", "bad_documents": "skip"})


@pytest.fixture
def expected(study: StudyConfig, tmp_path: Path) -> dict[str, bytes]:
    """The dataset of one process."""
    with open_study(study, str(tmp_path / "expected")) as context:
        return dataset_of(context, prepare_stage(context).uri)


@pytest.fixture
def opened(
    place: Place, study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], StudyContext]]:
    """Opens the study's workspace on a machine."""
    contexts = []

    def open_on(machine: str) -> StudyContext:
        settings = place.settings(machine)
        for name, value in (
            ("ENDPOINT", place.endpoint),
            ("SECURE", "false"),
            ("ACCESS_KEY", "a"),
            ("SECRET_KEY", "a"),
        ):
            monkeypatch.setenv(f"CROSSOVER_S3_{name}", value)
        monkeypatch.setenv("CROSSOVER_SCRATCH", str(settings.scratch))
        get_settings.cache_clear()
        context = open_study(study, place.uri)
        contexts.append(context)
        return context.__enter__()

    yield open_on
    for context in contexts:
        context.__exit__(None, None, None)


def dataset_of(context: StudyContext, uri: str) -> dict[str, bytes]:
    return content_of(context.store.fetch(context.store.name_of(uri)))


def nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the corpus is read again")

    monkeypatch.setattr(shard_processes, "write_shard", refuse)


def test_shards_of_several_machines_are_merged_on_another(
    opened: Callable[[str], StudyContext], expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [shard_stage(opened(f"machine{number}"), shard) for number, shard in enumerate(shard_items(4))]
    context = opened("last")
    assert context.store.names(SHARDS) == sorted(names) and len(set(names)) == 4
    nothing_is_read(monkeypatch)
    assert shard_stage(opened("machine1"), "2/4") == names[1], "it is there"
    reference = prepare_stage(context, 4)
    assert dataset_of(context, reference.uri) == expected
    assert context.store.names(SHARDS) == []
    assert not context.store.path(SHARDS).exists()
    assert shard_stage(context, "2/4") == "", "the dataset is there"
    assert prepare_stage(context, 4) == reference


def test_what_is_missing_or_altered_is_made_by_the_merge(
    opened: Callable[[str], StudyContext], expected: dict[str, bytes], place: Place
) -> None:
    names = [shard_stage(opened("one"), shard) for shard in ("1/3", "3/3")]
    if not place.endpoint:
        (Path(place.uri) / names[0] / "0.digests").write_bytes(b"torn")
    context = opened("two")
    assert dataset_of(context, prepare_stage(context).uri) == expected, "and of how many need not be said"
    assert context.store.names(SHARDS) == []


def test_shards_of_other_files_are_not_used(
    opened: Callable[[str], StudyContext], study: StudyConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    context = opened("one")
    shard_stage(context, "1/2")
    first = min(Path(study.data.source.removeprefix("jsonl:")).iterdir())
    first.write_text(first.read_text() + json.dumps({"text": "one more document of many new words"}) + "\n")
    reference = prepare_stage(context)
    assert "1 shards in the workspace are of other files or settings" in capsys.readouterr().out
    assert open_dataset(context, reference).manifest.sources.parts[0].documents > 100


@pytest.mark.parametrize("phase", ["shard", "merge", "tokens", "publish", "published", "cleaning"])
def test_a_killed_preparation_goes_on(
    phase: str, study: StudyConfig, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, file = tmp_path / "ws", tmp_path / "study.json"
    file.write_text(study.model_dump_json())
    command = [sys.executable, "-c", KILLED, phase, str(file), str(out)]
    environment = os.environ | ({"CROSSOVER_PARALLELISM": "1"} if phase == "shard" else {})  # one process, or workers
    killed = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, env=environment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = len(list((out / SHARDS).glob("*/manifest.json")))
    assert finished >= 1 if phase == "shard" else finished > 3
    if phase != "shard":
        nothing_is_read(monkeypatch)
    with open_study(study, str(out)) as context:
        assert dataset_of(context, prepare_stage(context).uri) == expected
    assert not (out / SHARDS).exists()
    assert not [path for path in (out / "datasets").rglob(".*") if path.is_file()]


def test_two_preparations_at_once_make_one_dataset(
    study: StudyConfig, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out, file, go = tmp_path / "ws", tmp_path / "study.json", tmp_path / "go"
    file.write_text(study.model_dump_json())
    os.mkfifo(go)
    slow = (
        "from crossover.data import split_corpus\nfill = split_corpus.fill_sides\n"
        "def wait(*arguments):\n    open(sys.argv[3]).read()\n    return fill(*arguments)\n"
        "split_corpus.fill_sides = wait\n"
    )
    program = (
        "import sys\nfrom crossover.cli import main\n{}sys.exit(main(['prepare', sys.argv[1], '--out', sys.argv[2]]))\n"
    )
    arguments = [str(file), str(out), str(go)]
    first = subprocess.Popen([sys.executable, "-c", program.format(slow), *arguments], cwd=ROOT)
    try:
        with go.open("w"):  # opens when the first one merges
            second = subprocess.Popen(
                [sys.executable, "-c", program.format(""), *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
            )
            assert second.stderr is not None
            assert "another process prepares data in" in second.stderr.readline()
        assert first.wait(60) == 0
        assert second.wait(60) == 0
        second.stderr.close()
    finally:
        first.kill()
    [dataset] = (out / "datasets").glob("[!.]*")
    assert content_of(dataset) == expected


def test_a_full_disk_leaves_nothing_half(study: StudyConfig, tmp_path: Path) -> None:
    """A real file system that is full: a tmpfs in a mount namespace of the process."""
    disk, file = tmp_path / "disk", tmp_path / "study.json"
    disk.mkdir()
    big = study.model_copy(update={"data": study.data.model_copy(update={"source": "stdlib:"})})
    file.write_text(big.model_dump_json())
    script = (
        f"mount -t tmpfs -o size=1m tmpfs {disk} || exit 77\n"
        f"{sys.executable} -m crossover.cli prepare {file} --out {disk}/ws\n"
        f"code=$?; find {disk}/ws/shards {disk}/ws/datasets -type f >&2; exit $code"
    )
    environment = os.environ | {"CROSSOVER_SCRATCH": str(disk / "scratch")}
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, env=environment)
    if done.returncode in (1, 77) and "crossover:" not in done.stderr:
        pytest.skip(f"no mount namespaces here: {done.stderr}")
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("read ", "find: "))]
    assert len(lines) == 1 and "the disk is full" in lines[0], "a message, and no file left"


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "a/b", "1/0"])
def test_no_such_shard(shard: str, study: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "study.json"
    file.write_text(study.model_dump_json())
    assert main(["prepare", str(file), "--out", str(tmp_path / "ws"), "--shard", shard]) == 2
    assert "write I/N, such as 3/16" in capsys.readouterr().err


def test_the_verb_writes_a_shard(study: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "study.json", tmp_path / "ws"
    file.write_text(study.model_dump_json())
    for shard in ("2/2", "1/2"):
        assert main(["prepare", str(file), "--out", str(out), "--shard", shard]) == 0
        assert capsys.readouterr().out.startswith(f"shards/0000{shard[0]}-of-00002-")
    assert len(list((out / SHARDS).iterdir())) == 2
    assert main(["prepare", str(file), "--out", str(out)]) == 0
    assert not (out / SHARDS).exists()


def test_shards_of_another_study_stay(study: StudyConfig, tmp_path: Path) -> None:
    data = study.data.model_copy(update={"longest_document": 70_000})
    edited, out = study.model_copy(update={"data": data}), tmp_path / "ws"
    with open_study(study, str(out)) as context:
        shard_stage(context, "1/2")
    with open_study(edited, str(out)) as context:
        kept = shard_stage(context, "1/3")
    with open_study(study, str(out)) as context:
        prepare_stage(context)
        assert [f"{SHARDS}/{path.name}" for path in (out / SHARDS).iterdir()] == [kept]
    (tmp_path / "in").rename(tmp_path / "moved")
    with open_study(study, str(out)) as context:
        prepare_stage(context)  # whose they are cannot be told without the corpus, which is not needed otherwise
        assert (out / kept).exists()


def test_the_number_of_shards_is_checked() -> None:
    with pytest.raises(StudyError, match="data_shards"):
        check_shards(0)
