"""Files as they lie in real folders: pipes, loops, foreign names and encodings, packed in every way, of odd columns."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import socket
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from crossover.cli import main
from crossover.data.corpus_survey import source_of
from crossover.data.sources import SourceReport
from crossover.data.sources.source_files import LocalFile
from crossover.errors import DataError
from tests.crossover.data.sources.conftest import Read

TEXTS = [f"Record {n}: number {n * 7919} of the year {1900 + n}, with some more words." for n in range(60)]
LINES = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()


@pytest.mark.timeout(60)
def test_pipes_sockets_and_loops_are_no_files(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    os.mkfifo(tmp_path / "b.jsonl")
    (tmp_path / "c.jsonl").symlink_to("d.jsonl")
    (tmp_path / "d.jsonl").symlink_to("c.jsonl")
    (tmp_path / "e.jsonl").symlink_to("nowhere")
    (tmp_path / "f").symlink_to(tmp_path)
    with socket.socket(socket.AF_UNIX) as pipe:
        pipe.bind(os.path.relpath(tmp_path / "g.jsonl"))
        for place in ("", "/*.jsonl", "/**/*.jsonl"):
            assert read(f"jsonl:{tmp_path}{place}")[0] == TEXTS
        for name in "bceg":
            with pytest.raises(DataError, match="matches no file"):
                read(f"jsonl:{tmp_path}/{name}.jsonl")
    with pytest.raises(DataError, match="matches no file"):
        read("text:/dev/zero")


def test_names_of_any_bytes_are_told_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = b'{"text": "caf\xe9"}\n'
    for name in (b"new\nline", b"not\xffutf-8", b"color\x1b[31m"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name + b".jsonl")).write_bytes(LINES + bad)
    data: dict[str, object] = {"source": f"jsonl:{tmp_path}/*.jsonl", "bad_documents": "skip"}
    data |= {"sequence_length": 16, "validation_fraction": 0.3, "validation_tokens": 64}
    study = {"data": data, "grid": {"unique_tokens": [256], "models": ["pico"]}, "evaluation": {"tasks": []}}
    (tmp_path / "study.yaml").write_text(json.dumps(study))
    assert main(["prepare", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "w")]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "bad documents skipped" in line]
    for shown in ("new\\nline", "not\\xffutf-8", "color\\x1b[31m"):
        assert f"{tmp_path}/{shown}.jsonl:61 is not UTF-8" in line


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_unicode_encodings_are_told_by_their_mark(encoding: str, tmp_path: Path, read: Read) -> None:
    (tmp_path / "x.jsonl").write_bytes(LINES.decode().encode(encoding))
    (tmp_path / "x.txt").write_bytes(TEXTS[0].encode(encoding))
    for source in (f"jsonl:{tmp_path}/x.jsonl", f"text:{tmp_path}/x.txt"):
        with pytest.raises(DataError, match="begins like UTF-16 or UTF-32"):
            read(source)


@pytest.mark.parametrize(
    ("value", "what"),
    [(["a"], "a list"), (7, "a number"), (1.5, "a number"), (True, "true or false"), ({"a": 1}, "an object: name")],
)
def test_what_stands_in_the_place_of_text_is_told(value: object, what: str, tmp_path: Path, read: Read) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps({"text": value}))
    pq.write_table(pa.table({"text": [value]}), tmp_path / "x.parquet")
    for scheme in ("jsonl", "parquet"):
        with pytest.raises(DataError, match=f":1 has 'text', which is {what}"):
            read(f"{scheme}:{tmp_path}/x.{scheme}")


@pytest.mark.parametrize("policy", ["refuse", "skip"])
def test_where_all_is_skipped_the_first_reason_is_told(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": null}\n' * 3)
    study = {"data": {"source": f"jsonl:{tmp_path}/x.jsonl", "bad_documents": policy}, "evaluation": {"tasks": []}}
    (tmp_path / "study.yaml").write_text(json.dumps(study))
    assert main(["prepare", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "w")]) == 2
    assert "x.jsonl:1 has 'text', which is null" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["large", "dictionary", "view", "binary", "chunked"])
def test_text_columns_of_every_type(kind: str, tmp_path: Path, read: Read) -> None:
    text = pa.array(TEXTS)
    columns = {
        "large": text.cast(pa.large_string()),
        "dictionary": text.dictionary_encode(),
        "view": text.cast(pa.string_view()),
        "binary": text.cast(pa.binary()),
        "chunked": pa.chunked_array([text[:7], text[7:]]),
    }
    pq.write_table(
        pa.table({"text": columns[kind], "meta": pa.array([{"a": {"b": one}} for one in TEXTS])}), tmp_path / "x"
    )
    assert read(f"parquet:{tmp_path}/x")[0] == TEXTS
    assert read(f"parquet:{tmp_path}/x", text_field="meta.a.b")[0] == TEXTS


def test_a_date_that_python_has_not_is_neither_text_nor_score(tmp_path: Path, read: Read) -> None:
    dates = pa.array([10**15] * 2, pa.timestamp("s"))
    table = pa.table({"text": ["a", "b"], "date": dates})
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    source = f"arrow:{tmp_path}/x.arrow"
    assert read(source)[0] == ["a", "b"]
    assert read(source, text_field="date", bad_documents="skip")[1].skipped.counts == {"no text": 2}
    scores = {"scorer": "column", "column": "date"}
    assert read(source, quality=scores, bad_documents="skip")[1].skipped.counts == {"no score": 2}
    with pytest.raises(DataError, match=r"CORPUS: the first document of .* cannot be read"):
        source_of(source)


def test_a_name_of_a_column_that_is_no_utf8_is_a_torn_file(tmp_path: Path, read: Read) -> None:
    pq.write_table(pa.table({"text": ["a"], "name": ["b"]}), tmp_path / "x.parquet", store_schema=False)
    content = (tmp_path / "x.parquet").read_bytes().replace(b"name", b"\xffame")
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.parquet cannot be read"):
        read(f"parquet:{tmp_path}/x.parquet")


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, read: Read) -> None:
    pq.write_table(pa.table([TEXTS, TEXTS], names=["text", "text"]), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"has 2 columns 'text' \(it has 'text', 'text'\)"):
        read(f"parquet:{tmp_path}/x.parquet")
    texts, counts = read(f"parquet:{tmp_path}/x.parquet", bad_documents="skip")
    assert (texts, counts.skipped.counts) == ([], {"no text": 60})


def test_an_altered_page_is_found_where_the_writer_left_checksums(tmp_path: Path, read: Read) -> None:
    table = pa.table({"text": TEXTS})
    pq.write_table(table, tmp_path / "x.parquet", compression="none", use_dictionary=False, write_page_checksum=True)
    content = bytearray((tmp_path / "x.parquet").read_bytes())
    place = content.index(b"Record 30")
    content[place : place + 6] = b"Forged"
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.parquet cannot be read .*CRC"):
        read(f"parquet:{tmp_path}/x.parquet")


PACKED = {".gz": gzip.compress(LINES), ".xz": lzma.compress(LINES), ".zst": zstandard.compress(LINES)}


@pytest.mark.parametrize("suffix", PACKED)
def test_packed_files_that_were_put_together_are_read_to_the_end(suffix: str, tmp_path: Path, read: Read) -> None:
    padding = b"" if suffix == ".zst" else bytes(8)
    (tmp_path / f"x.jsonl{suffix}").write_bytes(PACKED[suffix] * 2 + padding + (PACKED[suffix] + padding) * 2)
    assert read(f"jsonl:{tmp_path}/x.jsonl{suffix}")[0] == TEXTS * 4


@pytest.mark.parametrize("suffix", PACKED)
def test_a_tear_in_the_second_of_two_packed_files_is_named(suffix: str, tmp_path: Path, read: Read) -> None:
    for missing in (1, len(PACKED[suffix]) - 3):
        (tmp_path / f"x.jsonl{suffix}").write_bytes((PACKED[suffix] * 2)[:-missing])
        with pytest.raises(DataError, match=rf"x\.jsonl{suffix} cannot be read"):
            read(f"jsonl:{tmp_path}/x.jsonl{suffix}")


def test_what_stands_after_the_end_is_named_and_the_documents_before_it_are_used(tmp_path: Path, read: Read) -> None:
    for suffix, packed in PACKED.items():
        (tmp_path / f"x.jsonl{suffix}").write_bytes(packed + b"garbage at the end")
        with pytest.raises(DataError, match=f"x.jsonl{suffix} cannot be read"):
            read(f"jsonl:{tmp_path}/x.jsonl{suffix}")
    for suffix in PACKED:
        texts, counts = read(f"jsonl:{tmp_path}/x.jsonl{suffix}", bad_documents="skip")
        assert (texts, counts.skipped.counts) == (TEXTS, {"unreadable": 1})
        assert "something else stands after its end" in next(SourceReport.of(counts).lines())


def test_what_stands_after_a_large_zstandard_file_loses_no_document(tmp_path: Path, read: Read) -> None:
    lines = "".join(json.dumps({"text": os.urandom(40).hex()}) + "\n" for _ in range(3000)).encode()
    (tmp_path / "x.jsonl.zst").write_bytes(zstandard.compress(lines) * 2 + b"garbage at the end")
    texts, counts = read(f"jsonl:{tmp_path}/x.jsonl.zst", bad_documents="skip")
    assert (len(texts), counts.skipped.counts) == (6000, {"unreadable": 1})
    (tmp_path / "x.jsonl.zst").write_bytes(b"no zstandard at all")
    assert read(f"jsonl:{tmp_path}/x.jsonl.zst", bad_documents="skip")[0] == []


def test_an_altered_file_gives_nothing_of_what_was_read_with_the_fault(tmp_path: Path, read: Read) -> None:
    (tmp_path / "x.jsonl.gz").write_bytes(PACKED[".gz"][:-8] + bytes(4) + PACKED[".gz"][-4:])
    texts, counts = read(f"jsonl:{tmp_path}/x.jsonl.gz", bad_documents="skip")
    assert (texts, counts.skipped.counts) == ([], {"unreadable": 1})


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_the_documents_before_a_tear_are_used_in_a_small_file_too(suffix: str, tmp_path: Path, read: Read) -> None:
    lines = "".join(json.dumps({"text": os.urandom(40).hex()}) + "\n" for _ in range(3000)).encode()
    packed = gzip.compress(lines) if suffix == ".gz" else lzma.compress(lines)
    (tmp_path / f"x.jsonl{suffix}").write_bytes(packed[: len(packed) // 2])
    texts, counts = read(f"jsonl:{tmp_path}/*", bad_documents="skip")
    assert counts.skipped.counts == {"unreadable": 1}
    assert 1000 < len(texts) < 1600


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_zeros_after_the_end_are_padding(suffix: str, tmp_path: Path, read: Read) -> None:
    (tmp_path / f"x.jsonl{suffix}").write_bytes(PACKED[suffix] + bytes(1 << 17))
    assert read(f"jsonl:{tmp_path}/x.jsonl{suffix}")[0] == TEXTS


def test_zstandard_with_a_dictionary_is_refused_and_other_frames_are_read(tmp_path: Path, read: Read) -> None:
    samples: list[bytes | bytearray | memoryview] = [*LINES.splitlines(keepends=True)] * 20
    trained = zstandard.ZstdCompressor(dict_data=zstandard.train_dictionary(2000, samples))
    (tmp_path / "a.jsonl.zst").write_bytes(trained.compress(LINES))
    with pytest.raises(DataError, match=r"a\.jsonl\.zst cannot be read .*[Dd]ictionary"):
        read(f"jsonl:{tmp_path}/a.jsonl.zst")
    far = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    (tmp_path / "b.jsonl.zst").write_bytes(
        skippable + zstandard.ZstdCompressor(compression_params=far).compress(LINES) + zstandard.compress(LINES)
    )
    assert read(f"jsonl:{tmp_path}/b.jsonl.zst")[0] == TEXTS * 2


@pytest.mark.parametrize("when", ["before", "while"])
@pytest.mark.parametrize("policy", ["refuse", "skip"])
def test_a_file_that_is_deleted_is_named(
    when: str, policy: str, tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.jsonl").write_bytes(LINES)
    original = LocalFile.open

    def opened(file: LocalFile) -> object:
        if when == "before":
            file.path.unlink()
        stream = original(file)
        file.path.unlink()
        return stream

    monkeypatch.setattr(LocalFile, "open", opened)
    with pytest.raises(DataError, match=r"x\.jsonl cannot be read .*No such file") as caught:
        read(f"jsonl:{tmp_path}/*.jsonl", bad_documents=policy)
    assert caught.value.code == "data.unreadable"


@pytest.mark.parametrize("files", [{}, {"README.md": "# no rows"}, {"data.jsonl": ""}])
def test_a_folder_of_datasets_without_rows_is_refused(files: dict[str, str], tmp_path: Path, read: Read) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match="cannot be read through datasets") as caught:
        read(f"hf:{tmp_path}")
    assert caught.value.code == "data.hub-unreadable"


def test_many_tiny_files_take_little_memory_each(tmp_path: Path, read: Read) -> None:
    folders = [tmp_path / str(number) for number in range(20)]
    for folder in folders:
        folder.mkdir()
        for number in range(250):
            (folder / f"{number}.txt").write_text(f"{folder.name} {number}")
    read(f"text:{folders[0]}")
    tracemalloc.start()
    texts, counts = read(f"text:{tmp_path}/**/*.txt", longest_document=1024)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(texts), counts.files) == (5000, 5000)
    assert peak < 5000 * 3000
