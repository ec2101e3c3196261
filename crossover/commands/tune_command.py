"""`crossover tune`: the sweep of a study, and the study with its results as a file."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from crossover.commands.command_options import registry_of, study_of, workspace_of
from crossover.errors import StudyError
from crossover.files import write_text
from crossover.stages.tune_stage import tune_stage
from crossover.study.sweep_study import METRIC


def tune(options: argparse.Namespace) -> int:
    """Let the compared arms choose their settings; print the losses, and write the study with them where asked.

    Raises:
        StudyError: the study asks for no sweep, or every setting of an arm diverged.
        WorkspaceError: the file or the workspace cannot be written.
    """
    study = study_of(options)
    if not study.tuning.learning_rates:
        raise StudyError(
            "study.no-sweep",
            field="tuning.learning_rates",
            problem="is empty, so that there is nothing to choose from",
            remedy="name some, for example `tuning: {learning_rates: [0.001, 0.003, 0.01]}`",
        )
    tuned = tune_stage(study, workspace_of(options, study), registry_of(options))
    print(f"{'arm':<20}{'learning rate':>14}{'weight decay':>14}{METRIC:>18}")
    for result in tuned.tuning.results:
        decay = "own" if result.weight_decay is None else f"{result.weight_decay:g}"
        loss = "diverged" if result.loss is None else f"{result.loss:.4f}"
        chosen = "  chosen" if result == tuned.tuning.best(result.arm) else ""
        print(f"{result.arm:<20}{result.learning_rate:>14g}{decay:>14}{loss:>18}{chosen}")
    print(tuned.tuning.note(tuned.arms, tuned.cells[0].quality))
    if options.write:
        fields = tuned.model_dump(mode="json", exclude_defaults=True)
        write_text(Path(options.write), yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))
        print(f"Study:     {options.write}")
    return 0
