"""Where a verdict comes from: corpus, runs, checkpoints, analysis, deployment, and what other studies share with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crossover_services.registry import page_words
from crossover_services.registry.page_addresses import dataset_address, run_address, study_address, with_query

from crossover.analysis.arm_labels import arm_label
from crossover.registry.reads.data_and_deployments import DatasetRecord, DeploymentRecord
from crossover.registry.reads.study_results import AnalysisHead, RunRecord
from crossover.registry.reads.study_revisions import SharedRuns, StudyRevisions
from crossover.report import number_formats as fmt


@dataclass(frozen=True)
class Source:
    """One step from the corpus to what is served."""

    what: str
    digest: str
    """Empty where it has several."""
    detail: str
    address: str


@dataclass(frozen=True)
class Reuse:
    """Runs that were trained for another study, or another revision, or are used by one."""

    text: str
    name: str
    """Of the other study."""
    address: str
    runs: int


def sources(
    dataset: DatasetRecord | None,
    runs: Sequence[RunRecord],
    head: AnalysisHead | None,
    served: Sequence[DeploymentRecord],
) -> tuple[Source, ...]:
    """From the corpus to what is served; what there is not yet is left out."""
    steps = []
    if dataset is not None:
        manifest = dataset.manifest
        tokens = manifest.get("available_tokens")
        known = [str(manifest.get("source", "")), f"{fmt.count(tokens)} tokens" if isinstance(tokens, int) else ""]
        detail = ", ".join(filter(None, known))
        steps.append(Source("Data set", dataset.digest, detail, dataset_address(dataset.digest)))
    if runs:
        done = sum(run.status == "done" for run in runs)
        steps.append(Source(f"{len(runs)} run{'s' * (len(runs) > 1)}", "", f"{done} done", "#runs"))
    kept = [run for run in runs if run.checkpoint]
    if kept:
        detail = f"the first run's last, of {len(kept)} runs" if len(kept) > 1 else "the last one"
        steps.append(
            Source("Checkpoints", kept[0].checkpoint, detail, run_address(kept[0].digest, fragment="checkpoints"))
        )
    if head is not None:
        steps.append(Source("Verdict", head.digest, page_words.time(head.created_at), "#verdict"))
    for d in served[:1]:
        detail = f"{arm_label(d.arm)}, seed {d.seed}, step {d.step:,}" + (", served now" if d.current else "")
        steps.append(Source("Deployment", d.digest, detail, with_query("/deployments", {"q": d.study})))
    return tuple(steps)


def reuses(found: StudyRevisions, shared: Sequence[SharedRuns]) -> tuple[Reuse, ...]:
    """What was not trained for this revision, and who else uses its runs."""
    chosen = found.chosen
    total = len(chosen.runs)
    before = [r.runs for r in found.all if (r.created_at, r.id) < (chosen.created_at, chosen.id)]
    kept = len(chosen.runs & frozenset().union(*before))
    rows = []
    if kept:
        address = study_address(chosen.namespace, chosen.name) + "#history"
        rows.append(Reuse(f"{kept} of {total} runs were trained for earlier revisions of", chosen.name, address, kept))
    for other in shared:
        words = "were taken over from" if other.earlier else "are used by"
        address = study_address(other.namespace, other.name)
        rows.append(Reuse(f"{other.runs} of {total} runs {words}", other.name, address, other.runs))
    return tuple(rows)
