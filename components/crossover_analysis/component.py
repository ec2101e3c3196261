"""Curves become verdicts, a report and a decision."""

from crossover_components.image import IMAGE
from kfp import dsl


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def crossover_analysis(
    study: dsl.Input[dsl.Artifact],
    workspace: str,
    registry: str,
    promotion: str,
    runs: str,
    evaluations: dsl.Input[list[dsl.Artifact]],
    analysis: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
    verdicts: dsl.Output[dsl.Metrics],
    baseline: dsl.Output[dsl.Metrics],
    candidate: dsl.Output[dsl.Metrics],
) -> str:
    """Decide whether, where and on what the families cross.

    Args:
        study: the checked study.
        workspace: folder or s3://bucket/prefix that holds all of the study.
        registry: http(s) URL of the service, or SQLAlchemy URL without a password; empty for CROSSOVER_REGISTRY_URL.
        promotion: verdict, always, or never.
        runs: the runs of a round, such as u10000-nano:0,1,2; empty for all.
        evaluations: manifests of all evaluated runs.
        analysis: manifest of the analysis and its decision.
        report: the report as one self-contained page.
        summary: the report in short, with links.
        verdicts: key figures of every verdict.
        baseline: means of the baseline arm over its seeds.
        candidate: means of the candidate arm over its seeds.

    Returns:
        `promote` or `hold`.
    """
    from pathlib import Path

    from crossover.stages.analyse_stage import analyse_stage
    from crossover.stages.kubeflow_figures import arm_figures, key_figures, linked_summary
    from crossover.stages.pipeline_stage import open_pipeline_stage
    from crossover.stages.stage_manifests import EvaluationsRef
    from crossover.stages.study_report import read_analyses

    with open_pipeline_stage("crossover_analysis", study.path, workspace, registry) as context:
        references = [EvaluationsRef.read(Path(item.path)) for item in evaluations]
        reference = analyse_stage(context, references, promotion=promotion, selected=runs)
        reference.write(Path(analysis.path))
        folder = context.store.path("analysis")
        Path(report.path).write_bytes((folder / "report.html").read_bytes())
        text = linked_summary(context, (folder / "report.md").read_text("utf-8"))
        Path(summary.path).write_text(text, encoding="utf-8")
        analyses, plan = read_analyses(folder / "analysis.json"), context.study.analysis
        for output, figures in (
            (verdicts, key_figures(analyses)),
            (baseline, arm_figures(analyses, plan.baseline)),
            (candidate, arm_figures(analyses, plan.candidate)),
        ):
            for name, value in figures.items():
                output.log_metric(name, value)
        baseline.metadata.update(display_name=plan.baseline)
        candidate.metadata.update(display_name=plan.candidate)
        return reference.decision
