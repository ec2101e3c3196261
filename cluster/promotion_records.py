"""What a promotion over KServe is asked for, and what it did."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class PromotionOptions:
    """How a checkpoint gets onto an endpoint."""

    namespace: str = ""
    """Of the InferenceService; empty is that of the pod, or of the kubeconfig's context."""
    replicas: int | None = None
    """Pods; None keeps what is there, else 1."""
    canary: int | None = None
    """Percent of the traffic that goes to the new checkpoint first; None replaces the old one at once."""
    force_conflicts: bool = False
    """Take fields from another field manager."""
    deadline_seconds: float = 900.0
    """Most seconds until the endpoint serves the checkpoint."""


class Measured(BaseModel):
    """How one predictor answered the trial requests."""

    model_config = ConfigDict(frozen=True)

    requests: int
    errors: int
    p50_seconds: float
    p95_seconds: float


class EndpointRecord(BaseModel):
    """What an endpoint serves after a promotion or a rollback."""

    model_config = ConfigDict(frozen=True)

    namespace: str
    name: str
    url: str
    """Base URL inside of the cluster, such as http://winner-predictor.models.svc.cluster.local."""
    uid: str
    """Of the InferenceService."""
    revision: int
    """Its generation."""
    uri: str
    digest: str
    """Of the checkpoint that the endpoint says it serves."""
    traffic: int
    """Percent of the requests."""
    changed: bool
    """Whether anything was applied that was not there."""
    stable: Measured | None = None
    canary: Measured | None = None
