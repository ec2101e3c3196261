"""What a place means: globs, folders, home folders, brackets, links; packed, torn, changing and exploding files."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from crossover.data.sources import packed_files
from crossover.data.sources.glob_patterns import key_matches, local_files
from crossover.data.sources.source_files import LocalFile, matching_files
from crossover.errors import DataError
from tests.crossover.data.sources.conftest import Read
from tests.crossover.storage.conftest import write_files

PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    names = ["a.txt", "b.md", "deep/c.txt", "deep/er/d.txt", ".hidden/e.txt", ".f.txt", "[draft] x/g[1].txt"]
    write_files(tmp_path / "tree", {name: name.encode() for name in names})
    return tmp_path / "tree"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["a.txt"]),
        ("**/*.txt", ["[draft] x/g[1].txt", "a.txt", "deep/c.txt", "deep/er/d.txt"]),
        ("**.txt", ["[draft] x/g[1].txt", "a.txt", "deep/c.txt", "deep/er/d.txt"]),
        ("deep/**", ["deep/c.txt", "deep/er/d.txt"]),
        ("*/er/?.txt", ["deep/er/d.txt"]),
        ("[ab].*", ["a.txt", "b.md"]),
        ("[draft] x/*", ["[draft] x/g[1].txt"]),
        ("[draft] x/g[1].txt", ["[draft] x/g[1].txt"]),
        ("[draft] x", ["[draft] x/g[1].txt"]),
        (".*", [".f.txt"]),
        ("", ["[draft] x/g[1].txt", "a.txt", "b.md", "deep/c.txt", "deep/er/d.txt"]),
    ],
)
def test_patterns(tree: Path, pattern: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = [path.relative_to(tree).as_posix() for path in local_files(f"{tree}/{pattern}")]
    assert found == expected
    monkeypatch.setenv("HOME", str(tree.parent))
    assert [path.relative_to(tree).as_posix() for path in local_files(f"~/tree/{pattern}")] == expected
    monkeypatch.chdir(tree.parent)
    assert [path.as_posix() for path in local_files(f"tree/{pattern}")] == [f"tree/{name}" for name in expected]
    if pattern not in ("", "[draft] x"):  # folders, which keys of a bucket do not have
        keys = [path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()]
        assert sorted(key for key in keys if key_matches(key, pattern)) == expected


def test_links_to_folders_are_followed_but_not_around_in_circles(tree: Path) -> None:
    for name in ("latest", "current"):
        (tree / "deep" / name).symlink_to(tree)
    (tree / "deep" / "loop").symlink_to("loop")
    (tree / "other").symlink_to(tree / "deep" / "er")
    found = [path.relative_to(tree).as_posix() for path in local_files(f"{tree}/**/*.txt")]
    assert found == ["[draft] x/g[1].txt", "a.txt", "deep/c.txt", "deep/er/d.txt", "other/d.txt"]


def test_a_folder_means_its_files_of_the_kind(tmp_path: Path, read: Read) -> None:
    line = b'{"text": "x"}'
    packed = gzip.compress(line)
    write_files(tmp_path, {"a.jsonl": line, "b/c.ndjson.gz": packed, "README.md": b"no", ".git/x.json": b""})
    assert [file.name for file in matching_files(str(tmp_path), (".jsonl", ".ndjson"))] == [
        f"{tmp_path}/a.jsonl",
        f"{tmp_path}/b/c.ndjson.gz",
    ]
    assert read(f"jsonl:{tmp_path}")[0] == ["x", "x"]


def test_a_place_without_files_is_refused(tmp_path: Path) -> None:
    for place in (str(tmp_path), f"{tmp_path}/none.txt", f"{tmp_path}/*"):
        with pytest.raises(DataError, match="matches no file"):
            matching_files(place)


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_files(suffix: str, tmp_path: Path, read: Read) -> None:
    pack = PACKERS[suffix]
    (tmp_path / f"x.jsonl{suffix}").write_bytes(pack(b'{"text": "one"}\n') + pack(b'{"text": "two"}\n'))
    texts, counts = read(f"jsonl:{tmp_path}/*")
    assert texts == ["one", "two"]
    assert counts.bytes_read == (tmp_path / f"x.jsonl{suffix}").stat().st_size


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("fault", ["torn", "altered", "foreign"])
def test_a_torn_file_is_named_and_its_rest_skipped(suffix: str, fault: str, tmp_path: Path, read: Read) -> None:
    lines = "".join(f'{{"text": "number {n} {zlib.crc32(str(n).encode())}"}}\n' for n in range(20_000)).encode()
    packed = bytearray(PACKERS[suffix](lines))
    if fault == "torn":
        del packed[-len(packed) // 3 :]
    elif fault == "altered":
        middle = len(packed) // 2
        packed[middle : middle + 64] = bytes(64)
    else:
        packed = bytearray(b"this was never packed " * 100)
    (tmp_path / f"a.jsonl{suffix}").write_bytes(packed)
    (tmp_path / "b.jsonl").write_text('{"text": "last"}')
    with pytest.raises(DataError, match=rf"a\.jsonl\{suffix} cannot be read .*data\.bad_documents to skip"):
        read(f"jsonl:{tmp_path}/*")
    texts, counts = read(f"jsonl:{tmp_path}/*", bad_documents="skip")
    assert texts[-1] == "last"
    assert counts.skipped.counts["unreadable"] == 1
    assert len(texts) < 20_001


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_file_that_expands_beyond_reason_is_given_up(
    suffix: str, tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_files, "ALWAYS_ALLOWED", 1 << 20)
    (tmp_path / f"x.jsonl{suffix}").write_bytes(PACKERS[suffix](bytes(32 << 20)))
    with pytest.raises(DataError, match=rf"x\.jsonl\{suffix} cannot be read \(it unpacks to more than") as caught:
        read(f"jsonl:{tmp_path}/*", longest_document=1 << 28)
    assert caught.value.code == "data.unreadable"


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "one"}\n')
    original = LocalFile.open

    def opened(file: LocalFile) -> object:
        stream = original(file)
        with file.path.open("a") as writer:
            writer.write('{"text": "two"}\n')
        return stream

    monkeypatch.setattr(LocalFile, "open", opened)
    for policy in ("refuse", "skip"):
        with pytest.raises(DataError, match=r"x\.jsonl was changed while it was read"):
            read(f"jsonl:{tmp_path}/x.jsonl", bad_documents=policy)


def test_an_unpacked_stream_ends_with_its_file() -> None:
    stored = io.BytesIO(gzip.compress(b"text"))
    with packed_files.unpacked("x.gz", stored) as content:
        assert content.read() == b"text"
