"""Tokens: made, listed and revoked by administrators."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from crossover_services.registry.access_control import Admin, OpenRegistry
from crossover_services.registry.api.openapi_links import links
from fastapi import APIRouter, Path

from crossover.registry.access_tokens import create_token, list_tokens, revoke_token
from crossover.registry.wire_format import TokenBody

router = APIRouter(prefix="/tokens", tags=["tokens"])


@router.post("", status_code=201, responses=links(201, {"revoke": {"number": "$response.body#/id"}}))
def create(body: TokenBody, registry: OpenRegistry, admin: Admin) -> dict[str, Any]:
    """Make a token; its text is in this answer and never again."""
    lifetime = None if body.days is None else timedelta(days=body.days)
    scopes, namespaces = body.scopes, body.namespaces
    number, token = create_token(
        registry, body.name, scopes=scopes, namespaces=namespaces, lifetime=lifetime, actor=admin.name
    )
    return {"id": number, "token": token}


@router.get("")
def listed(registry: OpenRegistry, _: Admin) -> list[dict[str, Any]]:
    """All tokens, without their secrets."""
    return list_tokens(registry)


@router.delete("/{number}", status_code=204)
def revoke(number: Annotated[int, Path(ge=1, le=2**63 - 1)], registry: OpenRegistry, admin: Admin) -> None:
    """End a token at once."""
    revoke_token(registry, number, actor=admin.name)
