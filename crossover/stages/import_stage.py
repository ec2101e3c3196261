"""Curves that were measured elsewhere, as a study: judged, recorded in the registry, with a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.curve_files import CurveTable, split_cells
from crossover.errors import RegistryError, WorkspaceError
from crossover.files import digest_of
from crossover.registry import Registry
from crossover.report.study_record import study_records
from crossover.stages.imported_runs import ImportedRun, imported_runs, record_runs
from crossover.stages.judged_curves import Judged, judge_cells, write_judged
from crossover.stages.workspace import STUDY_FILE
from crossover.storage import ArtifactStore, open_store
from crossover.storage.artifact_store import ANY

FOLDER, IMPORT_FILE = "analysis", "import.json"


@dataclass(frozen=True)
class ImportedStudy:
    """What an import has recorded."""

    digest: str
    """Of the study's revision: of its name, its curves and its plan."""
    judged: list[Judged]
    runs: int
    new_runs: int
    report: Path
    """report.html, here or as the local copy of the one in the store."""


def import_stage(
    name: str,
    table: CurveTable,
    plan: AnalysisPlan,
    sources: Sequence[str],
    *,
    unique_tokens: int | None,
    workspace: str,
    registry: str,
) -> ImportedStudy:
    """Judge curves and record them as a revision of a study, whose runs have one attempt each.

    Nothing is recorded before every cell has been judged. The same curves under the same plan are the same revision:
    importing them again changes nothing. Revisions share the runs whose points are equal.

    Args:
        name: of the study, as NAME_PATTERN has it.
        table: a long table of curves.
        plan: of the analysis.
        sources: names of the files, for the record.
        unique_tokens: tokens of an epoch, where the table does not say.
        workspace: a path or s3://bucket/prefix; it gets the report.
        registry: SQLAlchemy URL.

    Returns:
        What was recorded.

    Raises:
        CurvesError: the curves are malformed.
        WorkspaceError: the workspace is that of another study, or cannot be written.
        RegistryError: the registry cannot be written.
    """
    cells = split_cells(table, plan, unique_tokens=unique_tokens)
    judged = judge_cells(table, cells, plan)
    runs = imported_runs(table, {cell.cell: cell.unique_tokens for cell in cells})
    config = _config(name, runs, plan, judged)
    digest = digest_of(config)
    store = open_store(workspace)
    recorded = _claim(store, name)
    folder = store.path(FOLDER)
    with Registry.open(registry) as opened:
        _check_name(opened, name)
        opened.register_study(name=name, digest=digest, config=config | {"sources": list(sources)})
        new = record_runs(opened, digest, table, runs, plan)
        for cell, analysis in judged:
            opened.record_analysis(digest, cell.cell, analysis.model_dump(mode="json"))
        if recorded != digest or store.digest(FOLDER) is None:
            (folder / "manifest.json").unlink(missing_ok=True)  # from here on incomplete
            sql = f"crossover registry query \"SELECT * FROM v_verdicts WHERE study = '{name}'\""  # noqa: S608 - shown
            report = write_judged(folder, name, digest, plan, judged, sql=sql)
            for name_of_part, record in study_records(report).items():
                opened.record_analysis(digest, name_of_part, record)
            store.publish(FOLDER)
            record = {"name": name, "digest": digest, "sources": list(sources)}
            store.write_document(IMPORT_FILE, record, replaces=ANY)
    return ImportedStudy(digest, judged, len(runs), new, folder / "report.html")


def _config(name: str, runs: Sequence[ImportedRun], plan: AnalysisPlan, judged: Sequence[Judged]) -> dict[str, object]:
    """What names the revision."""
    return {
        "name": name,
        "imported": [{"run": run.id.key, "digest": run.digest} for run in runs],
        "cells": [{"cell": c.cell, "unique_tokens": c.unique_tokens, "parameters": c.parameters} for c, _ in judged],
        "analysis": plan.model_dump(mode="json"),
    }


def _check_name(registry: Registry, name: str) -> None:
    """Verdicts are the newest of a study's name: a trained study and an imported one must not share it.

    Raises:
        RegistryError: a study of that name was trained here.
    """
    trained = f"SELECT 1 FROM study WHERE name = '{name}' AND CAST(config AS TEXT) NOT LIKE '%\"imported\"%'"  # noqa: S608 - no quotes in names
    if registry.query(trained, limit=1).rows:
        raise RegistryError(
            "registry.name-taken",
            field="--study",
            problem=f"{name!r} is a study that was trained here",
            remedy="give another name",
        )


def _claim(store: ArtifactStore, name: str) -> str | None:
    """The digest of the revision whose report is in the workspace.

    Raises:
        WorkspaceError: the workspace is that of a study that was trained here, or of another imported one.
    """
    trained, imported = store.read_document(STUDY_FILE), store.read_document(IMPORT_FILE)
    other = (trained.value.get("name") or "a study") if trained else imported.value["name"] if imported else name
    if trained or other != name:
        raise WorkspaceError(
            "workspace.not-an-import",
            field=store.uri,
            problem=f"holds the study {other!r}" + (", which was trained here" if trained else ""),
            remedy="give another place with --out, or another name with --study",
        )
    return str(imported.value["digest"]) if imported else None
