"""The last measurement of what serving a study's checkpoints costs, in its workspace and in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossover.analysis.serving_crossing import ServingComparison
from crossover.stages.stage_manifests import ServingRef
from crossover.storage import ANY, ArtifactStore

if TYPE_CHECKING:  # the report's verb reads this record, and needs neither
    from crossover.stages.evaluated_runs import EvaluatedRun
    from crossover.stages.study_context import StudyContext

SERVING = "serving_crossover.json"


def leave_serving(context: StudyContext, comparison: ServingComparison) -> None:
    """Write the measurement into the workspace, in place of an earlier one, and append it to the registry."""
    from crossover.registry.registry_records import ServingMeasurement

    reference = ServingRef(study=context.study.digest, comparison=comparison)
    context.store.write_document(SERVING, reference.model_dump(mode="json"), replaces=ANY)
    for served in (comparison.baseline, comparison.candidate, comparison.exact):
        for rate in served.rates:
            measurement = ServingMeasurement(
                step=served.step,
                checkpoint_digest=served.checkpoint_digest,
                decoding=served.setting,
                device=comparison.device,
                concurrency=rate.concurrency,
                requests=rate.requests * len(rate.tokens_per_second),
                tokens_per_second=rate.mean,
                first_token_p50=rate.first_token_p50,
                first_token_p99=rate.first_token_p99,
                quality_metric=served.metric,
                quality=served.quality,
            )
            context.registry.record_serving(served.run_digest, measurement)
    context.registry.record_serving_crossover(context.study.digest, comparison.model_dump(mode="json"))


def read_serving(store: ArtifactStore) -> ServingComparison | None:
    """The last measurement; None where there is none.

    Raises:
        WorkspaceError: it is not of this version.
    """
    document = store.read_document(SERVING)
    return ServingRef.parse(document.value, SERVING).comparison if document else None


def serving_of(store: ArtifactStore, runs: Sequence[EvaluatedRun]) -> ServingComparison | None:
    """The last measurement, if both checkpoints are of these runs."""
    comparison = read_serving(store)
    checkpoints = {checkpoint.digest for run, _ in runs for checkpoint in run.checkpoints}
    measured = comparison and {comparison.baseline.checkpoint_digest, comparison.candidate.checkpoint_digest}
    return comparison if measured and measured <= checkpoints else None
