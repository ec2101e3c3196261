"""The steps of the pipeline as verbs, one by one: the same functions that the components call."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from crossover.commands.command_options import registry_of, study_of, workspace_of
from crossover.errors import StudyError
from crossover.stages.stage_manifests import AnalysisRef, DatasetRef, EvaluationsRef, Group, RunsRef
from crossover.stages.study_context import StudyContext, open_study
from crossover.study.study_config import StudyConfig


@contextmanager
def _step(options: argparse.Namespace, study: StudyConfig | None = None) -> Iterator[tuple[StudyContext, Path]]:
    """The step's context, and the folder where manifests wait between verbs."""
    study = study or study_of(options)
    with open_study(study, workspace_of(options, study), registry_of(options)) as context:
        yield context, context.workspace.root / "manifests"


def prepare(options: argparse.Namespace) -> int:
    """Step 1."""
    from crossover.data.dataset import Dataset
    from crossover.stages.prepare_stage import prepare_stage

    with _step(options) as (context, manifests):
        reference = prepare_stage(context)
        reference.write(manifests / "dataset.json")
        manifest = Dataset.open(context.dataset_folder).manifest
        print(
            f"{manifest.documents:,} documents ({manifest.duplicates_dropped} duplicates dropped), "
            f"{manifest.available_tokens:,} training tokens available, "
            f"budgets {', '.join(f'{b.tokens:,}' for b in manifest.budgets)}, "
            f"{manifest.validation_examples * manifest.sequence_length:,} validation tokens\n{reference.uri}"
        )
    return 0


def pretrain(options: argparse.Namespace) -> int:
    """Step 2, for all runs or those selected; on as many processes as torchrun started."""
    from crossover.stages.pretrain_stage import pretrain_stage
    from crossover.training.distributed import open_world

    study = study_of(options)
    with open_world(study.training.device) as world, ExitStack() as stack:
        if not world.leads:
            world.barrier()
        context, manifests = stack.enter_context(_step(options, study))
        if world.leads:
            world.barrier()
        dataset = DatasetRef.read(manifests / "dataset.json")
        for group in _groups(options, context):
            runs = pretrain_stage(context, dataset, group, world)
            if world.leads:
                runs.write(_run_manifest(manifests, "runs", group))
                print(f"trained {runs.runs[0].key}", flush=True)
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Step 3, for all runs or those selected."""
    from crossover.stages.evaluate_stage import evaluate_stage

    with _step(options) as (context, manifests):
        dataset = DatasetRef.read(manifests / "dataset.json")
        for group in _groups(options, context):
            results = evaluate_stage(context, dataset, RunsRef.read(_run_manifest(manifests, "runs", group)))
            results.write(_run_manifest(manifests, "evaluations", group))
            print(f"evaluated {results.runs[0].key}", flush=True)
    return 0


def analyse(options: argparse.Namespace) -> int:
    """Step 4."""
    from crossover.stages.analyse_stage import analyse_stage

    with _step(options) as (context, manifests):
        groups = _all_groups(context)
        references = [EvaluationsRef.read(_run_manifest(manifests, "evaluations", group)) for group in groups]
        decision = analyse_stage(context, references, promotion=options.promote)
        print(f"{decision.decision}: {decision.reason}\n{decision.report}")
    return 0


def promote(options: argparse.Namespace) -> int:
    """Step 5."""
    from crossover.stages.promote_stage import promote_stage

    with _step(options) as (context, _):
        analysis = AnalysisRef.read(context.workspace.pull("analysis") / "manifest.json")
        print(promote_stage(context, analysis).uri)
    return 0


def _run_manifest(manifests: Path, kind: str, group: Group) -> Path:
    return manifests / kind / f"{group.cell}_{group.arm}_{group.seeds[0]}.json"


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
                f"run.unknown-{flag}",
                field=f"--{flag}",
                problem=f"the study has no {flag} {wanted!r}",
                remedy=f"choose from {', '.join(map(str, known))}",
            )
        groups = [
            g for g in groups if wanted in (g.cell if flag == "cell" else g.arm if flag == "arm" else g.seeds[0],)
        ]
    return groups
