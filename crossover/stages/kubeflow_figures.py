"""What Kubeflow's pages show of a study: tables of scalars for Compare runs, and summaries in Markdown with links.

Compare runs cuts names at about 22 characters, so what differs between the figures of one study comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from crossover.analysis.analysis_result import Analysis, Verdict
from crossover.settings import get_settings
from crossover.stages.stage_manifests import DeploymentRef, RunsRef
from crossover.stages.study_context import StudyContext
from crossover.study.study_config import StudyConfig
from crossover.study.sweep_study import METRIC

_COMPARISONS = {"matched": "", "best-so-far": " best", "frontier": " frontier"}


def key_figures(analyses: Mapping[str, Analysis]) -> dict[str, float]:
    """Of each verdict on the first axis: seed pairs, p of a crossover, late difference, crossing.

    Args:
        analyses: cell to analysis.
    """
    figures: dict[str, float] = {}
    for cell, analysis in analyses.items():
        for verdict in analysis.verdicts:
            if verdict.axis != analysis.plan.axes[0]:
                continue
            name = _name(verdict, analysis) + (f" {cell}" if len(analyses) > 1 else "")
            figures[f"pairs {name}"] = float(verdict.pairs)
            if verdict.p_adjusted is not None:
                figures[f"p {name}"] = verdict.p_adjusted
            if verdict.late is not None:
                figures[f"late {name}"] = verdict.late.mean
            if verdict.crossing is not None:
                figures[f"cross {name}"] = verdict.crossing.at
    return figures


def _name(verdict: Verdict, analysis: Analysis) -> str:
    other = "" if verdict.baseline == analysis.plan.baseline else f" {verdict.baseline}"
    return f"{verdict.metric}{_COMPARISONS[verdict.comparison]}{other}"


def arm_figures(analyses: Mapping[str, Analysis], arm: str) -> dict[str, float]:
    """Means of one arm over its seeds: the last value and the best value of each metric.

    Args:
        analyses: cell to analysis.
        arm: its name.
    """
    figures: dict[str, float] = {}
    for cell, analysis in analyses.items():
        where = f" {cell}" if len(analyses) > 1 else ""
        for row in analysis.summaries:
            if row.arm == arm:
                figures[f"best {row.metric}{where}"] = row.best_mean
                figures[f"last {row.metric}{where}"] = row.final_mean
    return figures


def linked_summary(context: StudyContext, text: str) -> str:
    """The report in Markdown, followed by links to the registry's page of the study and to the workspace."""
    study, url = context.study, context.registry_url.rstrip("/")
    links = [f"Artifacts: `{context.workspace.uri}`"]
    if url.startswith(("http://", "https://")):
        namespace = get_settings().registry_namespace
        page = f"{url}/studies/{quote(namespace, safe='')}/{quote(study.name, safe='')}" if namespace else url
        links.insert(0, f"Registry: [{study.name}]({page})")
    return "\n\n".join((text.rstrip(), *links)) + "\n"


def served_summary(deployment: DeploymentRef, endpoint: str = "") -> str:
    """What is served, and where.

    Args:
        deployment: the promoted checkpoint.
        endpoint: base URL of the InferenceService; empty where there is none.
    """
    winner = deployment.candidate
    lines = [
        f"**{winner.run.arm}**, {winner.run.cell}, seed {winner.run.seed}, step {winner.checkpoint.step}: "
        f"{winner.metric} {winner.value:.4f}",
        deployment.reason,
        f"Checkpoint: `{deployment.uri}` (SHA-256 `{deployment.digest}`)",
        f"Endpoint: [{endpoint}]({endpoint}/v1/models)"
        if endpoint
        else "No endpoint: the parameter `endpoint` is empty.",
    ]
    return "\n\n".join(lines) + "\n"


def training_table(study: StudyConfig, trained: RunsRef) -> str:
    """The trained runs, as a table in Markdown."""
    lines = []
    for run in trained.runs:
        last = run.checkpoints[-1].step
        tokens = last * study.tokens_per_step(run.id.arm)
        counts = f"{last:,} | {tokens:,} | {len(run.checkpoints)}"
        lines.append(f"| {run.id.cell} | {run.id.arm} | {run.id.seed} | {counts} | `{run.digest[:12]}` |")
    head = ("| cell | arm | seed | steps | tokens | checkpoints | run |", "|---|---|---|---|---|---|---|")
    return "\n".join((f"# Trained runs of {study.name}", "", *head, *lines)) + "\n"


def sweep_table(study: StudyConfig) -> str:
    """What a study's sweep measured, as a table in Markdown."""
    tuning = study.tuning
    if not tuning.results:
        return f"{study.name} asks for no sweep (`tuning.learning_rates`).\n"
    lines = []
    for result in tuning.results:
        decay = "own" if result.weight_decay is None else f"{result.weight_decay:g}"
        loss = "diverged" if result.loss is None else f"{result.loss:.4f}"
        chosen = "chosen" if result == tuning.best(result.arm) else ""
        lines.append(f"| {result.arm} | {result.learning_rate:g} | {decay} | {loss} | {chosen} |")
    head = (f"| arm | learning rate | weight decay | {METRIC} | |", "|---|---|---|---|---|")
    return (
        "\n".join((f"# Sweep of {study.name}", "", *head, *lines, "", tuning.note(study.arms, study.cells[0].quality)))
        + "\n"
    )
