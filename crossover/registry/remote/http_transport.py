"""Requests to a registry server: with a token, repeated with growing pauses, and its errors as ours."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from crossover.errors import AccessError, RegistryError, RunHeldError, UnreachableError, UserError
from crossover.url_masking import mask_password

TRY_SECONDS = 600.0
"""How long a request is repeated while the server does not answer."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 20.0
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_REPEATED = (408, 425, 429, 500, 502, 503, 504)


class HttpTransport:
    """A connection to a server; used by several threads.

    Args:
        url: of the server, `http(s)://host:port`.
        namespace: of all requests; empty is that of the token.
        token: bearer token; empty for none.
        token_file: holds the token, read anew for every request, since platforms renew such files; None for none.
    """

    def __init__(self, url: str, *, namespace: str = "", token: str = "", token_file: Path | None = None) -> None:
        self.url = url.rstrip("/")
        self._token, self._token_file = token, token_file
        parameters = {"namespace": namespace} if namespace else {}
        self._client = httpx.Client(base_url=f"{self.url}/api/v1", timeout=_TIMEOUT, params=parameters)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        key: str = "",
        parameters: Mapping[str, Any] | None = None,
        seconds: float = TRY_SECONDS,
        stop: threading.Event | None = None,
        once: Callable[[], object] = lambda: None,
    ) -> Any:  # noqa: ANN401 - JSON
        """Send a request until it is answered; returns the JSON of the answer.

        Args:
            method: `GET`, `POST` or `DELETE`.
            path: below /api/v1, already quoted.
            body: JSON.
            key: names the request, so that the server does it once however often it is sent.
            parameters: of the query.
            seconds: how long it is repeated while there is no answer.
            stop: ends the pauses between repetitions.
            once: called before the first pause, to say that the server does not answer.

        Raises:
            UnreachableError: no answer in that time.
            RegistryError: the server's error.
            AccessError: the token has no right to it.
        """
        until, pause, waited = time.monotonic() + seconds, FIRST_PAUSE, False
        while True:
            try:
                return self._send_once(method, path, body, key, parameters)
            except UnreachableError as error:
                if not waited:
                    once()
                waited = True
                rest = until - time.monotonic()
                if rest <= 0 or (stop is not None and stop.is_set()):
                    raise
                delay = min(rest, random.uniform(pause / 2, pause))  # noqa: S311 - jitter
                retry = getattr(error, "retry_after", 0.0)
                (stop or threading.Event()).wait(max(delay, min(rest, retry)))
                pause = min(LONGEST_PAUSE, 2 * pause)

    def _send_once(
        self, method: str, path: str, body: bytes | None, key: str, parameters: Mapping[str, Any] | None
    ) -> Any:  # noqa: ANN401  # whatever JSON says
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key:
            headers["Idempotency-Key"] = key
        if token := self._bearer():
            headers["Authorization"] = f"Bearer {token}"
        try:
            answer = self._client.request(method, path, content=body, headers=headers, params=parameters)
        except httpx.HTTPError as error:
            raise self._unreachable(f"does not answer ({type(error).__name__}: {error})") from error
        if answer.status_code in _REPEATED:
            unreachable = self._unreachable(f"answers {answer.status_code} ({_detail(answer)})")
            pause = answer.headers.get("Retry-After", "")
            unreachable.retry_after = float(pause) if pause.isdecimal() else 0.0  # type: ignore[attr-defined]  # read where the call is repeated
            raise unreachable
        if answer.is_success:
            return answer.json() if answer.content else None
        raise self._refused(answer)

    def _bearer(self) -> str:
        if self._token_file is None:
            return self._token
        try:
            return self._token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RegistryError(
                "registry.no-token",
                field="CROSSOVER_REGISTRY_TOKEN_FILE",
                problem=f"{self._token_file} cannot be read ({error})",
                remedy="mount the token, or set CROSSOVER_REGISTRY_TOKEN",
            ) from error

    def _unreachable(self, problem: str) -> UnreachableError:
        remedy = "check the address and that the registry service runs, then run again; nothing is recorded twice"
        return UnreachableError(
            "registry.unreachable", field="registry url", problem=f"{mask_password(self.url)} {problem}", remedy=remedy
        )

    def _refused(self, answer: httpx.Response) -> UserError:
        try:
            told = answer.json()
            code, field, remedy = (str(told[name]) for name in ("code", "field", "remedy"))
            problem = str(told["detail"]).removesuffix(f"; {remedy}")
        except (ValueError, KeyError, TypeError):
            return RegistryError(
                "registry.not-a-server",
                field="registry url",
                problem=f"{mask_password(self.url)} answers {answer.status_code}, not as a registry service does",
                remedy="give the address of `crossover registry serve`",
            )
        if code == "registry.run-held":
            return RunHeldError(
                "registry.run-held",
                field=field,
                problem=problem,
                remedy=remedy,
                host=str(told["host"]),
                pid=int(told["pid"]),
                holder=str(told["holder"]),
                seen=str(told["seen"]),
            )
        kind = AccessError if answer.status_code in (401, 403) else RegistryError
        return kind(code, field=field, problem=problem, remedy=remedy)


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
