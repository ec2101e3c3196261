# ruff: noqa: S608 - constants only
"""The documented views: the same columns in every version. Plain SQL that SQLite and PostgreSQL both speak.

A study sees every run that is linked to it. A point is superseded, and hidden, when a later attempt of its run started
before the point's step, or when a later attempt has a point of its own there (a checkpoint of before the resume,
evaluated again after it).
"""

from __future__ import annotations

_CURRENT = """
  NOT EXISTS (
    SELECT 1 FROM attempt later
    WHERE later.run_id = s.run_id AND later.n > p.attempt_n AND later.started_step < p.step
  )
  AND NOT EXISTS (
    SELECT 1 FROM point again
    WHERE again.series_id = p.series_id AND again.step = p.step AND again.attempt_n > p.attempt_n
  )
"""

VIEWS: dict[str, str] = {
    "v_curves": f"""
SELECT st.name AS study, st.digest AS study_digest, r.cell, r.arm, r.seed, m.name AS metric, m.unit, m.direction,
       m.estimator, m.draws, p.step, p.tokens, p.flops, p.seconds, p.value, p.state, p.stderr, p.attempt_n AS attempt,
       CAST(p.tokens AS DOUBLE PRECISION) / r.epoch_tokens AS epochs
FROM point p
JOIN series s ON s.id = p.series_id
JOIN metric_def m ON m.id = s.metric_id
JOIN run r ON r.id = s.run_id
JOIN study_run sr ON sr.run_id = r.id
JOIN study st ON st.id = sr.study_id
WHERE {_CURRENT}
""",
    "v_runs": f"""
SELECT st.name AS study, st.digest AS study_digest, r.cell, r.arm, r.seed, r.status,
       (SELECT COUNT(*) FROM attempt a WHERE a.run_id = r.id) AS attempts,
       c.step AS last_step, c.tokens AS last_tokens, c.uri AS checkpoint, c.digest AS checkpoint_digest,
       (SELECT MAX((SELECT p.seconds FROM point p WHERE p.series_id = s.id AND {_CURRENT}
                    ORDER BY p.step DESC, p.attempt_n DESC LIMIT 1))
        FROM series s WHERE s.run_id = r.id) AS seconds,
       r.digest AS run_digest
FROM run r
JOIN study_run sr ON sr.run_id = r.id
JOIN study st ON st.id = sr.study_id
LEFT JOIN checkpoint c ON c.run_id = r.id AND c.step = (SELECT MAX(x.step) FROM checkpoint x WHERE x.run_id = r.id)
""",
    "v_verdicts": """
SELECT st.name AS study, st.digest AS study_digest, a.cell, v.metric, v.axis, v.comparison, v.baseline, v.candidate,
       v.outcome AS verdict, v.direction, v.crossing_at, v.crossing_low, v.crossing_high, v.pairs, v.p_adjusted,
       v.reason, a.digest AS analysis_digest, a.created_at AS analysed_at, v.outcome
FROM verdict v
JOIN analysis a ON a.id = v.analysis_id
JOIN study st ON st.id = a.study_id
WHERE a.id = (SELECT MAX(x.id) FROM analysis x WHERE x.study_id = a.study_id AND x.cell = a.cell)
""",
    "v_deployments": """
SELECT st.name AS study, st.digest AS study_digest, r.cell, r.arm, r.seed, d.step, d.uri, d.digest AS checkpoint_digest,
       d.analysis_digest, d.reason, d.created_at AS deployed_at,
       CASE WHEN d.id = (SELECT MAX(x.id) FROM deployment x WHERE x.study_id = d.study_id) THEN 1 ELSE 0 END AS current
FROM deployment d
JOIN run r ON r.id = d.run_id
JOIN study st ON st.id = d.study_id
ORDER BY d.id DESC
""",
}
