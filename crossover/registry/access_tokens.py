"""Bearer tokens: made once in plain text, kept as a hash, with scopes, namespaces and an end."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, Row, Select, insert, select, update

from crossover.errors import RegistryError
from crossover.registry import schema as s
from crossover.registry.transactions import Transactions, as_utc

SCOPES = ("read", "write", "promote", "sql", "admin")
ALL = "*"
TOKEN_PREFIX = "xo_"  # noqa: S105 - of every token


@dataclass(frozen=True)
class TokenRights:
    """Who a token belongs to, and what it may do."""

    id: int
    name: str
    scopes: frozenset[str]
    namespaces: frozenset[str] | None
    """None is all of them."""


def create_token(
    registry: Transactions,
    name: str,
    *,
    scopes: Collection[str],
    namespaces: Collection[str] | None,
    lifetime: timedelta | None = None,
    actor: str,
) -> tuple[int, str]:
    """Make a token; its text is returned here and never again.

    Args:
        registry: an open registry.
        name: says to people whose it is.
        scopes: among SCOPES.
        namespaces: where it is valid; None is everywhere.
        lifetime: None does not expire.
        actor: who makes it, for the record.
    """
    secret, now, row = secrets.token_urlsafe(32), registry.now(), s.AccessTokenRow
    values = {
        "name": name,
        "hash": _hash(secret),
        "scopes": sorted(scopes),
        "namespaces": [ALL] if namespaces is None else sorted(namespaces),
        "created_at": now,
        "expires_at": None if lifetime is None else now + lifetime,
    }
    with registry.writing() as connection:
        number = connection.scalar(insert(row).values(**values).returning(row.id))
        record_event(registry, actor, "token.create", f"{number} {name}")
    return int(number or 0), f"{TOKEN_PREFIX}{number}_{secret}"


def revoke_token(registry: Transactions, number: int, *, actor: str) -> None:
    """End a token at once.

    Raises:
        RegistryError: there is no such token.
    """
    row = s.AccessTokenRow
    with registry.writing() as connection:
        ended = update(row).where(row.id == number, row.revoked_at.is_(None)).values(revoked_at=registry.now())
        if not connection.execute(ended).rowcount and connection.scalar(select(row.id).filter_by(id=number)) is None:
            raise RegistryError(
                "registry.unknown-token",
                field="token",
                problem=f"there is no token {number}",
                remedy="list the tokens for their numbers",
            )
        record_event(registry, actor, "token.revoke", str(number))


def list_tokens(registry: Transactions) -> list[dict[str, object]]:
    """All tokens, without their secrets."""
    row = s.AccessTokenRow
    columns = (row.id, row.name, row.scopes, row.namespaces, row.created_at, row.expires_at, row.revoked_at)
    with registry.writing() as connection:
        return [dict(found._mapping) for found in connection.execute(select(*columns).order_by(row.id))]


def token_rights(registry: Transactions, token: str) -> TokenRights | None:
    """The rights of a token; None of one that is unknown, has expired or was revoked. Compares in constant time."""
    number, _, secret = token.removeprefix(TOKEN_PREFIX).partition("_")
    if (
        not token.startswith(TOKEN_PREFIX)
        or not number.isascii()
        or not number.isdigit()
        or len(number) > 18
        or not secret
    ):
        return None
    row = s.AccessTokenRow
    found = _first(registry, select(row.__table__).where(row.id == int(number)))
    stored = found.hash if found is not None else _hash("")
    same = hmac.compare_digest(stored, _hash(secret))
    if found is None or not same or found.revoked_at is not None:
        return None
    ends = found.expires_at
    if ends is not None and as_utc(ends) <= registry.now():
        return None
    namespaces = None if ALL in found.namespaces else frozenset(found.namespaces)
    return TokenRights(found.id, found.name, frozenset(found.scopes), namespaces)


def has_tokens(registry: Transactions) -> bool:
    """Whether any token was ever made."""
    row = s.AccessTokenRow
    return _first(registry, select(row.id).limit(1)) is not None


def record_event(registry: Transactions, actor: str, action: str, subject: str) -> None:
    """Record who did what, in the registry's transaction."""
    row = {"at": registry.now(), "actor": actor, "namespace": registry.namespace, "action": action}
    with registry.writing() as connection:
        connection.execute(insert(s.EventRow).values(**row, subject=subject[:500]))


def _hash(secret: str) -> str:
    """SHA-256 suffices: the secret has 256 bits of its own."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _first(registry: Transactions, statement: Select[Any]) -> Row[Any] | None:
    def read(engine: Engine) -> Row[Any] | None:
        with engine.connect() as connection:
            return connection.execute(statement).first()

    return registry.reading(read)
