"""All errors that Crossover raises on purpose, as one tree. A traceback means a bug of ours.

CrossoverError              exit code 1: a failure
 ├ StageFailedError         a stage of the pipeline failed; has the exit code of the stage
 ├ LostProcessError         a process of a distributed training ended or hangs
 └ UserError                exit code 2: wrong input; has a stable code, the field at fault and the remedy
    ├ StudyError            the study file
    ├ DataError             the corpus
    ├ CheckpointError       a checkpoint folder
    ├ WorkspaceError        the output folder
    ├ StorageError          the artifact store: a folder or a bucket
    ├ RegistryError         the SQL registry
    │  ├ UnreachableError   its service does not answer
    │  └ RunHeldError       another process trains the run
    ├ CurvesError           the curves given to the analysis
    ├ ClusterError          Kubernetes refuses, or lacks what is needed
    ├ AccessError           a request to the registry without the right to it (HTTP 401 or 403)
    └ RequestError          a request that a service cannot serve (HTTP 4xx)
       └ ServerBusyError  more requests than the predictor's queue holds (HTTP 503)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

_RUN_NOTE = "run "


class CrossoverError(Exception):
    """The root of the tree."""

    exit_code = 1


class UserError(CrossoverError):
    """An error that the user can correct. docs/errors.md lists every code; a test keeps the list complete.

    Args:
        code: stable, dotted, lower case, such as `data.empty`: for programs that handle errors.
        field: the field of the study, the flag, or the file at fault.
        problem: what is wrong, with the offending value; several faults are one a line.
        remedy: what to do about it, as an imperative.
    """

    exit_code = 2

    def __init__(self, code: str, *, field: str, problem: str, remedy: str) -> None:
        self.code, self.field, self.problem, self.remedy = code, field, problem, remedy
        super().__init__(self._message())

    def __reduce__(self) -> tuple[Any, ...]:
        """From a process of ours to another."""
        kind = partial(type(self), field=self.field, problem=self.problem, remedy=self.remedy)
        return kind, (self.code,)

    def _message(self) -> str:
        end = "\n" if "\n" in self.problem else "; "
        return f"{self.field}: {self.problem}{end}{self.remedy} [{self.code}]"

    def rename(self, names: Mapping[str, str]) -> None:
        """Replace the names of flags in the message by what they are called where it is shown."""
        for name, shown in names.items():
            pattern = rf"(?<!\S){re.escape(name)}(?![\w-])"
            self.field, self.problem, self.remedy = (
                re.sub(pattern, shown, text) for text in (self.field, self.problem, self.remedy)
            )
        self.args = (self._message(),)

    def add_remedy(self, text: str) -> None:
        """Say more of what to do."""
        self.remedy = f"{self.remedy}; {text}"
        self.args = (self._message(),)


class StudyError(UserError):
    """The study file, or a flag that refers to it, is wrong."""


class DataError(UserError):
    """The corpus cannot be used as the study requires."""


class CheckpointError(UserError):
    """A checkpoint is missing, incomplete, altered, or of a different run."""


class WorkspaceError(UserError):
    """The output folder cannot be used."""


class StorageError(UserError):
    """An artifact, or the folder or bucket that stores it, cannot be used."""


class RegistryError(UserError):
    """The registry cannot be reached, read, or written."""


class UnreachableError(RegistryError):
    """The registry service did not answer, or said that it cannot now: worth trying again."""


class RunHeldError(RegistryError):
    """Another process trains a run, and had a heartbeat within its lease.

    Args:
        code: as of every UserError, like field, problem and remedy.
        field: the run.
        problem: who holds it.
        remedy: what to do.
        host: of the other process.
        pid: of the other process, on its host.
        holder: names the process: `registry.process_identity`.
        seen: its last heartbeat, ISO 8601.
    """

    def __init__(
        self, code: str, *, field: str, problem: str, remedy: str, host: str, pid: int, holder: str, seen: str
    ) -> None:
        self.host, self.pid, self.holder, self.seen = host, pid, holder, seen
        super().__init__(code, field=field, problem=problem, remedy=remedy)


class CurvesError(UserError):
    """The curves given to the analysis are malformed."""


class RequestError(UserError):
    """A request that a service cannot serve: HTTP 400, or another 4xx by its code."""


class PipelinesError(UserError):
    """Kubeflow Pipelines does not answer, or refuses."""


class ClusterError(UserError):
    """Kubernetes does not answer, refuses, or lacks what a promotion or a training job needs."""


class AccessError(UserError):
    """A request to the registry from an unknown caller (HTTP 401), or from one without the right (HTTP 403)."""


class PromptTooLongError(RequestError):
    """Prompt and completion are longer than the model's context: HTTP 400."""


class ServerBusyError(RequestError):
    """The predictor's queue is full: HTTP 429 with Retry-After."""


class ServerStoppingError(RequestError):
    """The predictor finishes what it has accepted, and stops: HTTP 503 with Retry-After."""


class DeadlineError(RequestError):
    """The predictor did not finish a request by its deadline: HTTP 408."""


class CancelledRequestError(RequestError):
    """The client went away, or cancelled the request; nobody reads the answer."""


class LostProcessError(CrossoverError):
    """A process of a distributed training ended or hangs, so that the others cannot go on."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; start the run again: it goes on from its last resume point")


class StageFailedError(CrossoverError):
    """A stage of the pipeline failed.

    Args:
        stage: the stage and, where known, the run, such as `pretraining u10000-nano/ar/seed-0`.
        message: the stage's own error message.
        exit_code: 2 for a UserError in the stage, else 1.
    """

    def __init__(self, stage: str, message: str, *, exit_code: int = 1) -> None:
        self.stage, self.message, self.exit_code = stage, message, exit_code
        super().__init__(f"stage {stage}: {message}")


def first_line(error: BaseException) -> str:
    """The first line of an error's message; the name of its class where it has no message, as of a MemoryError."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def noting_run(key: str) -> Iterator[None]:
    """Note on an exception from the block which run it concerns; `run_of` reads the note."""
    try:
        yield
    except Exception as error:
        error.add_note(_RUN_NOTE + key)
        raise


def run_of(error: Exception) -> str | None:
    """The key of the run that an exception concerns, such as `u10000-nano/ar/seed-0`; None when unknown."""
    notes = (note for note in getattr(error, "__notes__", ()) if note.startswith(_RUN_NOTE))
    return next((note.removeprefix(_RUN_NOTE) for note in notes), None)
