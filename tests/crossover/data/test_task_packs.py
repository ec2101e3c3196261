"""Files of task packs that are torn, or hold what is no document."""

from __future__ import annotations

import gzip
import json
import lzma
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard

from crossover.data.task_packs import Pack, find_pack, read_pack
from crossover.errors import DataError

LINES = "".join(json.dumps({"query": f"question {n * 7919}"}) + "\n" for n in range(50)).encode()
PACKED = {".gz": gzip.compress(LINES), ".xz": lzma.compress(LINES), ".zst": zstandard.compress(LINES)}


def pack_of(folder: Path, name: str, content: bytes) -> Pack:
    (folder / name).write_bytes(content)
    return Pack(name="p", format="multiple-choice", licence="none", file=name, sha256=sha256(content).hexdigest())


@pytest.mark.parametrize("suffix", PACKED)
def test_a_torn_or_altered_pack_is_named(suffix: str, tmp_path: Path) -> None:
    packed = PACKED[suffix]
    middle = len(packed) // 2
    altered = packed[:middle] + bytes(8) + packed[middle + 8 :]
    assert len(list(read_pack(pack_of(tmp_path, f"p.jsonl{suffix}", packed), tmp_path))) == 50
    for content in (packed[:middle], altered, packed + b"more", b"plain text"):
        with pytest.raises(DataError, match=rf"p\.jsonl{suffix} cannot be read after line \d+ \(") as caught:
            list(read_pack(pack_of(tmp_path, f"p.jsonl{suffix}", content), tmp_path))
        assert (caught.value.code, caught.value.field) == ("tasks.malformed", "evaluation.tasks: p")


@pytest.mark.parametrize("line", [b"[" * 100_000, b"[1]", b"\xff", b"{", b"\n"])
def test_a_line_that_is_no_document_is_named(line: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2 is not a JSON object"):
        list(read_pack(pack_of(tmp_path, "p.jsonl", b'{"query": "a"}\n' + line + b"\n"), tmp_path))


@pytest.mark.parametrize("base", ["[hellaswag]", "{a: b}", "nothing"])
def test_a_base_that_is_no_pack_is_named(base: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"base: {base}\n")
    with pytest.raises(DataError) as caught:
        find_pack("mine", tmp_path)
    assert caught.value.code in ("tasks.unknown", "tasks.bad-pack")


def test_half_a_character_is_named_and_a_whole_one_is_read(tmp_path: Path) -> None:
    for escaped, text in (("\\ud83d\\ude00", "\N{GRINNING FACE}"), ("\\\\ud83d", "\\ud83d"), ("\\uD83d", None)):
        pack = pack_of(tmp_path, "p.jsonl", f'{{"query": "{escaped}"}}\n'.encode())
        if text is not None:
            assert [*read_pack(pack, tmp_path)] == [{"query": text}]
            continue
        with pytest.raises(DataError, match=r"p\.jsonl line 1 has half of a character"):
            list(read_pack(pack, tmp_path))
