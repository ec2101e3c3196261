"""Access control: who calls, and what they may do. Whatever is not allowed is refused."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from typing import Annotated

from crossover_services.registry.kubernetes_tokens import SCOPES as POD_SCOPES
from crossover_services.registry.kubernetes_tokens import TokenReviewer
from fastapi import Depends, Query, Request

from crossover.errors import AccessError
from crossover.registry import Registry
from crossover.registry.access_tokens import SCOPES, TOKEN_PREFIX, token_rights
from crossover.registry.schema import DEFAULT_NAMESPACE
from crossover.registry.wire_format import NAMESPACE

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Caller:
    """A program or a person with rights."""

    name: str
    scopes: frozenset[str]
    namespaces: frozenset[str] | None
    """None is all of them."""


@dataclass(frozen=True)
class AccessRules:
    """How callers are known.

    Args:
        open: everybody may do everything: for a server that listens on the loopback interface only.
        admin_token: of a mounted secret, in addition to those in the registry; empty for none.
        proxies: addresses of authenticating proxies.
        user_header: in which such a proxy names the person; people read all namespaces.
        reviewer: asks a Kubernetes cluster about tokens that are not the registry's; None does not.
    """

    open: bool = False
    admin_token: str = ""
    proxies: tuple[Network, ...] = ()
    user_header: str = "X-Forwarded-User"
    reviewer: TokenReviewer | None = None


LOCAL = Caller("local", frozenset(SCOPES), None)
_ADMIN = Caller("admin", frozenset(SCOPES), None)


def identify(request: Request) -> Caller:
    """The caller of a request.

    Raises:
        AccessError: nobody who is known (HTTP 401).
    """
    rules: AccessRules = request.app.state.rules
    if rules.open:
        return LOCAL
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return _by_token(request, rules, token.strip())
    person = request.headers.get(rules.user_header, "")
    if person and request.client is not None and _is_proxy(rules, request.client.host):
        return Caller(person, frozenset({"read"}), None)
    raise _unknown("no bearer token was given")


def _by_token(request: Request, rules: AccessRules, token: str) -> Caller:
    if rules.admin_token and hmac.compare_digest(token.encode(), rules.admin_token.encode()):
        return _ADMIN
    if rules.reviewer is not None and not token.startswith(TOKEN_PREFIX):
        account = rules.reviewer.account_of(token)
        if account is None:
            raise _unknown("the bearer token is neither the registry's nor one of a service account for this audience")
        return Caller(f"service account {account}", POD_SCOPES, frozenset({account.partition(":")[0]}))
    registry: Registry = request.app.state.registry
    rights = token_rights(registry.within(DEFAULT_NAMESPACE), token)
    if rights is None:
        raise _unknown("the bearer token is unknown, has expired or was revoked")
    return Caller(f"token {rights.id} ({rights.name})", rights.scopes, rights.namespaces)


def _is_proxy(rules: AccessRules, host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in rules.proxies)


def _unknown(problem: str) -> AccessError:
    remedy = "send `Authorization: Bearer TOKEN` with a token from an administrator"
    return AccessError("access.unknown-caller", field="Authorization", problem=problem, remedy=remedy)


class Allowed:
    """A dependency that refuses callers without a scope; `admin` has every scope.

    Args:
        scope: one of SCOPES.
        everywhere: refuses callers with rights in some namespaces only: for what reads or changes all of them.
    """

    def __init__(self, scope: str, *, everywhere: bool = False) -> None:
        self.scope, self.everywhere = scope, everywhere

    def __call__(self, request: Request) -> Caller:
        """The caller.

        Raises:
            AccessError: nobody who is known, or one without the scope.
        """
        caller = identify(request)
        if not caller.scopes & {self.scope, "admin"}:
            raise AccessError(
                "access.missing-scope",
                field="Authorization",
                problem=f"{caller.name} has no scope {self.scope!r}",
                remedy="ask an administrator for a token with this scope",
            )
        if self.everywhere and caller.namespaces is not None:
            raise AccessError(
                "access.other-namespace",
                field="Authorization",
                problem=f"this concerns all namespaces, and {caller.name} has rights in some",
                remedy="ask an administrator for a token for all namespaces",
            )
        request.state.caller = caller.name
        return caller


def namespace_of(
    request: Request, namespace: Annotated[str | None, Query(pattern=NAMESPACE, description="of the study")] = None
) -> str:
    """The namespace of a request: the given one, else the caller's only one, else `default`.

    Raises:
        AccessError: the caller has no rights in it.
    """
    caller = identify(request)
    if namespace is None:
        only = caller.namespaces if caller.namespaces is not None and len(caller.namespaces) == 1 else None
        namespace = next(iter(only)) if only else DEFAULT_NAMESPACE
    if caller.namespaces is not None and namespace not in caller.namespaces:
        raise AccessError(
            "access.other-namespace",
            field="namespace",
            problem=f"{caller.name} has no rights in {namespace}",
            remedy="give one of the namespaces of your token",
        )
    return namespace


def namespaces_of(
    request: Request,
    namespace: Annotated[str | None, Query(pattern=NAMESPACE, description="only of this one")] = None,
) -> frozenset[str] | None:
    """The namespaces that a request reads: the given one, else all of the caller's; None is all there are.

    Raises:
        AccessError: the caller has no rights in the given one.
    """
    return identify(request).namespaces if namespace is None else frozenset({namespace_of(request, namespace)})


def registry_of(request: Request) -> Registry:
    """The registry, for this request's thread; what it reads is limited by `Namespaces`."""
    opened: Registry = request.app.state.registry
    return opened.within(DEFAULT_NAMESPACE)


def registry_within(request: Request, namespace: Annotated[str, Depends(namespace_of)]) -> Registry:
    """The registry within the request's namespace, for writes and for reads by digest."""
    return registry_of(request).within(namespace)


Reader = Annotated[Caller, Depends(Allowed("read"))]
Admin = Annotated[Caller, Depends(Allowed("admin", everywhere=True))]
Namespaces = Annotated[frozenset[str] | None, Depends(namespaces_of)]
OpenRegistry = Annotated[Registry, Depends(registry_of)]
TeamRegistry = Annotated[Registry, Depends(registry_within)]
