"""The analysis plan of `crossover analyse`, for curves or for a study: from a file, or from flags."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.curve_files import CurveTable
from crossover.curve_files.table import metric_needed
from crossover.errors import StudyError
from crossover.field_faults import field_faults
from crossover.study.study_config import StudyConfig
from crossover.yaml_text import parse_yaml

_FLAGS = ("metric", "baseline", "candidate", "tuned", "axes", "comparisons", "alpha", "early", "late")
_FIELDS = {"early": "early_window", "late": "late_window", "metric": "metrics"}
_EXACT = ":exact"
_METRIC = "NAME:lower:DELTA, NAME:lower:DELTA:exact or NAME:higher:DELTA"


def curve_flag(options: argparse.Namespace) -> str | None:
    """The first flag given that only --curves reads; None when there is none."""
    for flag in ("wide", "unique_tokens"):
        if getattr(options, flag) not in (None, False):
            return f"--{flag.replace('_', '-')}"
    return None


def other_plan(options: argparse.Namespace, study: StudyConfig) -> AnalysisPlan | None:
    """The plan of --plan, or the study's own with the flags' changes; None where neither is given.

    Raises:
        StudyError: a flag or a field of the file is wrong, or names an arm that the study does not have.
    """
    given = _given(options)
    if not given:
        return None
    own = {} if options.plan else study.analysis.model_dump(mode="json")
    try:
        return StudyConfig.model_validate(study.model_dump(mode="json") | {"analysis": own | given}).analysis
    except ValidationError as error:
        raise _invalid(options, error, StudyConfig) from error


def wide_metrics(options: argparse.Namespace) -> list[str]:
    """The columns that are metrics in a wide table: those of the plan or of --metric; none are guessed."""
    given = _given(options)
    metrics = given.get("metrics", ())
    return [str(m.get("name", "")) for m in metrics if isinstance(m, dict)] if isinstance(metrics, list) else []


def plan_of(options: argparse.Namespace, table: CurveTable) -> AnalysisPlan:
    """The plan; axes that nobody named are those that the file has.

    Raises:
        StudyError: a flag or a field of the file is wrong.
        CurvesError: no metric is named.
    """
    given = _given(options)
    if not given.get("metrics"):
        raise metric_needed(table.held("metric"))
    given.setdefault("axes", _axes(options, table))
    try:
        return AnalysisPlan.model_validate(given)
    except ValidationError as error:
        raise _invalid(options, error, AnalysisPlan) from error


def _invalid(options: argparse.Namespace, error: ValidationError, model: type[BaseModel]) -> StudyError:
    """Every fault of a plan, each under the flag that it was given with."""
    flags = {field: f"--{flag}" for flag in _FLAGS for field in (_FIELDS.get(flag, flag),)}

    def flag_of(place: str) -> str:
        place = place.removeprefix("analysis.").removeprefix("analysis") or "plan"
        return place if options.plan else flags.get(place.partition(".")[0], place)

    faults = field_faults(error, model, "plan", flag_of)
    return StudyError("plan.invalid", field=faults.field, problem=faults.problem, remedy=f"correct {faults.named}")


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The flags or the plan file, as fields of the plan."""
    flags = {flag: getattr(options, flag) for flag in _FLAGS if getattr(options, flag) is not None}
    if options.plan:
        if flags:
            raise _error(f"--{next(iter(flags))}", "stands beside --plan", "write it in the plan, or leave --plan out")
        return _read(Path(options.plan))
    fields: dict[str, Any] = {_FIELDS.get(flag, flag): value for flag, value in flags.items()}
    for name in ("tuned", "axes", "comparisons"):
        if name in fields:
            fields[name] = [part.strip() for part in fields[name].split(",") if part.strip()]
    for name in ("early_window", "late_window"):
        if name in fields:
            fields[name] = _window(fields[name], name.removesuffix("_window"))
    if "metrics" in fields:
        fields["metrics"] = [_metric(text) for text in fields["metrics"]]
    return fields


def _read(path: Path) -> dict[str, Any]:
    """A plan's file: the section `analysis` of a study, or a whole study."""
    try:
        content = parse_yaml(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise _error("--plan", f"{path.name} cannot be read: {text}", "name a YAML or JSON file") from error
    if isinstance(content, dict) and isinstance(content.get("analysis"), dict):
        content = content["analysis"]
    if not isinstance(content, dict):
        raise _error("--plan", f"{path.name} holds no fields", "give the section `analysis` of a study")
    return content


def _metric(text: str) -> dict[str, object]:
    exact = text.endswith(_EXACT)
    name, _, rest = text.removesuffix(_EXACT).rpartition(":")
    name, _, direction = name.rpartition(":")
    try:
        delta = float(rest)
    except ValueError:
        delta = float("nan")
    if not name or direction not in ("lower", "higher") or not 0 < delta < float("inf"):
        problem = f"{text!r} is not {_METRIC}"
        remedy = "say which side is better and the smallest difference that matters; `exact` is for a DLM's exact loss"
        raise _error("--metric", problem, remedy)
    return {"name": name, "direction": direction, "delta": delta} | ({"exact": True} if exact else {})


def _window(text: str, flag: str) -> list[float]:
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError as error:
        remedy = f"write LOW:HIGH as shares of the log range, for example --{flag} 0.85:1"
        raise _error(f"--{flag}", f"{text!r} is no window", remedy) from error
    return [low, high]


def _axes(options: argparse.Namespace, table: CurveTable) -> list[str]:
    epochs = options.unique_tokens is not None or "unique_tokens" in table.numbers
    return ["epochs" if epochs else "tokens", *(axis for axis in ("flops", "seconds") if axis in table.numbers)]


def _error(field: str, problem: str, remedy: str) -> StudyError:
    return StudyError("plan.bad-flag", field=field, problem=problem, remedy=remedy)
