"""What the registry holds of a study, as what a report is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from crossover import __version__
from crossover.analysis.analysis_result import Analysis
from crossover.registry.reads.data_and_deployments import DatasetRecord
from crossover.registry.reads.study_results import RunRecord
from crossover.registry.reads.study_revisions import Revision
from crossover.registry.write_statements import quality_tier
from crossover.report.report_data import CellReport, CorpusFacts, ReportContext, RunHealth, RunRow

Healths = Mapping[tuple[str, str, int], RunHealth]
"""Cell, arm and seed to how the run went."""


def cell_report(cell: str, analysis: Analysis, runs: Sequence[RunRecord], health: Healths | None = None) -> CellReport:
    """A cell from its analysis, its runs, and how they went."""
    own = [run for run in runs if run.cell == cell]
    config: Mapping[str, Any] = own[0].config if own else {}
    model = config.get("model")
    words = ""
    if isinstance(model, Mapping) and {"num_layers", "hidden_size", "num_heads"} <= model.keys():
        layers = f"{model['num_layers']} layer{'s' if model['num_layers'] != 1 else ''}"
        words = f"{layers}, width {model['hidden_size']}, {model['num_heads']} heads"
    return CellReport(
        cell=cell,
        unique_tokens=_whole(config.get("unique_tokens")),
        model=words,
        parameters=_whole(config.get("parameters")),
        quality=quality_tier(config),
        analysis=analysis,
        runs=tuple(
            RunRow(
                arm=run.arm,
                seed=run.seed,
                run_key=f"{run.cell}/{run.arm}/seed-{run.seed}",
                steps=run.step,
                tokens=run.tokens,
                flops=run.flops,
                seconds=run.seconds,
                checkpoint_digest=run.checkpoint,
                health=(health or {}).get((cell, run.arm, run.seed)),
            )
            for run in own
        ),
    )


def report_context(
    revision: Revision, cells: Sequence[CellReport], dataset: DatasetRecord | None, question: str
) -> ReportContext:
    """A report of at least one cell."""
    return ReportContext(
        study=revision.name,
        study_digest=revision.digest,
        question=question,
        cells=tuple(cells),
        corpus=None if dataset is None else corpus_facts(dataset),
        created_at=revision.created_at.isoformat(timespec="seconds"),
        version=__version__,
    )


def corpus_facts(dataset: DatasetRecord) -> CorpusFacts:
    """The facts of a dataset's manifest; what it does not say is 0."""
    manifest = dataset.manifest

    def whole(name: str) -> int:
        return _whole(manifest.get(name)) or 0

    return CorpusFacts(
        source=str(manifest.get("source", "unknown")),
        documents=whole("documents"),
        bytes=whole("train_bytes") + whole("validation_bytes"),
        train_tokens=whole("available_tokens"),
        validation_tokens=whole("validation_examples") * whole("sequence_length"),
        duplicates_dropped=whole("duplicates_dropped"),
        digest=dataset.digest,
    )


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
