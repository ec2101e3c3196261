"""`crossover import`: learning curves that were measured elsewhere, into the registry."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

from crossover.commands.analyse_command import print_judged, token_count
from crossover.commands.command_options import registry_of
from crossover.commands.plan_flags import plan_of, wide_metrics
from crossover.curve_files import CurveTable, concatenate, read_curves
from crossover.curve_files.table import metric_needed
from crossover.curve_files.trackers import (
    RunList,
    RunNames,
    RunRule,
    Source,
    TokenRule,
    curves_of_runs,
    is_tracked,
    read_tracked,
    source_of,
)
from crossover.errors import CurvesError, StudyError
from crossover.field_faults import NAME_PATTERN
from crossover.settings import get_settings
from crossover.url_masking import mask_password

_TRACKER_FLAGS = ("run_pattern", "runs", "skip_other_runs", "tokens_per_step", "tokens_metric")


def import_curves(options: argparse.Namespace) -> int:
    """Judge curves, record them as a study, and print the verdicts.

    Raises:
        StudyError: a flag is wrong, or does not belong to these files.
        CurvesError: a file is no table of curves and no tracker's, or runs cannot be told apart.
        WorkspaceError: the report cannot be written there.
        RegistryError: the registry cannot be written.
    """
    from crossover.stages.import_stage import import_stage

    if not re.fullmatch(NAME_PATTERN, options.study):
        text = f"{options.study!r} is no name: it must match {NAME_PATTERN}"
        raise StudyError("import.bad-name", field="--study", problem=text, remedy="give a short name without blanks")
    sources = [source_of(file) for file in options.files]
    tracked = [source for source in sources if is_tracked(source)]
    paths = [source for source in sources if isinstance(source, Path) and source not in tracked]
    if tracked and paths:
        other = paths[0]
        text = f"{tracked[0]} is a tracker's and {other} a table of curves"
        raise StudyError("import.mixed-files", field="FILE", problem=text, remedy="import them as two studies")
    table = _tracked_table(options, tracked) if tracked else _plain_table(options, paths)
    known = {name: column for name, column in table.numbers.items() if not (tracked and name == "seconds")}
    plan = plan_of(
        options, replace(table, numbers=known)
    )  # wall time of a tracker is an axis only where it is asked for
    study = import_stage(
        options.study,
        table,
        plan,
        [_named(source) for source in sources],
        unique_tokens=token_count(options.unique_tokens),
        workspace=options.out or str(get_settings().home / options.study),
        registry=registry_of(options),
    )
    if options.json:
        print(json.dumps({cell.cell: analysis.model_dump(mode="json") for cell, analysis in study.judged}))
        return 0
    print_judged(study.judged, study.report.parent)
    print(f"Runs:    {study.runs}, of which {study.new_runs} new; study {options.study}, {study.digest}")
    return 0


def _plain_table(options: argparse.Namespace, paths: list[Path]) -> CurveTable:
    for flag in _TRACKER_FLAGS:
        if getattr(options, flag) not in (None, False):
            text = "is for files of trackers, and these are tables of curves"
            name = f"--{flag.replace('_', '-')}"
            raise StudyError("import.tracker-flag", field=name, problem=text, remedy="leave it out")
    wide = wide_metrics(options) if options.wide else None
    try:
        return concatenate([(path.name, read_curves(path, wide=wide)) for path in paths])
    except CurvesError as error:
        error.rename({"--curves": "FILE"})
        raise


def _named(source: Source) -> str:
    return mask_password(source) if isinstance(source, str) else source.name or str(source.resolve())


def _tracked_table(options: argparse.Namespace, sources: list[Source]) -> CurveTable:
    if options.wide:
        text, remedy = "is for tables of curves, and these are files of trackers", "leave it out"
        raise StudyError("import.tracker-flag", field="--wide", problem=text, remedy=remedy)
    metrics = wide_metrics(options)
    if not metrics:
        raise metric_needed([])
    runs = _run_rule(options)
    rule = TokenRule(options.tokens_per_step, options.tokens_metric)
    wanted = [*metrics, *([rule.metric] if rule.metric else [])]
    return curves_of_runs([series for source in sources for series in read_tracked(source, wanted)], runs, rule)


def _run_rule(options: argparse.Namespace) -> RunRule:
    if options.runs and options.run_pattern:
        text, remedy = "stands beside --run-pattern", "give one of them"
        raise StudyError("import.two-run-rules", field="--runs", problem=text, remedy=remedy)
    if options.runs:
        return RunList(Path(options.runs), skip_others=options.skip_other_runs)
    return RunNames(options.run_pattern, skip_others=options.skip_other_runs)
