"""The JSON twin of a study's page: without drawings, and with the chosen figure's numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from crossover_services.registry.page_addresses import run_address
from crossover_services.registry.page_study import StudyPage


def as_data(page: StudyPage) -> dict[str, Any]:
    """What the page says."""
    return {
        "namespace": page.namespace,
        "name": page.name,
        "question": page.question,
        "revision": page.revision.digest,
        "plan_digest": page.revision.plan_digest,
        "status": page.status,
        "runs_done": page.done,
        "runs_total": page.total,
        "runs_lost": page.lost,
        "cell": page.cell,
        "cells": [
            {"cell": c.name, "verdict": c.verdict, "interval": c.interval, "address": c.address} for c in page.cells
        ],
        "analysis": page.analysis_digest,
        "headline": page.card and {"verdict": page.card.verdict, "reason": page.card.reason},
        "verdicts": [v.model_dump(mode="json") for v in page.analysis.verdicts] if page.analysis else [],
        "notes": page.analysis.notes if page.analysis else [],
        "items": [t.model_dump(mode="json") for t in page.analysis.items] if page.analysis else [],
        "figure": page.figure and page.figure.figure.model_dump(mode="json"),
        **_whole(page),
        "runs": [asdict(r) | {"address": run_address(r.digest)} for r in page.runs],
        "live": page.live
        and {
            "seconds_left": page.live.seconds_left,
            "pairs_done": page.live.pairs,
            "pairs_needed": page.live.pairs_needed,
            "runs": [asdict(r) | {"share": r.share} for r in page.live.runs],
        },
        "lineage": [asdict(step) for step in page.lineage],
        "reused": [asdict(row) for row in page.reused],
        "revisions": [asdict(r) for r in page.revisions],
        "changes": [asdict(c) for c in page.changes],
        "plan": page.revision.config.get("analysis"),
        "config": page.revision.config,
    }


def _whole(page: StudyPage) -> dict[str, Any]:
    """Of the whole study: the overview as it was recorded, the frontiers' verdicts, how the runs went."""
    if page.whole is None:
        return {"overview": None, "frontiers": [], "health": []}
    return {
        "overview": page.whole.record.overview.model_dump(mode="json"),
        "frontiers": [asdict(f) for f in page.whole.frontiers],
        "health": [h.model_dump(mode="json") for h in page.whole.record.health],
    }
