"""Stage 3: measure every checkpoint of finished runs; parts that were measured before are reused.

torch is imported only where something is left to measure: a finished run costs a second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from crossover.data.dataset import Dataset
from crossover.data.task_items import TaskItems
from crossover.errors import noting_run
from crossover.evaluation.evaluation_records import Evaluation, EvaluationPart, load_part, merge_parts, save_part
from crossover.evaluation.measurement_plan import Part
from crossover.files import digest_of_file
from crossover.progress import Meter
from crossover.registry import MetricDef, Point
from crossover.stages.evaluation_parts import evaluation_inputs, part_name, planned_parts
from crossover.stages.finished_runs import register_finished
from crossover.stages.prepare_stage import open_dataset, open_tasks
from crossover.stages.stage_manifests import (
    CheckpointRef,
    DatasetRef,
    EvaluationRef,
    EvaluationsRef,
    RunRef,
    RunsRef,
    require_study,
)
from crossover.stages.study_context import StudyContext
from crossover.study.study_config import Cell


def evaluate_stage(context: StudyContext, reference: DatasetRef, runs: RunsRef) -> EvaluationsRef:
    """Evaluate all checkpoints that the manifest names, and record points and per-item scores.

    Raises:
        CheckpointError: a checkpoint is missing or altered.
        WorkspaceError: a manifest was written for another study.
    """
    for manifest in (reference, runs):
        require_study(manifest, context.study.digest, type(manifest).__name__)
    dataset, tasks = open_dataset(context, reference), open_tasks(context, reference)
    evaluated = tuple(_evaluate_run(context, dataset, tasks, run) for run in runs.runs)
    return EvaluationsRef(study=context.study.digest, dataset=dataset.manifest.digest, runs=evaluated)


def _evaluate_run(context: StudyContext, dataset: Dataset, tasks: Mapping[str, TaskItems], run: RunRef) -> RunRef:
    cell = context.study.cell(run.id.cell)
    inputs = evaluation_inputs(context.study, dataset, tasks, cell)
    planned = planned_parts(context.study, inputs, run.id, run.digest)
    references: list[EvaluationRef] = []
    results: list[Evaluation] = []
    with noting_run(run.id.key):
        known = {c.step: {part: _stored(context, run, c, part) for part in planned[c.step]} for c in run.checkpoints}
    done = sum(None not in parts.values() for parts in known.values())
    with noting_run(run.id.key), Meter("evaluate", run.id.key, len(known), initial=done, unit="checkpoint") as meter:
        for checkpoint in run.checkpoints:
            stored = known[checkpoint.step]
            missing = [part for part, result in stored.items() if result is None]
            if missing:
                measured = _measure(context, dataset, tasks, checkpoint, missing, cell)
                stored |= dict(zip(missing, measured, strict=True))
                for part, result in zip(missing, measured, strict=True):
                    name = part_name(run.id, run.digest, checkpoint.step, part)
                    save_part(context.store.path(name), result)
                    context.store.publish(name)
            results.append(merge_parts([result for result in stored.values() if result is not None]))
            references += [_reference(context, run, checkpoint, part) for part in stored]
            if missing:
                meter.advance(
                    1, **{m.metric: m.value for m in results[-1].measurements if m.metric == "validation_bpb"}
                )
    register_finished(context, dataset, run)
    _record(context, run, results)
    return run.model_copy(update={"evaluations": tuple(references)})


def _measure(
    context: StudyContext,
    dataset: Dataset,
    tasks: Mapping[str, TaskItems],
    checkpoint: CheckpointRef,
    parts: Sequence[Part],
    cell: Cell,
) -> list[EvaluationPart]:
    from crossover.evaluation.evaluate_checkpoint import evaluate_checkpoint
    from crossover.stages.pretrain_stage import use_threads

    use_threads()
    return evaluate_checkpoint(
        context.store.fetch(context.store.name_of(checkpoint.uri), checkpoint.digest),
        checkpoint.digest,
        parts,
        dataset,
        tasks,
        context.study.evaluation,
        cell=cell,
        device=context.study.training.device,
    )


def _stored(context: StudyContext, run: RunRef, checkpoint: CheckpointRef, part: Part) -> EvaluationPart | None:
    """A part that was measured before on this very checkpoint."""
    name = part_name(run.id, run.digest, checkpoint.step, part)
    if context.store.digest(name) is None:
        return None
    result = load_part(context.store.fetch(name))
    if result is None or (result.digest, result.checkpoint) != (part.digest, checkpoint.digest):
        return None
    return result


def _reference(context: StudyContext, run: RunRef, checkpoint: CheckpointRef, part: Part) -> EvaluationRef:
    name = part_name(run.id, run.digest, checkpoint.step, part)
    digest = digest_of_file(context.store.path(name))
    return EvaluationRef(step=checkpoint.step, part=part.name, uri=context.store.uri_of(name), digest=digest)


def _record(context: StudyContext, run: RunRef, results: Sequence[Evaluation]) -> None:
    """Into the registry: points by metric, item scores by task; recording twice changes nothing."""
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
            context.registry.record_items(run.digest, result.step, scores.task, scores.model_dump(exclude={"task"}))
    for metric, values in points.items():
        context.registry.record_points(run.digest, metric, values)
