"""The views since revision 0009: those of 0008, and where one family overtakes the other in serving."""

from __future__ import annotations

from crossover.registry.migrations.views_0008 import views as earlier_views

NEW = "v_serving_crossovers"
_CROSSOVERS = """
SELECT st.name AS study, st.digest AS study_digest, g.baseline, g.candidate, g.baseline_checkpoint,
       g.candidate_checkpoint, CAST(g.setting AS VARCHAR) AS setting, g.device, g.outcome, g.crossing_at,
       g.crossing_low, g.crossing_high, g.agreement, g.measured_at,
       CASE WHEN g.id = (SELECT MAX(x.id) FROM serving_crossover x JOIN study y ON y.id = x.study_id
                         WHERE y.namespace = st.namespace AND y.name = st.name AND y.deleted_at IS NULL)
            THEN 1 ELSE 0 END AS newest,
       st.namespace
FROM serving_crossover g
JOIN study st ON st.id = g.study_id AND st.deleted_at IS NULL
"""


def views(dialect: str) -> dict[str, str]:
    """Every view's SELECT, in the SQL of a database and in the order in which they are made.

    Args:
        dialect: `sqlite` or `postgresql`.
    """
    return earlier_views(dialect) | {NEW: _CROSSOVERS}
