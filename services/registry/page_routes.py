"""Web pages: studies, runs, data sets, deployments. Each has a JSON twin under the same address."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(include_in_schema=False)
