"""The lists of prepared corpora and of promotions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from crossover_services.registry.page_addresses import dataset_address, run_address, study_address, with_query

from crossover.data.overlap_counts import HELD_OUT
from crossover.registry import Registry
from crossover.registry.reads.data_and_deployments import datasets, deployments
from crossover.registry.reads.read_filters import Namespaces
from crossover.study.study_digests import short

PAGE = 50


def dataset_page(registry: Registry, namespaces: Namespaces, search: str, number: int) -> dict[str, Any]:
    """Prepared corpora, the newest first.

    Args:
        registry: open.
        namespaces: to read.
        search: words to find.
        number: of the page, from 1.
    """
    found, total = datasets(registry, namespaces, search=search, limit=PAGE, offset=PAGE * (number - 1))
    rows = [
        asdict(d)
        | {
            "address": study_address(d.namespace, d.study, revision=short(d.study_digest)),
            "card": dataset_address(d.digest),
            "overlap": _overlap(d.manifest),
        }
        for d in found
    ]
    return {"datasets": rows, **_paging("/datasets", search, number, total)}


def deployment_page(registry: Registry, namespaces: Namespaces, search: str, number: int) -> dict[str, Any]:
    """Promotions, the newest first.

    Args:
        registry: open.
        namespaces: to read.
        search: words to find.
        number: of the page, from 1.
    """
    found, total = deployments(registry, namespaces, search=search, limit=PAGE, offset=PAGE * (number - 1))
    rows = [
        asdict(d) | {"address": study_address(d.namespace, d.study), "run_address": run_address(d.run_digest)}
        for d in found
    ]
    return {"deployments": rows, **_paging("/deployments", search, number, total)}


def _paging(path: str, search: str, number: int, total: int) -> dict[str, Any]:
    before = with_query(path, {"q": search, "page": number - 1 if number > 2 else ""})
    return {
        "total": total,
        "page": number,
        "previous": before if number > 1 else "",
        "next": with_query(path, {"q": search, "page": number + 1}) if PAGE * number < total else "",
    }


def _overlap(manifest: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Near-duplicates, and training documents that held-out ones contaminate; None where they were not counted."""
    near, targets = manifest.get("near"), manifest.get("contamination")
    found = near.get("near_duplicates") if isinstance(near, Mapping) and near.get("mode", "off") != "off" else None
    counts = {t.get("target"): t.get("contaminated") for t in targets or () if isinstance(t, Mapping)}
    contaminated = counts.get(HELD_OUT)
    return found if isinstance(found, int) else None, contaminated if isinstance(contaminated, int) else None
