"""What steps hand to each other: small JSON with URIs and digests, never 'the newest file in a folder'."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from crossover.analysis.across.cross_cell_result import NextRun
from crossover.errors import WorkspaceError
from crossover.files import read_json, write_json


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    """Digest of the study."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest.

        Raises:
            WorkspaceError: absent, or not a manifest of this kind.
        """
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            raise WorkspaceError(
                "workspace.bad-manifest",
                field=str(path),
                problem=f"is not a {cls.__name__} ({error.error_count()} wrong fields)",
                remedy="run the step before this one again",
            ) from error

    def write(self, path: Path) -> None:
        """Write atomically."""
        write_json(path, self.model_dump(mode="json"))


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
    def item(self) -> dict[str, str]:
        """As a pipeline's loop item: strings only, for numbers inside a dict become floats in kfp.local."""
        return {"cell": self.cell, "arm": self.arm, "seeds": ",".join(str(seed) for seed in self.seeds)}


class FileRef(BaseModel):
    """One file or checkpoint folder at a step of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    uri: str
    digest: str


class DatasetRef(_Manifest):
    """The prepared corpus."""

    kind: Literal["dataset-ref"] = "dataset-ref"
    uri: str
    digest: str


class RunRef(BaseModel):
    """A finished run: its checkpoints, or its evaluations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    cell: str
    arm: str
    seed: int
    files: tuple[FileRef, ...]


class RunsRef(_Manifest):
    """Checkpoints of finished runs."""

    kind: Literal["runs-ref"] = "runs-ref"
    runs: tuple[RunRef, ...]


class EvaluationsRef(_Manifest):
    """Evaluations of finished runs."""

    kind: Literal["evaluations-ref"] = "evaluations-ref"
    dataset: str
    runs: tuple[RunRef, ...]


class CellProgress(BaseModel):
    """How far a cell is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    status: str
    pairs: int
    reason: str


class RoundsRef(_Manifest):
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
    spent: float
    full: float
    reason: str


class Candidate(BaseModel):
    """A checkpoint that may be promoted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    arm: str
    run: str
    seed: int
    step: int
    metric: str
    value: float


class AnalysisRef(_Manifest):
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
    best: dict[str, Candidate]
    """Arm to its best checkpoint, by the primary metric."""


class DeploymentRef(_Manifest):
    """What is served."""

    kind: Literal["deployment-ref"] = "deployment-ref"
    uri: str
    digest: str
    candidate: Candidate
    reason: str


_M = TypeVar("_M", bound=_Manifest)


def require_study(manifest: _M, digest: str, path: Path) -> _M:
    """The manifest, if it belongs to the study.

    Raises:
        WorkspaceError: it is another study's.
    """
    if manifest.study != digest:
        raise WorkspaceError(
            "workspace.other-study",
            field=str(path),
            problem="is a manifest of another study",
            remedy="pass what the step before this one wrote for the same study",
        )
    return manifest
