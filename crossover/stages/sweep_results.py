"""Results of sweeps in the store: one small document a sweep, named by the digest of what decides it.

It holds the digest of the examples that the sweep was trained and measured on as well. Files of the corpus, or of task
packs, may change under the same names: results of other examples are dropped when the corpus has been prepared anew.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from crossover.data.dataset import VALIDATION, DatasetManifest
from crossover.errors import StudyError
from crossover.files import digest_of
from crossover.storage import ANY, ArtifactStore
from crossover.study.study_config import StudyConfig
from crossover.study.study_digests import short
from crossover.study.sweep_study import check_results, sweep_digest, with_results
from crossover.study.tuning_config import TuningResult

FOLDER = "tuning"
"""Of the workspace: the sweep's own workspace, and the results."""


def tuned_study(study: StudyConfig, store: ArtifactStore) -> StudyConfig:
    """The study with the results of its sweep: its own, or those of the store; as it is where there are none.

    Args:
        study: the study.
        store: of its workspace.

    Raises:
        StudyError: its own results were measured for a study of other fields.
    """
    check_results(study)
    document = store.read_document(_name(study)) if study.tuning.is_pending else None
    if document is None:
        return study
    return with_results(study, [TuningResult.model_validate(result) for result in document.value["results"]])


def keep_results(study: StudyConfig, store: ArtifactStore, results: Sequence[TuningResult], examples: str) -> None:
    """Keep the results of a study's sweep, for every stage that opens the study after it.

    Args:
        study: the study.
        store: of its workspace.
        results: of its sweep.
        examples: `examples_digest` of the dataset that they were measured on.
    """
    value = {"sweep": sweep_digest(study), "examples": examples}
    kept = [result.model_dump(mode="json") for result in results]
    store.write_document(_name(study), value | {"results": kept}, replaces=ANY)


def drop_stale_results(study: StudyConfig, store: ArtifactStore, manifest: DatasetManifest, *, own: bool) -> None:
    """Drop the results of a sweep that was made on other examples, with a line on standard error.

    Results from before examples were recorded are kept, and so are a study's own where the workspace has no sweep.

    Args:
        study: the study, with the results of its sweep if it has any.
        store: of its workspace.
        manifest: of its dataset as it is now.
        own: whether the study came with these results, and not the workspace.

    Raises:
        StudyError: the study came with results that this workspace measured on other examples.
    """
    document = store.read_document(_name(study)) if study.tuning.results else None
    examples = examples_digest(study, manifest)
    if document is None or document.value.get("examples", examples) == examples:
        return
    if own:
        raise StudyError(
            "study.tuned-on-other-text",
            field="tuning.results",
            problem="were measured on other text: files of the corpus, or of task packs, have changed since",
            remedy="remove them and tune again: `crossover run` does it, and `crossover tune --write` writes the new "
            "ones",
        )
    store.write_document(_name(study), document.value | {"results": []}, replaces=document.version)
    print(
        "files of the corpus, or of task packs, have changed since the sweep: its results are dropped, and it is made "
        "again",
        file=sys.stderr,
        flush=True,
    )


def examples_digest(study: StudyConfig, manifest: DatasetManifest) -> str:
    """Of what a study's sweep is trained and measured on: the examples of its budget, and the held-out ones.

    Args:
        study: the study, or its sweep.
        manifest: of a dataset with that budget.
    """
    cell = study.cells[0]
    return digest_of([manifest.budget(cell.unique_tokens, cell.quality).digest, manifest.files[VALIDATION]])


def _name(study: StudyConfig) -> str:
    return f"{FOLDER}/results/{short(sweep_digest(study))}.json"
