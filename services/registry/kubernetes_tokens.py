"""Tokens of Kubernetes service accounts, checked by the cluster itself (TokenReview): pods need no secret of ours."""

from __future__ import annotations

import hashlib
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
_KEPT_SECONDS, _MOST_KEPT = 60.0, 10_000
_PREFIX = "system:serviceaccount:"


class TokenReviewer:
    """Asks the API server whose a token is; answers are kept for a minute.

    Args:
        audience: that the token must be for, so that no other service can pass its callers' tokens on to this one.
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
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }
        try:
            own = (self._account / "token").read_text("utf-8").strip()
            headers = {"Authorization": f"Bearer {own}"}
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
        name = str(status.get("user", {}).get("username", ""))
        right = status.get("authenticated") is True and self._audience in status.get("audiences", ())
        return name.removeprefix(_PREFIX) if right and name.startswith(_PREFIX) else None
