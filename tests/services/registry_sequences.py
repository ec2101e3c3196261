"""The API keeps its contract along the links of its OpenAPI document: schemathesis, as a state machine."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from schemathesis.specs.openapi import stateful
from schemathesis.specs.openapi.schemas import OpenApiSchema

from tests.crossover.registry.conftest import empty_url, url
from tests.services.test_registry_contract import OTHERS, contract

__all__ = ["contract", "empty_url", "url"]  # fixtures
STEPS = settings(
    max_examples=40,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_sequences_of_requests_keep_the_contract(
    contract: schemathesis.BaseSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stateful, "BASE_EXPLORATION_RATE", 0.0)  # links are followed always: a sequence can be repeated
    # constants of all modules at hand would change what is drawn with every change of the code, and between examples
    monkeypatch.setattr(providers, "_get_local_constants", Constants)
    done, number = Counter[tuple[str, int]](), itertools.count()
    contract.config.generation.update(modes=[schemathesis.GenerationMode.POSITIVE])  # the other test has wrong ones
    chosen = contract.exclude(path_regex="/live$|/tokens")  # endless; two steps
    assert isinstance(chosen, OpenApiSchema)
    machine = stateful.create_state_machine(chosen)  # of the document's own links, and without constants of modules
    for rule in machine.root_rules - {"RANDOM__POST_api_v1_studies"}:  # of runs that nothing has made
        delattr(machine, rule)

    class Machine(machine):  # type: ignore[misc, valid-type]  # made at run time
        def setup(self) -> None:
            """An empty namespace: a sequence that is done again has the same answers."""
            self.namespace = f"n{next(number)}"

        def before_call(self, case: schemathesis.Case[Any]) -> None:
            case.query["namespace"] = self.namespace
            case.headers.pop("Idempotency-Key", None)  # random ones are the same too often

        def after_call(self, response: schemathesis.Response, case: schemathesis.Case[Any]) -> None:
            done[case.operation.label, response.status_code] += 1

        def validate_response(
            self, response: schemathesis.Response, case: schemathesis.Case[Any], **_others: object
        ) -> None:
            case.validate_response(response, excluded_checks=OTHERS)

    Machine.run(settings=STEPS)
    answered = {name for name, status in done if status < 300}
    assert answered >= {
        "POST /api/v1/studies/{study}/runs",
        "POST /api/v1/runs/{run}/attempts",
        "POST /api/v1/runs/{run}/measurements",
        "GET /api/v1/studies/{study}/cells/{cell}/curves",
        "GET /api/v1/analyses/{digest}",
        "GET /api/v1/{view}",
    }
    assert any(name.startswith("POST /api/v1/runs/{run}/attempts/{n}/") for name in answered)
