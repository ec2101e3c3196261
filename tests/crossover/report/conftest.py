"""One page, rendered once, for all the tests that read it."""

from __future__ import annotations

import pytest

from crossover.report import ReportContext, render_html
from tests.crossover.report import report_samples as samples


@pytest.fixture(scope="session")
def full() -> ReportContext:
    return samples.context()


@pytest.fixture(scope="session")
def page(full: ReportContext) -> str:
    return render_html(full)
