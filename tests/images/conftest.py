"""The three images, unpacked once for all tests."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.containers import IMAGE_USER, RANDOM_USER, Image, mounted

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def _image(name: str) -> Iterator[Image]:
    prefix = os.environ.get("CROSSOVER_TEST_IMAGES", "localhost")
    with mounted(f"{prefix}/crossover-{name}:{os.environ.get('CROSSOVER_TEST_TAG', PROJECT['version'])}") as image:
        yield image


@pytest.fixture(scope="session")
def training() -> Iterator[Image]:
    """The training image."""
    yield from _image("training")


@pytest.fixture(scope="session")
def registry() -> Iterator[Image]:
    """The registry image."""
    yield from _image("registry")


@pytest.fixture(scope="session")
def predictor() -> Iterator[Image]:
    """The predictor image."""
    yield from _image("predictor")


@pytest.fixture(params=["training", "registry", "predictor"])
def image(request: pytest.FixtureRequest) -> Image:
    """Each image."""
    found: Image = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=[IMAGE_USER, RANDOM_USER], ids=["own user", "random user"])
def user(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Each user and group that a cluster may give."""
    pair: tuple[int, int] = request.param
    return pair
