"""An HTTP proxy before an object store that counts requests and fails on purpose."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

SLOW_DOWN = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>slow down</Message></Error>'
Fault = Literal["slow down", "cut", "forget", "no answer", "full"]


@dataclass
class Proxy:
    """What the proxy did, and what it shall do.

    Args:
        endpoint: host:port to use instead of the store's.
        requests: how often each (method, last part of the key) was seen.
        faults: for a (method, last part of the key) what goes wrong, in order; then all is well.
        sent: bytes of all requests' bodies.
        headers: of the newest request.
        strips_conditions: whether the store shall not see If-Match and If-None-Match of writes.
    """

    endpoint: str = ""
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    sent: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    faults: dict[tuple[str, str], list[Fault]] = field(default_factory=dict)
    strips_conditions: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, method: str, key: str) -> Fault | None:
        """Count a request; returns what shall go wrong with it."""
        with self.lock:
            self.requests[method, key] += 1
            waiting = self.faults.get((method, key), [])
            return waiting.pop(0) if waiting else None


@contextmanager
def proxy_before(target: str) -> Iterator[Proxy]:
    """A proxy before an object store, while the context lasts."""
    proxy = Proxy()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            proxy.sent += len(body)
            proxy.headers = dict(self.headers.items())
            fault = proxy.take(self.command, self.path.partition("?")[0].rpartition("/")[2])
            if fault == "slow down":
                self._answer(503, {"Content-Type": "application/xml"}, SLOW_DOWN)
                return
            if fault == "full":
                full = SLOW_DOWN.replace(b"SlowDown", b"XMinioStorageFull")
                self._answer(507, {"Content-Type": "application/xml"}, full)
                return
            if fault == "no answer":
                self.close_connection = True
                return
            headers = dict(self.headers.items())
            if proxy.strips_conditions and self.command in ("PUT", "POST"):
                headers = {name: value for name, value in headers.items() if name.lower()[:3] != "if-"}
            connection = http.client.HTTPConnection(target)
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            data = response.read()
            length = response.headers.get("Content-Length", str(len(data)))
            connection.close()
            if fault == "forget":
                self.close_connection = True
                return
            kept = {name: value for name, value in response.headers.items() if name.lower() != "transfer-encoding"}
            self._answer(response.status, {**kept, "Content-Length": length}, data[: len(data) // 2] if fault else data)
            self.close_connection = fault is not None

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

        def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    proxy.endpoint = f"127.0.0.1:{listener.server_address[1]}"
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
