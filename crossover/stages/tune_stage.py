"""Before a study: each compared arm chooses among learning rates, and weight decays, on seeds of its own.

The sweep is a study like any other, in the folder `tuning` of the workspace: an arm for every setting, the smallest
budget and the grid's first model, over the study's own dataset. Its runs are recorded, resumed and reused as those of
any study. What it measured is kept by `sweep_results`, where every later stage finds it.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from crossover.errors import StageFailedError, StudyError
from crossover.progress import Meter, events_wanted
from crossover.stages.evaluate_stage import evaluate_stage
from crossover.stages.evaluated_runs import read_evaluations
from crossover.stages.finished_runs import diverged
from crossover.stages.prepare_stage import DATASET, leave_dataset, open_dataset, plan_groups, prepare_stage
from crossover.stages.pretrain_group import Launch, pretrain_group
from crossover.stages.reuse import plan_reuse
from crossover.stages.stage_manifests import DatasetRef, Group, RunLoss, SweepLosses
from crossover.stages.study_context import StudyContext, open_study
from crossover.stages.sweep_results import FOLDER, examples_digest, keep_results, tuned_study
from crossover.stages.tokenizer_record import copy_tokenizer
from crossover.storage import open_store
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig
from crossover.study.sweep_study import METRIC, sweep_digest, sweep_of, with_results
from crossover.study.tuning_config import TuningResult
from crossover.training.run_spec import DivergedError

LaunchOf = Callable[[StudyContext, DatasetRef], Launch | None]
"""What trains the runs of a context; None trains them in this process, or as the settings say."""


def tune_stage(study: StudyConfig, workspace: str, registry: str = "") -> StudyConfig:
    """Make the sweep in this process, and give the study its results; one without a sweep is returned as it is.

    Args:
        study: the study; results that it has already are replaced.
        workspace: of the study, a path or s3://bucket/prefix; the sweep is in its folder `tuning`.
        registry: URL of a database or a service; empty is the one of the settings.

    Returns:
        The study, whose compared arms take the settings with the lowest mean held-out loss.

    Raises:
        CrossoverError: see the stages; a run that diverges has no loss, and does not stop the sweep.
        StudyError: every setting of an arm diverged.
    """
    if not study.tuning.learning_rates:
        return study
    with open_study(with_results(study, ()), workspace, registry) as context:
        reference = prepare_stage(context)
        current = _as_stored(context)
        losses = [tune_group(current, group) for group in plan_sweep(current, reference)]
        tuned, _ = finish_sweep(current, reference, losses)
        return tuned.study


def plan_sweep(context: StudyContext, reference: DatasetRef, seeds_per_task: int = 1) -> list[Group]:
    """Open the sweep's workspace, give it the study's dataset, and cut its runs into groups.

    Args:
        context: the study.
        reference: its dataset, which the sweep links and does not prepare again.
        seeds_per_task: seeds of a setting that one task does one after the other.

    Returns:
        The groups, as those of a study; none where no sweep is pending.
    """
    if not context.study.tuning.is_pending:
        return []
    folder = context.store.fetch(context.store.name_of(reference.uri), reference.digest)
    with _open_sweep(context) as sweep:
        leave_dataset(sweep, prepare_stage(sweep, prepared=folder, twin=reference.uri))
        return plan_groups(sweep, seeds_per_task, done=plan_reuse(sweep.study, sweep.store).trained)


def sweep_items(context: StudyContext, reference: DatasetRef, seeds_per_task: int) -> list[dict[str, str]]:
    """The groups of `plan_sweep` as items of the pipeline's loop, which must not be empty: see docs/pipelines.md."""
    items = [group.item for group in plan_sweep(_as_stored(context), reference, seeds_per_task)]
    return items or [{"cell": "", "arm": "", "seeds": ""}]


def _as_stored(context: StudyContext) -> StudyContext:
    """The study with the results that its workspace has now: the preparation of the corpus may have dropped some."""
    if context.came_tuned:
        return context
    return replace(context, study=tuned_study(with_results(context.study, ()), context.store))


def tune_group(context: StudyContext, group: Group, launch_of: LaunchOf = lambda *_: None) -> SweepLosses:
    """Train and measure the runs of one group of a sweep that `plan_sweep` planned.

    Args:
        context: the study.
        group: runs of the sweep.
        launch_of: as `cluster.train_job_settings.train_job_launch`.

    Raises:
        CrossoverError: see the stages; a run that diverges has no loss.
    """
    with _open_sweep(context) as sweep:
        document = sweep.store.read_document(DATASET)
        reference = DatasetRef.parse(document.value if document else None, DATASET)
        launch = launch_of(sweep, reference)
        losses = (_loss(sweep, reference, run, launch) for run in group.run_ids)
        return SweepLosses(study=sweep.study.digest, losses=tuple(losses))


def finish_sweep(
    context: StudyContext, reference: DatasetRef, parts: Sequence[SweepLosses]
) -> tuple[StudyContext, DatasetRef]:
    """Choose the settings of every arm, keep the results, and go on with the study that takes them.

    Args:
        context: the study; one without a pending sweep is returned as it is.
        reference: its dataset.
        parts: the losses of all groups.

    Returns:
        The study with its results, and its dataset.

    Raises:
        StudyError: every setting of an arm diverged.
    """
    if not context.study.tuning.is_pending:
        return context, reference
    results = _results(context.study, [loss for part in parts for loss in part.losses])
    manifest = open_dataset(context, reference).manifest
    keep_results(context.study, context.store, results, examples_digest(context.study, manifest))
    tuned = replace(context, study=with_results(context.study, results))
    tuned.workspace.claim(tuned.study)
    config = tuned.study.model_dump(mode="json")
    tuned.registry.register_study(name=tuned.study.name, digest=tuned.study.digest, config=config)
    tuned.registry.register_dataset(tuned.study.digest, manifest.digest, manifest.model_dump(mode="json"))
    reference = reference.model_copy(update={"study": tuned.study.digest})
    leave_dataset(tuned, reference)
    return tuned, reference


def _results(study: StudyConfig, losses: Sequence[RunLoss]) -> list[TuningResult]:
    """The mean loss of every setting, over the runs that have one; none where a run of it diverged."""
    found: defaultdict[str, list[float | None]] = defaultdict(list)
    for run in losses:
        found[run.arm].append(run.loss)
    _, variants = sweep_of(study)
    digest, results = sweep_digest(study), []
    for name, (arm, (rate, decay)) in variants.items():
        measured = [loss for loss in found[name] if loss is not None]
        mean = float(np.mean(measured)) if len(measured) == len(study.tuning.seeds) else None
        results.append(TuningResult(arm=arm, learning_rate=rate, weight_decay=decay, loss=mean, sweep=digest))
    for arm in study.tuned_arms:
        if all(result.loss is None for result in results if result.arm == arm):
            raise StudyError(
                "study.sweep-diverged",
                field="tuning.learning_rates",
                problem=f"{arm} diverged with every one of them",
                remedy="give lower ones",
            )
    return results


@contextmanager
def _open_sweep(context: StudyContext) -> Iterator[StudyContext]:
    """The sweep of a study, in its own workspace."""
    sweep, _ = sweep_of(context.study)
    place = f"{context.workspace.uri}/{FOLDER}"
    copy_tokenizer(context.study.data.tokenizer, context.store, open_store(place))
    with open_study(sweep, place, context.registry_url) as opened:
        yield opened


def _loss(sweep: StudyContext, reference: DatasetRef, run: RunId, launch: Launch | None) -> RunLoss:
    """The lowest held-out loss of a run, which is trained and measured where it is not yet."""
    why = diverged(sweep, reference, run)
    if not why:
        group = Group(cell=run.cell, arm=run.arm, seeds=(run.seed,))
        try:
            runs = pretrain_group(sweep, reference, group, launch)
        except (DivergedError, StageFailedError, SystemExit):  # of this process, a job, or a process that it started
            why = diverged(sweep, reference, run)
            if not why:
                raise
    if why:
        print(f"{why}: this setting is out", file=sys.stderr, flush=True)
        _show_done(run)
        return RunLoss(arm=run.arm, seed=run.seed, loss=None)
    measured = evaluate_stage(sweep, reference, runs).runs[0]
    values = [
        m.value for result in read_evaluations(sweep, measured) for m in result.measurements if m.metric == METRIC
    ]
    return RunLoss(arm=run.arm, seed=run.seed, loss=min(values))


def _show_done(run: RunId) -> None:
    """Let the progress of a study count a run that diverged: nothing of it is left to do."""
    for phase in ("pretrain", "evaluate") if events_wanted() else ():
        with Meter(phase, run.key, 1) as meter:
            meter.advance(1)
