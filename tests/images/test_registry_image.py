"""The registry image: migration and service, as the chart starts them; small."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.containers import Image, Pod, output, writable
from tests.postgres import killable_server

COMPRESSED_LIMIT = 300_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, user: tuple[int, int], tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """URL of an empty database, and the folder to mount at /scratch for it."""
    if request.param == "sqlite":
        yield "sqlite:////scratch/registry.sqlite", writable(tmp_path / "data", user)
        return
    with killable_server() as server:
        server.folder.chmod(0o755)
        yield f"postgresql+psycopg://{server.user}@/postgres?host=/scratch", server.folder


def test_migration_then_service(
    registry: Image, user: tuple[int, int], database: tuple[str, Path], tmp_path: Path
) -> None:
    env, mounts = {"CROSSOVER_REGISTRY_URL": database[0]}, {"/scratch": database[1]}
    Pod(registry, tmp_path / "upgrade", args=["registry", "upgrade"], user=user, env=env, mounts=mounts).output()
    with Pod(registry, tmp_path / "serve", user=user, env=env, mounts=mounts).started() as service:
        assert json.loads(service.wait_for("http://127.0.0.1:8090/healthz"))
        assert json.loads(service.wait_for("http://127.0.0.1:8090/readyz"))
        assert "crossover" in service.wait_for("http://127.0.0.1:8090/metrics")
        code, seconds = service.terminate()
    assert (code, seconds < 5) == (0, True)


def test_a_database_that_does_not_answer_is_named(registry: Image, tmp_path: Path) -> None:
    env = {"CROSSOVER_REGISTRY_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none"}
    result = Pod(registry, tmp_path / "serve", env=env).run()
    assert result.returncode == 2
    assert "127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr


def test_it_is_small(registry: Image, tmp_path: Path) -> None:
    """What a node pulls, compressed."""
    output("buildah", "push", "--quiet", registry.name, f"oci:{tmp_path}/layout:x")
    size = sum(path.stat().st_size for path in (tmp_path / "layout" / "blobs").rglob("*") if path.is_file())
    assert 50_000_000 < size <= COMPRESSED_LIMIT
