"""Step 3: measure every checkpoint of finished runs; what was measured before is kept."""

from __future__ import annotations

from collections import defaultdict

from crossover.data.dataset import Dataset
from crossover.evaluation.evaluate_checkpoint import Share, evaluate_checkpoint
from crossover.evaluation.evaluation_records import Evaluation, evaluation_path, load_evaluation, save_evaluation
from crossover.files import digest_of
from crossover.progress import Meter
from crossover.registry import MetricDef, Point
from crossover.stages.pretrain_stage import open_dataset, use_threads
from crossover.stages.stage_manifests import DatasetRef, EvaluationsRef, FileRef, RunRef, RunsRef
from crossover.stages.study_context import StudyContext


def evaluate_stage(context: StudyContext, reference: DatasetRef, runs: RunsRef) -> EvaluationsRef:
    """Evaluate all checkpoints that the manifest names, and record points and per-item scores.

    Raises:
        CheckpointError: a checkpoint is missing or altered.
    """
    use_threads()
    dataset = open_dataset(context, reference)
    evaluated = [_evaluate_run(context, dataset, run) for run in runs.runs]
    return EvaluationsRef(study=context.study.digest, dataset=dataset.manifest.digest, runs=tuple(evaluated))


def selected_steps(steps: list[int], wanted: int) -> set[int]:
    """The checkpoints that get a costly measurement: evenly spread over the list, the last among them."""
    if wanted < 1:
        return set()
    last = len(steps) - 1
    return {steps[round(last - i * len(steps) / wanted)] for i in range(min(wanted, len(steps)))}


def _evaluate_run(context: StudyContext, dataset: Dataset, run: RunRef) -> RunRef:
    config = context.study.evaluation
    steps = [file.step for file in run.files]
    ordered, writing = (selected_steps(steps, n) for n in (config.chain_rule_points, config.writing_points))
    context.workspace.pull(f"runs/{run.key}")
    files, results = [], []
    with Meter("evaluate", run.key, len(run.files), unit="checkpoint") as meter:
        for file in run.files:
            path = evaluation_path(context.run_folder(run.key), file.step)
            result = load_evaluation(path)
            if result is None or (result.checkpoint, result.dataset) != (file.digest, dataset.manifest.digest):
                result = evaluate_checkpoint(
                    context.workspace.path_of(file.uri),
                    file.digest,
                    dataset,
                    config,
                    Share(chain_rule=file.step in ordered, writing=file.step in writing),
                    unique_tokens=context.study.cell(run.cell).unique_tokens,
                    device=context.study.training.device,
                )
                save_evaluation(path, result)
            results.append(result)
            files.append(
                FileRef(
                    step=file.step,
                    uri=context.workspace.uri_of(path),
                    digest=digest_of(result.model_dump(mode="json")),
                )
            )
            meter.advance(1, **{m.metric: m.value for m in result.measurements if m.metric == "validation_bpb"})
    context.workspace.push(f"runs/{run.key}/evaluation")
    _record(context, run, results)
    return run.model_copy(update={"files": tuple(files)})


def _record(context: StudyContext, run: RunRef, results: list[Evaluation]) -> None:
    """Into the registry: points by metric, item scores by task; recording twice changes nothing."""
    key = context.run_key(run.cell, run.arm, run.seed)
    points: defaultdict[MetricDef, list[Point]] = defaultdict(list)
    for result in results:
        for m in result.measurements:
            metric = MetricDef(name=m.metric, unit=m.unit, direction=m.direction, estimator=m.estimator, draws=m.draws)
            points[metric].append(
                Point(
                    step=result.step,
                    tokens=result.tokens,
                    flops=result.flops,
                    seconds=result.seconds,
                    value=m.value,
                    stderr=m.stderr,
                )
            )
        for scores in result.items:
            context.registry.record_items(key, result.step, scores.task, scores.model_dump(exclude={"task"}))
    for metric, values in points.items():
        context.registry.record_points(key, metric, values)
