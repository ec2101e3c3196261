"""The views since revision 0010: those of 0009 with the tier of quality of the cell, wherever there is one."""

from __future__ import annotations

from crossover.registry.migrations.views_0009 import views as earlier_views

_OF_RUN = "r.quality_tier"
_OF_ANALYSIS = """COALESCE((
         SELECT r.quality_tier FROM study_run sr JOIN run r ON r.id = sr.run_id
         WHERE sr.study_id = a.study_id AND (
           r.cell = a.cell
           OR (SUBSTR(a.cell, LENGTH(a.cell) - 8) = '-frontier'
               AND SUBSTR(r.cell, 1, LENGTH(a.cell) - 8) = SUBSTR(a.cell, 1, LENGTH(a.cell) - 8))
         ) LIMIT 1), '') AS quality_tier"""
"""A frontier is of several cells, whose names begin like its own."""
_LAST = {
    "v_curves": ("AS epochs, st.namespace", _OF_RUN),
    "v_superseded": ("AS epochs, st.namespace", _OF_RUN),
    "v_runs": ("r.digest AS run_digest, st.namespace", _OF_RUN),
    "v_verdicts": ("v.further_pairs", _OF_ANALYSIS),
    "v_deployments": ("d.endpoint, d.revision, d.traffic", _OF_RUN),
    "v_attempts": ("r.digest AS run_digest, st.namespace", _OF_RUN),
    "v_evaluations": ("r.digest AS run_digest, c.namespace", _OF_RUN),
    "v_serving": ("r.digest AS run_digest, st.namespace", _OF_RUN),
}
"""View to its last columns until now, and the one behind them."""
CHANGED = tuple(_LAST)
"""Each behind those that it is made of."""


def views(dialect: str) -> dict[str, str]:
    """Every view's SELECT, in the SQL of a database and in the order in which they are made.

    Args:
        dialect: `sqlite` or `postgresql`.
    """
    statements = earlier_views(dialect)
    for name, (last, added) in _LAST.items():
        if last not in statements[name]:
            raise AssertionError(name)
        statements[name] = statements[name].replace(last, f"{last}, {added}")
    return statements
