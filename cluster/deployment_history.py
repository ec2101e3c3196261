"""What an endpoint served when, as rows of the registry: a rollback goes to the one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossover_cluster.inference_service import Served
from crossover_cluster.promotion_records import EndpointRecord

from crossover.errors import ClusterError
from crossover.registry import AnyRegistry


@dataclass(frozen=True)
class Recorded:
    """One row."""

    served: Served
    study_digest: str
    analysis_digest: str
    reason: str
    endpoint: str | None = None
    """`namespace/name` of the InferenceService; None for a promotion that reached none."""
    revision: int | None = None


def history(registry: AnyRegistry, study: str) -> list[Recorded]:
    """All deployments of a study by its name, the newest first."""
    of = {"study": study}
    runs = {_run(row): row["run_digest"] for row in registry.view_rows("runs", of)}
    rows = sorted(registry.view_rows("deployments", of), key=lambda row: str(row["deployed_at"]), reverse=True)
    return [
        Recorded(
            Served(
                uri=row["uri"],
                digest=row["checkpoint_digest"],
                run=f"{row['cell']}/{row['arm']}/seed-{row['seed']}",
                run_digest=runs[_run(row)],
                step=int(row["step"]),
                study=study,
            ),
            row["study_digest"],
            row["analysis_digest"],
            row["reason"],
            row["endpoint"],
            row["revision"],
        )
        for row in rows
    ]


def _run(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["study_digest"], row["cell"], row["arm"], row["seed"]


def before(rows: list[Recorded], endpoint: str, digest: str, *, study: str) -> Recorded:
    """The newest deployment on an endpoint that is of another checkpoint.

    Args:
        rows: the newest first.
        endpoint: `namespace/name`.
        digest: of what is served now.
        study: for messages.

    Raises:
        ClusterError: there is none.
    """
    for row in rows:
        if row.endpoint == endpoint and row.served.digest != digest:
            return row
    raise ClusterError(
        "promotion.no-earlier",
        field=f"endpoint {endpoint}",
        problem=f"the registry has no other deployment of the study {study!r} on it",
        remedy="promote another checkpoint: a rollback needs two promotions that reached this endpoint",
    )


def endpoint_of(namespace: str, name: str) -> str:
    """How the registry names an endpoint."""
    return f"{namespace}/{name}"


def record(registry: AnyRegistry, row: Recorded, done: EndpointRecord) -> bool:
    """Append what an endpoint serves now; False where the same is there already, as after a retry."""
    now = (endpoint_of(done.namespace, done.name), done.revision, done.digest)
    rows = history(registry, row.served.study)
    if any((old.endpoint, old.revision, old.served.digest) == now for old in rows):
        return False
    registry.record_deployment(
        row.study_digest,
        row.served.run_digest,
        step=row.served.step,
        uri=row.served.uri,
        digest=row.served.digest,
        analysis_digest=row.analysis_digest,
        reason=row.reason,
        endpoint=now[0],
        revision=done.revision,
        traffic=done.traffic,
    )
    return True
