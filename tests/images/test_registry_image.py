"""The registry image: migration and service, as the chart starts them; small."""

from __future__ import annotations

import json
from pathlib import Path

from tests.images.containers import Image, Pod, output, writable

COMPRESSED_LIMIT = 300_000_000


def test_migration_then_service(registry: Image, user: tuple[int, int], tmp_path: Path) -> None:
    mounts = {"/scratch": writable(tmp_path / "data", user)}
    env = {"CROSSOVER_REGISTRY_URL": "sqlite:////scratch/registry.sqlite"}
    Pod(registry, tmp_path / "upgrade", args=["registry", "upgrade"], user=user, env=env, mounts=mounts).output()
    with Pod(registry, tmp_path / "serve", user=user, env=env, mounts=mounts).started() as service:
        assert json.loads(service.wait_for("http://127.0.0.1:8090/healthz"))
        assert json.loads(service.wait_for("http://127.0.0.1:8090/readyz"))
        assert "crossover" in service.wait_for("http://127.0.0.1:8090/metrics")
        code, seconds = service.terminate()
    assert (code, seconds < 5) == (0, True)


def test_a_service_without_a_migration_is_refused_or_not_ready(registry: Image, tmp_path: Path) -> None:
    """With no writable volume at all: the message names what is missing."""
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
