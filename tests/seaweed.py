"""A real S3 server for tests: SeaweedFS, from the wheel of the dev extra, on loopback.

Any number of servers run side by side: the Iceberg and Lance listeners, which have fixed ports, are off, every other
port is chosen at random, and the sockets whose place cannot be chosen are named after those ports.
"""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

from minio import Minio
from minio.error import MinioException
from urllib3 import PoolManager, Retry
from urllib3.exceptions import HTTPError

START_SECONDS = 60
LISTENERS = ("master", "volume", "filer", "s3")


def free_ports(count: int) -> list[int]:
    """Ports that are free now: random ones, so that two test runs that start at once do not choose the same.

    They are below those that the system gives to outgoing connections (Linux: from 32768), which could take them
    before the server does.
    """
    ports: list[int] = []
    with ExitStack() as stack:
        for port in random.sample(range(20_000, 32_000), 1000):
            if len(ports) == count:
                break
            try:
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            ports.append(port)
    return ports


@contextmanager
def server(folder: Path, bucket: str, keys: tuple[str, str] | None = None) -> Iterator[str]:
    """host:port of an S3 endpoint that holds one empty bucket.

    Args:
        folder: where the server keeps its files.
        bucket: name of the bucket.
        keys: access key and secret key of the only user; without them any credentials will do.
    """
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    assert weed is not None, "the dev extra holds SeaweedFS"
    ports = free_ports(2 * len(LISTENERS))
    http = dict(zip(LISTENERS, ports, strict=False))
    grpc = dict(zip(LISTENERS, ports[len(LISTENERS) :], strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="weed-") as sockets, (folder / "log").open("wb") as log:
        command = [weed, "server", f"-dir={folder}", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=20"]
        command += ["-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-volume.preStopSeconds=0"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        command += [f"-{name}.port={port}" for name, port in http.items()]
        command += [f"-{name}.port.grpc={port}" for name, port in grpc.items()]
        command += [f"-{name}.localSocket={sockets}/{name}" for name in ("filer", "s3")]
        if keys is not None:
            user = {"name": "user", "credentials": [{"accessKey": keys[0], "secretKey": keys[1]}], "actions": ["Admin"]}
            (folder / "users.json").write_text(json.dumps({"identities": [user]}))
            command.append(f"-s3.config={folder}/users.json")
        access_key, secret_key = keys or ("any", "any")
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        endpoint = f"127.0.0.1:{http['s3']}"
        pool = PoolManager(retries=Retry(total=0))
        try:
            client = Minio(endpoint, access_key=access_key, secret_key=secret_key, secure=False, http_client=pool)
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    if not client.bucket_exists(bucket):
                        client.make_bucket(bucket)
                    client.put_object(bucket, "first", BytesIO(b"1"), 1)  # makes volumes: seconds, if several try it
                    client.remove_object(bucket, "first")
                    break
                except (MinioException, HTTPError, OSError):
                    assert process.poll() is None, (folder / "log").read_text()[-2000:]
                    assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                    time.sleep(0.1)
            yield endpoint
        finally:
            pool.clear()
            process.kill()
            process.wait()
            for name, port in grpc.items():
                Path(f"/tmp/seaweedfs-{name}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108 - a fixed place
