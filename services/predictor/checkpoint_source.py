"""The checkpoint to serve, from a folder or an object store, and whether it is the one that is wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crossover.errors import CheckpointError, CrossoverError, RegistryError
from crossover.extras import install_hint, missing_module
from crossover.settings import get_settings
from crossover.storage import open_store
from crossover.study.identity import RunId
from crossover.training.checkpoint_info import MANIFEST, checkpoint_digest

WEIGHTS = "model.safetensors"
ASK_SECONDS = 10.0


def fetch_checkpoint(place: str, digest: str = "", registry: str = "") -> Path:
    """The folder of the checkpoint; that its files are those of its manifest is checked where it is loaded.

    Args:
        place: a folder, file:///folder, or s3://bucket/folder, which is fetched.
        digest: that it must have; empty for any.
        registry: URL of a registry that must know it as promoted; empty asks none.

    Raises:
        CheckpointError: not a checkpoint of ours, or not the one that is wanted.
        StorageError: the object store cannot be read, or has another digest.
        RegistryError: the registry cannot be read.
    """
    folder = _fetch(place.removeprefix("file://"), digest)
    manifest = _manifest(folder)
    actual = checkpoint_digest(folder)
    if digest and actual != digest:
        raise CheckpointError(
            "checkpoint.other-digest",
            field="--digest",
            problem=f"{place} has {actual}, not {digest}",
            remedy="name the checkpoint that is meant, or its digest",
        )
    if registry and actual not in _promoted(registry, RunId.parse(manifest["run"])):
        raise CheckpointError(
            "checkpoint.not-promoted",
            field="--registry",
            problem=f"has no promotion of {manifest['run']} with the digest {actual}",
            remedy="promote the checkpoint first, or leave --registry out",
        )
    return folder


def _fetch(place: str, digest: str) -> Path:
    if "://" not in place:
        return Path(place)
    parent, _, name = place.rstrip("/").rpartition("/")
    return open_store(parent).fetch(name, digest or None)


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint; only its weights are read, so that they must be in it.

    Raises:
        CheckpointError: there is none, or it names no weights.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        weights = WEIGHTS in manifest["files"] and isinstance(manifest["run"], str)
    except (OSError, ValueError, KeyError, TypeError):
        weights = False
    if not weights:
        others = ", ".join(sorted(path.name for path in folder.glob("*"))[:3]) if folder.is_dir() else "no folder"
        raise CheckpointError(
            "checkpoint.not-served",
            field="--checkpoint",
            problem=f"{folder} has no manifest.json that names {WEIGHTS} ({others or 'it is empty'})",
            remedy="name a checkpoint folder that pretraining wrote; pickled weights are never loaded",
        )
    return manifest


def _promoted(url: str, run: RunId) -> set[str]:
    """Digests of the promoted checkpoints of a run."""
    filters = {"cell": run.cell, "arm": run.arm, "seed": run.seed}
    if url.startswith(("http://", "https://")):
        rows = _ask_service(url, filters)
    else:
        module = missing_module(("registry",))
        if module is not None:
            raise CrossoverError(f"--registry {url.partition(':')[0]}: {install_hint(module, ('registry',))}")
        from crossover.registry.open_registry import open_to_read

        with open_to_read(url) as registry:
            rows = registry.view_rows("deployments", filters)
    return {row["checkpoint_digest"] for row in rows}


def _ask_service(url: str, filters: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of v_deployments; by HTTP alone, since the predictor's image has no SQL."""
    import httpx

    settings = get_settings()
    file = settings.registry_token_file
    token = file.read_text("utf-8").strip() if file else settings.registry_token.get_secret_value()
    parameters = {**filters, "limit": 10_000}
    if settings.registry_namespace:
        parameters["namespace"] = settings.registry_namespace
    try:
        answer = httpx.get(
            f"{url.rstrip('/')}/api/v1/deployments",
            params=parameters,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=ASK_SECONDS,
        )
        rows: list[dict[str, Any]] = answer.raise_for_status().json()["rows"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise RegistryError(
            "registry.not-asked",
            field="--registry",
            problem=f"{url}: {error}",
            remedy="see that the registry answers this token, or leave --registry out",
        ) from error
    return rows
