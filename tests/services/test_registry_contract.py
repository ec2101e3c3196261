"""The API keeps its OpenAPI contract, whatever is sent: schemathesis, request by request, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from crossover_services.registry.access_control import AccessRules
from crossover_services.registry.app import create_app
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance, unsupported_method

from crossover.registry import Registry
from crossover.study.identity import RunId
from tests.crossover.registry.conftest import empty_url, url

__all__ = ["empty_url", "url"]  # fixtures


OTHERS = [unsupported_method, negative_data_rejection, positive_data_acceptance]
"""Checks with a list of statuses of their own, in which 413 is no refusal; test_registry_api.py has ours."""
EXAMPLES = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture
def contract(url: str) -> Iterator[schemathesis.BaseSchema]:
    with Registry.open(url) as registry:
        registry.register_study(name="demo", digest="s", config={})
        registry.register_run("s", RunId("c", "ar", 0), "r", config={}, epoch_tokens=10)
        registry.start_attempt("r", started_step=0)
        app = create_app(registry, AccessRules(open=True))
        yield schemathesis.openapi.from_asgi("/openapi.json", app)


def test_every_answer_is_in_the_contract(contract: schemathesis.BaseSchema) -> None:
    tested = []
    for found in contract.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.path.endswith("/live"):  # an endless answer
            continue
        for mode in schemathesis.GenerationMode:

            @EXAMPLES
            @given(case=operation.as_strategy(generation_mode=mode))
            def call(case: schemathesis.Case[Any]) -> None:
                case.call_and_validate(excluded_checks=OTHERS)

            with suppress(Unsatisfiable):  # a request without parameters has no wrong ones
                call()
                tested.append(operation.label)
    assert len(tested) > 30
