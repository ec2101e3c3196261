"""The stages of the pipeline as verbs, one by one: the same functions that the components call."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from crossover.commands.child_process import start
from crossover.commands.command_options import registry_of, study_of, workspace_of
from crossover.errors import StudyError, WorkspaceError
from crossover.stages.stage_manifests import AnalysisRef, AnyManifest, DatasetRef, Group
from crossover.stages.study_context import StudyContext, open_study
from crossover.study.study_config import StudyConfig

ANALYSIS = "analysis/decision.json"


@contextmanager
def _open(options: argparse.Namespace, study: StudyConfig | None = None) -> Iterator[StudyContext]:
    study = study or study_of(options)
    with open_study(study, workspace_of(options, study), registry_of(options)) as context:
        yield context


def handed(context: StudyContext, kind: type[AnyManifest], name: str) -> AnyManifest:
    """What the stage before left in the workspace, by its name there.

    Raises:
        WorkspaceError: it was not run for this study yet.
    """
    document = context.store.read_document(name)
    if document is None:
        raise WorkspaceError(
            "workspace.missing-manifest",
            field=context.store.uri_of(name),
            problem="does not exist",
            remedy="run the stage that writes it first: prepare, pretrain, evaluate, analyse, promote",
        )
    return kind.parse(document.value, name)


def prepare(options: argparse.Namespace) -> int:
    """Stage 1, or one shard of the corpus for it."""
    from crossover.report.data_card import cleaning_lines
    from crossover.stages.prepare_stage import leave_dataset, open_dataset, prepare_stage
    from crossover.stages.shard_stage import shard_stage
    from crossover.study.study_parts import DOMAIN_CLOZE

    with _open(options) as context:
        if options.shard:
            print(shard_stage(context, options.shard) or "not needed: the dataset is there, or is not cut into shards")
            return 0
        reference = prepare_stage(context)
        leave_dataset(context, reference)
        manifest = open_dataset(context, reference).manifest
        uncounted = {task.name for task in reference.tasks} - {
            *(c.target for c in manifest.contamination),
            DOMAIN_CLOZE,
        }
        for line in (
            *manifest.sources.lines(),
            *manifest.overlap,
            *(f"warning: {warning}" for warning in manifest.warnings),
        ):
            print(line)
        if manifest.contamination and uncounted:
            print(
                f"not looked for in the training documents, which stood before: {', '.join(sorted(uncounted))}; "
                "name them in data.contamination.tasks to have them counted"
            )
        print(
            f"{manifest.documents:,} documents (dropped: {manifest.duplicates_dropped} duplicates, "
            f"{manifest.undecodable_dropped} not UTF-8), "
            f"{manifest.available_tokens:,} training tokens available, "
            f"budgets {manifest.budget_words}, "
            f"{manifest.validation_examples * manifest.sequence_length:,} validation tokens"
        )
        print(*cleaning_lines(manifest.cleaning), reference.uri, sep="\n")
    return 0


def pretrain(options: argparse.Namespace) -> int:
    """Stage 2, for all runs or those selected; on as many processes as torchrun started."""
    from crossover.stages.prepare_stage import DATASET
    from crossover.stages.pretrain_stage import pretrain_stage
    from crossover.training.distributed import open_world

    study = study_of(options)
    with open_world(study.training.device) as world, ExitStack() as stack:
        if not world.leads:
            world.barrier()
        context = stack.enter_context(_open(options, study))
        if world.leads:
            world.barrier()
        dataset = handed(context, DatasetRef, DATASET)
        for group in _groups(options, context):
            runs = pretrain_stage(context, dataset, group, world)
            if world.leads:
                print(f"trained {runs.runs[0].id.key}", flush=True)
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Stage 3, for all runs or those selected."""
    from crossover.stages.evaluate_stage import evaluate_stage
    from crossover.stages.finished_runs import trained_runs
    from crossover.stages.prepare_stage import DATASET

    with _open(options) as context:
        dataset = handed(context, DatasetRef, DATASET)
        for group in _groups(options, context):
            results = evaluate_stage(context, dataset, trained_runs(context, dataset, group))
            print(f"evaluated {results.runs[0].id.key}", flush=True)
    return 0


def promote(options: argparse.Namespace) -> int:
    """Stage 5; on Kubernetes in a child process, for the library imports no client of it."""
    if options.kubernetes:
        return _start_promoting(options, "study", "out", "replicas", "canary", "dry_run")
    from crossover.stages.promote_stage import promote_stage

    with _open(options) as context:
        analysis = handed(context, AnalysisRef, ANALYSIS)
        print(promote_stage(context, analysis).uri)
    return 0


def rollback(options: argparse.Namespace) -> int:
    """An endpoint serves again what it served before."""
    return _start_promoting(options, "study")


def _start_promoting(options: argparse.Namespace, *names: str) -> int:
    common = ("verb", "registry", "namespace", "endpoint", "force_conflicts")
    return start("crossover_cluster.promoting", {name: getattr(options, name) for name in (*common, *names)})


def _groups(options: argparse.Namespace, context: StudyContext) -> list[Group]:
    """The runs selected with --cell, --arm and --seed."""
    from crossover.stages.prepare_stage import plan_groups

    groups = plan_groups(context, 1)
    for flag, known in (
        ("cell", [cell.name for cell in context.study.cells]),
        ("arm", list(context.study.arms)),
        ("seed", list(context.study.seeds)),
    ):
        wanted = getattr(options, flag)
        if wanted is None:
            continue
        if wanted not in known:
            raise StudyError(
                "run.not-in-study",
                field=f"--{flag}",
                problem=f"the study has no {flag} {wanted!r}",
                remedy=f"choose from {', '.join(map(str, known))}",
            )
        groups = [
            g for g in groups if wanted in (g.cell if flag == "cell" else g.arm if flag == "arm" else g.seeds[0],)
        ]
    return groups
