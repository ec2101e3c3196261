"""Pretraining on several nodes: a TrainJob of the Kubeflow Trainer, made and followed by the pipeline's step."""

from __future__ import annotations

from dataclasses import dataclass

from crossover.stages.stage_manifests import DatasetRef
from crossover.stages.study_context import StudyContext
from crossover.study.identity import RunId


@dataclass(frozen=True)
class TrainJobOptions:
    """Of the job's pods; what is left out is as in the TrainingRuntime."""

    nodes: int = 2
    processes: int | None = None
    """On a node."""
    image: str = ""
    runtime: str = "crossover"
    """Name of the TrainingRuntime."""
    namespace: str = ""
    """Empty is the pod's own."""
    resources: dict[str, str] | None = None
    """Requests of a node, such as {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "8"}."""


def run_train_job(context: StudyContext, reference: DatasetRef, run: RunId, options: TrainJobOptions) -> None:
    """Train one run to its end in a TrainJob; `functools.partial` of it is the `launch` of `pretrain_group`."""
    raise NotImplementedError
