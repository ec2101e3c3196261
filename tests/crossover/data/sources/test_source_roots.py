"""Rules about folders see what is below the root of a source, wherever the corpus lies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crossover.data.sources import SourceCounts
from crossover.data.sources.source_roots import inner_name, source_root
from crossover.data.split_corpus import distinct_documents
from crossover.study.data_config import DataConfig
from tests.crossover.data.sources.conftest import Read
from tests.crossover.storage.conftest import write_files


@pytest.fixture(params=["vendor/mine", "CVS/RCS", ".git/node_modules", "third_party"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / str(request.param)
    code = {
        name: f"print({name!r})\n".encode() for name in ("a.py", "lib/b.py", "vendor/c.py", "CVS/d.py", ".git/e.py")
    }
    rows = "".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(3)).encode()
    write_files(folder, {**code, "rows/x.jsonl": rows})
    return folder


def kept(source: str) -> list[str]:
    config = DataConfig.model_validate({"source": source, "cleaning": "code"})
    return [document.text for document in distinct_documents(config, SourceCounts())]


def test_a_corpus_below_a_vendored_or_hidden_folder_is_kept(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ["print('a.py')", "print('lib/b.py')"]
    for place in (str(corpus), f"{corpus}/", f"{corpus}/**/*.py", f"{corpus}/../{corpus.name}"):
        assert kept(f"tree:{place}") == expected
    monkeypatch.setenv("HOME", str(corpus.parent))
    assert kept(f"tree:~/{corpus.name}") == expected
    monkeypatch.chdir(corpus.parent)
    for place in (corpus.name, f"./{corpus.name}", f"{corpus.name}/**.py"):
        assert kept(f"tree:{place}") == expected
    monkeypatch.chdir(corpus)
    for place in (".", "**/*.py"):
        assert kept(f"tree:{place}") == expected
    assert kept("text:*.py") == expected[:1]


def test_rows_of_a_file_below_such_a_folder_are_kept(corpus: Path) -> None:
    for place in (f"{corpus}/rows/x.jsonl", f"{corpus}/rows", f"{corpus}/*/*.jsonl"):
        assert kept(f"jsonl:{place}") == ["row 0", "row 1", "row 2"]
    assert kept(f"hf:{corpus}/rows") == ["row 0", "row 1", "row 2"]


def test_a_mixture_looks_below_the_root_of_each_source(tmp_path: Path) -> None:
    files = {
        "a/vendor/one.py": b"x = 1",
        "a/two.py": b"x = 2",
        "b/vendor/three.py": b"x = 3",
        "b/CVS/four.py": b"x = 4",
    }
    write_files(tmp_path, files)
    sources = [{"source": f"tree:{tmp_path}/{name}", "share": 1} for name in ("a", "b/vendor")]
    config = DataConfig.model_validate({"sources": sources, "cleaning": "code"})
    assert sorted(document.text for document in distinct_documents(config, SourceCounts())) == ["x = 2", "x = 3"]


def test_licences_are_found_below_such_a_folder(corpus: Path, read: Read) -> None:
    (corpus / "LICENSE").write_text("Apache License")
    _, counts = read(f"tree:{corpus}")
    assert counts.parts[0].licences == [f"{corpus}/LICENSE: Apache-2.0"]


@pytest.mark.parametrize(
    ("source", "name", "inner"),
    [
        ("tree:s3://b/vendor/mine", "s3://b/vendor/mine/lib/x.py", "lib/x.py"),
        ("tree:s3://b/vendor/*/x.py", "s3://b/vendor/mine/x.py", "mine/x.py"),
        ("tree:s3://vendor/**.py", "s3://vendor/x.py", "x.py"),
        ("jsonl:s3://b/vendor/x.jsonl", "s3://b/vendor/x.jsonl:7", "x.jsonl:7"),
        ("tree:s3://b/CVS/", "s3://b/CVS/x.py", "x.py"),
        ("tree:s3://b/CVS", "s3://b/CVS-2/vendor/x.py", "s3://b/CVS-2/vendor/x.py"),
        ("hf:org/vendor/en:train", "hf:org/vendor/en:train:9", "en:train:9"),
        ("stdlib:", "vendor/x.py", "vendor/x.py"),
        ("text:/*/vendor/x.py", "/a/vendor/x.py", "/a/vendor/x.py"),
    ],
)
def test_names_of_buckets_and_hubs(source: str, name: str, inner: str) -> None:
    assert inner_name(name, (source_root(source),)) == inner
