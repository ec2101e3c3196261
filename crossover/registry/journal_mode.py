"""SQLite's journal: WAL where readers and a writer can share memory, a rollback journal on other file systems.

WAL needs memory that all processes share through the file system. Network and parallel file systems (NFS, Lustre,
GPFS) do not have it, or have it within one machine only; https://sqlite.org/wal.html.
"""

from __future__ import annotations

import errno
import fcntl
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import IO

from crossover.errors import RegistryError

MOUNTS = Path("/proc/self/mounts")
LOCAL_REMEDY = "give a file on a local disk with --registry, or use PostgreSQL"
_NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "lustre", "gpfs", "beegfs", "ceph", "orangefs", "pvfs2"),
        *("glusterfs", "fuse.glusterfs", "fuse.sshfs", "fuse.ceph", "fuse.juicefs", "fuse.s3fs", "fuse.gcsfuse"),
    }
)


def choose_journal(path: Path) -> None:
    """Give a new file WAL where its file system allows it, and take it away from a file that cannot be opened with it.

    Args:
        path: of the file, which need not exist; the caller keeps other processes from making it at the same time.

    Raises:
        sqlite3.Error: the file cannot be opened for another reason.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        try:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            if pages or file_system(path) in _NETWORK:  # a new file has a rollback journal, an old one keeps its own
                return
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("SELECT COUNT(*) FROM sqlite_master")
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_IOERR_SHM"):
                raise
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # WAL without shared memory, for one process
        connection.execute("PRAGMA journal_mode = DELETE")


def file_system(path: Path) -> str:
    """The type of the file system that a path is on, such as `ext4`; empty where it is not known."""
    try:
        lines = MOUNTS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    absolute = path.absolute().parent.resolve()
    mounts = [(Path(fields[1].replace("\\040", " ")), fields[2]) for fields in map(str.split, lines)]
    above = [(len(place.parts), kind) for place, kind in mounts if absolute.is_relative_to(place)]
    return max(above, key=lambda mount: mount[0], default=(0, ""))[1]


def check_locks(file: IO[str], registry: str) -> None:
    """Check that POSIX locks work on the file system of an open file: without them SQLite waits for a lock in vain.

    Args:
        file: open to write.
        registry: its URL, as it may be printed.

    Raises:
        RegistryError: they do not.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(file, fcntl.LOCK_UN)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):  # another process holds it: locks work
            return
        raise RegistryError(
            "registry.no-locks",
            field="registry url",
            problem=f"{registry}: its file system has no file locks ({error.strerror})",
            remedy=LOCAL_REMEDY,
        ) from error
