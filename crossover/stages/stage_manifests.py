"""What stages hand to each other: small JSON with URIs and digests, never 'the newest file in a folder'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from crossover.analysis.across.cross_cell_result import NextRun
from crossover.analysis.analysis_plan import Comparison
from crossover.analysis.serving_crossing import ServingComparison
from crossover.errors import WorkspaceError
from crossover.files import read_json, write_json
from crossover.study.identity import RunId


class Manifest(BaseModel):
    """What a stage hands to the next one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    """Digest of the study's revision."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest from a file.

        Raises:
            WorkspaceError: absent, or not a manifest of this kind.
        """
        return cls.parse(read_json(path), str(path))

    @classmethod
    def parse(cls, value: object, place: str) -> Self:
        """A manifest from parsed JSON.

        Raises:
            WorkspaceError: not a manifest of this kind; names the place.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise WorkspaceError(
                "workspace.bad-manifest",
                field=place,
                problem=f"is not a {cls.__name__} ({error.error_count()} wrong fields)",
                remedy="run the stage before this one again",
            ) from error

    def write(self, path: Path) -> None:
        """Write atomically."""
        write_json(path, self.model_dump(mode="json"))


AnyManifest = TypeVar("AnyManifest", bound=Manifest)


class Group(BaseModel):
    """Runs that one pretraining task does one after the other: one cell, one arm, some seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    arm: str
    seeds: tuple[int, ...]

    @classmethod
    def parse(cls, cell: str, arm: str, seeds: str) -> Self:
        """From the strings of a pipeline's loop item; seeds are comma-separated."""
        return cls(cell=cell, arm=arm, seeds=tuple(int(seed) for seed in seeds.split(",")))

    @property
    def run_ids(self) -> tuple[RunId, ...]:
        """Its runs."""
        return tuple(RunId(self.cell, self.arm, seed) for seed in self.seeds)

    @property
    def item(self) -> dict[str, str]:
        """As a pipeline's loop item: strings only, for numbers inside a dict become floats in kfp.local."""
        return {"cell": self.cell, "arm": self.arm, "seeds": ",".join(str(seed) for seed in self.seeds)}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CheckpointRef(_Record):
    """A checkpoint of a run."""

    step: int
    uri: str
    digest: str


class EvaluationRef(_Record):
    """One part of the evaluation of a checkpoint."""

    step: int
    part: str
    uri: str
    digest: str
    """SHA-256 of the file."""


class TaskRef(_Record):
    """The items of a task."""

    name: str
    uri: str
    digest: str


class DatasetRef(Manifest):
    """The prepared corpus, and the items of the study's tasks."""

    kind: Literal["dataset-ref"] = "dataset-ref"
    uri: str
    digest: str
    tasks: tuple[TaskRef, ...]


class RunRef(_Record):
    """A finished run and its checkpoints; once it is evaluated, its evaluations too."""

    id: RunId
    digest: str
    """Of all that decides the run."""
    checkpoints: tuple[CheckpointRef, ...]
    evaluations: tuple[EvaluationRef, ...] = ()

    def checkpoint(self, step: int) -> CheckpointRef:
        """The checkpoint of a step.

        Raises:
            KeyError: the run has none there.
        """
        for checkpoint in self.checkpoints:
            if checkpoint.step == step:
                return checkpoint
        raise KeyError(step)


class RunsRef(Manifest):
    """Finished runs."""

    kind: Literal["runs-ref"] = "runs-ref"
    runs: tuple[RunRef, ...]

    @classmethod
    def merged(cls, parts: Sequence[RunsRef]) -> RunsRef:
        """The runs of several manifests of one study; at least one manifest."""
        return cls(study=parts[0].study, runs=tuple(run for part in parts for run in part.runs))

    def of_group(self, group: Group) -> RunsRef:
        """The runs of one group."""
        return self.model_copy(update={"runs": tuple(run for run in self.runs if run.id in group.run_ids)})


class EvaluationsRef(Manifest):
    """Finished and evaluated runs."""

    kind: Literal["evaluations-ref"] = "evaluations-ref"
    dataset: str
    """Digest of the dataset."""
    runs: tuple[RunRef, ...]


class RunLoss(_Record):
    """What a run of a sweep measured."""

    arm: str
    """Of the sweep: a tuned arm with one setting."""
    seed: int
    loss: float | None
    """The lowest held-out loss of its checkpoints, in bits a byte; None where it diverged."""


class SweepLosses(Manifest):
    """Runs of a sweep, with their losses; none of a study without a sweep."""

    kind: Literal["sweep-losses"] = "sweep-losses"
    losses: tuple[RunLoss, ...] = ()


class CellProgress(_Record):
    """How far a cell is."""

    cell: str
    status: str
    pairs: int
    """Complete seed pairs that were judged."""
    trained: int = 0
    """Complete seed pairs that are trained, judged or not; counted when the state is read."""
    undecided: tuple[Comparison, ...] = ()
    """Halves of the answer other than the headline that were judged and are not known yet."""
    reason: str


class RoundsRef(Manifest):
    """What has run and what comes next."""

    kind: Literal["rounds-ref"] = "rounds-ref"
    runs: tuple[RunRef, ...]
    """Evaluated runs that were analysed."""
    selection: str
    """The runs of the last round; empty for the whole study."""
    next_selection: str
    """The runs of the next round; empty when nothing is left to run."""
    next_runs: tuple[NextRun, ...]
    cells: tuple[CellProgress, ...]
    unit: Literal["hours", "FLOPs"]
    costs: dict[str, float] = {}
    """`cell/arm` to the cost of one run."""
    spent: float
    full: float
    reason: str
    untrained: tuple[RunId, ...] = ()
    """Planned runs that are not trained; counted when the state is read."""


class Candidate(_Record):
    """A checkpoint that may be promoted."""

    run: RunId
    run_digest: str
    checkpoint: CheckpointRef
    metric: str
    value: float


class AnalysisRef(Manifest):
    """The analysis, and what follows from it."""

    kind: Literal["analysis-ref"] = "analysis-ref"
    uri: str
    digest: str
    report: str
    """URI of report.html."""
    decision: Literal["promote", "hold"]
    reason: str
    winner: Candidate
    """The checkpoint to promote: the best of the favoured arm, by the primary metric."""
    winner_analysis: str
    """Digest of the analysis of the winner's cell, as in the registry."""
    best: dict[str, Candidate]
    """Arm to its best checkpoint, by the primary metric."""


class DeploymentRef(Manifest):
    """What is served."""

    kind: Literal["deployment-ref"] = "deployment-ref"
    uri: str
    digest: str
    candidate: Candidate
    reason: str


class ServingRef(Manifest):
    """What serving the study's checkpoints costs, as it was last measured."""

    kind: Literal["serving-ref"] = "serving-ref"
    comparison: ServingComparison


def require_study(manifest: AnyManifest, digest: str, place: str) -> AnyManifest:
    """The manifest, if it was written for this revision of the study.

    Raises:
        WorkspaceError: it was written for another one.
    """
    if manifest.study != digest:
        raise WorkspaceError(
            "workspace.other-study",
            field=place,
            problem="was written for another study, or for another revision of this one",
            remedy="run the stage before this one again: what it would repeat is reused",
        )
    return manifest
