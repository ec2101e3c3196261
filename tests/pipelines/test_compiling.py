"""The compiled pipeline: golden, linted, and with a default for every parameter."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from crossover_pipelines.cluster_profile import STEPS, ClusterProfile, read_profile
from crossover_pipelines.compiling import compile_pipeline, compile_study
from crossover_pipelines.ir_lint import lint
from crossover_pipelines.local import argument_text
from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from crossover.errors import CrossoverError

FOLDER = Path(__file__).with_name("golden")
GOLDEN = FOLDER / "crossover_study.yaml"
PROFILES = {"crossover_study": None, "crossover_study_gpu": FOLDER / "gpu_profile.yaml"}
"""Golden file to the profile that it is compiled with."""


def spec_of(pipeline: BaseComponent) -> dict[str, Any]:
    import tempfile

    from kfp import compiler

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        compiled: dict[str, Any] = yaml.safe_load(path.read_text())
    return compiled


def golden(name: str = "crossover_study") -> tuple[dict[str, Any], dict[str, Any]]:
    """The pipeline and the settings of its pods."""
    pipeline, platforms = yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text("utf-8"))
    return pipeline, platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.mark.parametrize("name", PROFILES)
def test_golden(name: str) -> None:
    """A change of the pipeline must be meant: renew with `make golden` and review the difference."""
    path = PROFILES[name]
    text = compile_study(read_profile(path) if path else ClusterProfile())
    assert text == (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert lint(golden(name)[0]) == []


def test_every_parameter_has_a_default_and_a_description_and_there_are_few() -> None:
    parameters = golden()[0]["root"]["inputDefinitions"]["parameters"]
    assert len(parameters) <= 12
    assert all({"defaultValue", "description"} <= set(definition) for definition in parameters.values())
    assert parameters["promotion"]["literals"] == ["verdict", "always", "never"]


def test_each_loop_has_one_task() -> None:
    """Kubeflow's page crashes on a loop of several, exactly when one of them fails."""
    components = golden()[0]["components"]
    loops = {name: set(c["dag"]["tasks"]) for name, c in components.items() if name.startswith("comp-for-loop")}
    assert list(loops.values()) == [{"corpus-shard"}, {"tuning"}, {"pretraining"}, {"evaluation"}]


@pytest.mark.parametrize("name", PROFILES)
def test_every_step_asks_for_cpu_and_memory(name: str) -> None:
    executors = golden(name)[0]["deploymentSpec"]["executors"]
    assert {label.removeprefix("exec-").replace("-", "_") for label in executors} == set(STEPS)
    for executor in executors.values():
        resources = executor["container"]["resources"]
        assert {"resourceCpuRequest", "resourceMemoryRequest", "resourceMemoryLimit"} <= set(resources)


def test_a_gpu_profile_reaches_the_pods() -> None:
    pipeline, pods = golden("crossover_study_gpu")
    container = pipeline["deploymentSpec"]["executors"]["exec-pretraining"]["container"]
    assert container["image"] == "registry.example.org/crossover-training:1"
    assert container["resources"]["accelerator"] == {
        **{"resourceCount": "2", "count": "2", "resourceType": "nvidia.com/gpu", "type": "nvidia.com/gpu"}
    }
    environment = {item["name"]: item["value"] for item in container["env"]}
    assert environment["CROSSOVER_PROCESSES"] == "2"
    assert environment["CROSSOVER_RESTARTS"] == "5"
    assert environment["CROSSOVER_REGISTRY_URL"] == "http://crossover-registry.crossover:8090"
    pod = pods["exec-pretraining"]
    assert pod["secretAsEnv"][0]["secretName"] == "crossover-s3"
    assert {mount["mountPath"] for mount in pod["emptyDirMounts"]} == {"/dev/shm"}  # noqa: S108  # a mount of the pod
    assert pod["pvcMount"][0]["mountPath"] == "/scratch"
    assert pod["nodeSelector"] == {"labels": {"gpu": "h100"}}
    assert pod["tolerations"] == [{"effect": "NoSchedule", "key": "nvidia.com/gpu", "operator": "Exists"}]
    assert pod["podMetadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "research"}
    assert pod["activeDeadlineSeconds"] == "86400"
    assert (
        "accelerator"
        not in pipeline["deploymentSpec"]["executors"]["exec-crossover-analysis"]["container"]["resources"]
    )


def test_study_text_survives_kfp_local() -> None:
    import json

    text = json.dumps({"data": {"source": "text:/usr/lib/python3.11/*.py"}, "question": "what is {{$.x}}?"})
    escaped = argument_text(text)
    assert "python3" not in escaped
    assert "{{$." not in escaped
    assert json.loads(escaped) == json.loads(text)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def numbers() -> list:  # type: ignore[type-arg]  # as authors of pipelines write it
    return [1, 2]


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def named(left: dsl.OutputPath(str), right: dsl.OutputPath(list)) -> None:  # type: ignore[valid-type]  # as authors of pipelines write it
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
def nested_dynamic_loops(outer: list = [1], inner: list = [2]) -> None:  # type: ignore[type-arg] # noqa: B006  # as authors of pipelines write it
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
def if_on_field_of_loop_item(items: list = [{"family": "ar"}]) -> None:  # type: ignore[type-arg] # noqa: B006  # as authors of pipelines write it
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
    spec = copy.deepcopy(golden()[0])
    loop = spec["components"]["comp-for-loop-2"]["dag"]
    loop["tasks"]["tuning"]["triggerPolicy"] = {"condition": "true"}
    assert any("collects over a conditional task" in problem for problem in lint(spec))
    selectors = next(iter(loop["outputs"]["artifacts"].values()))["artifactSelectors"]
    selectors.append(dict(selectors[0]))
    assert any("OneOf" in problem for problem in lint(spec))
