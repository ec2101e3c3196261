"""The views since revision 0008: those of 0007, and a promotion's endpoint."""

from __future__ import annotations

from crossover.registry.migrations.views_0007 import views as earlier_views

CHANGED = "v_deployments"


def views(dialect: str) -> dict[str, str]:
    """Every view's SELECT, in the SQL of a database and in the order in which they are made.

    Args:
        dialect: `sqlite` or `postgresql`.
    """
    statements = earlier_views(dialect)
    before, between, after = statements[CHANGED].partition("       st.namespace\nFROM deployment d")
    if not between:
        raise AssertionError(CHANGED)
    added = between.replace("st.namespace", "st.namespace, d.endpoint, d.revision, d.traffic")
    return statements | {CHANGED: before + added + after}
