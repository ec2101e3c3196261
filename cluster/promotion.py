"""A promoted checkpoint becomes what an InferenceService of KServe serves; and back."""

from __future__ import annotations

from crossover_cluster.promotion_records import EndpointRecord, PromotionOptions

from crossover.stages.stage_manifests import DeploymentRef
from crossover.stages.study_context import StudyContext


def promote_to_kserve(
    context: StudyContext,
    deployment: DeploymentRef,
    endpoint: str,
    options: PromotionOptions = PromotionOptions(),  # noqa: B008
) -> EndpointRecord:
    """Serve a promoted checkpoint, and return once the endpoint says that it serves it; a retry changes nothing."""
    raise NotImplementedError
