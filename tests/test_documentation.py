"""Documentation is tested: settings, fields, commands, routes, links, and the two commands of the README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from crossover.cli import build_parser
from crossover.settings import Settings
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from tests.test_cli import FROZEN, verbs_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text("utf-8")
STEPS = ("data_preparation", "pretraining", "evaluation", "crossover_analysis", "promotion")


def fields(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        nested = isinstance(kind, type) and issubclass(kind, BaseModel)
        found += fields(kind, f"{prefix}{name}.") if nested else [prefix + name]  # type: ignore[arg-type]  # nested fields are models
    return found


@pytest.mark.parametrize("name", [f"CROSSOVER_{name.upper()}" for name in Settings.model_fields])
def test_settings(name: str) -> None:
    assert f"`{name}`" in CONFIGURATION


@pytest.mark.parametrize("name", fields(StudyConfig))
def test_study_fields(name: str) -> None:
    assert f"`{name}`" in CONFIGURATION


@pytest.mark.parametrize(
    "verb", [*FROZEN, *(f"registry {verb}" for verb in verbs_of(verbs_of(build_parser())["registry"]))]
)
def test_commands_and_flags(verb: str) -> None:
    if verb == "registry":
        return
    row = next(line for line in CONFIGURATION.splitlines() if line.startswith(f"| `crossover {verb}`"))
    parser = build_parser()
    for part in verb.split():
        parser = verbs_of(parser)[part]
    for action in parser._actions:
        if action.option_strings and action.dest != "help":
            assert f"`{action.option_strings[-1]}`" in row


def test_the_readme_opens_with_the_two_commands_and_the_makefile_has_them() -> None:
    first = README.split("```sh")[1].split("```")[0]
    assert re.findall(r"^make (\w+)", first, re.MULTILINE) == ["demo", "test"]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test", "serve", "help"} <= set(targets)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_study_in_the_readme_is_valid() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert parse_study(text).name == "mine"


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("step", STEPS)
def test_components_have_their_papers(step: str) -> None:
    from importlib import import_module

    folder = ROOT / "components" / step
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    assert metadata["name"] == step
    assert {"stability", "dependencies", "tags", "lastVerified"} <= set(metadata)
    component = getattr(import_module(f"crossover_components.{step}.component"), step)
    text = (folder / "README.md").read_text("utf-8")
    for name in [*component.component_spec.inputs, *(component.component_spec.outputs or {})]:
        assert f"| `{name}` |" in text
    code = (folder / "component.py").read_text()
    assert len(code.splitlines()) <= 80
    assert set(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE)) <= {"kfp", "crossover_components"}


def test_no_file_is_longer_than_the_house_allows() -> None:
    for folder in ("crossover", "cluster", "components", "pipelines", "services", "benchmarks", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            assert len(path.read_text("utf-8").splitlines()) <= 400, path
