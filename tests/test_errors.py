"""Errors: their codes are all in the docs, and a failure names its stage and run."""

from __future__ import annotations

import inspect

import pytest

from crossover.errors import StageFailedError, UserError, first_line, noting_run, run_of
from tests.error_codes import CLASSES, PAGE, error_codes, page


def test_every_code_in_the_source_is_in_the_docs_and_no_other() -> None:
    """Renew the page with `python -m tests.error_codes`."""
    assert page() == PAGE.read_text("utf-8")


def test_the_scan_sees_every_class_that_is_raised() -> None:
    """A class without codes is dead, and an error class elsewhere would not be scanned."""
    codes = error_codes()
    assert set(codes) == set(CLASSES) - {"UserError"}
    assert all(inspect.getmodule(kind).__name__ == "crossover.errors" for kind in subclasses(UserError))  # type: ignore[union-attr]  # every class has a module
    assert "study.invalid" in codes["StudyError"]
    assert "curves.no-metric" in codes["CurvesError"], "a code that a helper function completes"


def subclasses(kind: type) -> set[type]:
    """All classes below a class that are imported by now."""
    direct: list[type] = kind.__subclasses__()
    return set(direct).union(*(subclasses(c) for c in direct))


def test_an_error_notes_the_run_that_it_concerns() -> None:
    with pytest.raises(ValueError, match="no") as caught, noting_run("u8-pico/ar/seed-0"):
        raise ValueError("no")
    assert run_of(caught.value) == "u8-pico/ar/seed-0"
    assert run_of(ValueError("no")) is None


@pytest.mark.parametrize(
    ("error", "line"), [(MemoryError(), "MemoryError"), (OSError("\n"), "OSError"), (ValueError("no\nyes"), "no")]
)
def test_the_first_line_of_an_error_without_a_message_is_its_class(error: Exception, line: str) -> None:
    assert first_line(error) == line


def test_a_failed_stage_has_the_exit_code_of_its_error() -> None:
    error = StageFailedError("pretraining u8-pico/ar/seed-0", "data.source: no", exit_code=2)
    assert (str(error), error.exit_code) == ("stage pretraining u8-pico/ar/seed-0: data.source: no", 2)
    assert StageFailedError("pipeline", "no").exit_code == 1
