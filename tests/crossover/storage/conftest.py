"""Both stores, as places that several machines open: a folder that they share, and a real S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from minio import Minio
from pydantic import SecretStr

from crossover.settings import Settings
from crossover.storage import ArtifactStore, open_store
from tests.seaweed import server

BUCKET = "crossover-tests"


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a server that takes any credentials."""
    with server(tmp_path_factory.mktemp("weed"), BUCKET) as address:
        yield address


@dataclass(frozen=True)
class Place:
    """Where a store is, and ways around it.

    Args:
        uri: of the store.
        scratch: below it each machine has its scratch folder.
        endpoint: of the object store; empty for a folder.
    """

    uri: str
    scratch: Path
    endpoint: str

    def settings(self, machine: str = "one") -> Settings:
        """The settings of a machine."""
        return Settings(
            s3_endpoint=self.endpoint,
            s3_secure=False,
            s3_access_key=SecretStr("any"),
            s3_secret_key=SecretStr("any"),
            scratch=self.scratch / machine,
        )

    def open(self, machine: str = "one") -> ArtifactStore:
        """The store, from a machine."""
        return open_store(self.uri, self.settings(machine))

    def start(self, program: str, machine: str = "one") -> subprocess.Popen[str]:
        """Start a Python program in which `store` is the store."""
        names = {"ENDPOINT": self.endpoint, "SECURE": "false", "ACCESS_KEY": "any", "SECRET_KEY": "any"}
        environment = {**os.environ, **{f"CROSSOVER_S3_{name}": value for name, value in names.items()}}
        environment["CROSSOVER_SCRATCH"] = str(self.scratch / machine)
        begin = f"from crossover.storage import open_store\nstore = open_store({self.uri!r})\n"
        return subprocess.Popen(
            [sys.executable, "-c", begin + program],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def client(self) -> Minio:
        """The object store itself."""
        return Minio(self.endpoint, access_key="any", secret_key="any", secure=False)  # noqa: S106  # the test server takes any

    def keys(self) -> list[str]:
        """Names of all files or objects of the store, hidden ones too."""
        if not self.endpoint:
            root = Path(self.uri)
            return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        prefix = self.uri.removeprefix(f"s3://{BUCKET}/") + "/"
        objects = self.client.list_objects(BUCKET, prefix=prefix, recursive=True)
        return sorted(str(item.object_name).removeprefix(prefix) for item in objects)

    def overwrite(self, key: str, data: bytes) -> None:
        """Change a file or object behind the store's back."""
        if not self.endpoint:
            (Path(self.uri) / key).write_bytes(data)
        else:
            name = self.uri.removeprefix(f"s3://{BUCKET}/") + f"/{key}"
            self.client.put_object(BUCKET, name, BytesIO(data), len(data))

    def remove(self, key: str) -> None:
        """Remove a file or object behind the store's back."""
        if not self.endpoint:
            (Path(self.uri) / key).unlink()
        else:
            self.client.remove_object(BUCKET, self.uri.removeprefix(f"s3://{BUCKET}/") + f"/{key}")


def bucket_place(endpoint: str, folder: Path) -> Place:
    """A prefix of its own in the server's bucket."""
    return Place(f"s3://{BUCKET}/{folder.name}/store", folder / "scratch", endpoint)


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty store of either kind."""
    if request.param == "folder":
        return Place(str(tmp_path / "store"), tmp_path / "scratch", "")
    return bucket_place(request.getfixturevalue("endpoint"), tmp_path)


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path) -> Place:
    """An empty store in the server's bucket."""
    return bucket_place(endpoint, tmp_path)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder hold these files."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def read_files(folder: Path) -> dict[str, bytes]:
    """The visible files of a folder, without its manifest."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    visible = {name: path for name, path in files.items() if not any(part.startswith(".") for part in name.split("/"))}
    return {name: path.read_bytes() for name, path in visible.items() if name != "manifest.json"}
