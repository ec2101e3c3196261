# ruff: noqa: S608 - constants only
"""The documented views: points of closed runs come from their chunks, deleted studies are hidden.

New: `v_evaluations`, `v_serving`, `v_superseded`, and the differences in `v_verdicts`. A study sees every run that is
linked to it. A point is superseded when a later attempt of its run started before the point's step, or when a later
attempt has a point of its own there (a checkpoint of before the resume, evaluated again after it).
"""

from __future__ import annotations

from crossover.registry.migrations.views_0006 import LEASE_SECONDS

_ALIVE_SINCE = {
    "sqlite": f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{LEASE_SECONDS} seconds')",
    "postgresql": f"CURRENT_TIMESTAMP - INTERVAL '{LEASE_SECONDS} seconds'",
}
_MANIFEST = {"sqlite": "json_extract(d.manifest, '$.{0}')", "postgresql": "d.manifest::jsonb #>> '{{{0}}}'"}
_CURRENT = """NOT EXISTS (
  SELECT 1 FROM attempt later
  WHERE later.run_id = s.run_id AND later.n > p.attempt_n AND (
    later.started_step < p.step
    OR EXISTS (
      SELECT 1 FROM point again
      WHERE again.series_id = p.series_id AND again.step = p.step AND again.attempt_n = later.n
    )
  )
)"""
_OF_RUN = """
JOIN study_run sr ON sr.run_id = r.id
JOIN study st ON st.id = sr.study_id AND st.deleted_at IS NULL
"""
_POINT = """
SELECT st.name AS study, st.digest AS study_digest, r.cell, r.arm, r.seed, m.name AS metric, m.unit, m.direction,
       m.estimator, m.draws, p.step, p.tokens, p.flops, p.seconds, p.value, p.state, p.stderr, p.attempt_n AS attempt,
       CAST(p.tokens AS DOUBLE PRECISION) / r.epoch_tokens AS epochs, st.namespace
"""
_FROM_POINT = """
FROM study st
{join} study_run sr ON sr.study_id = st.id AND st.deleted_at IS NULL
{join} run r ON r.id = sr.run_id
{join} series s ON s.run_id = r.id
{join} metric_def m ON m.id = s.metric_id
{join} {points} p ON p.series_id = s.id
"""
_JOIN = {"sqlite": "CROSS JOIN", "postgresql": "JOIN"}
"""SQLite takes CROSS JOIN as the order of its loops; by itself, without statistics, it begins with all points."""
_CLOSED_POINT = {
    "sqlite": """
SELECT c.series_id, c.attempt_n, c.current, c.step,
       COALESCE(json_extract(c.tokens, c.place), c.tokens_per_step * c.step) AS tokens,
       COALESCE(json_extract(c.flops, c.place), c.flops_per_step * c.step) AS flops,
       json_extract(c.seconds, c.place) AS seconds, c.value, COALESCE(json_extract(c.states, c.place), '') AS state,
       json_extract(c.stderrs, c.place) AS stderr
FROM (
  SELECT k.*, v.value, '$[' || v.key || ']' AS place,
         COALESCE(json_extract(k.steps, '$[' || v.key || ']'), k.first_step + v.key * k.step_stride) AS step
  FROM point_chunk k, json_each(k.measured) v
) c
""",
    "postgresql": """
SELECT c.series_id, c.attempt_n, c.current, c.step, COALESCE(c.u_tokens, c.tokens_per_step * c.step) AS tokens,
       COALESCE(c.u_flops, c.flops_per_step * c.step) AS flops, c.u_seconds AS seconds, c.value,
       COALESCE(c.state, '') AS state, c.stderr
FROM (
  SELECT k.series_id, k.attempt_n, k.current, k.tokens_per_step, k.flops_per_step, u.*,
         COALESCE(u.u_step, k.first_step + (u.place - 1) * k.step_stride) AS step
  FROM point_chunk k,
       unnest(k.steps, k.tokens, k.flops, k.seconds, k.measured, k.states, k.stderrs) WITH ORDINALITY
         AS u(u_step, u_tokens, u_flops, u_seconds, value, state, stderr, place)
) c
""",
}


def views(dialect: str) -> dict[str, str]:
    """Every view's SELECT, in the SQL of a database and in the order in which they are made.

    Args:
        dialect: `sqlite` or `postgresql`.
    """
    lost = (
        "NOT EXISTS (SELECT 1 FROM attempt a WHERE a.run_id = r.id AND a.ended_at IS NULL"
        f" AND COALESCE(a.heartbeat_at, a.started_at) >= {_ALIVE_SINCE[dialect]})"
    )
    live, closed = (_POINT + _FROM_POINT.format(join=_JOIN[dialect], points=p) for p in ("point", "closed_point"))
    return {
        "closed_point": _CLOSED_POINT[dialect],
        "v_curves": f"{live} WHERE {_CURRENT} UNION ALL {closed} WHERE p.current = 1",
        "v_superseded": f"{live} WHERE NOT ({_CURRENT}) UNION ALL {closed} WHERE p.current = 0",
        "v_runs": _RUNS.format(lost=lost),
        "v_verdicts": _VERDICTS,
        "v_deployments": _DEPLOYMENTS,
        "v_attempts": _ATTEMPTS.format(lost=lost),
        "v_datasets": _datasets(dialect),
        "v_evaluations": _EVALUATIONS,
        "v_serving": _SERVING,
    }


_RUNS = f"""
SELECT st.name AS study, st.digest AS study_digest, r.cell, r.arm, r.seed,
       CASE WHEN r.status = 'running' AND {{lost}} THEN 'lost' ELSE r.status END AS status,
       (SELECT COUNT(*) FROM attempt a WHERE a.run_id = r.id) AS attempts,
       c.step AS last_step, c.tokens AS last_tokens, c.uri AS checkpoint, c.digest AS checkpoint_digest,
       (SELECT MAX(COALESCE(
          (SELECT p.seconds FROM point p WHERE p.series_id = s.id AND {_CURRENT}
           ORDER BY p.step DESC, p.attempt_n DESC LIMIT 1),
          (SELECT k.last_seconds FROM point_chunk k WHERE k.series_id = s.id AND k.current = 1
           ORDER BY k.last_step DESC LIMIT 1)))
        FROM series s WHERE s.run_id = r.id) AS seconds,
       r.digest AS run_digest, st.namespace
FROM run r
{_OF_RUN}
LEFT JOIN checkpoint c ON c.run_id = r.id AND c.step = (SELECT MAX(x.step) FROM checkpoint x WHERE x.run_id = r.id)
"""
_VERDICTS = """
SELECT st.name AS study, st.digest AS study_digest, a.cell, v.metric, v.axis, v.comparison, v.baseline, v.candidate,
       v.outcome AS verdict, v.direction, v.crossing_at, v.crossing_low, v.crossing_high, v.pairs, v.p_adjusted,
       v.reason, a.digest AS analysis_digest, a.created_at AS analysed_at, v.outcome,
       CASE WHEN a.id = (SELECT MAX(x.id) FROM analysis x JOIN study y ON y.id = x.study_id
                         WHERE y.namespace = st.namespace AND y.name = st.name AND y.deleted_at IS NULL
                           AND x.cell = a.cell) THEN 1 ELSE 0 END AS newest,
       st.namespace, v.early_difference, v.early_low, v.early_high, v.late_difference, v.late_low, v.late_high,
       v.further_pairs
FROM verdict v
JOIN analysis a ON a.id = v.analysis_id
JOIN study st ON st.id = a.study_id AND st.deleted_at IS NULL
WHERE a.id = (SELECT MAX(x.id) FROM analysis x WHERE x.study_id = a.study_id AND x.cell = a.cell)
"""
_DEPLOYMENTS = """
SELECT st.name AS study, st.digest AS study_digest, r.cell, r.arm, r.seed, d.step, d.uri, d.digest AS checkpoint_digest,
       d.analysis_digest, d.reason, d.created_at AS deployed_at,
       CASE WHEN d.id = (SELECT MAX(x.id) FROM deployment x JOIN study y ON y.id = x.study_id
                         WHERE y.namespace = st.namespace AND y.name = st.name AND y.deleted_at IS NULL)
            THEN 1 ELSE 0 END AS current,
       st.namespace
FROM deployment d
JOIN run r ON r.id = d.run_id
JOIN study st ON st.id = d.study_id AND st.deleted_at IS NULL
ORDER BY d.id DESC
"""
_ATTEMPTS = f"""
SELECT st.name AS study, st.digest AS study_digest, r.cell, r.arm, r.seed, t.n AS attempt, t.started_step,
       t.host, t.pid, t.started_at, t.heartbeat_at, t.ended_at,
       CASE WHEN t.ended_at IS NULL AND {{lost}} THEN 'lost' ELSE t.end_reason END AS end_reason,
       r.digest AS run_digest, st.namespace
FROM attempt t
JOIN run r ON r.id = t.run_id
{_OF_RUN}
"""
_EVALUATIONS = """
SELECT c.study, c.study_digest, c.cell, c.arm, c.seed, i.task, SUBSTR(c.metric, LENGTH(i.task) + 2) AS score,
       c.direction, c.estimator, c.draws, c.step, c.tokens, c.epochs, c.value, c.state, c.stderr,
       r.digest AS run_digest, c.namespace
FROM item_scores i
JOIN run r ON r.id = i.run_id
JOIN study_run sr ON sr.run_id = r.id
JOIN study st ON st.id = sr.study_id
JOIN v_curves c ON c.study_digest = st.digest AND c.namespace = st.namespace AND c.cell = r.cell AND c.arm = r.arm
  AND c.seed = r.seed AND c.step = i.step AND SUBSTR(c.metric, 1, LENGTH(i.task) + 1) = i.task || '_'
"""
_SERVING = f"""
SELECT st.name AS study, st.digest AS study_digest, r.cell, r.arm, r.seed, g.step, g.checkpoint_digest,
       CAST(g.decoding AS VARCHAR) AS decoding, g.device, g.concurrency, g.requests, g.tokens_per_second,
       g.first_token_p50, g.first_token_p99, g.quality_metric, g.quality, g.quality_stderr, g.measured_at,
       r.digest AS run_digest, st.namespace
FROM serving_measurement g
JOIN run r ON r.id = g.run_id
{_OF_RUN}
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
JOIN study st ON st.id = d.study_id AND st.deleted_at IS NULL
"""
