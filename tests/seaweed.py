"""A real S3 server for tests: SeaweedFS, from the wheel of the dev extra, on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from minio import Minio
from minio.error import MinioException
from urllib3 import PoolManager, Retry
from urllib3.exceptions import HTTPError

START_SECONDS = 60


def free_ports(count: int) -> list[int]:
    """Ports that are free now, all below 32768: SeaweedFS takes each one's gRPC port 10,000 above it."""
    with ExitStack() as stack:
        found: list[int] = []
        for port in range(20_000, 32_000, 7):
            if len(found) == count:
                break
            try:
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                stack.enter_context(socket.create_server(("127.0.0.1", port + 10_000)))
            except OSError:
                continue
            found.append(port)
        return found


@contextmanager
def server(folder: Path, bucket: str) -> Iterator[str]:
    """host:port of an S3 endpoint that holds one empty bucket and asks for no credentials."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    assert weed is not None, "the dev extra holds SeaweedFS"
    names = ("-master.port", "-volume.port", "-filer.port", "-s3.port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [weed, "server", f"-dir={folder}", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=20"]
    command += ["-master.volumeSizeLimitMB=64", *(f"{name}={port}" for name, port in ports.items())]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    endpoint = f"127.0.0.1:{ports['-s3.port']}"
    pool = PoolManager(retries=Retry(total=0))
    try:
        client = Minio(endpoint, access_key="any", secret_key="any", secure=False, http_client=pool)  # noqa: S106
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                client.make_bucket(bucket)
                break
            except (MinioException, HTTPError, OSError):
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                time.sleep(0.1)
        yield endpoint
    finally:
        pool.clear()
        process.terminate()
        process.wait()
