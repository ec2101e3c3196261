"""A study of two cells in rounds whose evaluations are written down and not measured: no model is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crossover.evaluation.evaluation_records import EvaluationPart, Measurement, save_part
from crossover.files import digest_of
from crossover.stages.stage_manifests import CheckpointRef, EvaluationRef, EvaluationsRef, RunRef
from crossover.stages.study_context import StudyContext
from crossover.stages.workspace import run_name
from crossover.study.identity import RunId
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig

CLEAR, NEAR = "u512-pico", "u1024-pico"
DIFFERENCE = {
    CLEAR: (0.10, 0.11, 0.09, 0.12, 0.10, 0.10, 0.10, 0.10),
    # t = 3.0 with five pairs, which one of two looks does not call significant, and t = 6.6 with eight
    NEAR: (0.03, 0.01, 0.05, 0.058, 0.002, 0.03, 0.031, 0.029),
}
SECONDS = {CLEAR: 360.0, NEAR: 720.0}


def study_of(corpus: Path) -> StudyConfig:
    """Eight seeds with looks at 5 and 8."""
    return parse_study(
        f"""
name: growing
data: {{source: "text:{corpus}/*.txt", sequence_length: 16, validation_fraction: 0.3, validation_tokens: 128}}
grid: {{unique_tokens: [512, 1024], models: [pico]}}
seeds: 8
training: {{epochs: 8, batch_size: 8}}
evaluation: {{points: 8, tasks: []}}
analysis:
  metrics: [{{name: validation_bpb, direction: lower, delta: 0.02, exact: true}}]
  axes: [tokens]
  comparisons: [matched]
  looks: [5, 8]
"""
    )


def evaluated(context: StudyContext, cell: str, arm: str, seeds: Sequence[int]) -> EvaluationsRef:
    """Write the evaluations of these runs and name them: DLM minus AR is `DIFFERENCE`, at every checkpoint."""
    runs = []
    steps = context.study.evaluation_steps(context.study.cell(cell))
    for seed in seeds:
        run = RunId(cell, arm, seed)
        references = []
        for step in steps:
            value = 3 + 0.137 * seed - 0.01 * step / steps[-1] + DIFFERENCE[cell][seed] * (arm == "dlm")
            loss = Measurement(
                metric="validation_bpb",
                value=value,
                stderr=None,
                unit="nats",
                direction="lower",
                estimator="exact",
                draws=0,
            )
            part = EvaluationPart(
                digest="sha256:e",
                part="likelihood",
                checkpoint="c",
                step=step,
                tokens=step * 128,
                flops=step * 1e6,
                seconds=SECONDS[cell] * step / steps[-1],
                measurements=(loss,),
            )
            name = f"{run_name(run, digest_of(run.key))}/evaluations/step-{step:08d}/likelihood.json"
            save_part(context.store.path(name), part)
            digest = context.store.publish(name)
            references.append(
                EvaluationRef(step=step, part="likelihood", uri=context.store.uri_of(name), digest=digest)
            )
        checkpoints = tuple(CheckpointRef(step=step, uri="c", digest="c") for step in steps)
        runs.append(RunRef(id=run, digest=digest_of(run.key), checkpoints=checkpoints, evaluations=tuple(references)))
    return EvaluationsRef(study=context.study.digest, dataset="d", runs=tuple(runs))
