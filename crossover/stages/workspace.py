"""A study's workspace: one folder, or one prefix of a bucket, that holds all of one study and nothing else.

study.json                        what was asked; claims the workspace
dataset/                          the prepared corpus
runs/<cell>/<arm>/seed-<n>/       checkpoints/, resume/, evaluation/
analysis/                         analysis.json, report.html, report.md
serving/                          the promoted checkpoint

Steps work on local files. In a folder those are the workspace itself; over an object store they are a scratch copy that
`pull` and `push` keep in step, manifests last, so that a reader never sees half a checkpoint.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossover.errors import WorkspaceError
from crossover.files import read_json, workspace_error, write_json
from crossover.settings import Settings, get_settings
from crossover.storage import S3Store, Store
from crossover.study.study_config import StudyConfig

STUDY_FILE = "study.json"


class Workspace:
    """Opened by its URI: a path, or s3://bucket/prefix.

    Raises:
        WorkspaceError: unwritable, or the object store cannot be used.
    """

    def __init__(self, uri: str, settings: Settings | None = None) -> None:
        settings = settings or get_settings()
        self.uri = uri.rstrip("/")
        self.store: Store | None = None
        if uri.startswith("s3://"):
            self.store = S3Store(self.uri, settings)
            self.root = settings.scratch / hashlib.sha256(self.uri.encode()).hexdigest()[:16]
        elif "://" in uri:
            raise WorkspaceError(
                "workspace.bad-uri", field=uri, problem="unknown scheme", remedy="give a path or s3://bucket/prefix"
            )
        else:
            self.root = Path(self.uri)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise workspace_error(self.root, error) from error

    def uri_of(self, path: Path) -> str:
        """The URI of a file or folder of the workspace."""
        return f"{self.uri}/{path.relative_to(self.root).as_posix()}"

    def path_of(self, uri: str) -> Path:
        """The local path of a URI that `uri_of` gave.

        Raises:
            WorkspaceError: it belongs to another workspace.
        """
        relative = uri.removeprefix(f"{self.uri}/")
        if relative == uri or ".." in Path(relative).parts:
            raise WorkspaceError(
                "workspace.foreign-uri", field=uri, problem=f"is not in {self.uri}", remedy="use one workspace a study"
            )
        return self.root / relative

    def claim(self, study: StudyConfig) -> None:
        """Make the workspace this study's; the same study may come again and goes on.

        Raises:
            WorkspaceError: it is another study's.
        """
        self.pull(STUDY_FILE)
        path = self.root / STUDY_FILE
        mine = {"digest": study.digest, "study": study.model_dump(mode="json")}
        if not path.exists():
            write_json(path, mine)
            self.push(STUDY_FILE)
        elif read_json(path).get("digest") != study.digest:
            raise WorkspaceError(
                "workspace.other-study",
                field=self.uri,
                problem="holds another study, or an earlier version of this one",
                remedy="give another folder with --out, or delete this one",
            )

    def pull(self, relative: str) -> Path:
        """Bring a file or folder up to date from the object store; does nothing in a folder workspace."""
        if self.store is not None:
            for key in self.store.keys(relative):
                path = self.root / key
                if not path.exists() or path.name in ("manifest.json", STUDY_FILE):
                    self.store.get(key, path)
        return self.root / relative

    def push(self, relative: str, *, missing_only: bool = False) -> None:
        """Send a file or folder to the object store, manifests last; does nothing in a folder workspace.

        Args:
            relative: the file or folder.
            missing_only: leave out what the store already has.
        """
        if self.store is None:
            return
        there = set(self.store.keys(relative)) if missing_only else set()
        target = self.root / relative
        files = [target] if target.is_file() else [p for p in target.rglob("*") if p.is_file()]
        for path in sorted(files, key=lambda p: (p.name == "manifest.json", p.as_posix())):
            key = path.relative_to(self.root).as_posix()
            if not path.name.startswith(".") and key not in there:
                self.store.put(key, path)

    def remove(self, relative: str) -> None:
        """Remove a folder here and in the object store."""
        if self.store is not None:
            for key in self.store.keys(relative):
                self.store.delete(key)
        shutil.rmtree(self.root / relative, ignore_errors=True)

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Hold the workspace against a second `crossover run` on this machine; yields a descriptor.

        A child that inherits the descriptor goes on holding the workspace should this process be killed.

        Raises:
            WorkspaceError: another process holds it.
        """
        try:
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
                    remedy="wait for it, or give another --out",
                ) from error
            yield file.fileno()
