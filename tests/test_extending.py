"""Every worked example of docs/extending.md is executed, and does what its section says."""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crossover import metric_catalogue
from crossover.data import sources
from crossover.data.sources import SourceCounts, documents
from crossover.data.task_packs import Pack
from crossover.evaluation import tasks
from crossover.evaluation.tasks import Scored
from crossover.study import arms, source_config
from crossover.study.data_config import DataConfig
from crossover.study.load_study import parse_study

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## A new ([^\n]+)\n.*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))


def example(section: str) -> dict[str, Any]:
    """The names that a section's block defines."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(SECTIONS[section], names)  # noqa: S102 - our own documentation
    return names


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    """Examples add to registries, which are as before afterwards."""
    registries: list[dict[str, Any]] = [
        arms.ARMS,
        sources.READERS,
        tasks.FORMATS,
        metric_catalogue.METRICS,
    ]
    before = [dict(registry) for registry in registries]
    yield
    for registry, content in zip(registries, before, strict=True):
        registry.clear()
        registry.update(content)


def test_every_kind_of_addition_has_an_example() -> None:
    kinds = {"arm", "corpus source", "task", "metric", "view of the report", "verb", "HTTP route"}
    assert set(SECTIONS) == kinds


def test_arm() -> None:
    example("arm")
    study = parse_study("arms: [ar, dlm, ar-light-decay]")
    assert study.arm("ar-light-decay").weight_decay == 0.3


def test_corpus_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example("corpus source")
    monkeypatch.setattr(source_config, "SOURCES", (*source_config.SOURCES, "markdown:"))
    (tmp_path / "page.md").write_text("# Title\n\n## One\nfirst\n\n## Two\nsecond\n")
    config = DataConfig(source=f"markdown:{tmp_path}/*.md")
    assert [text for _, text, _ in documents(config, SourceCounts())] == ["# Title", "One\nfirst", "Two\nsecond"]


def test_task() -> None:
    example("task")
    task = tasks.FORMATS["true-or-false"]
    pack = Pack(name="facts", format="true-or-false", licence="CC0", file="facts.jsonl", sha256="0" * 64)
    document = {"statement": "Two is even.", "label": True}
    requests = task.requests(document, pack)
    assert [request.continuation for request in requests] == [" true", " false"]  # type: ignore[union-attr]  # requests of the example are continuations
    scored = [Scored(nll=nll, stderr=0.0, tokens=5, characters=5, draws=1) for nll in (1.0, 2.0)]
    assert task.score(document, pack, scored).correct == 1.0


def test_metric() -> None:
    example("metric")
    assert metric_catalogue.metric_of("weight_norm").label == "Weight norm"


def test_view_of_the_report() -> None:
    view = example("view of the report")["seeds"]
    cell = SimpleNamespace(runs=[SimpleNamespace(arm="ar"), SimpleNamespace(arm="dlm"), SimpleNamespace(arm="ar")])
    assert view(cell).rows == (("ar", "2"), ("dlm", "1"))


def test_verb(tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verb = example("verb")["corpus"]
    (tmp_path / "study.yaml").write_text(f"data: {{source: 'text:{corpus}/*.txt'}}")
    assert verb(argparse.Namespace(study=str(tmp_path / "study.yaml"))) == 0
    assert capsys.readouterr().out == "40 documents in 40 files\n"


@pytest.mark.filterwarnings("ignore")  # of kserve's imports
def test_http_route() -> None:
    routes = example("HTTP route")["RoutesWithVocabulary"]
    client = SimpleNamespace(engine=SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace(vocab_size=259))))
    instance = routes("crossover", client, {}, None)
    assert "/v1/vocabulary" in [route.path for route in instance.router().routes]
    assert asyncio.run(instance.vocabulary()) == {"vocab_size": 259}
