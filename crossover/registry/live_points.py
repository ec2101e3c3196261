"""New points of a study since the last look: a live tail by polling."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Engine, text

Seen = Mapping[str, int]
"""`cell/arm/seed` to the last step that was seen."""


def new_points(
    engine: Engine, study_digest: str, metric: str, seen: Seen, *, namespaces: Collection[str] | None, most: int = 1_000
) -> tuple[list[dict[str, object]], Seen]:
    """Points of one metric that were recorded after those seen, by run and step, and what is seen with them.

    Args:
        engine: of the registry.
        study_digest: of the study.
        metric: name of the metric.
        seen: what the last call returned; empty at first.
        namespaces: only studies of these; None is all.
        most: largest number of points; the next call has the rest.
    """
    runs = text("SELECT namespace, cell, arm, seed FROM v_runs WHERE study_digest = :study ORDER BY 1, 2, 3, 4")
    points = text(
        "SELECT step, tokens, flops, seconds, value, state, epochs, attempt FROM v_curves WHERE study_digest = :study "
        "AND namespace = :namespace AND cell = :cell AND arm = :arm AND seed = :seed AND metric = :metric "
        "AND step > :step ORDER BY step LIMIT :most"
    )
    found: list[dict[str, object]] = []
    last = dict(seen)
    with engine.connect() as connection:
        for run in connection.execute(runs, {"study": study_digest}).all():
            if (namespaces is not None and run.namespace not in namespaces) or len(found) >= most:
                continue
            key = f"{run.cell}/{run.arm}/{run.seed}"
            values = {"study": study_digest, "metric": metric, "step": last.get(key, -1), "most": most - len(found)}
            values |= {"namespace": run.namespace, "cell": run.cell, "arm": run.arm, "seed": run.seed}
            for row in connection.execute(points, values).all():
                found.append({"cell": run.cell, "arm": run.arm, "seed": run.seed} | dict(row._mapping))
                last[key] = row.step
    return found, last
