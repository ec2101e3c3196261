"""What only an object store has: large files in parts, faults on the way, credentials, an endpoint."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr
from urllib3 import Retry, Timeout

from crossover.errors import StorageError
from crossover.settings import Settings
from crossover.storage import open_store, s3_connection, s3_transfer
from tests.crossover.storage.conftest import BUCKET, Place, read_files, write_files
from tests.crossover.storage.s3_proxy import Fault, Proxy, proxy_before
from tests.seaweed import server

LARGE = 2 * s3_transfer.PART_BYTES + 12_345
KEYS = ("accessKeyOfUser", "secretKeyOfUser")
AWS_VARIABLES = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "REGION", "DEFAULT_REGION")


@pytest.fixture
def proxy(bucket: Place) -> Iterator[Proxy]:
    with proxy_before(bucket.endpoint) as proxy:
        yield proxy


@pytest.fixture
def behind(bucket: Place, proxy: Proxy) -> Place:
    """The same store, seen through the proxy."""
    return Place(bucket.uri, bucket.scratch, proxy.endpoint)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon, so that a test of giving up is short."""
    monkeypatch.setattr(s3_connection, "TIMEOUT", Timeout(connect=1, read=0.3))
    monkeypatch.setattr(s3_connection, "RETRIES", Retry(total=1, backoff_factor=0, raise_on_status=False))


def test_a_large_file_travels_in_parts_and_shows_its_progress(
    behind: Place, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(s3_transfer, "PROGRESS_BYTES", 1 << 20)
    data = np.random.default_rng(0).bytes(LARGE)
    store = behind.open()
    write_files(store.path("a"), {"large": data, "small": b"s"})
    digest = store.publish("a")
    assert proxy.requests["PUT", "large"] == 3
    assert proxy.requests["POST", "large"] == 2
    assert "upload a: 32/32" in capsys.readouterr().err
    proxy.faults["GET", "large"] = ["cut", "no answer", "slow down"]
    folder = behind.open("two").fetch("a", digest)
    assert "download a: 32/32" in capsys.readouterr().err
    assert read_files(folder) == {"large": data, "small": b"s"}
    assert proxy.requests["GET", "large"] == 6


def test_a_replaced_large_file_is_moved_inside_of_the_store(bucket: Place) -> None:
    store = bucket.open()
    write_files(store.path("a"), {"large": b"old"})
    store.publish("a")
    data = np.random.default_rng(1).bytes(LARGE)
    write_files(store.path("a"), {"large": data})
    digest = store.publish("a")
    assert [key for key in bucket.keys() if key.startswith("a/")] == ["a/large", "a/manifest.json"]
    assert read_files(bucket.open("two").fetch("a", digest)) == {"large": data}


def test_what_a_twin_has_is_copied_inside_of_the_store_and_the_rest_is_uploaded(behind: Place, proxy: Proxy) -> None:
    store = behind.open()
    files = {"data/large": np.random.default_rng(1).bytes(LARGE), "small": b"s" * 5000, "other": b"o" * 5000}
    write_files(store.path("a"), files)
    digest = store.publish("a")
    inner = Place(f"{behind.uri}/inner", behind.scratch, behind.endpoint)
    write_files(inner.open().path("b"), files)
    proxy.sent = 0
    assert inner.open().publish("b", twin=store.uri_of("a")) == digest
    assert proxy.sent < 5000, "no file was sent"
    assert read_files(inner.open("two").fetch("b", digest)) == files
    assert not [key for key in inner.keys() if ".incomplete" in key or key.startswith("b/.")]
    behind.overwrite("a/other", b"x" * 5000)  # loses its digest
    write_files(inner.open().path("c"), files)
    proxy.sent = 0
    assert inner.open().publish("c", twin=store.uri_of("a")) == digest
    assert 5000 <= proxy.sent < 10_000, "what is not the same was sent"
    assert read_files(inner.open("two").fetch("c", digest)) == files
    assert inner.open().publish("c", twin="s3://elsewhere/a") == inner.open().publish("c", twin="/a/folder") == digest


@pytest.mark.parametrize("fault", ["slow down", "no answer", "forget"])
@pytest.mark.parametrize("request_", [("PUT", "large"), ("POST", "large"), ("PUT", "small"), ("PUT", "manifest.json")])
def test_a_fault_of_the_store_is_survived(
    bucket: Place, behind: Place, proxy: Proxy, request_: tuple[str, str], fault: Fault
) -> None:
    store = behind.open()
    write_files(store.path("a"), {"large": b"l" * (s3_transfer.PART_BYTES + 1), "small": b"s"})
    proxy.faults[request_] = [fault]
    digest = store.publish("a")
    assert proxy.faults[request_] == []
    bucket.open("two").fetch("a", digest)


def test_the_end_of_an_upload_in_parts_may_get_lost(bucket: Place, behind: Place, proxy: Proxy) -> None:
    """The store completed the upload, its answer was lost, and the repeated request finds no upload."""
    store = behind.open()
    write_files(store.path("a"), {"large": b"l" * (s3_transfer.PART_BYTES + 1)})
    proxy.faults["POST", "large"] = []
    start = proxy.take

    def forget_second(method: str, key: str) -> Fault | None:
        fault = start(method, key)
        return "forget" if (method, key) == ("POST", "large") and proxy.requests[method, key] == 2 else fault

    proxy.take = forget_second  # type: ignore[method-assign]  # replaced for the test
    digest = store.publish("a")
    assert proxy.requests["POST", "large"] >= 3
    bucket.open("two").fetch("a", digest)


def test_a_download_that_breaks_for_good_is_given_up(
    behind: Place, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = behind.open()
    write_files(store.path("a"), {"file": b"x" * 10_000})
    store.publish("a")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    proxy.faults["GET", "file"] = ["cut"] * s3_transfer.STREAM_ATTEMPTS
    with pytest.raises(StorageError, match="broke 4 times") as caught:
        behind.open("two").fetch("a")
    assert caught.value.code == "storage.unreachable"
    assert not behind.open("two").path("a").exists()
    assert behind.open("two").fetch("a").is_dir()


def test_a_store_that_stays_busy_is_given_up(bucket: Place, behind: Place, proxy: Proxy, fast: None) -> None:
    store = behind.open()
    write_files(store.path("a"), {"file": b"x", "large": b"l" * (s3_transfer.PART_BYTES + 1)})
    proxy.faults["PUT", "large"] = ["slow down"] * 9
    with pytest.raises(StorageError, match="SlowDown") as caught:
        store.publish("a")
    assert caught.value.code == "storage.unreachable"
    assert bucket.open("two").names("") == []
    assert list(bucket.client._list_multipart_uploads(BUCKET, prefix=bucket.uri[5:].partition("/")[2]).uploads) == []


def test_a_full_store_is_an_error_of_its_own(behind: Place, proxy: Proxy) -> None:
    store = behind.open()
    write_files(store.path("a"), {"file": b"x"})
    proxy.faults["PUT", "file"] = ["full"]
    with pytest.raises(StorageError, match="is full") as caught:
        store.publish("a")
    assert caught.value.code == "storage.full"


def test_a_server_that_refuses_or_does_not_answer(tmp_path: Path, fast: None) -> None:
    with pytest.raises(StorageError, match="refused") as caught:
        Place("s3://bucket/x", tmp_path, "127.0.0.1:9").open()
    assert caught.value.code == "storage.unreachable"
    silent = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # listens, and never accepts
    with silent, pytest.raises(StorageError, match="timed out") as caught:
        Place("s3://bucket/x", tmp_path, f"127.0.0.1:{silent.server_address[1]}").open()
    assert caught.value.code == "storage.unreachable"


def test_no_such_bucket(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no bucket 'no-such-bucket'") as caught:
        Place("s3://no-such-bucket/x", tmp_path, endpoint).open()
    assert caught.value.code == "storage.no-bucket"


@pytest.mark.parametrize("endpoint", ["", "host:port:9", "user:hidden@host/path"])
def test_no_endpoint(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(StorageError) as caught:
        Place("s3://bucket/x", tmp_path, endpoint).open()
    assert caught.value.code == "storage.no-endpoint"
    assert "hidden" not in str(caught.value)


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials from anywhere."""
    for name in AWS_VARIABLES:
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def keyless(endpoint: str, tmp_path: Path) -> Settings:
    return Settings(s3_endpoint=endpoint, s3_secure=False, scratch=tmp_path / "scratch")


@contextmanager
def identity_service(answer: str) -> Iterator[str]:
    """A service that gives every pod the same credentials."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer.encode())

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_address[1]}"
        finally:
            listener.shutdown()
            thread.join()


WEB_IDENTITY = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>podKey</AccessKeyId><SecretAccessKey>podSecret
</SecretAccessKey><SessionToken>podToken</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
CONTAINER = {
    "AccessKeyId": "containerKey",
    "SecretAccessKey": "containerSecret",
    "Token": "containerToken",
    "Expiration": "2999-01-01T00:00:00Z",
}


@pytest.mark.usefixtures("no_aws")
def test_credentials_come_from_the_first_source_that_has_them(
    bucket: Place, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def used() -> tuple[str, str]:
        open_store(bucket.uri, keyless(proxy.endpoint, tmp_path)).digest("a")
        access_key = proxy.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
        return access_key, proxy.headers.get("X-Amz-Security-Token", "")

    with pytest.raises(StorageError, match="no source of credentials") as caught:
        used()
    assert caught.value.code == "storage.credentials"
    with identity_service(json.dumps(CONTAINER)) as url:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        assert used() == ("containerKey", "containerToken")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        assert used() == ("containerKey", "containerToken")
    with identity_service(WEB_IDENTITY) as url:
        (tmp_path / "token").write_text("token of the pod")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/x")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        assert used() == ("podKey", "podToken")
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = fileKey\naws_secret_access_key = s\n")
    assert used() == ("fileKey", "")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "variableKey")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "variableToken")
    assert used() == ("variableKey", "variableToken")
    monkeypatch.setenv("CROSSOVER_S3_ACCESS_KEY", "settingsKey")
    monkeypatch.setenv("CROSSOVER_S3_SECRET_KEY", "s")
    assert used() == ("settingsKey", "")


@pytest.mark.usefixtures("no_aws")
def test_the_endpoint_and_region_of_the_aws_variables(
    bucket: Place, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{proxy.endpoint}")
    open_store(bucket.uri, Settings(scratch=tmp_path)).digest("a")
    assert "/eu-west-3/s3/" in proxy.headers["Authorization"]


@pytest.mark.usefixtures("no_aws", "fast")
@pytest.mark.parametrize("kind", ["token", "file", "half"])
def test_credentials_that_cannot_be_had_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    settings = keyless("127.0.0.1:9", tmp_path)
    if kind == "token":
        (tmp_path / "token").write_text("hidden")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    elif kind == "file":
        (tmp_path / "credentials").write_text("hidden\n")
    else:
        settings = settings.model_copy(update={"s3_access_key": SecretStr("hidden")})
    with pytest.raises(StorageError) as caught:
        open_store("s3://bucket/x", settings)
    assert caught.value.code == "storage.credentials"
    assert "hidden" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_server_that_checks_credentials(tmp_path: Path) -> None:
    with server(tmp_path / "weed", BUCKET, KEYS) as endpoint:
        for access_key, secret_key in (KEYS, (KEYS[0], "wrongSecret"), ("nobody", KEYS[1])):
            settings = keyless(endpoint, tmp_path).model_copy(
                update={"s3_access_key": SecretStr(access_key), "s3_secret_key": SecretStr(secret_key)}
            )
            if (access_key, secret_key) == KEYS:
                store = open_store(f"s3://{BUCKET}/x", settings)
                write_files(store.path("a"), {"file": b"1"})
                assert store.fetch("a", store.publish("a")).is_dir()
                continue
            with pytest.raises(StorageError, match="refuses the credentials") as caught:
                open_store(f"s3://{BUCKET}/x", settings)
            assert caught.value.code == "storage.credentials"
            assert secret_key not in str(caught.value)
