"""A study of four cells as the analysis stage records it: analyses, overview, a frontier, how the runs went."""

from __future__ import annotations

from crossover.analysis.across.budget_advice import advise_all
from crossover.analysis.across.cross_cell_result import CellFacts, Frontier, Overview
from crossover.analysis.across.crossing_regression import fit_movements
from crossover.registry import Registry
from crossover.report.report_data import CellReport, Reference, ReportContext, RunHealth, RunRow
from crossover.report.study_record import study_records
from crossover.study.identity import RunId
from tests.crossover.analysis_across.cells import cell
from tests.crossover.report import report_samples
from tests.services import registry_samples as samples

BUDGETS = (10_000, 20_000, 40_000, 80_000)
MODEL = 1_000_000
FRONTIER = "u10000-frontier"
HEALTH = RunHealth(
    attempts=3,
    tokens_per_second=51_234.0,
    mfu=0.314,
    gradient_norm=0.8,
    largest_gradient_norm=7.25,
    loss_spikes=2,
    not_finite=0,
)


def report(quality: str = "") -> ReportContext:
    """What the analysis stage knows of the study; the first cell has figures."""
    cells = [cell(tokens, MODEL, crossing=0.001 * tokens) for tokens in BUDGETS]
    ahead = [CellFacts(cell="", unique_tokens=tokens, parameters=MODEL) for tokens in (10_000, 40_000, 160_000)]
    frontier = Frontier(
        unique_tokens=10_000, cells=tuple(facts.cell for facts, _ in cells), analysis=report_samples.analysis()
    )
    overview = Overview(
        cells=tuple(facts for facts, _ in cells),
        movements=fit_movements(cells, forecasts=ahead),
        frontiers=(frontier,),
        advice=advise_all(cells),
    )
    run = RunRow(arm="ar", seed=0, run_key="", steps=1, tokens=1, flops=1.0, seconds=1.0, health=HEALTH)
    reports = [
        CellReport(
            cell=facts.cell,
            unique_tokens=facts.unique_tokens,
            parameters=MODEL,
            quality=quality,
            analysis=analysis,
            runs=(run,),
        )
        for facts, analysis in cells
    ]
    made = report_samples.context(*reports)
    return made.model_copy(update={"overview": overview, "references": (Reference(label="Guessing", value="0.25"),)})


def record(registry: Registry, name: str = "sizes", quality: str = "") -> str:
    """Register the study, a run of each cell, and what was analysed; returns the study's digest."""
    study, context = samples.digest(f"{registry.namespace} {name}"), report(quality)
    plan = context.cells[0].analysis.plan.model_dump(mode="json")
    fields = samples.config("demo", question="Does it depend on the amount of data?")
    registry.register_study(name=name, digest=study, config=fields | {"name": name, "analysis": plan, "grid": None})
    for each in context.cells:
        run = samples.digest(f"{registry.namespace} {name} {each.cell}")
        config = {"unique_tokens": each.unique_tokens, "parameters": MODEL, "quality": each.quality}
        registry.register_run(study, RunId(each.cell, "ar", 0), run, config=config, epoch_tokens=each.unique_tokens)
        samples.begin(registry, run).finish("done")
        registry.record_analysis(study, each.cell, each.analysis.model_dump(mode="json"))
    for part, stored in study_records(context).items():
        registry.record_analysis(study, part, stored)
    return study
