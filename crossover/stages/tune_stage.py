"""Before a study: each compared arm chooses among learning rates, and weight decays, on seeds of its own.

The sweep is a study like any other, in the folder `tuning` of the workspace: an arm for every setting, the smallest
budget and the grid's first model. Its runs are recorded, resumed and reused as those of any study.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from crossover.errors import StudyError
from crossover.study.arms import Recipe
from crossover.study.study_config import StudyConfig
from crossover.study.tuning_config import Setting, TuningResult

METRIC = "validation_bpb"
"""What settings are chosen by: exact for AR, a bound over the same masks for every setting of a DLM."""


def require_tuned(study: StudyConfig) -> None:
    """Refuse a study whose sweep was not made: its arms would be trained with settings that it does not ask for.

    Raises:
        StudyError: it has rates to choose from and no results.
    """
    if study.tuning.is_pending:
        raise StudyError(
            "study.not-tuned",
            field="tuning",
            problem="asks for a sweep that has not been made",
            remedy="let `crossover run` make it, or write the study with its results by `crossover tune`",
        )


def sweep_of(study: StudyConfig) -> tuple[StudyConfig, dict[str, tuple[str, Setting]]]:
    """The sweep as a study, and its arms: name to the arm that is tuned, and the setting.

    Only the held-out loss is measured, at the study's checkpoints.
    """
    variants, recipes = {}, {}
    for arm in study.tuned_arms:
        own = study.recipes.get(arm) or Recipe()
        for number, (rate, decay) in enumerate(study.tuning.settings):
            name = f"{arm[:48]}-tried-{number}"
            changes = {"base": own.base or arm, "learning_rate": rate}
            changes |= {} if decay is None else {"weight_decay": decay}
            variants[name] = (arm, (rate, decay))
            recipes[name] = own.model_copy(update=changes).model_dump(exclude_none=True)
    arms = list(variants)
    grid = study.grid
    first = {"unique_tokens": grid.unique_tokens[:1], "quality": grid.quality[:1], "models": grid.models[:1]}
    measured = {"tasks": (), "chain_rule_examples": 0, "samples": 0, "passages": 0, "writing_points": 0, "scorer": ""}
    fields = study.model_dump(exclude={"tuning", "analysis"}) | {
        "name": f"{study.name[:56]}-tuning",
        "question": f"Which settings suit the arms of {study.name}?"[:500],
        "grid": first,
        "arms": arms,
        "recipes": recipes,
        "seeds": study.tuning.seeds,
        "evaluation": study.evaluation.model_dump() | measured,
        "analysis": {"baseline": arms[0], "candidate": arms[-1], "metrics": [METRIC]},
    }
    return StudyConfig.model_validate(fields), variants


def tune_stage(study: StudyConfig, workspace: str, registry: str = "") -> StudyConfig:
    """Make the sweep, and give the study its results; a study without a sweep is returned as it is.

    Args:
        study: the study; results that it has already are replaced.
        workspace: of the study, a path or s3://bucket/prefix; the sweep is in its folder `tuning`.
        registry: URL of a database or a service; empty is the one of the settings.

    Returns:
        The study, whose compared arms take the settings with the lowest mean held-out loss.

    Raises:
        CrossoverError: see the stages; a run that diverges has no loss, and does not stop the sweep.
        StudyError: every setting of an arm diverged.
    """
    if not study.tuning.learning_rates:
        return study
    sweep, variants = sweep_of(study)
    losses: dict[str, list[float]] = {name: [] for name in variants}
    for name, loss in _losses(sweep, f"{workspace.rstrip('/')}/tuning", registry):
        losses[name].append(loss)
    means = {name: float(np.mean(values)) for name, values in losses.items()}
    results = [
        TuningResult(
            arm=arm, learning_rate=rate, weight_decay=decay, loss=means[name] if np.isfinite(means[name]) else None
        )
        for name, (arm, (rate, decay)) in variants.items()
    ]
    for arm in study.tuned_arms:
        if all(result.loss is None for result in results if result.arm == arm):
            raise StudyError(
                "study.sweep-diverged",
                field="tuning.learning_rates",
                problem=f"{arm} diverged with every one of them",
                remedy="give lower ones",
            )
    fields = study.model_dump()
    fields["tuning"] |= {"results": [result.model_dump() for result in results]}
    return StudyConfig.model_validate(fields)


def _losses(sweep: StudyConfig, workspace: str, registry: str) -> Iterator[tuple[str, float]]:
    """The lowest held-out loss of each run, by arm, in bits a byte; infinite for one that diverged."""
    from crossover.stages.evaluate_stage import evaluate_stage
    from crossover.stages.evaluated_runs import read_evaluations
    from crossover.stages.prepare_stage import plan_groups, prepare_stage
    from crossover.stages.pretrain_stage import pretrain_stage
    from crossover.stages.study_context import open_study
    from crossover.training.run_spec import DivergedError

    with open_study(sweep, workspace, registry) as context:
        dataset = prepare_stage(context)
        for group in plan_groups(context, 1):
            try:
                runs = pretrain_stage(context, dataset, group)
            except DivergedError as error:
                print(f"{error}: this setting is out", file=sys.stderr, flush=True)
                yield group.arm, np.inf
                continue
            for run in evaluate_stage(context, dataset, runs).runs:
                measured = (m for result in read_evaluations(context, run) for m in result.measurements)
                yield run.id.arm, min(m.value for m in measured if m.metric == METRIC)
