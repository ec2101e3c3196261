"""Documents between two passes: the same each time, on disk, and gone with the process."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossover.data import document_spool
from crossover.data.document_spool import Document, DocumentSpool
from crossover.errors import WorkspaceError

TEXTS = st.text(st.characters(exclude_categories=()), max_size=50)
DOCUMENTS = st.lists(st.builds(Document, TEXTS, TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=2)), max_size=20)


@pytest.fixture(params=["zstandard", "zlib"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "zstandard", None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spools")


@settings(max_examples=50, deadline=None)
@given(documents=DOCUMENTS, frame=st.sampled_from([1, 64, 1 << 20]))
def test_what_is_appended_comes_back_in_order_and_again(documents: list[Document], frame: int, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, DocumentSpool(folder) as spool:
        patch.setattr(document_spool, "FRAME_BYTES", frame)
        for document in documents:
            spool.append(*document)
        assert len(spool) == len(documents)
        assert list(spool) == documents
        assert [pair for pair in zip(spool, spool, strict=True)] == [(d, d) for d in documents]


@pytest.mark.usefixtures("codec")
def test_full_frames_are_on_disk_compressed(folder: Path) -> None:
    with DocumentSpool(folder) as spool:
        for number in range(40):
            spool.append(f"{number}", "the same words again " * 5000)
        assert 0 < spool.stored_bytes < 40 * 105_000 / 20
        assert len(spool._frame) < document_spool.FRAME_BYTES
        assert [document.name for document in spool] == [f"{number}" for number in range(40)]


def test_documents_may_be_appended_between_two_readings(folder: Path) -> None:
    with DocumentSpool(folder) as spool:
        spool.append("a", "first")
        reading = iter(spool)
        assert next(reading).name == "a"
        spool.append("b", "second")
        assert list(reading) == []
        assert [document.name for document in spool] == ["a", "b"]


def test_a_killed_process_leaves_nothing(tmp_path: Path) -> None:
    code = f"""
import os, pathlib
from crossover.data.document_spool import DocumentSpool
spool = DocumentSpool(pathlib.Path({str(tmp_path)!r}))
for number in range(100):
    spool.append("n", os.urandom(40_000).hex())
print(spool.stored_bytes, flush=True)
os.kill(os.getpid(), {int(signal.SIGKILL)})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert int(done.stdout) > 1_000_000
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_of_the_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_spool, "FRAME_BYTES", 1)
    with DocumentSpool(folder) as spool:

        def full(_: bytes) -> bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        spool._compress = full
        with pytest.raises(WorkspaceError, match="the disk is full"):
            spool.append("a", "text")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match=r"file/spools.*cannot be written"):
        DocumentSpool(tmp_path / "file" / "spools")
