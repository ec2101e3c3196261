"""Lint compiled pipelines: reject what kfp.local runs wrongly without an error, and what the form or a pod cannot do.

Each rule stands for a fault observed with kfp 2.17; see docs/pipelines.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

MAX_PARAMETERS = 12
_CHANNEL = re.compile(r"inputs\.parameter_values\['([^']+)'\]")
_COMPARISON = re.compile(r"[=!<>]=|[<>]")

Spec = dict[str, Any]


def lint(spec: Spec) -> list[str]:
    """Lint a compiled pipeline.

    Args:
        spec: the YAML as a dict.

    Returns:
        One message per problem, sorted.
    """
    dags = {"root": spec["root"], **{n: c for n, c in spec.get("components", {}).items() if "dag" in c}}
    problems = [
        *_root_parameters(spec["root"]),
        *_executors(spec),
        *(p for name, component in dags.items() for p in _dag(name, component, spec)),
    ]
    return sorted(problems)


def _root_parameters(root: Spec) -> Iterator[str]:
    parameters = root.get("inputDefinitions", {}).get("parameters", {})
    if len(parameters) > MAX_PARAMETERS:
        yield f"root: {len(parameters)} parameters, at most {MAX_PARAMETERS} fit the form"
    for name, definition in parameters.items():
        if "defaultValue" not in definition:
            yield f"root parameter {name}: no default; the form disables Start until it is touched"


def _executors(spec: Spec) -> Iterator[str]:
    for name, executor in spec.get("deploymentSpec", {}).get("executors", {}).items():
        command = " ".join(map(str, executor.get("container", {}).get("command", [])))
        arguments = " ".join(map(str, executor.get("container", {}).get("args", [])))
        if "importer" in executor:
            continue
        if "--executor_input" not in arguments:
            yield f"{name}: a container component; kfp.local's subprocess runner cannot run it"
        if "pip install" in command:
            yield f"{name}: installs packages at run time; put them into the image"


def _dag(name: str, component: Spec, spec: Spec) -> Iterator[str]:
    tasks = component.get("dag", {}).get("tasks", {})
    for task_name, task in tasks.items():
        where = f"{name}/{task_name}"
        called = spec.get("components", {}).get(task["componentRef"]["name"], {})
        yield from _constants(where, task)
        yield from _condition(where, task, tasks)
        yield from _loop(where, task, called, spec)
        if "dag" in called and task.get("inputs", {}).get("artifacts") and not task["inputs"].get("parameters"):
            yield f"{where}: a sub-pipeline with artifacts only; pass at least one parameter"
    for output, selector in component.get("dag", {}).get("outputs", {}).get("artifacts", {}).items():
        yield from _selected(f"{name}/{output}", selector, tasks)


def _constants(where: str, task: Spec) -> Iterator[str]:
    for key, value in task.get("inputs", {}).get("parameters", {}).items():
        text = str(value.get("runtimeValue", {}).get("constant", ""))
        for bad in ("python3", "{{$."):
            if bad in text:
                yield f"{where}: argument {key} holds the text {bad!r}, which kfp.local rewrites"


def _condition(where: str, task: Spec, siblings: Spec) -> Iterator[str]:
    condition = task.get("triggerPolicy", {}).get("condition")
    if not condition:
        return
    parameters = task.get("inputs", {}).get("parameters", {})
    has_else = any(
        other is not task and condition in other.get("triggerPolicy", {}).get("condition", "")
        for other in siblings.values()
    )
    for channel in _CHANNEL.findall(condition):
        source = parameters.get(channel, {})
        output = source.get("taskOutputParameter")
        if output and output["outputParameterKey"] != "Output" and not has_else:
            yield f"{where}: condition on the named output {output['outputParameterKey']}; return it alone, or add Else"
        if "parameterExpressionSelector" in source or "-loop-item-subvar-" in channel:
            yield f"{where}: condition on a field of a loop item; branch inside a sub-pipeline"
    rest = _CHANNEL.sub("", condition)
    if '"' in rest or rest.count("'") > 2 * len(_COMPARISON.findall(rest)):
        yield f"{where}: a condition operand holds a quote"


def _loop(where: str, task: Spec, called: Spec, spec: Spec) -> Iterator[str]:
    iterator = task.get("parameterIterator")
    if not iterator:
        return
    source = iterator["items"].get("inputParameter")
    if source is None:
        return
    channel = task.get("inputs", {}).get("parameters", {}).get(source, {})
    output = channel.get("taskOutputParameter", {}).get("outputParameterKey", "Output")
    if output != "Output":
        yield f"{where}: loop over the named output {output}; return the list as the only value"
    for inner_name, inner in called.get("dag", {}).get("tasks", {}).items():
        if "parameterIterator" in inner:
            yield f"{where}/{inner_name}: a loop inside a dynamic loop; move it into a sub-pipeline"
    for selector in called.get("dag", {}).get("outputs", {}).get("artifacts", {}).values():
        for chosen in selector.get("artifactSelectors", []):
            producer = called["dag"]["tasks"].get(chosen["producerSubtask"], {})
            if "triggerPolicy" in producer and "condition" in producer["triggerPolicy"]:
                yield f"{where}: collects over a conditional task"


def _selected(where: str, selector: Spec, tasks: Spec) -> Iterator[str]:
    if len(selector.get("artifactSelectors", [])) > 1:
        yield f"{where}: dsl.OneOf of artifacts; let a component choose"
