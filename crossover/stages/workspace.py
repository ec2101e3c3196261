"""A study's workspace: one folder, or one prefix of a bucket, that holds all of one study and nothing else.

study.json                               the study as it is now, and its earlier revisions
datasets/<digest>/                       prepared corpora
tokenizers/<digest>.json                 what stages take from a file or name that `data.tokenizer` names
shards/<i>-of-<n>-<digest>/              parts of a corpus that is being prepared
tasks/<name>/<digest>/                   items of tasks
runs/<cell>/<arm>/seed-<n>/<digest>/     checkpoints/, resume/, evaluations/ of one run
analysis/                                analysis.json, report.html, report.md, report.json, decision.json
rounds.json                              the state of a study in rounds
tuning/                                  results/ of sweeps, and the workspace of the sweep, a study of its own
manifests/dataset.json                   the dataset, for stages that are started one by one
other-plans/<digest>/                    analyses under plans that are not the study's
serving/                                 the promoted checkpoint

Names hold the digest of what decides an artifact (`crossover.study.study_digests`), so that revisions of a study share
what they have in common and never overwrite each other. Where the artifacts are is the store's business.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossover.errors import StorageError, WorkspaceError
from crossover.files import read_json, workspace_error, write_json
from crossover.settings import Settings
from crossover.storage import ArtifactStore, open_store
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig
from crossover.study.study_digests import short

STUDY_FILE = "study.json"


class Workspace:
    """Opened by its URI: a path, or s3://bucket/prefix.

    Raises:
        StorageError: unwritable, or the object store cannot be used.
    """

    def __init__(self, uri: str, settings: Settings | None = None) -> None:
        self.store: ArtifactStore = open_store(uri, settings)
        self.uri = self.store.uri
        self.root = self.store.path(STUDY_FILE).parent
        """Where the workspace, or the local copy of it, is on this machine."""

    def check(self, study: StudyConfig) -> None:
        """Refuse a study of another name.

        Raises:
            WorkspaceError: the workspace holds artifacts of a study of another name.
        """
        document = self.store.read_document(STUDY_FILE)
        if document:
            self._is_other(document.value, study)

    def _is_other(self, recorded: dict[str, Any], study: StudyConfig) -> bool:
        """Whether a study of another name was recorded, of which there are no artifacts; an error where there are."""
        other: bool = recorded.get("name", recorded.get("study", {}).get("name")) != study.name
        if other and (self.store.names("datasets") or self.store.names("runs")):
            raise WorkspaceError(
                "workspace.other-study",
                field=self.uri,
                problem=f"holds the study {recorded.get('name')!r}, and this one is named {study.name!r}",
                remedy="give another place with --out, or name the study as before",
            )
        return other

    def claim(self, study: StudyConfig) -> None:
        """Make this the study's workspace, or the study's next revision the current one.

        Raises:
            WorkspaceError: it holds artifacts of a study of another name.
        """
        while True:
            document = self.store.read_document(STUDY_FILE)
            recorded: dict[str, Any] = document.value if document else {"name": study.name, "revisions": []}
            revised = _revised({} if self._is_other(recorded, study) else recorded, study)
            if revised == recorded:
                break
            try:
                self.store.write_document(STUDY_FILE, revised, replaces=document.version if document else None)
                break
            except StorageError as error:
                if error.code != "storage.conflict":
                    raise
        copy = self.root / STUDY_FILE
        if not copy.exists() or read_json(copy) != revised:
            write_json(copy, revised)

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Hold the workspace against a second `crossover run` on this machine; yields a descriptor.

        A child that inherits the descriptor goes on holding the workspace should this process be killed.

        Raises:
            WorkspaceError: another process holds it.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / ".lock").open("w")
        except OSError as error:
            raise workspace_error(self.root, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise WorkspaceError(
                    "workspace.in-use",
                    field=self.uri,
                    problem="another `crossover run` is working on it",
                    remedy="wait for it, or give another place with --out",
                ) from error
            yield file.fileno()


def _revised(recorded: dict[str, Any], study: StudyConfig) -> dict[str, Any]:
    """What study.json holds with this revision as the current one; revisions stay in the order of their first run."""
    revisions = list(recorded.get("revisions", []))
    if study.digest not in [revision["digest"] for revision in revisions]:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        revisions.append({"digest": study.digest, "plan": study.plan_digest, "at": at})
    return {
        "name": study.name,
        "digest": study.digest,
        "study": study.model_dump(mode="json"),
        "revisions": revisions,
    }


def run_name(run: RunId, digest: str) -> str:
    """Name of a run's folder in the store."""
    return f"runs/{run.key}/{short(digest)}"


def relative_to_root(workspace: Workspace, path: Path) -> str:
    """The name of the artifact that lies at a local path of the workspace."""
    return path.relative_to(workspace.root).as_posix()
