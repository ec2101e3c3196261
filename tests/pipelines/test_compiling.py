"""The compiled pipeline: golden, linted, and with a default for every parameter."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from crossover_pipelines.compiling import compile_pipeline
from crossover_pipelines.crossover_study.pipeline import build_pipeline
from crossover_pipelines.ir_lint import lint
from crossover_pipelines.local import argument_text
from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from crossover.errors import CrossoverError

GOLDEN = Path(__file__).with_name("golden") / "crossover_study.yaml"


def spec_of(pipeline: BaseComponent) -> dict[str, Any]:
    import tempfile

    from kfp import compiler

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        compiled: dict[str, Any] = yaml.safe_load(path.read_text())
    return compiled


def test_golden() -> None:
    """A change of the pipeline must be meant: renew with `make golden` and review the difference."""
    assert compile_pipeline(build_pipeline()) == GOLDEN.read_text(encoding="utf-8")


def test_every_parameter_has_a_default_and_there_are_few() -> None:
    parameters = yaml.safe_load(GOLDEN.read_text())["root"]["inputDefinitions"]["parameters"]
    assert len(parameters) <= 12
    assert all("defaultValue" in definition for definition in parameters.values())


def test_study_text_survives_kfp_local() -> None:
    import json

    text = json.dumps({"data": {"source": "text:/usr/lib/python3.11/*.py"}, "question": "what is {{$.x}}?"})
    escaped = argument_text(text)
    assert "python3" not in escaped
    assert "{{$." not in escaped
    assert json.loads(escaped) == json.loads(text)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def numbers() -> list:  # type: ignore[type-arg]
    return [1, 2]


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def named(left: dsl.OutputPath(str), right: dsl.OutputPath(list)) -> None:  # type: ignore[valid-type]
    pass


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def show(text: str) -> str:
    return text


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def make(out: dsl.Output[dsl.Artifact]) -> None:
    pass


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def take(item: dsl.Input[dsl.Artifact]) -> str:
    return item.uri


@dsl.pipeline(name="inner")
def artifacts_only(item: dsl.Input[dsl.Artifact]) -> None:
    take(item=item)


@dsl.component(base_image="python:3.11", install_kfp_package=False, packages_to_install=["numpy"])
def installs() -> None:
    pass


@dsl.container_component
def container() -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="alpine", command=["true"])


@dsl.pipeline(name="p")
def nested_dynamic_loops(outer: list = [1], inner: list = [2]) -> None:  # type: ignore[type-arg] # noqa: B006
    with dsl.ParallelFor(outer) as left:
        show(text=left)
        with dsl.ParallelFor(inner) as right:
            show(text=right)


@dsl.pipeline(name="p")
def if_on_named_output() -> None:
    task = named()
    with dsl.If(task.outputs["left"] == "yes"):
        show(text="x")


@dsl.pipeline(name="p")
def if_on_field_of_loop_item(items: list = [{"family": "ar"}]) -> None:  # type: ignore[type-arg] # noqa: B006
    with dsl.ParallelFor(items) as item, dsl.If(item.family == "ar"):
        show(text="x")


@dsl.pipeline(name="p")
def quote_in_operand() -> None:
    with dsl.If(show(text="x").output == "it's"):
        show(text="y")


@dsl.pipeline(name="p")
def python3_in_argument() -> None:
    show(text="/usr/bin/python3")


@dsl.pipeline(name="p")
def sub_pipeline_with_artifacts_only() -> None:
    artifacts_only(item=make().outputs["out"])


@dsl.pipeline(name="p")
def loop_over_named_output() -> None:
    with dsl.ParallelFor(named().outputs["right"]) as item:
        show(text=item)


@dsl.pipeline(name="p")
def parameter_without_default(text: str) -> None:
    show(text=text)


@dsl.pipeline(name="p")
def installs_at_run_time() -> None:
    installs()


@dsl.pipeline(name="p")
def container_component() -> None:
    container()


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        (nested_dynamic_loops, "a loop inside a dynamic loop"),
        (if_on_named_output, "condition on the named output left"),
        (if_on_field_of_loop_item, "condition on a field of a loop item"),
        (quote_in_operand, "holds a quote"),
        (python3_in_argument, "holds the text 'python3'"),
        (sub_pipeline_with_artifacts_only, "artifacts only"),
        (loop_over_named_output, "loop over the named output right"),
        (parameter_without_default, "no default"),
        (installs_at_run_time, "installs packages at run time"),
        (container_component, "a container component"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_lint_rejects(pipeline: BaseComponent, words: str) -> None:
    problems = lint(spec_of(pipeline))
    assert len(problems) == 1, problems
    assert words in problems[0]
    with pytest.raises(CrossoverError, match="would not run the same everywhere"):
        compile_pipeline(pipeline)


def test_lint_rejects_collecting_over_a_conditional_task_and_one_of_artifacts() -> None:
    spec = copy.deepcopy(yaml.safe_load(GOLDEN.read_text()))
    loop = spec["components"]["comp-for-loop-1"]["dag"]
    loop["tasks"]["train-and-evaluate"]["triggerPolicy"] = {"condition": "true"}
    assert any("collects over a conditional task" in problem for problem in lint(spec))
    selectors = next(iter(loop["outputs"]["artifacts"].values()))["artifactSelectors"]
    selectors.append(dict(selectors[0]))
    assert any("OneOf" in problem for problem in lint(spec))
