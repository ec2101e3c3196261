"""Whether a pipeline's step trains in a TrainJob: the setting that the cluster profile writes."""

from __future__ import annotations

from functools import partial

from pydantic import TypeAdapter, ValidationError

from crossover.errors import ClusterError
from crossover.settings import get_settings
from crossover.stages.pretrain_group import Launch
from crossover.stages.stage_manifests import DatasetRef
from crossover.stages.study_context import StudyContext


def train_job_launch(context: StudyContext, reference: DatasetRef) -> Launch | None:
    """What trains one run in a TrainJob; None where the setting is empty.

    The Kubeflow SDK is imported only where there is one.

    Raises:
        ClusterError: the setting is no JSON of TrainJobOptions.
    """
    text = get_settings().train_job
    if not text:
        return None
    from crossover_cluster.train_job import TrainJobOptions, run_train_job

    try:
        options = TypeAdapter(TrainJobOptions).validate_json(text)
    except ValidationError as error:
        raise ClusterError(
            "trainer.bad-setting",
            field="CROSSOVER_TRAIN_JOB",
            problem=f"is no JSON of a TrainJob's options: {error.errors()[0]['msg']}",
            remedy="let `crossover compile --profile` write it: field `nodes`",
        ) from error
    return partial(run_train_job, context, reference, options=options)
