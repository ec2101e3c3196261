"""The documented views: those of 0003, except that `current` and `newest` look at all revisions of a study's name."""

from __future__ import annotations

from crossover.registry.migrations.views_0003 import VIEWS as OLD_VIEWS

VIEWS: dict[str, str] = OLD_VIEWS | {
    "v_verdicts": """
SELECT st.name AS study, st.digest AS study_digest, a.cell, v.metric, v.axis, v.comparison, v.baseline, v.candidate,
       v.outcome AS verdict, v.direction, v.crossing_at, v.crossing_low, v.crossing_high, v.pairs, v.p_adjusted,
       v.reason, a.digest AS analysis_digest, a.created_at AS analysed_at, v.outcome,
       CASE WHEN a.id = (SELECT MAX(x.id) FROM analysis x JOIN study y ON y.id = x.study_id
                         WHERE y.name = st.name AND x.cell = a.cell) THEN 1 ELSE 0 END AS newest
FROM verdict v
JOIN analysis a ON a.id = v.analysis_id
JOIN study st ON st.id = a.study_id
WHERE a.id = (SELECT MAX(x.id) FROM analysis x WHERE x.study_id = a.study_id AND x.cell = a.cell)
""",
    "v_deployments": """
SELECT st.name AS study, st.digest AS study_digest, r.cell, r.arm, r.seed, d.step, d.uri, d.digest AS checkpoint_digest,
       d.analysis_digest, d.reason, d.created_at AS deployed_at,
       CASE WHEN d.id = (SELECT MAX(x.id) FROM deployment x JOIN study y ON y.id = x.study_id
                         WHERE y.name = st.name) THEN 1 ELSE 0 END AS current
FROM deployment d
JOIN run r ON r.id = d.run_id
JOIN study st ON st.id = d.study_id
ORDER BY d.id DESC
""",
}
