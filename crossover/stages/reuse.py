"""What a study would reuse of its workspace, and what it would make anew: read from digests, before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from crossover.data.dataset_digests import dataset_digest
from crossover.data.task_packs import find_pack
from crossover.evaluation.measurement_plan import EvaluationInputs, TaskInputs
from crossover.evaluation.tasks.preparing import cloze_digest, items_digest
from crossover.settings import get_settings
from crossover.stages.corpus_record import CorpusRecord, read_corpus_record, read_task_inputs
from crossover.stages.evaluation_parts import part_name, planned_parts, scorer_digest
from crossover.stages.run_selection import selected_runs
from crossover.stages.sweep_results import FOLDER, tuned_study
from crossover.stages.workspace import run_name
from crossover.storage import ArtifactStore, open_store
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig
from crossover.study.study_digests import run_digest, short
from crossover.study.study_parts import DOMAIN_CLOZE
from crossover.study.sweep_study import sweep_of
from crossover.training.checkpoint_info import step_name

DECISION = "analysis/decision.json"


class ReuseRow(NamedTuple):
    """One kind of artifact: how many are reused, and how many are new."""

    artifact: str
    reused: int
    new: int


@dataclass(frozen=True)
class Reuse:
    """What a study would reuse and make."""

    rows: tuple[ReuseRow, ...]
    new_runs: tuple[RunId, ...]
    """Runs that would be trained, from the beginning or from a resume point."""
    trained: tuple[RunId, ...]
    """Runs that are trained to their end."""
    evaluated: tuple[RunId, ...]
    """Those of them whose evaluations are all stored."""

    @property
    def has_dataset(self) -> bool:
        """Whether the dataset was prepared before."""
        return self.rows[0].reused > 0

    @property
    def reused(self) -> int:
        """Artifacts that are reused, of all kinds."""
        return sum(row.reused for row in self.rows)

    def table(self) -> list[str]:
        """The table in lines of text, and the new runs."""
        lines = [f"{'':<12}{'reused':>8}{'new':>8}"]
        lines += [f"{row.artifact:<12}{row.reused:>8,}{row.new:>8,}" for row in self.rows]
        groups: dict[tuple[str, str], list[str]] = {}
        for run in self.new_runs if self.reused else ():
            groups.setdefault((run.cell, run.arm), []).append(str(run.seed))
        return [*lines, *(f"new: {cell}/{arm}, seeds {', '.join(seeds)}" for (cell, arm), seeds in groups.items())]


def plan_reuse(study: StudyConfig, store: ArtifactStore, selected: str = "") -> Reuse:
    """Look up every artifact of a study by its digest. Nothing is written, and no payload is read.

    Runs of arms whose settings a sweep is yet to choose are new. Where a dataset is new because a budget was added, the
    budgets before it are taken to hold the examples that they held: whether the files of the corpus are still the same
    shows when it is prepared.

    Args:
        study: the study.
        store: of its workspace.
        selected: the runs of a round; empty for all.
    """
    study = tuned_study(study, store)
    to_tune = frozenset(study.tuned_arms if study.tuning.is_pending else ())
    corpus = read_corpus_record(study, store)
    has_dataset = store.digest(f"datasets/{short(dataset_digest(study))}") is not None
    tasks = {name: _task(name, study, corpus, store) for name in study.evaluation.tasks}
    runs = selected_runs(study, selected)
    new: list[RunId] = []
    trained: list[RunId] = []
    evaluated: list[RunId] = []
    evaluations: Counter[bool] = Counter()
    for run in runs:
        examples = corpus.examples(study.cell(run.cell)) if corpus else ""
        digest = run_digest(study, run, examples) if examples and run.arm not in to_tune else None
        steps = study.evaluation_steps(study.cell(run.cell), run.arm)
        saved = set(store.names(f"{run_name(run, digest)}/checkpoints")) if digest else set()
        if not digest or any(f"{run_name(run, digest)}/checkpoints/{step_name(step)}" not in saved for step in steps):
            new.append(run)
        else:
            trained.append(run)
        stored = _evaluations(study, store, corpus, tasks, run, digest or "")
        evaluations.update(stored)
        if run in trained and all(stored):
            evaluated.append(run)
    held = sum(task is not None for task in tasks.values())
    complete = has_dataset and held == len(tasks) and not new and not evaluations[False]
    decision = store.read_document(DECISION)
    analysed = complete and decision is not None and decision.value.get("study") == study.digest
    return Reuse(
        rows=(
            ReuseRow("dataset", int(has_dataset), int(not has_dataset)),
            ReuseRow("tasks", held, len(tasks) - held),
            ReuseRow("runs", len(runs) - len(new), len(new)),
            ReuseRow("evaluations", evaluations[True], evaluations[False]),
            ReuseRow("analysis", int(analysed), int(not analysed)),
        ),
        new_runs=tuple(new),
        trained=tuple(trained),
        evaluated=tuple(evaluated),
    )


def plan_sweep_reuse(study: StudyConfig, store: ArtifactStore) -> Reuse | None:
    """What of a study's sweep is done; None where the study asks for none, or has its results."""
    study = tuned_study(study, store)
    if not study.tuning.is_pending:
        return None
    return plan_reuse(sweep_of(study)[0], open_store(f"{store.uri}/{FOLDER}"))


def _task(name: str, study: StudyConfig, corpus: CorpusRecord | None, store: ArtifactStore) -> TaskInputs | None:
    """What evaluation must know of a task's items; None where they would be prepared anew."""
    if name != DOMAIN_CLOZE:
        request = items_digest(find_pack(name, get_settings().tasks), study)
    elif corpus is not None:
        request = cloze_digest(corpus.corpus, corpus.content, study)
    else:
        return None
    return read_task_inputs(store, f"tasks/{name}/{short(request)}")


def _evaluations(
    study: StudyConfig,
    store: ArtifactStore,
    corpus: CorpusRecord | None,
    tasks: Mapping[str, TaskInputs | None],
    run: RunId,
    digest: str,
) -> list[bool]:
    """For every part of the evaluation of a run's checkpoints whether it is there."""
    validation = corpus.validation.get(study.data.validation_tokens, "") if corpus else ""
    inputs = EvaluationInputs(
        validation=validation,
        examples=corpus.examples(study.cell(run.cell)) if corpus else "",
        tasks={name: task or TaskInputs("", generates=False) for name, task in tasks.items()},
        scorer=scorer_digest(study),
    )
    planned = planned_parts(study, inputs, run, digest)
    stored = set(store.names(f"{run_name(run, digest)}/evaluations")) if digest else set()
    return [part_name(run, digest, step, part) in stored for step, parts in planned.items() for part in parts]
