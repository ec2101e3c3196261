"""What an older registry holds is still there after an upgrade."""

from __future__ import annotations

import json

from sqlalchemy import text

from crossover.registry import Registry, RunKey, upgrade
from crossover.registry.database import make_engine, migrate, parse_url

NOW = "2026-01-02 03:04:05+00:00"
MANIFEST = {"budgets": [{"unique_tokens": 10, "tokens": 8}]}
BEFORE = (
    ("study", {"id": 1, "name": "demo", "digest": "d", "config": "{}", "plan_digest": "p", "created_at": NOW}),
    ("dataset", {"id": 1, "study_id": 1, "digest": "d", "manifest": json.dumps(MANIFEST), "created_at": NOW}),
    ("run", {"id": 1, "study_id": 1, "cell": "c", "arm": "ar", "seed": 0, "status": "done"}),
    ("metric_def", {"id": 1, "name": "m", "unit": "1", "direction": "lower", "estimator": "exact", "draws": 0}),
    ("series", {"id": 1, "run_id": 1, "metric_id": 1}),
    ("point", {"series_id": 1, "step": 1, "attempt_n": 1, "tokens": 16, "flops": 1.0, "seconds": 2.0, "value": 3.0}),
    ("item_scores", {"run_id": 1, "step": 1, "task": "cloze", "items": json.dumps({"ids": ["a"]})}),
)
MORE = {"run": {"config": json.dumps({"unique_tokens": 10})}, "point": {"state": ""}}


def test_from_0001(empty_url: str) -> None:
    engine = make_engine(parse_url(empty_url))
    assert migrate(parse_url(empty_url), engine, "0001") == (None, "0001")
    with engine.begin() as connection:
        for table, row in BEFORE:
            values = row | MORE.get(table, {})
            names = ", ".join(values)
            places = ", ".join(f":{name}" for name in values)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)
    engine.dispose()
    assert upgrade(empty_url) == ("0001", "0002")
    with Registry.open(empty_url) as registry:
        assert registry.query("SELECT value, epochs FROM v_curves").rows == ((3.0, 2.0),)
        assert registry.query("SELECT seconds FROM v_runs").rows == ((2.0,),)
        assert registry.items(RunKey("d", "c", "ar", 0), 1, "cloze") == {"ids": ["a"]}
