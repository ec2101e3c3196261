"""`crossover plan`: the cost of the runs that a study still needs, before anything runs."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from crossover.commands.command_options import study_of, workspace_of
from crossover.errors import DataError
from crossover.progress import time_text
from crossover.settings import get_settings
from crossover.storage import ArtifactStore
from crossover.study.study_config import StudyConfig

if TYPE_CHECKING:
    from crossover.training.planner import StudyPlan, SweepCost
    from crossover.training.timed_examples import TimedExamples


def plan(options: argparse.Namespace) -> int:
    """Print the plan as a table or JSON."""
    import torch

    from crossover.stages.reuse import plan_reuse, plan_sweep_reuse
    from crossover.stages.run_selection import default_seeds_per_task, looks_note
    from crossover.stages.sweep_results import tuned_study
    from crossover.stages.waiting_time import contention, stage_seconds, sweep_minutes, waiting_time
    from crossover.storage import open_store
    from crossover.training.planner import peak_of, plan_study, sweep_cost

    study, settings = study_of(options), get_settings()
    torch.set_num_threads(settings.step_threads)

    def show(name: str) -> None:
        if not options.json:
            print(f"measuring {name}", file=sys.stderr, flush=True)

    store = open_store(workspace_of(options, study))
    study = tuned_study(study, store)
    reuse, sweep = plan_reuse(study, store), plan_sweep_reuse(study, store)
    examples = _examples(study, store, has_dataset=reuse.has_dataset)
    measure = options.measure if options.measure is not None else not peak_of(study, settings)
    waiting, sweep_wait = None, None
    with contention(study, settings) if measure and reuse.new_runs else nullcontext():
        cost = plan_study(
            study,
            settings,
            new_runs=reuse.new_runs,
            processes=options.processes,
            nodes=options.nodes,
            measure=measure,
            on_run=show,
            examples=examples,
        )
        if measure and reuse.new_runs and options.processes == 1:
            parallel = settings.local_parallelism
            seconds = stage_seconds(study, cost.model_step_seconds, show, examples)
            seeds_per_task = default_seeds_per_task(len(reuse.new_runs), parallel)
            waiting = waiting_time(study, seconds, reuse.new_runs, parallel, seeds_per_task)
            if sweep:
                sweep_wait = sweep_minutes(study, seconds, sweep.new_runs, parallel, seeds_per_task)
    before = sweep_cost(study, cost, sweep.new_runs)._replace(minutes=sweep_wait) if sweep else None
    if options.json:
        artifacts = {row.artifact: {"reused": row.reused, "new": row.new} for row in reuse.rows}
        minutes = waiting.model_dump(mode="json") if waiting else None
        more = {"artifacts": artifacts, "minutes": minutes, "sweep": before._asdict() if before else None}
        print(json.dumps(cost.model_dump(mode="json") | more, indent=1))
        return 0
    if reuse.reused:
        print("\n".join((*reuse.table(), "")))
    if not cost.runs:
        print("\n".join(("nothing to train: every run is finished", *filter(None, [looks_note(study)]))))
        return 0
    _print_runs(study, cost)
    print(
        f"\n{len(reuse.new_runs)} runs to train: {cost.flops:.3g} FLOPs, {_size(cost.disk_bytes)} of disk, "
        f"{_hours(cost.device_hours)} device-hours ({cost.basis}; training only)"
        + (f", price {cost.price:,.2f}" if cost.price is not None else "")
    )
    if waiting is not None:
        parts = {
            "training": waiting.training,
            "evaluation": waiting.evaluation,
            "process starts": waiting.starts,
            "analysis and report": waiting.analysis,
        }
        print(
            f"about {time_text(60 * waiting.total)} of waiting with `crossover run` on this machine, stages at once: "
            f"{waiting.parallel} ({', '.join(f'{name} {time_text(60 * part)}' for name, part in parts.items())}; "
            "reading the corpus not included)"
        )
    if before:
        print(f"before it the sweep of `tuning`, not included above: {_sweep_text(study, before)}")
    if note := looks_note(study):
        print(note)
    if any(study.training_of(arm).schedule == "cosine" for arm in study.arms):
        print("warning: under cosine only a run's last point is a budget; its earlier points are not annealed")
    return 0


def _print_runs(study: StudyConfig, cost: StudyPlan) -> None:
    """The table of the runs, and what its memory is of where the microbatch follows the device."""
    from crossover.training.planner import device_is_here

    header = ("run", "seeds", "parameters", "active", "epochs", "tokens", "steps", "FLOPs", "memory", "disk", "hours")
    rows = [
        (
            f"{run.cell}/{run.arm}",
            str(run.seeds),
            f"{run.parameters:,}",
            f"{run.active_parameters:,}",
            f"{run.epochs:g}",
            f"{run.tokens:,}",
            f"{run.steps:,}",
            f"{run.flops:.3g}",
            _size(run.memory_bytes),
            _size(run.disk_bytes),
            _hours(run.device_hours),
        )
        for run in cost.runs
    ]
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for name, *cells in (header, *rows):
        print(name.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(cells, widths[1:], strict=True)), sep="  ")
    if study.training.microbatch_size == "auto":
        sizes = ", ".join(map(str, sorted({run.microbatch_size for run in cost.runs})))
        here = device_is_here(study.training.device)
        why = "which fit this machine's device" if here else "for the device is not here; a run takes what fits its own"
        print(f"\nmicrobatch_size auto: planned with {sizes} examples in one forward pass, {why}")


def _sweep_text(study: StudyConfig, sweep: SweepCost) -> str:
    """What the runs of a sweep cost."""
    text = f"{sweep.runs} runs of {study.cells[0].name} to train, {sweep.flops:.3g} FLOPs, "
    text += f"{_size(sweep.disk_bytes)} of disk, {_hours(sweep.device_hours)} device-hours"
    return text if sweep.minutes is None else f"{text}, about {time_text(60 * sweep.minutes)} of waiting"


def _examples(study: StudyConfig, store: ArtifactStore, *, has_dataset: bool) -> TimedExamples:
    """Examples like the study's: of its dataset, or packed of the documents that its corpus holds.

    The corpus is read until it has yielded the largest budget; a note where it is not on this machine, and examples of
    one document each, as where the dataset is in a bucket and no copy of it here.
    """
    from crossover.data.dataset import Dataset
    from crossover.data.dataset_digests import dataset_digest
    from crossover.data.prepare_dataset import check_budget
    from crossover.study.study_digests import short
    from crossover.training.timed_examples import dataset_examples, packed_examples, whole_examples

    if has_dataset:
        name = f"datasets/{short(dataset_digest(study))}"
        if not store.path(name).exists():
            return whole_examples(study)
        dataset = Dataset.open(store.fetch(name))
        rows = dataset.train(max(study.grid.unique_tokens), quality=study.cells[-1].quality)
        return dataset_examples(study, rows, dataset.manifest.document_end)
    try:
        lengths = check_budget(study)
        if study.grid.quality or study.data.quality.tier != "all":
            print(
                "note: budgets were compared with the most that a tier of quality may hold; what it does hold is known "
                "once `crossover prepare` has scored the documents",
                file=sys.stderr,
            )
        return packed_examples(study, lengths)
    except DataError as error:
        if error.code != "data.missing":
            raise
        print(f"note: whether the corpus yields the budgets is not known here: {error.problem}", file=sys.stderr)
        return whole_examples(study)


def _size(amount: float) -> str:
    """A number of bytes with a unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:.4g} TiB"


def _hours(hours: float | None) -> str:
    return "unknown" if hours is None else f"{hours:.3g}"
