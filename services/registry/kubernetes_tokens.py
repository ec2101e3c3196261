"""Tokens of Kubernetes service accounts, checked by the cluster itself (TokenReview): pods need no secret of ours."""

from __future__ import annotations

import hashlib
import re
import ssl
import time
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

import httpx

from crossover.errors import AccessError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CLUSTER = "https://kubernetes.default.svc"
SCOPES = frozenset({"read", "write", "promote"})
"""What a pipeline's pod may do, in the namespace of its service account."""
OWN_AUDIENCE = "cluster"
"""Stands for the audience of the API server itself, which the token is for that every pod has."""
_KEPT_SECONDS, _MOST_KEPT = 60.0, 10_000
_ACCOUNT = re.compile(r"system:serviceaccount:([-a-z0-9]+:[-.a-z0-9]+)")


class TokenReviewer:
    """Asks the API server whose a token is; answers are kept for a minute.

    Args:
        audience: that the token must be for, so that no other service can pass its callers' tokens on to this one; or
            `cluster` for the API server's own, whose tokens other services may have seen, too.
        api: of the API server.
        account: folder of this pod's own service account, which needs the cluster role `system:auth-delegator`.
    """

    def __init__(self, audience: str, *, api: str = CLUSTER, account: Path = ACCOUNT) -> None:
        authority = account / "ca.crt"
        verify = ssl.create_default_context(cafile=str(authority)) if authority.exists() else True
        self._client = httpx.Client(base_url=api, verify=verify, timeout=10.0)
        self._audience, self._account = audience, account
        self._known: OrderedDict[str, tuple[float, str | None]] = OrderedDict()
        self._lock = Lock()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def account_of(self, token: str) -> str | None:
        """`namespace:name` of the service account that a token belongs to; None of any other token.

        Raises:
            AccessError: the API server does not answer, or does not let this pod ask.
        """
        key, now = hashlib.sha256(token.encode()).hexdigest(), time.monotonic()
        with self._lock:
            kept = self._known.get(key)
        if kept is not None and now - kept[0] < _KEPT_SECONDS:
            return kept[1]
        account = self._review(token)
        with self._lock:
            self._known[key] = (now, account)
            self._known.move_to_end(key)
            while len(self._known) > _MOST_KEPT:
                self._known.popitem(last=False)
        return account

    def _review(self, token: str) -> str | None:
        own = self._audience == OWN_AUDIENCE
        spec = {"token": token} if own else {"token": token, "audiences": [self._audience]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        try:
            headers = {"Authorization": f"Bearer {(self._account / 'token').read_text('utf-8').strip()}"}
            answer = self._client.post("/apis/authentication.k8s.io/v1/tokenreviews", json=body, headers=headers)
            answer.raise_for_status()
            status: dict[str, Any] = answer.json().get("status", {})
        except (httpx.HTTPError, OSError, ValueError) as error:
            raise AccessError(
                "access.no-review",
                field="Authorization",
                problem=f"the cluster cannot be asked whose the token is ({type(error).__name__})",
                remedy="bind this service's account to the cluster role system:auth-delegator, and try again",
            ) from error
        # without audiences in the request the API server has compared them with its own, and need not repeat them
        right = status.get("authenticated") is True and (own or self._audience in status.get("audiences", ()))
        account = _ACCOUNT.fullmatch(str(status.get("user", {}).get("username", "")))
        return account[1] if right and account else None
