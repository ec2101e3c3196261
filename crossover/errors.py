"""The errors that a user can cause, as one tree. A traceback is for our own bugs.

CrossoverError              exit 1: it failed
 └ UserError                exit 2: what was asked cannot be done; says the field and the remedy
    ├ StudyError            the study file
    ├ DataError             the corpus
    ├ CheckpointError       a checkpoint folder
    ├ WorkspaceError        the output folder
    ├ StorageError          the artifact store: a folder or a bucket
    ├ RegistryError         the SQL registry
    ├ CurvesError           the curves given to the analysis
    └ RequestError          a request to the predictor (HTTP 400)
"""

from __future__ import annotations

from typing import ClassVar


class CrossoverError(Exception):
    """The root of every error that Crossover raises on purpose."""

    exit_code: ClassVar[int] = 1


class UserError(CrossoverError):
    """Something the user can mend.

    Args:
        code: stable, dotted, lower case: what machines match on, e.g. `data.empty`.
        field: the field of the study, the flag, or the file that is at fault.
        problem: what is wrong, with the offending value.
        remedy: what to do about it, an imperative.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, code: str, *, field: str, problem: str, remedy: str) -> None:
        self.code, self.field, self.problem, self.remedy = code, field, problem, remedy
        super().__init__(f"{field}: {problem}; {remedy} [{code}]")


class StudyError(UserError):
    """The study file asks for something that cannot be."""


class DataError(UserError):
    """The corpus cannot be used as asked."""


class CheckpointError(UserError):
    """A checkpoint is missing, torn, tampered with, or of another study."""


class WorkspaceError(UserError):
    """The output folder cannot be used."""


class StorageError(UserError):
    """An artifact, or the folder or bucket that stores it, cannot be used."""


class RegistryError(UserError):
    """The registry cannot be reached, read, or written."""


class CurvesError(UserError):
    """The curves given to the analysis are malformed."""


class RequestError(UserError):
    """A request that the predictor cannot serve: HTTP 400."""


class StageFailedError(CrossoverError):
    """A pipeline step failed; carries the step's own message.

    Args:
        step: the component that failed.
        message: its own last error line.
        exit_code: 2 when the step blamed the user's input, else 1.
    """

    def __init__(self, step: str, message: str, *, exit_code: int = 1) -> None:
        self.step, self.message, self.stage_exit_code = step, message, exit_code
        super().__init__(f"step {step}: {message}")
