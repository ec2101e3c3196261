"""Sources in a bucket of a real S3 server, also where it fails on the way; and mixtures of sources."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from minio import Minio
from urllib3 import Retry, Timeout

from crossover.data.sources import SourceCounts, SourceReport, documents, source_bytes
from crossover.errors import DataError, StorageError
from crossover.settings import get_settings
from crossover.storage import s3_connection, s3_transfer
from crossover.study.data_config import DataConfig
from crossover.study.load_study import parse_study
from tests.crossover.data.sources.conftest import Read
from tests.crossover.storage.conftest import BUCKET
from tests.crossover.storage.s3_proxy import Proxy, proxy_before
from tests.seaweed import server


@pytest.fixture
def client(endpoint: str) -> Minio:
    return Minio(endpoint, access_key="any", secret_key="any", secure=False)  # noqa: S106  # the test server takes any


@pytest.fixture
def proxy(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The server behind a proxy, as the settings name it; it is given up soon."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(s3_connection, "TIMEOUT", Timeout(connect=1, read=2))
    monkeypatch.setattr(s3_connection, "RETRIES", Retry(total=1, backoff_factor=0, raise_on_status=False))
    with proxy_before(endpoint) as proxy:
        use(monkeypatch, proxy.endpoint)
        yield proxy


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str, keys: tuple[str, str] = ("any", "any")) -> None:
    values = {"ENDPOINT": endpoint, "SECURE": "false", "ACCESS_KEY": keys[0], "SECRET_KEY": keys[1]}
    for name, value in values.items():
        monkeypatch.setenv(f"CROSSOVER_S3_{name}", value)
    get_settings.cache_clear()


def put(client: Minio, key: str, data: bytes) -> None:
    client.put_object(BUCKET, key, BytesIO(data), len(data))


def lines(*texts: str) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


@pytest.mark.usefixtures("proxy")
class TestBuckets:
    def test_globs_keys_and_prefixes(self, client: Minio, read: Read, tmp_path: Path) -> None:
        top = f"s3://{BUCKET}/{tmp_path.name}"
        put(client, f"{tmp_path.name}/part [1].jsonl", lines("one"))
        put(client, f"{tmp_path.name}/deep/b.jsonl.zst", zstandard.compress(lines("two")))
        put(client, f"{tmp_path.name}/deep/c.txt", b"three")
        put(client, f"{tmp_path.name}/.hidden/d.txt", b"four")
        assert read(f"jsonl:{top}/**.jsonl*")[0] == ["two", "one"]
        assert read(f"jsonl:{top}/part [1].jsonl")[0] == ["one"]
        assert read(f"text:{top}/*/*.txt")[0] == ["three"]
        assert read(f"text:{top}/deep/c.txt")[0] == ["three"]
        texts, counts = read(f"jsonl:{top}")
        assert (texts, counts.files) == (["two", "one"], 2)
        size = len(lines("one")) + len(zstandard.compress(lines("two")))
        assert source_bytes(DataConfig(source=f"jsonl:{top}")) == size
        with pytest.raises(DataError, match="matches no file"):
            read(f"jsonl:{top}/*.none")
        with pytest.raises(StorageError, match="there is no bucket 'no-such-bucket'"):
            read("jsonl:s3://no-such-bucket/*")

    def test_columns_are_read_where_they_lie(self, client: Minio, read: Read, tmp_path: Path) -> None:
        texts = [f"document {number}" for number in range(1000)]
        data = BytesIO()
        pq.write_table(pa.table({"text": texts}), data, row_group_size=100)
        put(client, f"{tmp_path.name}/x.parquet", data.getvalue())
        assert read(f"parquet:s3://{BUCKET}/{tmp_path.name}/*.parquet")[0] == texts


def large(client: Minio, name: str) -> list[str]:
    """Puts an object of several ranges; its documents."""
    rng = np.random.default_rng(0)
    texts = [f"{number} {rng.bytes(50_000).hex()}" for number in range(400)]
    put(client, f"{name}/x.jsonl", lines(*texts))
    return texts


def test_a_stream_that_breaks_goes_on_where_it_was(client: Minio, proxy: Proxy, read: Read, tmp_path: Path) -> None:
    texts = large(client, tmp_path.name)
    source = f"jsonl:s3://{BUCKET}/{tmp_path.name}/x.jsonl"
    proxy.faults["GET", "x.jsonl"] = ["cut", "no answer", "cut"]
    assert read(source)[0] == texts
    assert proxy.requests["GET", "x.jsonl"] == -(-sum(len(lines(text)) for text in texts) // s3_transfer.PART_BYTES) + 3


def test_a_server_that_stays_away_is_an_error_and_the_next_call_reads_it(
    client: Minio, proxy: Proxy, read: Read, tmp_path: Path
) -> None:
    texts = large(client, tmp_path.name)
    source = f"jsonl:s3://{BUCKET}/{tmp_path.name}/x.jsonl"
    seen = documents(DataConfig(source=source, bad_documents="skip"), SourceCounts())
    assert next(seen)[1] == texts[0]
    proxy.faults["GET", "x.jsonl"] = ["no answer"] * 20
    with pytest.raises(StorageError, match=r"x\.jsonl broke 4 times.*CROSSOVER_S3_ENDPOINT"):
        list(seen)
    proxy.faults.clear()
    assert read(source)[0] == texts


def test_an_object_that_is_replaced_meanwhile_is_refused(client: Minio, proxy: Proxy, tmp_path: Path) -> None:
    texts = large(client, tmp_path.name)
    columns = BytesIO()
    pq.write_table(pa.table({"text": texts}), columns, row_group_size=20, compression="none", use_dictionary=False)
    packed = zstandard.ZstdCompressor(level=-50).compress(lines(*texts))
    put(client, f"{tmp_path.name}/x.parquet", columns.getvalue())
    put(client, f"{tmp_path.name}/x.jsonl.zst", packed)
    for scheme, name in (("jsonl", "x.jsonl"), ("parquet", "x.parquet"), ("jsonl", "x.jsonl.zst")):
        source = f"{scheme}:s3://{BUCKET}/{tmp_path.name}/{name}"
        seen = documents(DataConfig(source=source, bad_documents="skip"), SourceCounts())
        assert next(seen)[1] == texts[0]
        put(client, f"{tmp_path.name}/{name}", lines("another"))
        with pytest.raises(DataError, match=f"{name} was changed while it was read"):
            list(seen)


def test_wrong_credentials_name_their_settings(tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ("accessKeyOfUser", "secretKeyOfUser")
    with server(tmp_path, BUCKET, keys) as endpoint:
        put(Minio(endpoint, access_key=keys[0], secret_key=keys[1], secure=False), "x.jsonl", lines("one"))
        use(monkeypatch, endpoint, keys)
        assert read(f"jsonl:s3://{BUCKET}/x.jsonl")[0] == ["one"]
        use(monkeypatch, endpoint, (keys[0], "wrong"))
        with pytest.raises(StorageError, match="CROSSOVER_S3_ACCESS_KEY and CROSSOVER_S3_SECRET_KEY") as caught:
            read(f"jsonl:s3://{BUCKET}/x.jsonl")
        assert caught.value.code == "storage.credentials"


class TestMixtures:
    @pytest.fixture
    def mixture(self, tmp_path: Path) -> DataConfig:
        rng = np.random.default_rng(0)
        for name, most in (("prose", 900), ("code", 300)):
            texts = [f"{name} {number} " + "x" * int(rng.integers(1, most)) for number in range(400)]
            field = "body" if name == "code" else "text"
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({field: text}) + "\n" for text in texts))
        sources = [
            {"source": f"jsonl:{tmp_path}/prose.jsonl", "share": 3},
            {"source": f"jsonl:{tmp_path}/code.jsonl", "share": 1, "text_field": "body"},
        ]
        return DataConfig.model_validate({"sources": sources})

    def test_every_prefix_has_the_shares_up_to_a_document(self, mixture: DataConfig) -> None:
        counts, given = SourceCounts(), {"prose": 0, "code": 0}
        for _, text, _ in documents(mixture, counts):
            given[text.partition(" ")[0]] += len(text)
            assert abs(given["prose"] - 3 * given["code"]) < 950
        prose, code = SourceReport.of(counts).parts
        assert (prose.bytes, code.bytes) == tuple(given.values())
        assert (prose.ended, code.ended) == (True, False)
        assert next(SourceReport.of(counts).lines()).endswith(" of the text, read to its end")

    def test_it_is_the_same_when_read_again(self, mixture: DataConfig) -> None:
        assert list(documents(mixture, SourceCounts())) == list(documents(mixture, SourceCounts()))

    def test_more_of_one_source_alone_keeps_what_was_there(self, mixture: DataConfig, tmp_path: Path) -> None:
        before = list(documents(mixture, SourceCounts()))
        with (tmp_path / "prose.jsonl").open("a") as file:
            file.write(json.dumps({"text": "prose new"}) + "\n")
        assert list(documents(mixture, SourceCounts()))[: len(before)] == before

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (
                "{source: 'text:a', sources: [{source: 'text:b', share: 1}]}",
                "data.source and data.sources: exclude each other",
            ),
            ("{sources: [{source: 'text:b', share: 0}]}", "greater than 0"),
            ("{sources: [{source: 'ftp:b', share: 1}]}", "unknown source 'ftp:b'"),
            ("{source: 'parquet:'}", "names no file; write for example parquet:"),
        ],
    )
    def test_what_cannot_be_is_refused(self, text: str, problem: str) -> None:
        with pytest.raises(Exception, match=problem):
            parse_study(f"data: {text}")

    def test_a_study_of_a_mixture_survives_being_stored(self, mixture: DataConfig) -> None:
        assert DataConfig.model_validate(mixture.model_dump(mode="json")) == mixture
