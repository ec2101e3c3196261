"""Results of sweeps in the store: one small document a sweep, named by the digest of what decides it."""

from __future__ import annotations

from collections.abc import Sequence

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


def keep_results(study: StudyConfig, store: ArtifactStore, results: Sequence[TuningResult]) -> None:
    """Keep the results of a study's sweep, for every stage that opens the study after it."""
    value = {"sweep": sweep_digest(study), "results": [result.model_dump(mode="json") for result in results]}
    store.write_document(_name(study), value, replaces=ANY)


def _name(study: StudyConfig) -> str:
    return f"{FOLDER}/results/{short(sweep_digest(study))}.json"
