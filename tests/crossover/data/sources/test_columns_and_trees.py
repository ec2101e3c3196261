"""Documents in columns of Parquet and Arrow files, in trees of source code, and of `datasets`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from crossover.data import optional_modules
from crossover.data.sources import SourceCounts, SourceReport, documents
from crossover.data.sources.hub_datasets import HubName, hub_name
from crossover.errors import DataError
from crossover.study.data_config import DataConfig
from tests.crossover.data.sources.conftest import Read
from tests.crossover.storage.conftest import write_files

TEXTS = [f"document {number}" for number in range(100)]


def table(texts: list[Any] = TEXTS) -> pa.Table:
    fields = {"id": range(len(texts)), "text": texts, "meta": [{"body": text} for text in texts], "a.b": texts}
    return pa.table(fields)


def write(kind: str, path: Path, content: pa.Table) -> None:
    if kind == "parquet":
        pq.write_table(content, path, row_group_size=30)
        return
    opened = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
    with opened(path, content.schema) as writer:
        writer.write_table(content, max_chunksize=30)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
class TestColumns:
    def test_rows_are_documents(self, kind: str, tmp_path: Path, read: Read) -> None:
        write(kind, tmp_path / "x.arrow", table())
        scheme = "parquet" if kind == "parquet" else "arrow"
        for field in ("text", "meta.body", "a.b"):
            assert read(f"{scheme}:{tmp_path}/x.arrow", text_field=field)[0] == TEXTS

    def test_bad_rows_are_skipped_alone(self, kind: str, tmp_path: Path, read: Read) -> None:
        broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"caf\xe9"]).buffers())
        column = pa.chunked_array([pa.array(["one", None]), broken, pa.array(["x" * 5000, "two"])])
        write(kind, tmp_path / "x.arrow", pa.table({"text": column}))
        source = f"{'parquet' if kind == 'parquet' else 'arrow'}:{tmp_path}/x.arrow"
        texts, counts = read(source, bad_documents="skip", longest_document=2000)
        assert texts == ["one", "two"]
        assert counts.skipped.counts == {"no text": 1, "not UTF-8": 1, "too long": 1}
        with pytest.raises(DataError, match=r"x\.arrow:2 has 'text', which is null"):
            read(source)

    @pytest.mark.parametrize("field", ["body", "meta.none", "id.none"])
    def test_a_missing_column_is_named_with_those_there_are(
        self, kind: str, field: str, tmp_path: Path, read: Read
    ) -> None:
        write(kind, tmp_path / "x.arrow", table())
        with pytest.raises(DataError, match=rf"has no column '{field}' \(it has 'id', 'text', 'meta', 'a\.b'\)"):
            read(f"{'parquet' if kind == 'parquet' else 'arrow'}:{tmp_path}/x.arrow", text_field=field)

    def test_a_torn_file_is_named_and_skipped(self, kind: str, tmp_path: Path, read: Read) -> None:
        write(kind, tmp_path / "a.arrow", table())
        content = (tmp_path / "a.arrow").read_bytes()
        (tmp_path / "a.arrow").write_bytes(content[: len(content) // 2])
        write(kind, tmp_path / "b.arrow", table(["last"]))
        source = f"{'parquet' if kind == 'parquet' else 'arrow'}:{tmp_path}/*.arrow"
        with pytest.raises(DataError, match=r"a\.arrow cannot be read .*or set data\.bad_documents to skip"):
            read(source)
        texts, counts = read(source, bad_documents="skip")
        assert (texts[-1], counts.skipped.counts) == ("last", {"unreadable": 1})

    def test_memory_is_that_of_a_batch(self, kind: str, tmp_path: Path, read: Read) -> None:
        long = [f"{number} " + "words of it " * 20_000 for number in range(200)]  # 48 MB in one row group
        write(kind, tmp_path / "x.arrow", table()[:0])
        if kind == "parquet":
            pq.write_table(
                pa.table({"text": long}),
                tmp_path / "x.arrow",
                use_dictionary=False,
                compression="none",
                write_batch_size=4,
            )
        else:
            opened = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
            with opened(tmp_path / "x.arrow", pa.schema([("text", pa.string())])) as writer:
                for text in long:
                    writer.write_batch(pa.record_batch({"text": [text]}))
        del long
        before, peak = pa.total_allocated_bytes(), 0
        config = DataConfig(source=f"{'parquet' if kind == 'parquet' else 'arrow'}:{tmp_path}/x.arrow")
        for _ in documents(config, SourceCounts()):
            peak = max(peak, pa.total_allocated_bytes() - before)
        assert peak < 20 << 20


SCORES: list[Any] = [0.5, None, 3, float("nan"), float("inf")]
SCORED = {"scorer": "column", "column": "meta.score"}


def scored_source(kind: str, path: Path, scores: list[Any]) -> str:
    """Documents that are numbered, each with a score within a field."""
    rows = [{"text": f"document {n}", "meta": {"score": score}} for n, score in enumerate(scores)]
    if kind in ("jsonl", "hf"):
        (path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return f"jsonl:{path}/x.jsonl" if kind == "jsonl" else f"hf:{path}"
    write(kind, path / "x.arrow", pa.Table.from_pylist(rows))
    return f"{'parquet' if kind == 'parquet' else 'arrow'}:{path}/x.arrow"


@pytest.mark.parametrize("kind", ["jsonl", "hf", "parquet", "arrow", "stream"])
class TestScores:
    def test_a_score_is_an_attribute_where_it_is_asked_for(self, kind: str, tmp_path: Path) -> None:
        source = scored_source(kind, tmp_path, [0.1, 2, -1e300])
        for quality, found in ((SCORED, [0.1, 2.0, -1e300]), ({}, [None] * 3)):
            config = DataConfig.model_validate({"source": source, "quality": quality})
            attributes = [document.attributes for document in documents(config, SourceCounts())]
            assert [float(a["quality"]) if "quality" in a else None for a in attributes] == found

    def test_a_document_without_a_number_is_a_bad_one(self, kind: str, tmp_path: Path, read: Read) -> None:
        source = scored_source(kind, tmp_path, SCORES)
        texts, counts = read(source, quality=SCORED, bad_documents="skip")
        assert texts == ["document 0", "document 2"]
        assert counts.skipped.counts == {"no score": 3}
        null, *others = counts.skipped.places["no score"]
        assert "has 'meta.score', which is null" in null
        if kind != "hf":  # `datasets` reads what is not finite as null
            assert ["nan" in others[0].lower(), "inf" in others[1].lower()] == [True, True]
        with pytest.raises(DataError, match=r"'meta\.score', which is null.*set data.bad_documents to skip") as raised:
            read(source, quality=SCORED)
        assert (raised.value.code, raised.value.field) == ("data.no-score", "data.quality.column")

    def test_a_missing_column_is_named(self, kind: str, tmp_path: Path, read: Read) -> None:
        source = scored_source(kind, tmp_path, [1.0])
        for column in ("other", "meta.other", "text.score"):
            with pytest.raises(
                DataError, match=rf"has no (field|column) '{column}' \(it has 'text', 'meta'\)"
            ) as raised:
                read(source, quality=SCORED | {"column": column})
            assert raised.value.code == "data.no-score"

    @pytest.mark.parametrize("value", ["0.5", True, [1.0]])
    def test_what_is_no_number_is_no_score(self, kind: str, value: object, tmp_path: Path, read: Read) -> None:
        source = scored_source(kind, tmp_path, [value])
        with pytest.raises(DataError, match=r"'meta\.score', which is not a number"):
            read(source, quality=SCORED)


def test_a_number_beyond_all_floats_is_no_score(tmp_path: Path, read: Read) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a", "n": ' + "9" * 400 + "}\n")
    with pytest.raises(DataError, match=r"'n', which is not finite \(9999") as raised:
        read(f"jsonl:{tmp_path}/x.jsonl", quality={"scorer": "column", "column": "n"})
    assert len(str(raised.value)) < 400


def test_a_tree_is_its_code_with_languages_and_licences(tmp_path: Path, read: Read) -> None:
    mit = b"MIT License\n\nPermission is hereby granted, free\nof charge, to any person"
    files = {"a.py": b"print()", "b/c.rs": b"fn main() {}", "b/LICENSE": mit, "COPYING.txt": b"ours", "x.bin": b"\xff"}
    hidden = {".git/config.py": b"no", "CVS/Entries.py": b"no", ".env.py": b"no"}
    write_files(tmp_path, files | hidden)
    (tmp_path / "b" / "around").symlink_to(tmp_path)
    texts, counts = read(f"tree:{tmp_path}")
    assert texts == ["print()", "fn main() {}"]
    (part,) = SourceReport.of(counts).parts
    assert (part.documents, part.languages) == (2, {"python": 1, "rust": 1})
    assert part.licences == (
        f"{tmp_path}/COPYING.txt: of no kind that is known by its words",
        f"{tmp_path}/b/LICENSE: MIT",
    )
    assert read(f"tree:{tmp_path}/**/*.rs")[0] == ["fn main() {}"]


class TestHub:
    @pytest.mark.parametrize(
        ("place", "expected"),
        [
            ("imdb", HubName("imdb", None, None, "train")),
            ("//org/name", HubName("org/name", None, None, "train")),
            ("org/name/en:validation[:10%]", HubName("org/name", "en", None, "validation[:10%]")),
            ("org/name@v1.0/en:test", HubName("org/name", "en", "v1.0", "test")),
        ],
    )
    def test_names(self, place: str, expected: HubName) -> None:
        assert hub_name(place) == expected

    def test_a_folder_is_streamed_offline(self, tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
        write_files(tmp_path, {"train.jsonl": lines.encode(), "test.jsonl": b'{"text": "held"}'})
        assert read(f"hf:{tmp_path}")[0] == TEXTS
        texts, counts = read(f"hf://{tmp_path}:test")
        assert (texts, counts.files) == (["held"], 1)
        with pytest.raises(DataError, match=r"has no field 'body' \(it has 'text'\)"):
            read(f"hf:{tmp_path}", text_field="body")

    @pytest.mark.parametrize(
        "files",
        [{"x.jsonl": b'{"text": "a"}\n{"text": torn'}, {"x.jsonl.gz": gzip.compress(b'{"text": "a"}\n' * 999)[:-20]}],
    )
    def test_a_bad_file_is_no_traceback(self, files: dict[str, bytes], tmp_path: Path, read: Read) -> None:
        write_files(tmp_path, files)
        with pytest.raises(DataError, match=r"cannot be read through datasets .*jsonl: or parquet:, which can skip"):
            read(f"hf:{tmp_path}", bad_documents="skip")

    def test_a_dataset_that_is_not_in_the_cache_is_no_traceback(
        self, tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        for name in ("no/such", f"{tmp_path}:none"):
            with pytest.raises(DataError, match=r"cannot be read through datasets .*the cache in HF_HOME") as caught:
                read(f"hf:{name}")
            assert caught.value.code == "data.hub-unreadable"


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])

    (tmp_path / "x.parquet").write_bytes(b"")
    monkeypatch.setattr(optional_modules, "import_module", absent)
    with pytest.raises(DataError, match=r"pip install 'crossover\[data\]'") as caught:
        read(f"parquet:{tmp_path}/x.parquet")
    assert caught.value.code == "data.no-library"
