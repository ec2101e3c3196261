# ruff: noqa: S608 - constants only
"""The documented views: those of 0005 with the namespace and lost runs, and `v_attempts` and `v_datasets`."""

from __future__ import annotations

from crossover.registry.migrations.views_0005 import VIEWS as OLD_VIEWS

LEASE_SECONDS = 120
_ALIVE_SINCE = {
    "sqlite": f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{LEASE_SECONDS} seconds')",
    "postgresql": f"CURRENT_TIMESTAMP - INTERVAL '{LEASE_SECONDS} seconds'",
}
_MANIFEST = {"sqlite": "json_extract(d.manifest, '$.{0}')", "postgresql": "d.manifest::jsonb #>> '{{{0}}}'"}


def views(dialect: str) -> dict[str, str]:
    """Every view's SELECT, in the SQL of a database.

    Args:
        dialect: `sqlite` or `postgresql`.
    """
    lost = (
        "NOT EXISTS (SELECT 1 FROM attempt a WHERE a.run_id = r.id AND a.ended_at IS NULL"
        f" AND COALESCE(a.heartbeat_at, a.started_at) >= {_ALIVE_SINCE[dialect]})"
    )
    status = f"CASE WHEN r.status = 'running' AND {lost} THEN 'lost' ELSE r.status END AS status"
    reworded = {
        "v_runs": [("r.status,", f"{status},")],
        "v_verdicts": [("WHERE y.name = st.name", "WHERE y.namespace = st.namespace AND y.name = st.name")],
        "v_deployments": [("WHERE y.name = st.name", "WHERE y.namespace = st.namespace AND y.name = st.name")],
    }
    last_columns = {
        "v_curves": "/ r.epoch_tokens AS epochs",
        "v_runs": "r.digest AS run_digest",
        "v_verdicts": "THEN 1 ELSE 0 END AS newest",
        "v_deployments": "THEN 1 ELSE 0 END AS current",
    }
    result = {}
    for name, statement in OLD_VIEWS.items():
        result[name] = statement
        for old, new in [*reworded.get(name, []), (last_columns[name], f"{last_columns[name]}, st.namespace")]:
            if old not in result[name]:
                raise ValueError(f"{name} has no {old!r}")
            result[name] = result[name].replace(old, new)
    return result | {"v_attempts": _ATTEMPTS.replace("{lost}", lost), "v_datasets": _datasets(dialect)}


_ATTEMPTS = """
SELECT st.name AS study, st.digest AS study_digest, r.cell, r.arm, r.seed, t.n AS attempt, t.started_step,
       t.host, t.pid, t.started_at, t.heartbeat_at, t.ended_at,
       CASE WHEN t.ended_at IS NULL AND {lost} THEN 'lost' ELSE t.end_reason END AS end_reason,
       r.digest AS run_digest, st.namespace
FROM attempt t
JOIN run r ON r.id = t.run_id
JOIN study_run sr ON sr.run_id = r.id
JOIN study st ON st.id = sr.study_id
"""


def _datasets(dialect: str) -> str:
    def field(path: str) -> str:
        return _MANIFEST[dialect].format(path)

    counts = ("documents", "duplicates_dropped", "train_bytes", "validation_bytes", "available_tokens")
    columns = ",\n       ".join(f"CAST({field(name)} AS BIGINT) AS {name}" for name in counts)
    return f"""
SELECT st.name AS study, st.digest AS study_digest, d.digest AS dataset_digest, {field("source")} AS source,
       {field("tokenizer")} AS tokenizer, {columns}, d.created_at AS prepared_at, st.namespace
FROM dataset d
JOIN study st ON st.id = d.study_id
"""
