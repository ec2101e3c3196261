"""The stages of the pipeline as verbs, one by one: the same functions that the components call."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from crossover.commands.command_options import registry_of, study_of, workspace_of
from crossover.errors import StudyError, WorkspaceError
from crossover.stages.stage_manifests import (
    AnalysisRef,
    AnyManifest,
    DatasetRef,
    EvaluationsRef,
    Group,
    Manifest,
    RunsRef,
)
from crossover.stages.study_context import StudyContext, open_study
from crossover.storage import ANY
from crossover.study.study_config import StudyConfig

DATASET, ANALYSIS = "manifests/dataset.json", "analysis/decision.json"


@contextmanager
def _open(options: argparse.Namespace, study: StudyConfig | None = None) -> Iterator[StudyContext]:
    study = study or study_of(options)
    with open_study(study, workspace_of(options, study), registry_of(options)) as context:
        yield context


def _hand_on(context: StudyContext, name: str, manifest: Manifest) -> None:
    """Keep what a stage hands to the next one in the workspace, wherever the next one runs."""
    context.store.write_document(name, manifest.model_dump(mode="json"), replaces=ANY)


def _handed(context: StudyContext, kind: type[AnyManifest], name: str) -> AnyManifest:
    """What the stage before left.

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
    """Stage 1."""
    from crossover.stages.prepare_stage import open_dataset, prepare_stage

    with _open(options) as context:
        reference = prepare_stage(context)
        _hand_on(context, DATASET, reference)
        manifest = open_dataset(context, reference).manifest
        print(
            f"{manifest.documents:,} documents ({manifest.duplicates_dropped} duplicates dropped), "
            f"{manifest.available_tokens:,} training tokens available, "
            f"budgets {', '.join(f'{b.tokens:,}' for b in manifest.budgets)}, "
            f"{manifest.validation_examples * manifest.sequence_length:,} validation tokens\n{reference.uri}"
        )
    return 0


def pretrain(options: argparse.Namespace) -> int:
    """Stage 2, for all runs or those selected; on as many processes as torchrun started."""
    from crossover.stages.pretrain_stage import pretrain_stage
    from crossover.training.distributed import open_world

    study = study_of(options)
    with open_world(study.training.device) as world, ExitStack() as stack:
        if not world.leads:
            world.barrier()
        context = stack.enter_context(_open(options, study))
        if world.leads:
            world.barrier()
        dataset = _handed(context, DatasetRef, DATASET)
        for group in _groups(options, context):
            runs = pretrain_stage(context, dataset, group, world)
            if world.leads:
                _hand_on(context, _manifest_name("runs", group), runs)
                print(f"trained {runs.runs[0].id.key}", flush=True)
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Stage 3, for all runs or those selected."""
    from crossover.stages.evaluate_stage import evaluate_stage

    with _open(options) as context:
        dataset = _handed(context, DatasetRef, DATASET)
        for group in _groups(options, context):
            results = evaluate_stage(context, dataset, _handed(context, RunsRef, _manifest_name("runs", group)))
            _hand_on(context, _manifest_name("evaluations", group), results)
            print(f"evaluated {results.runs[0].id.key}", flush=True)
    return 0


def analyse(options: argparse.Namespace) -> int:
    """Stage 4."""
    from crossover.stages.analyse_stage import analyse_stage

    with _open(options) as context:
        references = [
            _handed(context, EvaluationsRef, _manifest_name("evaluations", group)) for group in _all_groups(context)
        ]
        decision = analyse_stage(context, references, promotion=options.promote)
        print(f"{decision.decision}: {decision.reason}\n{decision.report}")
    return 0


def promote(options: argparse.Namespace) -> int:
    """Stage 5."""
    from crossover.stages.promote_stage import promote_stage

    with _open(options) as context:
        analysis = _handed(context, AnalysisRef, ANALYSIS)
        print(promote_stage(context, analysis).uri)
    return 0


def _manifest_name(kind: str, group: Group) -> str:
    return f"manifests/{kind}/{group.cell}_{group.arm}_{group.seeds[0]}.json"


def _all_groups(context: StudyContext) -> list[Group]:
    from crossover.stages.prepare_stage import plan_groups

    return plan_groups(context, 1)


def _groups(options: argparse.Namespace, context: StudyContext) -> list[Group]:
    """The runs selected with --cell, --arm and --seed."""
    groups = _all_groups(context)
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
